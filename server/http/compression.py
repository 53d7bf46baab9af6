"""Owns the compression of answers: which encoding a caller takes, from which size on it pays, and where it is done."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from isal import isal_zlib

from schema.errors import Reason, RequestError
from server.http.client import headers

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
# isal's first level saves nearly a gigabyte a second, more than any network takes, and whoever takes zstd takes gzip:
# a sixth less to send is not worth another library and another choice. With what is around it and with the client's
# part, 10 orders take 21 µs and save 16 µs of a gigabit line, 30 take 30 and save 53: between them, at 4 KiB, is the
# default. GraphiQL's files are left out: they are fetched once, and after that asked for by their tags.
_LEVEL: Final = 1
_GZIP_FORMAT: Final = 31
# What takes longer than half a millisecond is done beside the event loop; handing it to a thread costs 0.1 ms.
_THREAD_FROM_BYTES: Final = 512 << 10
# Clients send the same few.
_REMEMBERED: Final = 128
_GZIP_NAMES: Final = ("gzip", "x-gzip")


class Encoding(Enum):
    """What a caller takes: as it is, gzip where it pays, or nothing but gzip."""

    IDENTITY = auto()
    GZIP = auto()
    ONLY_GZIP = auto()


class Compression:
    """Compresses answers that are whole, and never a stream: events and WebSockets do not come by here.

    Secrets stand in no body (consistency tokens are headers), so that text of a caller's own in a compressed body
    tells whoever sees its length only what the data beside it is (BREACH). Somebody who can have another ask what they
    please learns that from the length of any answer, compressed or not: by a filter that it passes or does not.

    Args:
        from_bytes: the size from which on an answer is compressed, or `off`.
    """

    def __init__(self, from_bytes: int | Literal["off"]) -> None:
        self._from_bytes = None if from_bytes == "off" else from_bytes

    def accepted(self, scope: Scope) -> Encoding:
        """What the caller takes, to be asked before the answer is computed.

        Raises:
            RequestError: NOT_ACCEPTABLE, neither gzip nor the answer as it is.
        """
        given = headers(scope, b"accept-encoding")
        if not given:
            return Encoding.IDENTITY
        encoding = _accepted(", ".join(given))
        if encoding is None or (encoding is Encoding.ONLY_GZIP and self._from_bytes is None):
            raise RequestError(Reason.NOT_ACCEPTABLE, "Let Accept-Encoding admit gzip, or identity.")
        return encoding

    def encodes(self, accepted: Encoding, size_bytes: int) -> bool:
        """Whether an answer of this size is to be compressed."""
        if accepted is Encoding.IDENTITY or self._from_bytes is None:
            return False
        return accepted is Encoding.ONLY_GZIP or size_bytes >= self._from_bytes

    async def apply(self, response: Response) -> None:
        """Compress the body of an answer, and say so in its headers."""
        body = bytes(response.body)
        if len(body) < _THREAD_FROM_BYTES:
            response.body = _compressed(body)
        else:
            response.body = await asyncio.to_thread(_compressed, body)
        response.headers["content-encoding"] = "gzip"
        response.headers["content-length"] = str(len(response.body))


def _compressed(body: bytes) -> bytes:
    return isal_zlib.compress(body, _LEVEL, _GZIP_FORMAT)


@lru_cache(maxsize=_REMEMBERED)
def _accepted(header: str) -> Encoding | None:
    """What an Accept-Encoding header takes (RFC 9110, section 12.5.3); None where it takes neither."""
    weights = _weights(header)
    wildcard = weights.get("*")
    named = [weights[name] for name in _GZIP_NAMES if name in weights]
    gzip = max(named) if named else wildcard or 0.0
    identity = weights.get("identity", wildcard)
    if identity == 0:
        return Encoding.ONLY_GZIP if gzip else None
    # Identity that is not named is taken, and less welcome than whatever is.
    return Encoding.GZIP if gzip and gzip >= (identity or 0.0) else Encoding.IDENTITY


def _weights(header: str) -> dict[str, float]:
    weights = {}
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if not name:
            continue
        weight = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        try:
            weights[name] = max(0.0, min(1.0, float(weight)))
        except ValueError:
            # Whatever is meant, it is not said that it is taken; and identity is not refused by a slip.
            weights.pop(name, None)
    return weights
