"""The requests that wait for a connection of a pool, in order, and which of them may have one."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schema.deadline import postpone
from schema.errors import Reason, UnavailableError
from server.traffic.admission import step_aside

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from server.db.driver import PooledConnection
    from server.db.shares import Held
    from server.observability.request_record import RequestRecord


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits, in its context, for a connection or the error of an opening.

    Attributes:
        since: when it began to wait, by the loop's clock.
        until: when it is refused.
        turn: gets the connection or the error.
        context: the request's.
        holder: the operation that the connection is for.
        brief: whether a brief connection will do.
    """

    since: float
    until: float
    turn: asyncio.Future[PooledConnection | Exception]
    context: Context
    holder: RequestRecord | None
    brief: bool
    _aside: bool = False

    @property
    def may_be_brief(self) -> bool:
        """Whether a brief connection will do, as far as is known by now."""
        return self.brief and not (self.holder is not None and self.holder.slow)

    def step_aside(self) -> None:
        """Let other callers' operations start while this one waits for its own caller's statements."""
        if not self._aside:
            self._aside = True
            self.context.run(step_aside)


class WaitQueue:
    """The requests that wait for a connection, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def wants_brief(self) -> bool:
        """Whether a brief connection will do for one of them."""
        return any(waiter.may_be_brief for waiter in self._waiting)

    def add(self, waiter: Waiter) -> None:
        """Let a request wait."""
        self._waiting.append(waiter)

    def drop(self, waiter: Waiter) -> None:
        """Drop a request that was cancelled. It may be gone already."""
        self._waiting = deque(other for other in self._waiting if other is not waiter)

    def postpone(self, seconds: float) -> None:
        """Let the queries of all requests wait for at least this time."""
        for waiter in self._waiting:
            waiter.context.run(postpone, seconds)

    def next_turn(self, came_by: float = math.inf) -> asyncio.Future[PooledConnection | Exception] | None:
        """Remove the request that has waited longest, if it came by then."""
        while self._waiting and self._waiting[0].since <= came_by:
            # Skip a request whose task has just been cancelled.
            if not (turn := self._waiting.popleft().turn).done():
                return turn
        return None

    def entitled(self, held: Held, *, brief: bool, last: bool) -> Waiter | None:
        """Remove the first request that may have an ordinary or a brief connection now.

        A caller who holds its share gets a brief one if no other caller waits for it, but not the last one.
        """
        found = None
        for waiter in self._waiting:
            if waiter.turn.done() or (brief and not waiter.may_be_brief):
                continue
            if held.is_caller_full(waiter.holder):
                waiter.step_aside()
                if brief and not last and found is None and not held.is_operation_full(waiter.holder):
                    found = waiter
            elif not held.is_operation_full(waiter.holder):
                found = waiter
                break
        if found is not None:
            self._waiting.remove(found)
        return found

    def refuse(self, now: float, patient_until: float, *, spared: int) -> float | None:
        """Refuse the requests that have waited for too long.

        Args:
            now: the time by the loop's clock.
            patient_until: until then all of them wait.
            spared: for how many of the first ones a connection is being opened.

        Returns:
            When the next one is due; None if none waits.
        """
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if len(self._waiting) < spared or max(waiter.until, patient_until) > now:
                self._waiting.append(waiter)
            elif not waiter.turn.done():
                message = "Every database connection that you may have is in use. Try again shortly."
                waiter.turn.set_result(UnavailableError(Reason.POOL_EXHAUSTED, message))
        if not self._waiting:
            return None
        return max(patient_until, min(waiter.until for waiter in self._waiting))
