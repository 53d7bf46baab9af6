"""The head of an HTTP request: its size limits, and the headers that say where the body ends."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.errors import Reason, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

URL_BYTES: Final = 16_384
# The names and values of all headers together.
HEADERS_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
# An incomplete head, with the separators.
HEAD_BYTES: Final = URL_BYTES + HEADERS_BYTES + 1_024
# A line of a WebSocket's request. The websockets library, which parses the request again, refuses longer ones.
_SOCKET_LINE_BYTES: Final = 8_000
# The headers that decide about the framing.
FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*")
NOT_HTTP: Final = "This is not a valid HTTP/1.1 request. The connection is closed."
_TOO_LARGE: Final = (
    f"A URL may have at most {URL_BYTES} bytes, and a request {MAX_HEADERS} headers of {HEADERS_BYTES} bytes together."
)


class Framing(NamedTuple):
    """The announced length of the body in bytes (0 if none), and whether the client waits for `100 Continue`."""

    length: int
    expects: bool


# The requests of a client have the same few combinations.
@lru_cache(maxsize=128)
def framing_of(headers: tuple[tuple[bytes, bytes], ...], version: str) -> Framing | None:
    """What the `FRAMING` headers say; None if they contradict each other, or the HTTP version is not supported.

    llhttp already refuses a length beside chunks, two lengths, and a length that is no number.
    """
    length, hosts, expects, wrong = 0, 0, False, False
    for name, value in headers:
        if name == b"host":
            hosts += 1
            wrong = wrong or _HOST.fullmatch(value) is None
        elif name == b"content-length":
            length = int(value)
        elif name == b"expect":
            expects = value.lower() == b"100-continue"
        else:
            # Any other coding would change the body, which the server never decodes.
            wrong = wrong or version != "1.1" or value.lower() != b"chunked"
    if wrong or hosts > 1 or version not in {"1.1", "1.0"} or (version == "1.1" and not hosts):
        return None
    return Framing(length, expects)


def is_too_large(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the headers exceed their limit."""
    return sum(len(name) + len(value) for name, value in headers) > HEADERS_BYTES


def wrong_with_upgrade(
    method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], *, websocket: bool
) -> RequestError | None:
    """The mistake in a request for another protocol, WebSocket or not; None if there is none."""
    if method == b"CONNECT" or (websocket and method != b"GET"):
        return not_http()
    if websocket and max(len(url), *(len(name) + len(value) for name, value in headers)) > _SOCKET_LINE_BYTES:
        return too_large()
    return None


def not_http() -> RequestError:
    """The error HTTP_INVALID."""
    return RequestError(Reason.HTTP_INVALID, NOT_HTTP)


def too_large() -> RequestError:
    """The error HEADERS_TOO_LARGE."""
    return RequestError(Reason.HEADERS_TOO_LARGE, _TOO_LARGE)
