"""Owns the settings that say who may call and how they are known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from server.settings.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_Ttl = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)]


def _separated(value: object) -> object:
    return {part.strip() for part in value.split(",") if part.strip()} if isinstance(value, str) else value


# For a set: its members, separated by commas.
Separated = BeforeValidator(_separated)
_Names = Annotated[frozenset[str], NoDecode, Separated]


class AuthenticationSettings(BaseSettings):
    """What the server is told about its callers."""

    app_env: Literal["development", "production"] = Field(
        "development",
        description=(
            "`development` or `production`. Where the platform sets `DATABRICKS_APP_NAME` and this is not set, it is "
            "`production`."
        ),
    )
    auth_mode: Literal["local", "databricks-app", "jwt"] = Field(
        "local",
        description=(
            "How callers are known; in production it has to be set. `local`: everybody is `local`, on loopback only, "
            "and only for a `Host` of loopback. `databricks-app`: by the headers of the platform's proxy. `jwt`: by "
            "bearer tokens."
        ),
    )
    local_roles: Annotated[frozenset[Literal["reader", "writer", "admin"]], NoDecode, Separated] = Field(
        frozenset({"admin"}),
        description=(
            "With `AUTH_MODE=local`, what everybody may: `reader`, `writer`, `admin`; each includes the one before."
        ),
    )
    databricks_app_name: str | None = Field(
        None, description="Set by the platform, and by nobody else: without it `AUTH_MODE=databricks-app` is refused."
    )
    reader_users: _Names = Field(
        frozenset(),
        description=(
            "With `AUTH_MODE=databricks-app`, who is a `reader`: e-mails, client ids of service principals, or `*` for "
            "everybody whom the platform lets in; separated by commas."
        ),
    )
    writer_users: _Names = Field(frozenset(), description="The same for `writer`.")
    admin_users: _Names = Field(frozenset(), description="The same for `admin`.")
    reader_groups: _Names = Field(
        frozenset(),
        description=(
            "With `AUTH_MODE=databricks-app`, groups of the workspace whose members are `reader`. They are looked up "
            "by SCIM, as the server's own identity."
        ),
    )
    writer_groups: _Names = Field(frozenset(), description="The same for `writer`.")
    admin_groups: _Names = Field(frozenset(), description="The same for `admin`.")
    groups_ttl: _Ttl = Field(300.0, description="Seconds that a caller's groups are remembered.")
    jwt_issuer: str | None = Field(
        None, min_length=1, description="With `AUTH_MODE=jwt`: the `iss` of the tokens that are believed,"
    )
    jwt_audience: str | None = Field(None, min_length=1, description="the `aud` that they have to name,")
    jwt_jwks_url: str | None = Field(
        None, description="and the address of their issuer's keys: `https`, or `http` on loopback."
    )
    jwt_jwks_ttl: _Ttl = Field(3_600.0, description="Seconds after which these keys are fetched anew.")
    jwt_algorithms: Annotated[
        frozenset[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]],
        NoDecode,
        Separated,
        Field(min_length=1),
    ] = Field(frozenset({"RS256", "ES256"}), description="How tokens may be signed; asymmetric algorithms only.")
    jwt_roles_claim: str = Field(
        "roles",
        min_length=1,
        description=(
            "The claim with the roles `reader`, `writer` and `admin`, as a list or separated by spaces; "
            "`realm_access.roles` is one within another."
        ),
    )
    jwt_user_claim: str = Field("sub", min_length=1, description="The claim that is recorded with a change.")
    allowed_origins: _Names = Field(
        frozenset(),
        description="Web pages, beside our own, that may ask: `https://shop.example.com`, separated by commas.",
    )

    @property
    def in_production(self) -> bool:
        """Whether this is no development: as it is set, or else by where it runs."""
        if "app_env" in self.model_fields_set:
            return self.app_env == "production"
        return bool(self.databricks_app_name)

    @field_validator("allowed_origins")
    @classmethod
    def _known_origins(cls, value: frozenset[str]) -> frozenset[str]:
        if wrong := sorted(origin for origin in value if not _ORIGIN.fullmatch(origin)):
            raise ValueError(f"{wrong[0]} is no origin: a scheme, a host, and a port where it is not the scheme's own")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _safe_address(cls, value: str | None) -> str | None:
        try:
            address = urlsplit(value or "https://none")
            host, _ = address.hostname or "", address.port
        except ValueError:
            host = ""
        if not host or not (address.scheme == "https" or (address.scheme == "http" and is_loopback(host))):
            raise ValueError(
                "it has to be an address of https, or of http on loopback: whoever can change the keys is in"
            )
        return value

    def mistakes(self) -> Iterator[str]:
        """What does not go together, a sentence each."""
        if self.in_production and "auth_mode" not in self.model_fields_set:
            yield "AUTH_MODE has to be set in production: `databricks-app` on Databricks Apps, `jwt` elsewhere"
        if self.auth_mode == "databricks-app" and not self.databricks_app_name:
            yield (
                "AUTH_MODE=databricks-app believes headers that anybody can send where the platform's proxy does not "
                "stand before the server, and DATABRICKS_APP_NAME, which the platform sets, is not set: use "
                "AUTH_MODE=jwt"
            )
        needed = {name: getattr(self, name.lower()) for name in ("JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL")}
        missing = [name for name, value in needed.items() if value is None]
        if self.auth_mode == "jwt" and missing:
            yield f"AUTH_MODE=jwt needs {', '.join(needed)}; missing: {', '.join(missing)}"
