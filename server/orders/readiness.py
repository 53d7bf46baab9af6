"""Owns the question whether orders can be served: the last known outcome, looked at again while it is bad."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from typing import TYPE_CHECKING

import structlog

from schema.errors import Reason, UnavailableError
from server.backoff import Backoff
from server.db.database import DatabaseAbsentError
from server.db.errors import advice

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = structlog.get_logger(__name__)
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 1.0
# Where it takes somebody to act: an instance to be made or started, which the platform alone is asked for; or a table
# to be synced, for which the database is asked, that would not fall asleep if it were asked every minute.
_LAST_ABSENT_RETRY_SECONDS = 30.0
_LAST_TABLE_RETRY_SECONDS = 300.0
# These say that one request was unlucky or asked for too much, and nothing of the requests to come.
_PASSING = frozenset({Reason.POOL_EXHAUSTED, Reason.STATEMENT_TIMEOUT})


class Readiness:
    """Whether orders can be served, and if not, why.

    A process that is not ready may be sent no requests, and would never learn that things are well again.
    So while they are not it looks for itself, ever more rarely; while they are well it does not look at all,
    because a database that is asked all the time never falls asleep.
    """

    def __init__(self) -> None:
        self.reason: str | None = "Starting: the orders table has not been looked for yet."
        # Called at every statement that is answered.
        self.used: Callable[[], None] = lambda: None
        self._look: Callable[[], Awaitable[object]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()
        self._well = asyncio.Event()

    def watch(self, look: Callable[[], Awaitable[object]]) -> None:
        """Begin to look; `look` reports through `succeeded` and `failed`, and raises UnavailableError too."""
        self._look = look
        self._start()

    def succeeded(self) -> None:
        """A statement has been answered."""
        self.used()
        if self.reason is not None:
            self.reason = None
            self._well.set()
            _log.info("ready")

    def failed(self, error: UnavailableError, *, cause: Exception) -> None:
        """A statement has not been answered; the cause is for the log alone."""
        if error.reason not in _PASSING:
            self._note(_told(error, cause), cause)
            self._start()

    async def settled(self, *, seconds: float) -> None:
        """Return when all is well, or after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._well.wait()

    def look_now(self) -> None:
        """Do not wait for the next look, if one is waited for: things may have changed."""
        self._sooner.set()

    async def close(self) -> None:
        """Stop looking."""
        self._look = None
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    def _start(self) -> None:
        if self._look is not None and (self._watching is None or self._watching.done()):
            # In a context of its own: it is of no request, although one may begin it.
            looking = self._look_until_well(self._look)
            self._watching = asyncio.create_task(looking, name="readiness", context=Context())

    async def _look_until_well(self, look: Callable[[], Awaitable[object]]) -> None:
        backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        while self.reason is not None:
            backoff.longest_seconds = _LAST_RETRY_SECONDS
            try:
                await look()
            except UnavailableError as error:
                backoff.longest_seconds = _longest_pause(error)
                cause = error.__cause__ or error
                self._note(_told(error, cause), cause)
            except Exception as error:  # noqa: BLE001 # whatever it is, the next look may fare better
                self._note("INTERNAL: orders cannot be read; the log says why.", error)
            if self.reason is not None:
                self._sooner.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._sooner.wait(), backoff.next_pause())
                if self._sooner.is_set():
                    backoff.reset()

    def _note(self, reason: str, cause: BaseException) -> None:
        # Once for each reason: every request that fails has a line of its own.
        if reason != self.reason:
            self.reason = reason
            _log.warning("not ready", reason=reason, cause=repr(cause))


def _told(error: UnavailableError, cause: BaseException) -> str:
    return f"{error.reason.name}: {error.message}{advice(cause)}"


def _longest_pause(error: UnavailableError) -> float:
    if isinstance(error, DatabaseAbsentError):
        return _LAST_ABSENT_RETRY_SECONDS
    return _LAST_TABLE_RETRY_SECONDS if error.reason is Reason.ORDERS_UNAVAILABLE else _LAST_RETRY_SECONDS
