"""Slow clients that send a byte now and then: half of them within the headers, half within the body."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

_EVERY_SECONDS: Final = 0.5
_HEAD: Final = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_BEGINNINGS: Final = (_HEAD + b"X-A: ", _HEAD + b"Content-Length: 10000\r\n\r\n")


async def trickle(url: str, count: int, *, seconds: float) -> list[float]:
    """Return how many seconds the server let each client go on; `seconds` is the most that a client tries.

    The clients start one after another, and each has a clock of its own, as real ones have.
    """
    parts = urlsplit(url)
    return await asyncio.gather(
        *(
            _one(parts.hostname or "", parts.port or 0, _BEGINNINGS[number % len(_BEGINNINGS)], number / count, seconds)
            for number in range(count)
        )
    )


async def _one(host: str, port: int, beginning: bytes, begins: float, seconds: float) -> float:
    await asyncio.sleep(begins)  # the client's start
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
