"""Owns the line of those who wait for a connection: in the order in which they came, none for longer than it may."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from server.observability.request_record import running_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
# Between two looks at those who wait.
_LEAST_SECONDS: Final = 0.01


class Line(Generic[T]):
    """Those who wait, with one timer for all: one for each would cost as much as all the rest of the waiting.

    Args:
        late: what those are told whose time is over.
        give_on: has another told what one was told in the moment in which its task was cancelled.
    """

    def __init__(self, *, late: Callable[[], T], give_on: Callable[[T], Awaitable[None]]) -> None:
        self._waiting: deque[tuple[asyncio.Future[T], float]] = deque()
        self._late = late
        self._give_on = give_on
        self._look: asyncio.Handle | None = None
        self._look_at = math.inf

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def wait(self, until: float, *, first: bool = False) -> T:
        """What one is told, at this time of the loop at the latest.

        Args:
            until: that time.
            first: whether before all others, as one who has waited already.
        """
        loop = running_loop()
        if until <= loop.time():
            return self._late()
        if until < self._look_at:
            self._look_next(until)
        turn: asyncio.Future[T] = loop.create_future()
        if first:
            self._waiting.appendleft((turn, until))
        else:
            self._waiting.append((turn, until))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget()
            else:
                await self._give_on(turn.result())
            raise

    def tell(self, told: T) -> bool:
        """Tell the first this; False where nobody waits."""
        while self._waiting:
            # One whose task has just been cancelled is left out.
            if not (turn := self._waiting.popleft()[0]).done():
                turn.set_result(told)
                return True
        return False

    def _forget(self) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if not waiting[0].done())

    def _look_next(self, when: float) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look, self._look_at = running_loop().call_at(when, self._expire), when

    def _expire(self) -> None:
        now, self._look, self._look_at = running_loop().time(), None, math.inf
        for turn, until in self._waiting:
            if until <= now and not turn.done():
                turn.set_result(self._late())
        self._forget()
        if self._waiting:
            self._look_next(max(min(until for _, until in self._waiting), now + _LEAST_SECONDS))
