"""The wake-up of a database: whether a database that does not answer may be asleep, and the wait until it is awake."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg

from schema.deadline import postpone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_T = TypeVar("_T")
# The platform never puts a database to sleep that was used within this time.
_REST_SECONDS: Final = 60.0
# The pause between two checks during a wake-up is random, within this range.
_PAUSES_SECONDS: Final = (0.05, 0.25)
# For this long after a failed wake-up, requests fail at once instead of waiting for another one.
_DISCOURAGED_SECONDS: Final = 1.0
# A database that is falling asleep may refuse connections for a moment.
_REFUSING_SECONDS: Final = 0.1
# Added to a request's deadline after the wait, for its statements.
_LEEWAY_SECONDS: Final = 5.0
_NO_CONNECTION_ERRORS: Final = (TimeoutError, socket.gaierror, ssl.SSLError)


class WakeUp:
    """The wake-up of one database: whether it may be asleep, and the wait until it is awake.

    A database that answers 57P03 (starting) is waking up because of this attempt. A database that refuses, resets,
    or has no connection left (53300) may be asleep only if it can sleep and was not used for long. If it was used
    recently, it is down, not asleep, and the request fails at once.

    While a database falls asleep it may refuse for a moment, so one of the refused requests tries once more.

    During a wake-up one attempt at a time checks whether the database is back, with pauses, for all requests.

    Args:
        sleeps: whether the database ever falls asleep, as a Lakebase does.
        patience: seconds to wait for a wake-up.
    """

    def __init__(self, *, sleeps: bool, patience: float) -> None:
        self._sleeps = sleeps
        self._patience = patience
        self._answered_at = self._asked_at = self._gave_up_at = self._tried_again_at = -math.inf
        self._waiting = 0
        self._checking = asyncio.Lock()
        # Called when the database closes a connection although it was used too recently to fall asleep.
        self.down: Callable[[], object] = lambda: None

    @property
    def under_way(self) -> bool:
        """Whether a request waits for the wake-up."""
        return self._waiting > 0

    def answered(self) -> None:
        """Note that the database has just answered."""
        self._answered_at = time.monotonic()

    def lost(self) -> None:
        """Note that the database has closed a connection. If the database was used recently, it is down, not asleep."""
        if time.monotonic() - self._answered_at <= _REST_SECONDS:
            self.down()

    async def connect(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Attempt to connect, again and again while the database may be waking up.

        Raises:
            Exception: the last attempt's, or a TimeoutError.
        """
        rested = time.monotonic() - max(self._answered_at, self._asked_at) > _REST_SECONDS
        for again in (True, False):
            try:
                return await self._attempted(attempt)
            except Exception as error:
                if self._is_worth_waiting(error, rested=rested):
                    break
                if not (again and self._is_worth_another_try(error)):
                    raise
            await asyncio.sleep(_REFUSING_SECONDS)
        postpone(self._patience + _LEEWAY_SECONDS)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience) as clock:
                return await self._until_awake(attempt)
        except TimeoutError:
            if clock.expired():
                self._gave_up_at = time.monotonic()
            raise
        finally:
            self._waiting -= 1

    async def _until_awake(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            missed_at = time.monotonic()
            try:
                async with self._checking:
                    if self._answered_at < missed_at:
                        await asyncio.sleep(random.uniform(*_PAUSES_SECONDS))  # noqa: S311 # jitter
                        return await self._attempted(attempt)
                # Another request has found it awake meanwhile.
                return await self._attempted(attempt)
            except (TimeoutError, ssl.SSLError):
                # A proxy in front of the database may hold or drop an attempt until it is awake.
                continue
            except Exception as error:
                if not _may_pass(error):
                    raise

    async def _attempted(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        self._asked_at = time.monotonic()
        connection = await attempt()
        self.answered()
        return connection

    def _is_worth_waiting(self, error: Exception, *, rested: bool) -> bool:
        if not _may_pass(error) or time.monotonic() - self._gave_up_at < _DISCOURAGED_SECONDS:
            return False
        if isinstance(error, asyncpg.CannotConnectNowError):
            return self._sleeps or rested or self.under_way
        return (self._sleeps and rested) or self.under_way

    def _is_worth_another_try(self, error: Exception) -> bool:
        now = time.monotonic()
        if not self._sleeps or not _may_pass(error) or now - self._tried_again_at < _DISCOURAGED_SECONDS:
            return False
        self._tried_again_at = now
        return True


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        # Refused or reset. asyncio raises a plain OSError if all of several addresses are.
        return not isinstance(error, _NO_CONNECTION_ERRORS)
    return isinstance(
        error, (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, asyncpg.ConnectionDoesNotExistError)
    )
