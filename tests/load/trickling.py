"""Owns the callers who send a byte now and then: half of them of their headers, half of their bodies."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

_EVERY_SECONDS: Final = 0.5
_HEAD: Final = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_BEGINNINGS: Final = (_HEAD + b"X-A: ", _HEAD + b"Content-Length: 10000\r\n\r\n")


async def trickle(url: str, count: int, *, seconds: float) -> list[float]:
    """How long each of so many was let; as long as it was tried, where it was let for all of that.

    They come one after the other, and each has a clock of its own, as callers have.
    """
    parts = urlsplit(url)
    return await asyncio.gather(
        *(
            _one(parts.hostname or "", parts.port or 0, _BEGINNINGS[number % len(_BEGINNINGS)], number / count, seconds)
            for number in range(count)
        )
    )


async def _one(host: str, port: int, beginning: bytes, begins: float, seconds: float) -> float:
    await asyncio.sleep(begins)  # when it comes
    reader, writer = await asyncio.open_connection(host, port)
    began = time.monotonic()
    ended = asyncio.create_task(reader.read())
    try:
        writer.write(beginning)
        while time.monotonic() < began + seconds and not ended.done():
            await asyncio.wait([ended], timeout=_EVERY_SECONDS)
            writer.write(b" ")
        return time.monotonic() - began
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        writer.close()
