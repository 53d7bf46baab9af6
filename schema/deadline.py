"""Owns the deadline of a whole query: set around its execution, postponed by what is known to take longer."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

from schema.errors import Reason, UnavailableError

if TYPE_CHECKING:
    from types import TracebackType

# Tasks that resolvers start inherit it from the query that they work for.
_clock: ContextVar[asyncio.Timeout | None] = ContextVar("request_clock", default=None)


class request_deadline:  # noqa: N801 # it is used as a function is
    """Cancel what is done within once the seconds are over, its statements with it.

    A class, for around every query two generators more would be felt.

    Raises:
        UnavailableError: REQUEST_TIMEOUT.
    """

    __slots__ = ("_clock", "_token")

    def __init__(self, seconds: float) -> None:
        self._clock = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._clock.__aenter__()
        self._token = _clock.set(self._clock)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where a generator is collected it may be in another context, whose clock this is not.
        with contextlib.suppress(ValueError):
            _clock.reset(self._token)
        try:
            await self._clock.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            raise UnavailableError(
                Reason.REQUEST_TIMEOUT, "The query took longer than it is given. Ask for less at once, or try again."
            ) from timeout


def postpone(seconds: float) -> None:
    """Let the query that is being answered take at least so many seconds from now on; where there is none, nothing."""
    clock = _clock.get()
    when = clock.when() if clock and not clock.expired() else None
    if clock and when is not None:
        # Who outlives the query that began it has inherited a clock that has stopped.
        with contextlib.suppress(RuntimeError):
            clock.reschedule(max(when, asyncio.get_running_loop().time() + seconds))
