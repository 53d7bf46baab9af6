"""The wait queue of a pool: requests get a connection in the order in which they came, or time out."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from server.observability.request_record import running_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
# The shortest time between two checks for timeouts.
_CHECK_SECONDS: Final = 0.01


class WaitQueue(Generic[T]):
    """Waiting requests, with one timer for all: a timer for each would double the cost of waiting.

    Args:
        timed_out: returns the result for a request that has waited for too long.
        pass_on: passes a result on to another request, because the first one was cancelled at the same moment.
    """

    def __init__(self, *, timed_out: Callable[[], T], pass_on: Callable[[T], Awaitable[None]]) -> None:
        self._waiting: deque[tuple[asyncio.Future[T], float]] = deque()
        self._timed_out = timed_out
        self._pass_on = pass_on
        self._timer: asyncio.Handle | None = None
        self._next_check_at = math.inf

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def wait(self, until: float, *, first: bool = False) -> T:
        """Wait for a result.

        Args:
            until: when the wait times out, by the loop's clock.
            first: whether to wait at the front, for a request that has waited already.
        """
        loop = running_loop()
        if until <= loop.time():
            return self._timed_out()
        if until < self._next_check_at:
            self._check_at(until)
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
                await self._pass_on(turn.result())
            raise

    def give(self, result: T) -> bool:
        """Give the first request its result; False if no request waits."""
        while self._waiting:
            # Skip a request whose task has just been cancelled.
            if not (turn := self._waiting.popleft()[0]).done():
                turn.set_result(result)
                return True
        return False

    def _forget(self) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if not waiting[0].done())

    def _check_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next_check_at = running_loop().call_at(when, self._expire), when

    def _expire(self) -> None:
        now, self._timer, self._next_check_at = running_loop().time(), None, math.inf
        for turn, until in self._waiting:
            if until <= now and not turn.done():
                turn.set_result(self._timed_out())
        self._forget()
        if self._waiting:
            self._check_at(max(min(until for _, until in self._waiting), now + _CHECK_SECONDS))
