"""Owns the deadline of a whole query: set around its execution, postponed by what is known to take longer."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

from schema.errors import Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

# Tasks that resolvers start inherit it from the query that they work for.
_clocks: ContextVar[Sequence[request_deadline]] = ContextVar("request_clocks", default=())


class request_deadline:  # noqa: N801 # it is used as a function is
    """Cancel what is done within once the seconds are over, its statements with it.

    It does what `asyncio.timeout` does, which asks for the running loop and its task three times (on Python 3.11 a call
    of the system each), and is not one generator within another: both are felt around every query.

    Args:
        seconds: how long it may take.
        loop: the running one, for who knows it.

    Raises:
        UnavailableError: REQUEST_TIMEOUT.
    """

    __slots__ = ("_cancelling", "_expired", "_handle", "_loop", "_seconds", "_task", "_token")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._seconds = seconds
        self._loop = loop or asyncio.get_running_loop()
        self._expired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a deadline is a task's")
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = self._loop.call_later(self._seconds, self._expire)
        self._token = _clocks.set((self,))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        # Where a generator is collected it may be in another context, whose clock this is not.
        with contextlib.suppress(ValueError):
            _clocks.reset(self._token)
        ours = self._expired and self._task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise UnavailableError(
                Reason.REQUEST_TIMEOUT, "The query took longer than it is given. Ask for less at once, or try again."
            ) from error

    def postpone(self, seconds: float) -> None:
        """Let it take at least so many seconds from now on, unless it is over."""
        when = self._loop.time() + seconds
        if not self._handle.cancelled() and not self._expired and when > self._handle.when():
            self._handle.cancel()
            self._handle = self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


def postpone(seconds: float) -> None:
    """Let the query that is being answered take at least so many seconds from now on; where there is none, nothing."""
    # Who outlives the query that began it has inherited a clock that has stopped.
    for clock in _clocks.get():
        clock.postpone(seconds)


def current_deadline() -> request_deadline | None:
    """The deadline of the query that is being answered."""
    clocks = _clocks.get()
    return clocks[0] if clocks else None


def follow(deadlines: Sequence[request_deadline]) -> None:
    """Work on for several queries at once, in a task of its own: what postpones one postpones all."""
    _clocks.set(deadlines)
