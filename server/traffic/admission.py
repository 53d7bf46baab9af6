"""The admission of operations: how many are in flight, how long others wait, and when the server refuses more."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from schema.errors import Reason, UnavailableError
from server.observability.request_record import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

MESSAGE: Final = (
    "The server has more requests than it can answer in time. This one was not started: try again in a second."
)
# How long an operation waits for an admission slot before OVERLOADED.
WAIT_SECONDS: Final = 0.25
# The server sheds a request whose expected wait exceeds this share of the longest wait. The rest of it covers a wrong
# estimate.
_EXPECTED_SHARE: Final = 0.3
# Weight of the newest interval in the moving average. The average covers more intervals than there are operations that
# may fail at the same moment and hand on their slots, with intervals of 0: the loop's clock stands still while it runs
# one batch of callbacks.
_NEWEST_SHARE: Final = 1 / 128
# If the average interval between two admissions is longer than this, operations wait for the database.
_DATABASE_SECONDS: Final = 0.005
# How often the queue checks whether a wake-up is over.
_WAKE_CHECK_SECONDS: Final = 0.05
# The shortest time between two checks of the queue.
_CHECK_SECONDS: Final = 0.01
# Grace period after a wake-up: queued requests are not refused for this long, enough to admit hundreds.
_GRACE_SECONDS: Final = 2.0
# An operation that takes longer than this is slow.
_SLOW_SECONDS: Final = 0.1


class AdmissionSlot:
    """A held admission slot, with how long its operation waited for it and how long it could have."""

    __slots__ = ("_admission", "held", "longest_seconds", "waited_seconds")

    def __init__(self, admission: Admission, *, waited_seconds: float, longest_seconds: float) -> None:
        self._admission = admission
        self.held = True
        self.waited_seconds = waited_seconds
        self.longest_seconds = longest_seconds

    def leave(self) -> None:
        """Give the slot to the next operation, if it is still held."""
        if self.held:
            self.held = False
            self._admission.give_on()


# Tasks that a resolver starts inherit it.
_slot: ContextVar[AdmissionSlot | None] = ContextVar("slot", default=None)


def holds_slot() -> bool:
    """Whether this operation holds an admission slot.

    The next request on a connection inherits the context of the one before, but not its slot.
    """
    slot = _slot.get()
    return slot is not None and slot.held


def patience_left(seconds: float) -> float:
    """How many of these seconds this operation may still wait for something else.

    Both waits together take no longer than the longer one alone may, so that a refusal comes within that time.
    """
    slot = _slot.get()
    if slot is None or not slot.held:
        return seconds
    return min(seconds, max(0.0, max(seconds, slot.longest_seconds) - slot.waited_seconds))


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Release the operation's slot if the work within is slow. For work that has its own connection pool.

    Otherwise a few dozen slow counts would keep out pages, although they use other connections.
    """
    slot = _slot.get()
    leaving = running_loop().call_later(_SLOW_SECONDS, slot.leave) if slot else None
    try:
        yield
    finally:
        if leaving:
            leaving.cancel()


class Admission:
    """The operations in flight in this process and those that wait for a slot, on one event loop.

    During a wake-up of the database all of them wait, and none is refused for waiting.

    Args:
        most: how many operations may be in flight.
        wait_seconds: how long an operation waits for a slot before it is refused.
    """

    def __init__(self, most: int, *, wait_seconds: float) -> None:
        self._most = self._free = most
        self._wait_seconds = wait_seconds
        self._expected_seconds = _EXPECTED_SHARE * wait_seconds
        self._waiting: deque[tuple[asyncio.Future[bool], float]] = deque()
        # Moving average of the time between two admissions from the queue.
        self._interval_seconds: float | None = None
        self._last_turn = 0.0
        # Whether the database is waking up. The lifespan sets it once there is a database.
        self.wakes: Callable[[], bool] = lambda: False
        self._waking = False
        self._woken_at = 0.0
        # One timer for the whole queue: a timer for each request would double the cost of waiting.
        self._timer: asyncio.Handle | None = None
        self._next_check_at = math.inf
        # Whether the process holds more memory than it may (server/traffic/memory.py).
        self.short_of_memory = False

    @property
    def sheds(self) -> bool:
        """Whether a new request is refused: memory is short, or the request would wait for too long.

        The wait is judged by the first in the queue and by its length, and only if admissions follow each other
        quickly: then the process itself is overloaded. If all operations wait for the database, the process has time to
        read further requests and to say what is wrong with them.
        """
        if self.short_of_memory:
            return True
        interval = self._interval_seconds
        if interval is None or interval > _DATABASE_SECONDS or not self._waiting or self._waking or self.wakes():
            return False
        waited = running_loop().time() - max(self._waiting[0][1], self._woken_at)
        return max(waited, len(self._waiting) * interval) > self._expected_seconds

    @property
    def is_idle(self) -> bool:
        """Whether no operation is in flight, and none waits."""
        return self._free == self._most

    def refuse_if_short(self) -> None:
        """Refuse an operation while memory is short: one on an open WebSocket, which no request announced.

        Raises:
            UnavailableError: OVERLOADED.
        """
        if self.short_of_memory:
            raise UnavailableError(Reason.OVERLOADED, MESSAGE)

    async def enter(self) -> AdmissionSlot:
        """Wait for a slot and take it. An operation starts after this, and has to leave its slot.

        Raises:
            UnavailableError: OVERLOADED, after the longest wait.
        """
        if self._free > 0:
            # The queue is empty then: an operation that ends hands its slot to the next one.
            self._free -= 1
            return self._admitted(0.0)
        loop = running_loop()
        turn, now = loop.create_future(), loop.time()
        if not self._waiting:
            self._last_turn = now
        self._waiting.append((turn, now))
        if now + self._wait_seconds < self._next_check_at:
            self._check_at(now + self._wait_seconds)
        try:
            admitted = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                # The operation got its slot at the moment at which its task was cancelled.
                self.give_on()
            self._forget_first()
            raise
        if not admitted:
            # Raised here: an exception set on the future would form a reference cycle with it.
            raise UnavailableError(Reason.OVERLOADED, MESSAGE)
        # A wait for a wake-up does not count against the operation's other waits.
        woken = self._waking or self._woken_at > now or self.wakes()
        return self._admitted(0.0 if woken else loop.time() - now)

    def _admitted(self, waited_seconds: float) -> AdmissionSlot:
        slot = AdmissionSlot(self, waited_seconds=waited_seconds, longest_seconds=self._wait_seconds)
        _slot.set(slot)
        return slot

    def give_on(self) -> None:
        """Hand a free slot to the next operation in the queue."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                now = running_loop().time()
                if not self._waking:
                    self._note_interval(now - self._last_turn)
                self._last_turn = now
                turn.set_result(True)
                return
        self._free += 1
        # The queue is empty. The next load may be quite different, so the average starts anew.
        self._interval_seconds = None

    def _note_interval(self, newest: float) -> None:
        if self._interval_seconds is None:
            self._interval_seconds = newest
        else:
            self._interval_seconds += _NEWEST_SHARE * (newest - self._interval_seconds)

    def _check_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next_check_at = running_loop().call_at(when, self._check), when

    def _check(self) -> None:
        """Refuse the operations that have waited for too long. During a wake-up refuse none, and check again."""
        now, self._timer, self._next_check_at = running_loop().time(), None, math.inf
        if self.wakes() and self._waiting:
            self._waking, again = True, now + _WAKE_CHECK_SECONDS
        else:
            if self._waking:
                # The wake-up is over, with or without success.
                self._waking, self._woken_at, self._last_turn = False, now, now
            for turn, since in self._waiting:
                if not turn.done() and self._until(since) <= now:
                    turn.set_result(False)
            # `sheds` looks at the first entry and at the length.
            self._waiting = deque(waiting for waiting in self._waiting if not waiting[0].done())
            again = min((self._until(since) for _, since in self._waiting), default=now)
        if self._waiting:
            self._check_at(max(again, now + _CHECK_SECONDS))

    def _until(self, since: float) -> float:
        if since >= self._woken_at:
            return since + self._wait_seconds
        return max(since + self._wait_seconds, self._woken_at + max(self._wait_seconds, _GRACE_SECONDS))

    def _forget_first(self) -> None:
        """Drop finished entries at the front of the queue: `sheds` looks at the first entry."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
