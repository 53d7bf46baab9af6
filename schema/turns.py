"""Turns for heavy processor work: one piece at a time, and time for everything else in between."""

from __future__ import annotations

import asyncio
import itertools
from heapq import heappop, heappush
from typing import Final

# The pause after a piece of work, as a share of the time that the piece took. After the reading of a long text, which
# takes 20 ms or more, this is enough for a page: its request is read, its statement runs, and its answer is sent.
_PAUSE_SHARE: Final = 0.25


class Turns:
    """The order of heavy pieces of work on one event loop.

    The loop runs everything that is ready before it looks at its sockets again. So fifty texts that arrive together
    would all be read before anyone else is served. Pieces that wait for a turn run one by one, the smallest first, and
    the loop is free for a while after each.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._taken = False

    async def take(self, size: int) -> None:
        """Wait for a turn. It is over when the caller next waits for anything.

        Args:
            size: how large the work is; any measure that is the same for all callers.
        """
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._begin(loop)
            return
        turn = loop.create_future()
        heappush(self._waiting, (size, next(self._numbers), turn))
        await turn

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = True
        # The loop runs this after the work, which is running now or is the next in its queue.
        loop.call_soon(self._end, loop, loop.time())

    def _end(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        loop.call_later(_PAUSE_SHARE * (loop.time() - began), self._pass_on, loop)

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = False
        while self._waiting:
            *_, turn = heappop(self._waiting)
            # The task of a caller that has gone away was cancelled.
            if not turn.done():
                turn.set_result(None)
                self._begin(loop)
                return
