"""The deadline of a query: set around its execution, and postponed by steps that are known to take longer."""

from __future__ import annotations

import asyncio
import contextlib
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from schema.errors import Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class Postponable(Protocol):
    """A deadline that a step may postpone."""

    def postpone(self, seconds: float) -> None:
        """Allow at least this many seconds from now on."""


# Tasks that a resolver starts inherit the deadline of its query.
_deadlines: ContextVar[Sequence[Postponable]] = ContextVar("request_deadlines", default=())


class request_deadline:  # noqa: N801 # it is used like a function, as `asyncio.timeout` is
    """Cancel the body of the `async with`, and its SQL statements, when the time is over.

    A generator around `asyncio.timeout` would do the same, at a cost that is noticeable for every query:
    `asyncio.timeout` looks up the running loop and its task three times, on Python 3.11 with a system call each.

    Args:
        seconds: how long the body may take.
        loop: the running loop, if the caller has it.

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
            raise RuntimeError("a deadline can only be set within a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = self._loop.call_later(self._seconds, self._expire)
        self._token = _deadlines.set((self,))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        # A generator may be closed in another context than it was started in, where the token is not valid.
        with contextlib.suppress(ValueError):
            _deadlines.reset(self._token)
        ours = self._expired and self._task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise UnavailableError(
                Reason.REQUEST_TIMEOUT, "The query took too long and was cancelled. Ask for less at once, or try again."
            ) from error

    def postpone(self, seconds: float) -> None:
        """Allow at least this many seconds from now on, unless the deadline is over."""
        when = self._loop.time() + seconds
        if not self._handle.cancelled() and not self._expired and when > self._handle.when():
            self._handle.cancel()
            self._handle = self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


class SharedDeadline:
    """The deadlines of the queries that wait for one statement. A query may join after they were postponed."""

    def __init__(self) -> None:
        self._deadlines: list[Postponable] = []
        self._until = -math.inf

    def join(self) -> None:
        """Let the current query wait for the statement too."""
        if deadline := current_deadline():
            self._deadlines.append(deadline)
            deadline.postpone(self._until - asyncio.get_running_loop().time())

    def postpone(self, seconds: float) -> None:
        """Allow all of them at least this many seconds from now on."""
        self._until = max(self._until, asyncio.get_running_loop().time() + seconds)
        for deadline in self._deadlines:
            deadline.postpone(seconds)


def postpone(seconds: float) -> None:
    """Allow the current query at least this many seconds from now on. Without a query it does nothing."""
    # A shared statement may outlive one of its queries, for whose deadline this does nothing.
    for deadline in _deadlines.get():
        deadline.postpone(seconds)


def current_deadline() -> Postponable | None:
    """The deadline of the current query."""
    deadlines = _deadlines.get()
    return deadlines[0] if deadlines else None


def follow(deadlines: Sequence[Postponable]) -> None:
    """Make the current task work for several queries: postponing then postpones the deadlines of all of them."""
    _deadlines.set(deadlines)
