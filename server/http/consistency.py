"""Consistency tokens: signed positions in the write-ahead log, which a replica must have replayed before it answers."""

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

from starlette.requests import cookie_parser

from schema.errors import Reason, RequestError
from server.http.client import header, headers
from server.http.read_requirement import current_reads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import HTTPConnection
    from starlette.responses import Response

    from server.settings import Settings

HEADER: Final = "x-consistency-token"
_HEADER: Final = HEADER.encode()
COOKIE: Final = "consistency"
# Responses carry the token in this extension if they have no headers, or if those have been sent already.
EXTENSION: Final = "consistencyToken"
# After this time every replica in use has replayed the position; a replica that has not is left out.
LIFETIME_SECONDS: Final = 600
_BODY: Final = struct.Struct("!QI")
_SIGNATURE_BYTES: Final = 16
_MAX_CHARACTERS: Final = 64


class InvalidTokenError(ValueError):
    """The token was not issued by this deployment, or is damaged."""


class ConsistencyTokens:
    """Issues and reads tokens.

    All processes of a deployment share the key, because a client's next request may reach any of them.
    """

    def __init__(self, key: bytes) -> None:
        # The secret may be a password that the holder of a token tries to guess. scrypt makes each guess expensive.
        self._key = hashlib.scrypt(key, salt=b"consistency token", n=1 << 14, r=8, p=1)

    @classmethod
    def of(cls, settings: Settings) -> ConsistencyTokens:
        """Tokens signed with CONSISTENCY_SECRET, or with another secret that all processes have."""
        secret = settings.shared_secret
        # Without a shared secret, a process does not accept another's tokens.
        return cls(secret.get_secret_value().encode() if secret else secrets.token_bytes(32))

    def issue(self, position: int) -> str:
        """The token of a position in the log, in bytes from its beginning."""
        body = _BODY.pack(position, int(time.time()))
        return base64.urlsafe_b64encode(body + self._sign(body)).decode().rstrip("=")

    def read(self, token: str) -> int:
        """The position in a token; 0 for an empty token, and for one that has expired.

        Raises:
            InvalidTokenError: the token was not issued here.
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
        position, issued = _BODY.unpack(body)
        return int(position) if abs(time.time() - issued) < LIFETIME_SECONDS else 0

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


class Consistency:
    """Reads the tokens of requests, and adds tokens to the responses of changes.

    A client that sends its token back reads its own changes, whichever process answers.

    Args:
        tokens: the deployment's tokens.
        secure: whether browsers send the cookie over TLS only.
    """

    def __init__(self, tokens: ConsistencyTokens, *, secure: bool) -> None:
        self._tokens = tokens
        self._cookie = f"Path=/api; Max-Age={LIFETIME_SECONDS}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"

    def position(self, connection: HTTPConnection) -> int:
        """The position in the log that a client's header and cookie ask for, in bytes from its beginning; 0 for none.

        An invalid cookie is ignored: the browser sends it by itself, and it may come from another deployment.

        Raises:
            RequestError: CONSISTENCY_TOKEN_INVALID, for the header.
        """
        position = 0
        if header(connection.scope, b"cookie") is not None:
            # Not `connection.cookies`: a WebSocket would keep all of them, and two thousand small ones take 300 KB.
            cookies = cookie_parser("; ".join(headers(connection.scope, b"cookie")))
            with contextlib.suppress(InvalidTokenError):
                position = self._tokens.read(cookies.get(COOKIE, ""))
        return max(position, self._read(header(connection.scope, _HEADER) or "", where=HEADER))

    def position_in(self, extensions: Mapping[str, object]) -> int:
        """The position that an operation's own `extensions` ask for; 0 for none.

        A WebSocket client that got its token after it connected can send it only here.

        Raises:
            RequestError: CONSISTENCY_TOKEN_INVALID.
        """
        token = extensions.get(EXTENSION, "")
        return self._read(token if isinstance(token, str) else "?", where=EXTENSION)

    def add_headers(self, response: Response) -> None:
        """Add the token of a change to its response, as a header and as a cookie."""
        if token := self._token():
            response.headers[HEADER] = token
            response.headers.append("set-cookie", f"{COOKIE}={token}; {self._cookie}")

    def with_extension(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, with the token of a change in its extensions. For transports whose headers have been sent."""
        token = self._token()
        return {**answer, "extensions": {**answer.get("extensions", {}), EXTENSION: token}} if token else answer

    def _read(self, token: str, *, where: str) -> int:
        try:
            return self._tokens.read(token)
        except InvalidTokenError:
            raise RequestError(
                Reason.CONSISTENCY_TOKEN_INVALID,
                f"This deployment did not issue the {where}. Send the token from the response to a change, or none.",
            ) from None

    def _token(self) -> str | None:
        """The token of what the current operation has written."""
        reads = current_reads.get(None)
        return self._tokens.issue(reads.written) if reads and reads.written else None
