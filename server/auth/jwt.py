"""AUTH_MODE=jwt: bearer tokens, whose claims name the user and its roles."""

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
from server.auth.jwks import SigningKeys
from server.traffic.addresses import Addresses
from server.traffic.failed_tokens import FailedTokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jwt import PyJWK
    from starlette.requests import HTTPConnection

    from server.settings import Settings

_HEADER: Final = "authorization"
_TOKEN_BYTES: Final = 8_192
# The issuer's keys are fetched anew after this time. An unknown key is looked up at once.
_KEYS_SECONDS: Final = 3_600.0
_LEEWAY_SECONDS: Final = 30.0
_REQUIRED: Final = ["exp", "iat", "iss", "aud", "sub"]
_TIMES: Final = ("exp", "iat", "nbf")
_USER_CHARACTERS: Final = 320
# A year: longer than any connection lives, and short enough to be added to a clock.
_LONGEST_SECONDS: Final = 31_536_000.0
_ROLES: Final = {role.name.lower(): role for role in Role}
_CHALLENGE: Final = "Bearer"
_CHALLENGE_INVALID: Final = 'Bearer error="invalid_token"'
_MALFORMED: Final = "The token is malformed."
_ALGORITHM: Final = "The token is signed with an algorithm that is not accepted here."
# The types of access tokens (RFC 9068), and that of any token, which one without a type has. The issuer may sign other
# kinds with the same key: refresh tokens, proofs, events, logouts.
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
# The first class that fits gives the message. PyJWT's own messages are not sent: they repeat parts of the token.
_MESSAGES: Final = (
    (ExpiredSignatureError, "The token has expired."),
    (ImmatureSignatureError, "The token is not valid yet."),
    (InvalidSignatureError, "The token's signature does not match its key."),
    (InvalidAudienceError, "The token is for another audience."),
    (InvalidIssuerError, "The token is from another issuer."),
    (InvalidAlgorithmError, _ALGORITHM),
)


class JwtAuthentication:
    """Accepts tokens of one issuer for one audience. On a WebSocket, browsers send theirs in `connection_init`."""

    def __init__(self, settings: Settings) -> None:
        # The settings refuse this mode without these.
        self._issuer = settings.jwt_issuer or ""
        self._audience = settings.jwt_audience or ""
        self._keys = SigningKeys(settings.jwt_jwks_url or "", ttl_seconds=_KEYS_SECONDS)
        self._algorithms = sorted(settings.jwt_algorithms)
        self._roles_claim = settings.jwt_roles_claim
        self._user_claim = settings.jwt_user_claim
        self._failed = FailedTokens(Addresses(settings))

    async def principal(self, connection: HTTPConnection, init: Mapping[str, object] | None = None) -> Principal:
        """The user whom the token names, until the token expires.

        Raises:
            UnauthenticatedError: the token is missing or not valid.
            RateLimitedError: TOO_MANY_BAD_TOKENS, the client's address fails often, and the token may be sent again.
            UnavailableError: AUTHENTICATION_UNAVAILABLE, the issuer's keys are not available now.
        """
        token = _token(connection, init or {})
        # None for a Unix socket.
        host, _ = connection.scope.get("client") or (None, None)
        digest = self._failed.check(host, token)
        try:
            principal = await self._verified(token)
        except UnauthenticatedError as error:
            self._failed.note_bad(host, digest, error)
            raise
        # Tokens always expire.
        self._failed.note_good(digest, principal.expires_at or 0.0)
        return principal

    async def _verified(self, token: str) -> Principal:
        key = await self._key(token)
        claims = self._claims(token, key)
        user = _claim(claims, self._user_claim)
        if not isinstance(user, str) or not user.strip() or len(user) > _USER_CHARACTERS or not user.isprintable():
            raise _invalid(f"The token's claim `{self._user_claim}` does not hold a valid user name.")
        seconds_left = min(claims["exp"] + _LEEWAY_SECONDS - time.time(), _LONGEST_SECONDS)
        return Principal(user, _roles(_claim(claims, self._roles_claim)), time.monotonic() + seconds_left)

    async def renewed(self, principal: Principal) -> Principal:
        """The same: a token gives its roles until it expires."""
        return principal

    async def _key(self, token: str) -> PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except PyJWTError:
            raise _invalid(_MALFORMED) from None
        # Checked first, because an unknown key may cause a request to the issuer.
        if header.get("alg") not in self._algorithms:
            raise _invalid(_ALGORITHM)
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise _invalid("The token is of another type (`typ`) than an access token, `JWT` or `at+jwt`.")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise _invalid("The token does not name the key (`kid`) that it is signed with.")
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
            raise _invalid(
                next((message for kind, message in _MESSAGES if isinstance(error, kind)), _MALFORMED)
            ) from None
        # PyJWT accepts text and booleans as numbers.
        if not all(_is_number(claims[name]) for name in _TIMES if name in claims):
            raise _invalid(_MALFORMED)
        return claims


def _token(connection: HTTPConnection, init: Mapping[str, object]) -> str:
    """The token of a request. On a WebSocket, a token in `connection_init` takes precedence over the upgrade's."""
    values: list[object] = [value for name, value in init.items() if name.lower() == _HEADER]
    values = values or list(connection.headers.getlist(_HEADER))
    if not values:
        raise UnauthenticatedError("A token is required: `Authorization: Bearer ...`.", challenge=_CHALLENGE)
    if len(values) > 1:
        raise _invalid("There is more than one Authorization header: send one.")
    scheme, _, token = str(values[0]).partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("`Authorization` has to be `Bearer` followed by a token.", challenge=_CHALLENGE)
    if len(token) > _TOKEN_BYTES:
        raise _invalid(f"The token is longer than {_TOKEN_BYTES:,} bytes.")
    if not token.isascii():
        raise _invalid(_MALFORMED)
    return token


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim with this name, which may contain dots as a URL does. Else the name is a path into objects."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _roles(claim: Any) -> frozenset[Role]:
    names = claim.split(" ") if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(_ROLES[name] for name in names if isinstance(name, str) and name in _ROLES)


def _is_number(value: object) -> bool:
    # An int is always finite, and may be too large for math.isfinite.
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _invalid(message: str) -> UnauthenticatedError:
    return UnauthenticatedError(message, challenge=_CHALLENGE_INVALID)
