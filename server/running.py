"""Owns the running event loop, for who asks for it several times a request."""

from __future__ import annotations

import asyncio

_last: list[asyncio.AbstractEventLoop] = []


def running_loop() -> asyncio.AbstractEventLoop:
    """The running loop. On Python 3.11 asyncio's own function calls the system; here it is one loop that runs on."""
    if not _last or not _last[0].is_running():
        _last[:] = [asyncio.get_running_loop()]
    return _last[0]
