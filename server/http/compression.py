"""Compression of responses: which encoding a client accepts, from which size it pays, and in which thread it runs."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from isal import isal_zlib

from schema.errors import Reason, RequestError
from server.http.client import headers
from server.http.negotiation import weights_of

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

# Pages of 10, 100 and 1,000 orders with nine values each, microseconds and bytes (medians, one core of a laptop's):
#
#                    10: 2,958 B      100: 29,044 B      1,000: 290,701 B
#   isal 1           12     925       31     6,165        270     55,156
#   isal 2            9     922       40     6,127        350     54,624
#   zlib 1           14     948       64     6,238      1,300     56,309
#   zlib 6           67     869      240     5,190      3,700     44,158
#   zlib-ng 2        13     935       53     6,033        810     53,570
#   zstd 1            7     885       35     5,248        300     44,616
#   brotli 1         12     983       60     6,381        890     48,884
#   brotli 4         35     818      153     4,963      1,900     42,940
#
# isal's first level saves nearly a gigabyte a second, more than any network takes. A client that accepts zstd accepts
# gzip too, and sending a sixth less is not worth another library and another choice. Including the client's part, 10
# orders take 21 µs and save 16 µs of a gigabit line; 30 take 30 and save 53. The default, 4 KiB, is between them.
_LEVEL: Final = 1
_GZIP_FORMAT: Final = 31
# Compressing more than this takes longer than half a millisecond, so a thread does it. Handing it over costs 0.1 ms.
_THREAD_FROM_BYTES: Final = 512 << 10
# Clients send the same few headers.
_REMEMBERED: Final = 128
_GZIP_NAMES: Final = ("gzip", "x-gzip")


class Encoding(Enum):
    """What a client accepts: only the plain response, gzip where it pays, or nothing but gzip."""

    IDENTITY = auto()
    GZIP = auto()
    ONLY_GZIP = auto()


class Compression:
    """Compresses whole responses, and exports part by part. Server-sent events and WebSockets do not use it.

    Compression can leak a secret that is in the same body as text of an attacker's choice, by the body's length
    (BREACH). No body has a secret in it: consistency tokens are headers. The length reveals only the data
    beside the text. An attacker who can make a victim send queries learns as much from uncompressed responses, by
    filters that match or do not.

    Args:
        from_bytes: the size from which on a response is compressed, or `off`.
    """

    def __init__(self, from_bytes: int | Literal["off"]) -> None:
        self._from_bytes = None if from_bytes == "off" else from_bytes

    def accepted(self, scope: Scope) -> Encoding:
        """What the client accepts. It is checked before the response is computed.

        Raises:
            RequestError: NOT_ACCEPTABLE, neither gzip nor the plain response.
        """
        given = headers(scope, b"accept-encoding")
        if not given:
            return Encoding.IDENTITY
        encoding = _accepted(", ".join(given))
        if encoding is None or (encoding is Encoding.ONLY_GZIP and self._from_bytes is None):
            raise RequestError(Reason.NOT_ACCEPTABLE, "Accept gzip or identity in `Accept-Encoding`.")
        return encoding

    def encodes(self, accepted: Encoding, size_bytes: int) -> bool:
        """Whether a response of this size is compressed."""
        if accepted is Encoding.IDENTITY or self._from_bytes is None:
            return False
        return accepted is Encoding.ONLY_GZIP or size_bytes >= self._from_bytes

    def stream(self, accepted: Encoding) -> GzipStream | None:
        """What compresses a long response part by part; None if the client gets it plain."""
        return None if accepted is Encoding.IDENTITY or self._from_bytes is None else GzipStream()

    async def apply(self, response: Response) -> None:
        """Compress the body of a response, and set its headers accordingly."""
        body = bytes(response.body)
        if len(body) < _THREAD_FROM_BYTES:
            response.body = _compressed(body)
        else:
            response.body = await asyncio.to_thread(_compressed, body)
        response.headers["content-encoding"] = "gzip"
        response.headers["content-length"] = str(len(response.body))


class GzipStream:
    """Compresses a response part by part. The client can read each part as soon as it has it."""

    def __init__(self) -> None:
        self._compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_FORMAT)

    async def part(self, body: bytes, *, last: bool) -> bytes:
        """The next part of the response."""
        if len(body) < _THREAD_FROM_BYTES:
            return self._part(body, last)
        return await asyncio.to_thread(self._part, body, last)

    def _part(self, body: bytes, last: bool) -> bytes:  # noqa: FBT001 # of a thread's call
        mode = isal_zlib.Z_FINISH if last else isal_zlib.Z_SYNC_FLUSH
        return bytes(self._compressor.compress(body) + self._compressor.flush(mode))


def _compressed(body: bytes) -> bytes:
    return isal_zlib.compress(body, _LEVEL, _GZIP_FORMAT)


@lru_cache(maxsize=_REMEMBERED)
def _accepted(header: str) -> Encoding | None:
    """What an Accept-Encoding header accepts (RFC 9110, section 12.5.3); None if it accepts neither."""
    given = weights_of(header)
    wildcard = given.get("*")
    named = [given[name] for name in _GZIP_NAMES if name in given]
    gzip = max(named) if named else wildcard or 0.0
    identity = given.get("identity", wildcard)
    if identity == 0:
        return Encoding.ONLY_GZIP if gzip else None
    # If identity is not named, it is acceptable, but any encoding that is named comes first.
    return Encoding.GZIP if gzip and gzip >= (identity or 0.0) else Encoding.IDENTITY
