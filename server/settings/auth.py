"""Settings of authentication: how callers are identified, and which roles they have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from server.settings.dsn import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

# An origin as browsers send it.
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


def _separated(value: object) -> object:
    return {part.strip() for part in value.split(",") if part.strip()} if isinstance(value, str) else value


# For a set: its members, separated by commas.
Separated = BeforeValidator(_separated)
_Names = Annotated[frozenset[str], NoDecode, Separated]


class AuthenticationSettings(BaseSettings):
    """How the server identifies callers, and which roles it gives them."""

    app_env: Literal["development", "production"] = Field(
        "development",
        description="`development` or `production`. On Databricks Apps the default is `production`.",
    )
    auth_mode: Literal["local", "databricks-app", "jwt"] = Field(
        "local",
        description=(
            "How callers are identified. It is required in production. `local`: every caller is `local`, and the "
            "server listens on loopback only and answers only a `Host` of loopback. `databricks-app`: by the headers "
            "of the platform's proxy. `jwt`: by bearer tokens."
        ),
    )
    local_roles: Annotated[frozenset[Literal["reader", "writer", "admin"]], NoDecode, Separated] = Field(
        frozenset({"admin"}),
        description=(
            "With `AUTH_MODE=local`: the roles of every caller, of `reader`, `writer` and `admin`. Each role includes "
            "the one before."
        ),
    )
    databricks_app_name: str | None = Field(
        None,
        description="Set by the platform; do not set it yourself. `AUTH_MODE=databricks-app` is refused without it.",
    )
    reader_users: _Names = Field(
        frozenset(),
        description=(
            "With `AUTH_MODE=databricks-app`: the callers with the role `reader`, separated by commas. An e-mail "
            "address, the client id of a service principal, or `*` for everybody whom the platform lets in."
        ),
    )
    writer_users: _Names = Field(frozenset(), description="The same for the role `writer`.")
    admin_users: _Names = Field(frozenset(), description="The same for the role `admin`.")
    reader_groups: _Names = Field(
        frozenset(),
        description=(
            "With `AUTH_MODE=databricks-app`: groups of the workspace whose members have the role `reader`. The server "
            "looks them up by SCIM, with its own identity."
        ),
    )
    writer_groups: _Names = Field(frozenset(), description="The same for the role `writer`.")
    admin_groups: _Names = Field(frozenset(), description="The same for the role `admin`.")
    jwt_issuer: str | None = Field(None, min_length=1, description="With `AUTH_MODE=jwt`: the tokens' issuer, `iss`.")
    jwt_audience: str | None = Field(
        None, min_length=1, description="With `AUTH_MODE=jwt`: the audience that the tokens have to name, `aud`."
    )
    jwt_jwks_url: str | None = Field(
        None, description="With `AUTH_MODE=jwt`: the URL of the issuer's keys, with `https`, or `http` on loopback."
    )
    jwt_algorithms: Annotated[
        frozenset[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]],
        NoDecode,
        Separated,
        Field(min_length=1),
    ] = Field(
        frozenset({"RS256", "ES256"}), description="The accepted signature algorithms. All of them are asymmetric."
    )
    jwt_roles_claim: str = Field(
        "roles",
        min_length=1,
        description=(
            "The claim that holds the roles `reader`, `writer` and `admin`, as a list or separated by spaces. "
            "`realm_access.roles` names a claim within a claim."
        ),
    )
    jwt_user_claim: str = Field(
        "sub", min_length=1, description="The claim that holds the caller's name, which is recorded with a change."
    )
    allowed_origins: _Names = Field(
        frozenset(),
        description=(
            "Origins of other web pages that may call the API, separated by commas: `https://shop.example.com`. The "
            "origin of your own pages too, if a proxy in front of the server changes `Host`."
        ),
    )

    @property
    def in_production(self) -> bool:
        """Whether this is production: as `APP_ENV` says, or else if the server runs on Databricks Apps."""
        if "app_env" in self.model_fields_set:
            return self.app_env == "production"
        return bool(self.databricks_app_name)

    @field_validator("allowed_origins")
    @classmethod
    def _valid_origins(cls, value: frozenset[str]) -> frozenset[str]:
        if wrong := sorted(origin for origin in value if not ORIGIN.fullmatch(origin)):
            raise ValueError(f"{wrong[0]} is not an origin: a scheme, a host, and a port if it is not the default one")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _safe_url(cls, value: str | None) -> str | None:
        try:
            address = urlsplit(value or "https://none")
            host, _ = address.hostname or "", address.port
        except ValueError:
            host = ""
        if not host or not (address.scheme == "https" or (address.scheme == "http" and is_loopback(host))):
            raise ValueError(
                "it has to be an https URL, or an http URL on loopback: anyone who can change the keys can log in"
            )
        return value

    def mistakes(self) -> Iterator[str]:
        """The contradictions between these settings, a sentence each."""
        if self.in_production and "auth_mode" not in self.model_fields_set:
            yield "AUTH_MODE has to be set in production: `databricks-app` on Databricks Apps, `jwt` elsewhere"
        if self.auth_mode == "databricks-app" and not self.databricks_app_name:
            yield (
                "AUTH_MODE=databricks-app trusts headers that any client can send if the platform's proxy is not in "
                "front of the server. DATABRICKS_APP_NAME, which the platform sets, is not set: use AUTH_MODE=jwt"
            )
        needed = {name: getattr(self, name.lower()) for name in ("JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL")}
        missing = [name for name, value in needed.items() if value is None]
        if self.auth_mode == "jwt" and missing:
            yield f"AUTH_MODE=jwt needs {', '.join(needed)}; missing: {', '.join(missing)}"
