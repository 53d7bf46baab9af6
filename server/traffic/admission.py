"""Owns the admission of operations: how many are in flight, who waits for how long, and when nobody more is let in."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from schema.errors import Reason, UnavailableError
from server.observability.event_loop import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

MESSAGE: Final = "More is asked at once than can be answered in time, and this was not begun. Try again in a second."
# How long an operation waits for an admission slot before OVERLOADED.
WAIT_SECONDS: Final = 0.25
# Of the longest wait: who is let in to wait for so long is still answered when the estimate was wrong by far.
_EXPECTED_SHARE: Final = 0.3
# Of each newest interval in the estimate, which is more of them than may be refused at once, their time being over: the
# loop's clock stands still while it runs what has come at once.
_NEWEST_SHARE: Final = 1 / 128
# Between two turns, where it is not the database that all wait for.
_QUICK_SECONDS: Final = 0.005
# How often it is looked whether a database that wakes is awake, where somebody waits.
_LOOK_SECONDS: Final = 0.05
# Between two looks at those who wait.
_LEAST_SECONDS: Final = 0.01
# Who has waited for it at least so long after, in which hundreds have their turn.
_WOKEN_SECONDS: Final = 2.0
# From when on what is waited for is slow.
_SLOW_SECONDS: Final = 0.1


class AdmissionSlot:
    """That of one operation among those in flight, which has waited for it for so long, and might have for longer."""

    __slots__ = ("_admission", "held", "longest_seconds", "waited_seconds")

    def __init__(self, admission: Admission, *, waited_seconds: float, longest_seconds: float) -> None:
        self._admission = admission
        self.held = True
        self.waited_seconds = waited_seconds
        self.longest_seconds = longest_seconds

    def leave(self) -> None:
        """Be in flight no more, if it still is: the next one is."""
        if self.held:
            self.held = False
            self._admission.give_on()


# Tasks that resolvers start inherit it.
_place: ContextVar[AdmissionSlot | None] = ContextVar("place", default=None)


def has_place() -> bool:
    """Whether this operation has been let in.

    The next request on a connection begins with the context of the one before, whose place it does not have.
    """
    place = _place.get()
    return place is not None and place.held


def patience_left(seconds: float) -> float:
    """How long this operation may wait for something else, of so many seconds.

    All its waiting together takes no longer than the longer of the two may: who is refused is told so in that time.
    """
    place = _place.get()
    if place is None or not place.held:
        return seconds
    return min(seconds, max(0.0, max(seconds, place.longest_seconds) - place.waited_seconds))


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Around what has connections of its own and may be slow: if it is, its operation has no place any more.

    Else a few dozen slow counts would shut the door to pages, which do not wait for them.
    """
    place = _place.get()
    leaving = running_loop().call_later(_SLOW_SECONDS, place.leave) if place else None
    try:
        yield
    finally:
        if leaving:
            leaving.cancel()


class Admission:
    """The operations in flight in this process, and those that wait to be. All of one event loop.

    While the database wakes, those in flight wait for it, and the others with them: nobody is refused for that.

    Args:
        most: how many may be in flight.
        wait_seconds: how long one waits to be among them before it is refused.
    """

    def __init__(self, most: int, *, wait_seconds: float) -> None:
        self._free = most
        self._wait_seconds = wait_seconds
        self._expected_seconds = _EXPECTED_SHARE * wait_seconds
        self._waiting: deque[tuple[asyncio.Future[bool], float]] = deque()
        # How long it takes until the next of those who wait has its turn, once one has had its own.
        self._interval_seconds: float | None = None
        self._last_turn = 0.0
        # Whether the database is being woken: that is known once there is one.
        self.wakes: Callable[[], bool] = lambda: False
        self._looking = False
        self._woken_at = 0.0
        # One for all who wait: a timer of their own each would cost as much as all the rest of the waiting.
        self._timer: asyncio.Handle | None = None
        self._look_at = math.inf

    @property
    def sheds(self) -> bool:
        """Whether one more would wait for too long: the first does already, or so many are before it.

        Only where turns come one after the other, so that it is the process that has too much to do. Where all wait
        for the database there is time to read what else is asked, and to say what is wrong with it.
        """
        interval = self._interval_seconds
        if interval is None or interval > _QUICK_SECONDS or not self._waiting or self._looking or self.wakes():
            return False
        waited = running_loop().time() - max(self._waiting[0][1], self._woken_at)
        return max(waited, len(self._waiting) * interval) > self._expected_seconds

    async def enter(self) -> AdmissionSlot:
        """Be among those in flight. Nothing of an operation is begun before; the place has to be left.

        Raises:
            UnavailableError: OVERLOADED, after the longest wait.
        """
        if self._free > 0:
            # Nobody waits then: whoever leaves hands their place on.
            self._free -= 1
            return self._placed(0.0)
        loop = running_loop()
        turn, now = loop.create_future(), loop.time()
        if not self._waiting:
            self._last_turn = now
        self._waiting.append((turn, now))
        if now + self._wait_seconds < self._look_at:
            self._look_next(now + self._wait_seconds)
        try:
            admitted = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                # It was its turn in the moment in which its task was cancelled.
                self.give_on()
            self._forget_first()
            raise
        if not admitted:
            # Raised here: one that stood in the future would hold it, and be held by it, until it is found as garbage.
            raise UnavailableError(Reason.OVERLOADED, MESSAGE)
        # Who has waited for a database that wakes has waited for nobody else.
        woken = self._looking or self._woken_at > now or self.wakes()
        return self._placed(0.0 if woken else loop.time() - now)

    def _placed(self, waited_seconds: float) -> AdmissionSlot:
        place = AdmissionSlot(self, waited_seconds=waited_seconds, longest_seconds=self._wait_seconds)
        _place.set(place)
        return place

    def give_on(self) -> None:
        """One place is free: the next one has it."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                now = running_loop().time()
                if not self._looking:
                    self._note_interval(now - self._last_turn)
                self._last_turn = now
                turn.set_result(True)
                return
        self._free += 1
        # Who comes next may ask for something quite different.
        self._interval_seconds = None

    def _note_interval(self, newest: float) -> None:
        if self._interval_seconds is None:
            self._interval_seconds = newest
        else:
            self._interval_seconds += _NEWEST_SHARE * (newest - self._interval_seconds)

    def _look_next(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._look_at = running_loop().call_at(when, self._look), when

    def _look(self) -> None:
        """Refuse who has waited for too long, but for a database that wakes: it is looked again then."""
        now, self._timer, self._look_at = running_loop().time(), None, math.inf
        if self.wakes() and self._waiting:
            self._looking, again = True, now + _LOOK_SECONDS
        else:
            if self._looking:
                # It is awake, or will not be.
                self._looking, self._woken_at, self._last_turn = False, now, now
            for turn, since in self._waiting:
                if not turn.done() and self._until(since) <= now:
                    turn.set_result(False)
            # By who waits for longest it is told whether others may, and by how many they are.
            self._waiting = deque(waiting for waiting in self._waiting if not waiting[0].done())
            again = min((self._until(since) for _, since in self._waiting), default=now)
        if self._waiting:
            self._look_next(max(again, now + _LEAST_SECONDS))

    def _until(self, since: float) -> float:
        if since >= self._woken_at:
            return since + self._wait_seconds
        return max(since + self._wait_seconds, self._woken_at + max(self._wait_seconds, _WOKEN_SECONDS))

    def _forget_first(self) -> None:
        """Forget those before the first who still waits: by who waits for longest it is told whether others may."""
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
