"""Readiness: whether orders can be served. While they cannot, the server keeps checking."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import ApiError, Reason, UnavailableError
from server.db.database import DatabaseAbsentError
from server.db.errors import advice
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = structlog.get_logger(__name__)
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 1.0
# The longest pauses if an operator has to act. A missing or stopped instance is looked up on the platform only. For a
# missing table the database is queried, and it would never fall asleep if it were queried every minute.
_LAST_ABSENT_RETRY_SECONDS = 30.0
_LAST_TABLE_RETRY_SECONDS = 300.0
# These concern one request, which was unlucky or asked for too much. They say nothing about the next requests.
_TRANSIENT = frozenset({Reason.POOL_EXHAUSTED, Reason.STATEMENT_TIMEOUT})
# The end of an operation waits this long at most for the check that follows it.
_RECHECK_SECONDS: Final = 5.0


class Readiness:
    """Whether orders can be served, and if not, why.

    A process that is not ready may be sent no requests, so it would never learn that orders can be read again. So
    it keeps checking until they can, with growing pauses. A ready process does not check, because a database that is
    queried all the time never falls asleep.
    """

    def __init__(self) -> None:
        self.reason: str | None = "Starting: the orders table has not been looked up yet."
        # Called after each statement that succeeds.
        self.used: Callable[[], None] = lambda: None
        self._check: Callable[[], Awaitable[object]] | None = None
        self._look_up: Callable[[], Awaitable[None]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._doubting: asyncio.Task[None] | None = None
        self._check_now = asyncio.Event()
        self._ready = asyncio.Event()

    def watch(self, check: Callable[[], Awaitable[object]], *, look_up: Callable[[], Awaitable[None]]) -> None:
        """Start checking.

        Args:
            check: calls `succeeded` or `failed`, and may raise an UnavailableError as well.
            look_up: raises an UnavailableError if there is no database. It does not connect to it.
        """
        self._check, self._look_up = check, look_up
        self._start()

    def doubt(self) -> asyncio.Task[None]:
        """Find out whether there still is a database, without waking it: it may have been stopped or deleted."""
        if self._doubting is None or self._doubting.done():
            # In an empty context, as the checks.
            self._doubting = asyncio.create_task(self._find(), name="look up database", context=Context())
        return self._doubting

    async def recheck(self) -> None:
        """Find out whether there still is a database, and then whether orders can be read from it.

        This connects to the database, which was just in use.
        """
        await asyncio.shield(self.doubt())
        if self.reason is None and self._check is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_RECHECK_SECONDS):
                    await asyncio.create_task(_awaited(self._check), name="recheck", context=Context())

    def succeeded(self) -> None:
        """Note that a statement has succeeded."""
        self.used()
        if self.reason is not None:
            self.reason = None
            self._ready.set()
            _log.info("ready")

    def failed(self, error: UnavailableError, *, cause: Exception) -> None:
        """Note that a statement has failed. Only the log gets the cause."""
        if error.reason not in _TRANSIENT:
            self._note(_reason(error, cause), cause)
            self._start()

    async def settled(self, *, seconds: float) -> None:
        """Wait until the process is ready, for this time at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ready.wait()

    def check_now(self) -> None:
        """Cut the pause before the next check short, because the outcome may have changed."""
        self._check_now.set()

    async def close(self) -> None:
        """Stop checking."""
        self._check = self._look_up = None
        tasks = [task for task in (self._watching, self._doubting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self) -> None:
        try:
            if self._look_up is not None:
                await self._look_up()
        except UnavailableError as error:
            self.failed(error, cause=error)

    def _start(self) -> None:
        if self._check is not None and (self._watching is None or self._watching.done()):
            # In an empty context: a request may start the task, but the task does not belong to it.
            checks = self._check_until_ready(self._check)
            self._watching = asyncio.create_task(checks, name="readiness", context=Context())

    async def _check_until_ready(self, check: Callable[[], Awaitable[object]]) -> None:
        backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        while self.reason is not None:
            backoff.longest_seconds = _LAST_RETRY_SECONDS
            try:
                await check()
            except UnavailableError as error:
                backoff.longest_seconds = _longest_pause(error)
                cause = error.__cause__ or error
                self._note(_reason(error, cause), cause)
            except Exception as error:  # noqa: BLE001 # after any failure the next check may succeed
                self._note("INTERNAL: orders cannot be read; the log says why.", error.__cause__ or error)
            if self.reason is not None:
                self._check_now.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._check_now.wait(), backoff.next_pause())
                if self._check_now.is_set():
                    backoff.reset()

    def _note(self, reason: str, cause: BaseException) -> None:
        # Logged once for each reason: every failed request has its own log line.
        if reason != self.reason:
            self.reason = reason
            # An ApiError is in the reason already.
            details = {} if isinstance(cause, ApiError) else {"cause": repr(cause)}
            _log.warning("not ready", reason=reason, **details)


async def _awaited(check: Callable[[], Awaitable[object]]) -> None:
    await check()


def _reason(error: UnavailableError, cause: BaseException) -> str:
    return f"{error.reason.name}: {error.message}{advice(cause)}"


def _longest_pause(error: UnavailableError) -> float:
    if isinstance(error, DatabaseAbsentError):
        return _LAST_ABSENT_RETRY_SECONDS
    return _LAST_TABLE_RETRY_SECONDS if error.reason is Reason.ORDERS_UNAVAILABLE else _LAST_RETRY_SECONDS
