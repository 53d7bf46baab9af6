"""Runs in-process tests by a clock that jumps to the next timer when nothing else is left to do.

What takes an hour by it takes no time, and on the slowest machine nothing takes longer than it says. It is for what has
no I/O: whoever waits for a socket or for a thread is not waited for.
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
# In one moment; a test that waits for a moment to pass is to end.
_MOST_TURNS: Final = 100_000
_BEGINNING: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Has time pass in place of waiting."""

    seconds = 0.0
    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise TimeoutError("nothing is left that could happen, and the test still waits")
        self.turns = 0 if timeout else self.turns + 1
        if self.turns > _MOST_TURNS:
            raise TimeoutError("the test goes round in circles, and no time passes")
        if not ready:
            self.seconds += timeout or 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with such a clock."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since its beginning."""
        return self._clock.seconds


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in a loop of its own that has such a clock."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


class LoopTime:
    """Stands in for `time` in a module: its clock is the running loop's."""

    monotonic = staticmethod(now)


class LoopDatetime(datetime):
    """Stands in for `datetime` in a module, in the same way."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> LoopDatetime:
        """The time of the running loop, as a date."""
        return cls.fromtimestamp((_BEGINNING + timedelta(seconds=now())).timestamp(), tz)


class Still:
    """Stands in for `time` in a module: its clock moves only when the test moves it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        """Where it stands."""
        return self.seconds
