"""Owns consistency tokens: signed places in the write-ahead log that a read has to have reached."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason, RequestError
from server.http.client import header
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import HTTPConnection
    from starlette.responses import Response

    from server.settings import Settings

HEADER: Final = "x-consistency-token"
_HEADER: Final = HEADER.encode()
COOKIE: Final = "consistency"
# What answers carry it in where headers are gone already, or there are none.
EXTENSION: Final = "consistencyToken"
# By then every secondary that is read from has come further, or is left out.
LIFETIME_SECONDS: Final = 600
_BODY: Final = struct.Struct("!QI")
_SIGNATURE_BYTES: Final = 16
_MAX_CHARACTERS: Final = 64


class InvalidTokenError(ValueError):
    """It was not issued here, or is not whole."""


class ConsistencyTokens:
    """Issues and reads tokens. All processes of one deployment share the key, because a client may meet any of them."""

    def __init__(self, key: bytes) -> None:
        # It may be derived from a password, and whoever holds a token could try passwords: each try costs this.
        self._key = hashlib.scrypt(key, salt=b"consistency token", n=1 << 14, r=8, p=1)

    @classmethod
    def of(cls, settings: Settings) -> ConsistencyTokens:
        """With the secret that is set for it, or another that all processes have."""
        secret = settings.shared_secret
        # Without any another process takes a token for none of its own.
        return cls(secret.get_secret_value().encode() if secret else secrets.token_bytes(32))

    def issue(self, place: int) -> str:
        """The token of a place in the log, in bytes from its beginning."""
        body = _BODY.pack(place, int(time.time()))
        return base64.urlsafe_b64encode(body + self._sign(body)).decode().rstrip("=")

    def read(self, token: str) -> int:
        """The place; 0 for no token, and for one so old that everybody has come past it.

        Raises:
            InvalidTokenError: it is none of ours.
        """
        if not token:
            return 0
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise InvalidTokenError from None
        body, signature = raw[: _BODY.size], raw[_BODY.size :]
        if len(token) > _MAX_CHARACTERS or not hmac.compare_digest(signature, self._sign(body)):
            raise InvalidTokenError
        place, issued = _BODY.unpack(body)
        return int(place) if abs(time.time() - issued) < LIFETIME_SECONDS else 0

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


class Consistency:
    """What a caller's own changes ask of its later reads, through whichever process it then reads.

    Args:
        tokens: of this deployment.
        secure: whether browsers are to send the cookie over TLS only.
    """

    def __init__(self, tokens: ConsistencyTokens, *, secure: bool) -> None:
        self._tokens = tokens
        self._cookie = f"Path=/api; Max-Age={LIFETIME_SECONDS}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"

    def needed(self, connection: HTTPConnection) -> int:
        """The place in the log that a caller's header and cookie ask for, in bytes from its beginning; 0 for none.

        A cookie that is none of ours is as good as none: the browser sent it by itself, from another deployment say.

        Raises:
            RequestError: CONSISTENCY_TOKEN_INVALID, of the header.
        """
        place = 0
        if header(connection.scope, b"cookie") is not None:
            with contextlib.suppress(InvalidTokenError):
                place = self._tokens.read(connection.cookies.get(COOKIE, ""))
        return max(place, self._read(header(connection.scope, _HEADER) or "", where=HEADER))

    def needed_by(self, extensions: Mapping[str, object] | None) -> int:
        """The same of a request's own `extensions`, for a connection whose headers were sent long ago.

        Raises:
            RequestError: CONSISTENCY_TOKEN_INVALID.
        """
        token = (extensions or {}).get(EXTENSION, "")
        return self._read(token if isinstance(token, str) else "?", where=EXTENSION)

    def demand(self, connection: HTTPConnection) -> None:
        """Let the request being served be answered from that place on, at least.

        Raises:
            RequestError: CONSISTENCY_TOKEN_INVALID.
        """
        if (needed := self.needed(connection)) and (record := current_record.get()):
            record.needed = needed

    def tell(self, response: Response) -> None:
        """Put the token of what the request has written into the headers of its answer, if it has written."""
        if token := self.token():
            response.headers[HEADER] = token
            response.headers.append("set-cookie", f"{COOKIE}={token}; {self._cookie}")

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with the token in its extensions, for transports whose headers are gone by now."""
        token = self.token()
        return {**answer, "extensions": {**answer.get("extensions", {}), EXTENSION: token}} if token else answer

    def _read(self, token: str, *, where: str) -> int:
        try:
            return self._tokens.read(token)
        except InvalidTokenError:
            raise RequestError(
                Reason.CONSISTENCY_TOKEN_INVALID,
                f"The {where} was not issued here. Send one that a change was answered with, or none.",
            ) from None

    def token(self) -> str | None:
        """The token of what the request being served has written."""
        record = current_record.get()
        return self._tokens.issue(record.written) if record and record.written else None
