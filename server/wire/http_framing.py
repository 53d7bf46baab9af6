"""Owns what the head of a request has to be: its size, and what says where its body ends."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.errors import Reason, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each: the address, and the names and values of the headers together.
URL_BYTES: Final = 16_384
HEADERS_BYTES: Final = 16_384
HEADERS: Final = 100
# Both while they are incomplete, with what stands between them.
HEAD_BYTES: Final = URL_BYTES + HEADERS_BYTES + 1_024
# Of a line of a WebSocket's request; the library that reads it again takes no longer ones.
_SOCKET_LINE_BYTES: Final = 8_000
# The headers that are looked at here.
FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_HOST: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*")
NOT_HTTP: Final = "This is not HTTP/1.1 as it is spoken here, and the connection is closed."
_TOO_LARGE: Final = (
    f"At most {URL_BYTES} bytes of an address are read, and {HEADERS} headers of {HEADERS_BYTES} bytes together."
)


class Framing(NamedTuple):
    """The announced length of the body, 0 where none is, and whether the caller waits to be told to send it."""

    length: int
    expects: bool


# A client's requests have the same few.
@lru_cache(maxsize=128)
def framing_of(headers: tuple[tuple[bytes, bytes], ...], version: str) -> Framing | None:
    """What those of `FRAMING` say; None where they do not go together, or the version is none that is spoken here.

    What llhttp refuses by itself is not looked for again: a length beside chunks, or twice, or that is no number.
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
            # Another coding within the chunks would be the body's, which is taken as it is.
            wrong = wrong or version != "1.1" or value.lower() != b"chunked"
    if wrong or hosts > 1 or version not in {"1.1", "1.0"} or (version == "1.1" and not hosts):
        return None
    return Framing(length, expects)


def is_too_large(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the headers are longer than is read."""
    return sum(len(name) + len(value) for name, value in headers) > HEADERS_BYTES


def wrong_with_upgrade(
    method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], *, websocket: bool
) -> RequestError | None:
    """What is wrong with a request for another protocol, a WebSocket or any other; None where nothing is."""
    if method == b"CONNECT" or (websocket and method != b"GET"):
        return not_http()
    if websocket and max(len(url), *(len(name) + len(value) for name, value in headers)) > _SOCKET_LINE_BYTES:
        return too_large()
    return None


def not_http() -> RequestError:
    """HTTP_INVALID."""
    return RequestError(Reason.HTTP_INVALID, NOT_HTTP)


def too_large() -> RequestError:
    """HEADERS_TOO_LARGE."""
    return RequestError(Reason.HEADERS_TOO_LARGE, _TOO_LARGE)
