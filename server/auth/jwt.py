"""Owns AUTH_MODE=jwt: bearer tokens, and what they say about who calls and what they may."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from schema.errors import UnauthenticatedError
from schema.permissions import Principal, Role
from server.auth.jwks import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jwt import PyJWK
    from starlette.requests import HTTPConnection

    from server.settings import Settings

_HEADER: Final = "authorization"
_TOKEN_BYTES: Final = 8_192
# After so long the issuer's keys are fetched anew; a key that is not known yet is looked for at once.
_KEYS_SECONDS: Final = 3_600.0
_LEEWAY_SECONDS: Final = 30.0
_REQUIRED: Final = ["exp", "iat", "iss", "aud", "sub"]
_MOMENTS: Final = ("exp", "iat", "nbf")
_USER_CHARACTERS: Final = 320
# Longer than any connection lives, and no more than clocks can add.
_LONGEST_SECONDS: Final = 31_536_000.0
_ROLES: Final = {role.name.lower(): role for role in Role}
_CHALLENGE: Final = "Bearer"
_CHALLENGE_INVALID: Final = 'Bearer error="invalid_token"'
_MALFORMED: Final = "What was sent is no token that can be read."
_ALGORITHM: Final = "The token is signed in a way that is not accepted here."
# The first that fits counts. Nothing of the library's own words goes out: they repeat parts of the token.
_REFUSALS: Final = (
    (ExpiredSignatureError, "The token has expired."),
    (ImmatureSignatureError, "The token is not valid yet."),
    (InvalidSignatureError, "The token's signature is not that of its key."),
    (InvalidAudienceError, "The token is meant for another audience."),
    (InvalidIssuerError, "The token is of another issuer."),
    (InvalidAlgorithmError, _ALGORITHM),
)


class JwtAuthentication:
    """Believes tokens of one issuer for one audience. Browsers say theirs in `connection_init`."""

    def __init__(self, settings: Settings) -> None:
        # Settings refuse the mode without these.
        self._issuer = settings.jwt_issuer or ""
        self._audience = settings.jwt_audience or ""
        self._keys = Keys(settings.jwt_jwks_url or "", ttl_seconds=_KEYS_SECONDS)
        self._algorithms = sorted(settings.jwt_algorithms)
        self._roles_claim = settings.jwt_roles_claim
        self._user_claim = settings.jwt_user_claim

    async def principal(self, connection: HTTPConnection, init: Mapping[str, object] | None = None) -> Principal:
        """Who the token says, until it ends.

        Raises:
            UnauthenticatedError: there is no token, or it is not valid.
            UnavailableError: AUTHENTICATION_UNAVAILABLE, its key cannot be had now.
        """
        token = _token(connection, init or {})
        key = await self._key(token)
        claims = self._claims(token, key)
        user = _claim(claims, self._user_claim)
        if not isinstance(user, str) or not user.strip() or len(user) > _USER_CHARACTERS or not user.isprintable():
            raise _invalid(f"The token's claim `{self._user_claim}` names nobody.")
        left_seconds = min(claims["exp"] + _LEEWAY_SECONDS - time.time(), _LONGEST_SECONDS)
        return Principal(user, _roles(_claim(claims, self._roles_claim)), time.monotonic() + left_seconds)

    async def _key(self, token: str) -> PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except PyJWTError:
            raise _invalid(_MALFORMED) from None
        # Before its key is looked for: with another algorithm it is refused whatever its key.
        if header.get("alg") not in self._algorithms:
            raise _invalid(_ALGORITHM)
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise _invalid("The token does not say which key (`kid`) it is signed with.")
        key = await self._keys.find(key_id)
        if key is None:
            raise _invalid("The token is signed with a key that its issuer does not publish.")
        return key

    def _claims(self, token: str, key: PyJWK) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except MissingRequiredClaimError as error:
            raise _invalid(f"The token lacks the claim `{error.claim}`.") from None
        except PyJWTError as error:
            raise _invalid(next((words for kind, words in _REFUSALS if isinstance(error, kind)), _MALFORMED)) from None
        # The library takes text and booleans for numbers.
        if not all(_is_number(claims[name]) for name in _MOMENTS if name in claims):
            raise _invalid(_MALFORMED)
        return claims


def _token(connection: HTTPConnection, init: Mapping[str, object]) -> str:
    """The token of a request; on a WebSocket that of the `connection_init`, and else that of the upgrade."""
    given: list[object] = [value for name, value in init.items() if name.lower() == _HEADER]
    given = given or list(connection.headers.getlist(_HEADER))
    if not given:
        raise UnauthenticatedError("This takes a token: `Authorization: Bearer ...`.", challenge=_CHALLENGE)
    if len(given) > 1:
        raise _invalid("There is more than one Authorization header: send one.")
    scheme, _, token = str(given[0]).partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("Authorization has to be `Bearer` and a token.", challenge=_CHALLENGE)
    if len(token) > _TOKEN_BYTES:
        raise _invalid(f"The token is longer than {_TOKEN_BYTES:,} bytes.")
    if not token.isascii():
        raise _invalid(_MALFORMED)
    return token


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name, which may be an address with dots in it, or else a path from object to object."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _roles(said: Any) -> frozenset[Role]:
    words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(_ROLES[word] for word in words if isinstance(word, str) and word in _ROLES)


def _is_number(value: object) -> bool:
    # A whole number of any length is finite, and may be too large for math.isfinite.
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _invalid(message: str) -> UnauthenticatedError:
    return UnauthenticatedError(message, challenge=_CHALLENGE_INVALID)
