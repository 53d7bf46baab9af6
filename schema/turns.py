"""Turns for heavy processor work: one piece at a time, and time for everything else in between."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from heapq import heappop, heappush
from typing import Final

from schema.errors import Reason, UnavailableError

# The pause after a piece of work, as a share of the time that the piece took. After the reading of a long text, which
# takes 20 ms or more, this is enough for a page: its request is read, its statement runs, and its answer is sent.
_PAUSE_SHARE: Final = 0.25
# How much earlier a piece may come and still run after one that is smaller by 1. A document of 1,500 characters lets
# those that are shorter go first for 1.5 s. The largest pieces let them for half of the time that a piece may wait.
_SECONDS_OF_SIZE: Final = 0.001
_MOST_SECONDS: Final = 5.0
# Less than a request may take. By then its client waits for an answer in vain.
_LONGEST_SECONDS: Final = 10.0


class Turns:
    """The order of heavy pieces of work on one event loop.

    The loop runs everything that is ready before it looks at its sockets again. So fifty texts that arrive together
    would all be read before anyone else is served. Pieces that wait for a turn run one by one, and the loop is free for
    a while after each.

    The callers take turns, so none waits for all the pieces of another one. Of a caller's pieces the smallest goes
    first, but a piece that has waited long goes before smaller ones that have just come.

    Args:
        patient: whether a piece may wait for any time.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        # By caller, the one whose turn is next first: the pieces, as a heap by the time when each is due.
        self._lines: OrderedDict[str, list[tuple[float, int, asyncio.Future[None]]]] = OrderedDict()
        self._numbers = itertools.count()
        self._taken = False

    async def take(self, size: int, caller: str) -> None:
        """Wait for a turn. It is over when the caller next waits for anything.

        Args:
            size: how large the work is; any measure that is the same for all callers.
            caller: the user whose work it is.

        Raises:
            UnavailableError: OVERLOADED, after the longest wait.
        """
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._begin(loop)
            return
        turn = loop.create_future()
        due = loop.time() + min(size * _SECONDS_OF_SIZE, _MOST_SECONDS)
        heappush(self._lines.setdefault(caller, []), (due, next(self._numbers), turn))
        try:
            async with asyncio.timeout(None if self._patient else _LONGEST_SECONDS):
                await turn
        except TimeoutError:
            raise UnavailableError(
                Reason.OVERLOADED, "The server has too many new documents to read. Try again shortly."
            ) from None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = True
        # The loop runs this after the work, which is running now or is the next in its queue.
        loop.call_soon(self._end, loop, loop.time())

    def _end(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        loop.call_later(_PAUSE_SHARE * (loop.time() - began), self._pass_on, loop)

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = False
        while self._lines:
            caller, line = self._lines.popitem(last=False)
            *_, turn = heappop(line)
            if line:
                self._lines[caller] = line
            # The task of a caller that has gone away was cancelled.
            if not turn.done():
                turn.set_result(None)
                self._begin(loop)
                return
