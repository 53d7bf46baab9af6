"""A virtual clock for in-process tests: when nothing else is left to do, it jumps to the next timer.

An hour on this clock takes no real time, and on the slowest machine nothing seems slow. It is for code without I/O: the
clock does not wait for sockets or threads.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import tzinfo

P = ParamSpec("P")
# Limits the loop's turns at one moment, so that a test that waits for time to pass by spinning ends.
_MOST_TURNS: Final = 100_000
_BEGINNING: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Advances the clock instead of waiting."""

    seconds = 0.0
    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise TimeoutError("the test waits, and no timer or callback is left")
        self.turns = 0 if timeout else self.turns + 1
        if self.turns > _MOST_TURNS:
            raise TimeoutError("the test spins without any time passing")
        if not ready:
            self.seconds += timeout or 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a virtual clock."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since the loop's start."""
        return self._clock.seconds


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in a loop of its own with a virtual clock."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


class LoopTime:
    """A substitute for a module's `time`: its clock is the running loop's."""

    monotonic = staticmethod(now)


class LoopDatetime(datetime):
    """A substitute for a module's `datetime`: its clock is the running loop's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> LoopDatetime:
        """The time of the running loop, as a date."""
        return cls.fromtimestamp((_BEGINNING + timedelta(seconds=now())).timestamp(), tz)


class Still:
    """A substitute for a module's `time`: only the test moves its clock."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        """The clock's current value."""
        return self.seconds
