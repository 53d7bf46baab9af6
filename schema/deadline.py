"""Owns the deadline of a whole query: set around its execution, postponed by what is known to take longer."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from schema.errors import Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Tasks that resolvers start inherit it from the query that they work for.
_clock: ContextVar[asyncio.Timeout | None] = ContextVar("request_clock", default=None)


@asynccontextmanager
async def request_deadline(seconds: float) -> AsyncIterator[None]:
    """Cancel what is done within once the seconds are over, its statements with it.

    Raises:
        UnavailableError: REQUEST_TIMEOUT.
    """
    try:
        async with asyncio.timeout(seconds) as clock:
            token = _clock.set(clock)
            try:
                yield
            finally:
                _clock.reset(token)
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise UnavailableError(
            Reason.REQUEST_TIMEOUT, "The query took longer than it is given. Ask for less at once, or try again."
        ) from error


def postpone(seconds: float) -> None:
    """Let the query that is being answered take at least so many seconds from now on; where there is none, nothing."""
    clock = _clock.get()
    when = clock.when() if clock and not clock.expired() else None
    if clock and when is not None:
        # Who outlives the query that began it has inherited a clock that has stopped.
        with contextlib.suppress(RuntimeError):
            clock.reschedule(max(when, asyncio.get_running_loop().time() + seconds))
