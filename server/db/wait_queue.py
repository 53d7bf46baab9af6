"""The requests that wait for a connection of a pool: in which order, for how long, and which of them may have one."""

from __future__ import annotations

import math
from collections import deque
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schema.deadline import postpone
from schema.errors import Reason, UnavailableError
from server.observability.request_record import running_loop
from server.traffic.admission import patience_left, step_aside

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sized
    from contextvars import Context

    from server.db.driver import PooledConnection
    from server.db.shares import Shares
    from server.observability.request_record import RequestRecord

# The shortest time between two checks for requests that have waited for too long.
_CHECK_SECONDS: Final = 0.01


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
        aside: whether it has released its admission slot.
    """

    since: float
    until: float
    turn: asyncio.Future[PooledConnection | Exception]
    context: Context
    holder: RequestRecord | None
    brief: bool
    aside: bool = False


class WaitQueue:
    """The requests that wait for a connection, in the order in which they came.

    Args:
        seconds: how long they wait.
        openings: the connections that are being opened. So many of the first requests wait for longer.
    """

    def __init__(self, seconds: float, openings: Sized) -> None:
        self._seconds = seconds
        self._openings = openings
        self._waiting: deque[Waiter] = deque()
        # One timer for all that wait: a timer for each would double the cost of waiting.
        self._timer: asyncio.Handle | None = None
        self._next_check_at = math.inf
        self._patient_until = -math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, holder: RequestRecord | None, *, brief: bool, waited: float) -> Waiter:
        """Let a request wait that has `waited` for so long already."""
        loop = running_loop()
        now = loop.time()
        if self._patient_until > now:
            postpone(self._patient_until - now)
        # A longer wait was for a login or a wake-up, and does not count.
        until = now + patience_left(self._seconds) - (waited if waited < self._seconds else 0.0)
        waiter = Waiter(now, until, loop.create_future(), copy_context(), holder, brief)
        self._waiting.append(waiter)
        self._check_at(until)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Drop a request that was cancelled. It may be gone already."""
        self._waiting = deque(other for other in self._waiting if other is not waiter)

    def next_turn(self, came_by: float = math.inf) -> asyncio.Future[PooledConnection | Exception] | None:
        """Remove the request that has waited longest, if it came by then."""
        while self._waiting and self._waiting[0].since <= came_by:
            # Skip a request whose task has just been cancelled.
            if not (turn := self._waiting.popleft().turn).done():
                return turn
        return None

    def entitled(self, shares: Shares, *, brief: bool, last: bool) -> Waiter | None:
        """Remove the first request that may have an ordinary or a brief connection.

        A caller that holds its share gets a brief one if no other caller waits for it, but never the last one.
        """
        found = None
        for waiter in self._waiting:
            caller_full = shares.is_caller_full(waiter.holder)
            if caller_full and not waiter.aside:
                # Other callers' operations may start while this one waits for its own caller's statements.
                waiter.aside = True
                waiter.context.run(step_aside)
            if waiter.turn.done() or (brief and not waiter.brief) or shares.is_operation_full(waiter.holder):
                continue
            if not caller_full:
                found = waiter
                break
            if brief and not last and found is None:
                found = waiter
        if found is not None:
            self._waiting.remove(found)
        return found

    def postpone(self, seconds: float) -> None:
        """Let all requests wait for at least this time. An opening calls this when it waits for a wake-up."""
        self._patient_until = max(self._patient_until, running_loop().time() + seconds)
        for waiter in self._waiting:
            waiter.context.run(postpone, seconds)

    def end_patience(self) -> None:
        """Let all requests wait as they would without a wake-up: the database is awake, or no login waits for it."""
        until = running_loop().time() + self._seconds
        if self._patient_until > until:
            self._patient_until = until
            if self._waiting:
                self._check_at(until)

    def _check_at(self, when: float) -> None:
        if when < self._next_check_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._next_check_at = running_loop().call_at(when, self._check), when

    def _check(self) -> None:
        """Refuse the requests that have waited for too long, unless a connection is being opened for them."""
        now, self._timer, self._next_check_at = running_loop().time(), None, math.inf
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if len(self._waiting) < len(self._openings) or max(waiter.until, self._patient_until) > now:
                self._waiting.append(waiter)
            elif not waiter.turn.done():
                message = "Every database connection that you may have is in use. Try again shortly."
                waiter.turn.set_result(UnavailableError(Reason.POOL_EXHAUSTED, message))
        if self._waiting:
            next_ = max(self._patient_until, min(waiter.until for waiter in self._waiting))
            self._check_at(max(next_, now + _CHECK_SECONDS))
