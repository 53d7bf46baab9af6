"""Owns the running event loop, for who asks for it several times a request."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

_last: Final = threading.local()


def running_loop() -> asyncio.AbstractEventLoop:
    """The running loop of this thread. On Python 3.11 asyncio's own function calls the system every time."""
    loop: asyncio.AbstractEventLoop | None = getattr(_last, "loop", None)
    if loop is None or not loop.is_running():
        loop = _last.loop = asyncio.get_running_loop()
    return loop


def heard(done: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody may be waiting for any more, which asyncio would log as it is."""
    if not done.cancelled():
        done.exception()
