"""Owns the patience with a database that does not answer: whether it may be asleep, and the waiting for it."""

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
# The shortest time of rest after which the platform lets a database fall asleep.
_REST_SECONDS: Final = 60.0
_PAUSES_SECONDS: Final = (0.05, 0.25)
# After a wake that did not come nobody waits for the next one at once.
_DISCOURAGED_SECONDS: Final = 1.0
_DEAF_SECONDS: Final = 0.1
# From the end of the waiting on, for the statements that it was for.
_LEEWAY_SECONDS: Final = 5.0
_NO_CONNECTION_ERRORS: Final = (TimeoutError, socket.gaierror, ssl.SSLError)


class Waking:
    """What is known of one database's sleep.

    One that says 57P03 (it is starting) is being woken by the very attempt. One that refuses, resets, or has no
    connection left (53300) may be asleep only if it can sleep and has been left alone for long: one that was asked
    a moment ago has died, and whoever asks is better told so at once.

    Just as it falls asleep it may be deaf for a moment, so that of those who are refused one tries once more.

    While it wakes, one attempt at a time looks whether it is awake, with pauses, for all who wait.

    Args:
        sleeps: whether it falls asleep at all, as a Lakebase does.
        patience: seconds to wait for it.
    """

    def __init__(self, *, sleeps: bool, patience: float) -> None:
        self._sleeps = sleeps
        self._patience = patience
        self._answered_at = self._asked_at = self._gave_up_at = self._tried_again_at = -math.inf
        self._waiting = 0
        self._looking = asyncio.Lock()
        self._over = asyncio.Event()

    @property
    def under_way(self) -> bool:
        """Whether somebody waits for it to wake."""
        return self._waiting > 0

    async def over(self) -> bool:
        """Wait until nobody waits any more, for it is awake or will not be; whether that came in time."""
        postpone(self._patience + _LEEWAY_SECONDS)
        try:
            async with asyncio.timeout(self._patience):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    def answered(self) -> None:
        """It is awake: it has just answered."""
        self._answered_at = time.monotonic()

    async def connect(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """What the attempt to connect gives, made again while there is reason to be patient.

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
                if not (again and self._is_worth_another_look(error)):
                    raise
            await asyncio.sleep(_DEAF_SECONDS)
        postpone(self._patience + _LEEWAY_SECONDS)
        self._waiting += 1
        self._over.clear()
        try:
            async with asyncio.timeout(self._patience) as clock:
                return await self._until_awake(attempt)
        except TimeoutError:
            if clock.expired():
                self._gave_up_at = time.monotonic()
            raise
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._over.set()

    async def _until_awake(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            missed_at = time.monotonic()
            try:
                async with self._looking:
                    if self._answered_at < missed_at:
                        await asyncio.sleep(random.uniform(*_PAUSES_SECONDS))  # noqa: S311 # jitter
                        return await self._attempted(attempt)
                # Somebody else has found it awake meanwhile.
                return await self._attempted(attempt)
            except (TimeoutError, ssl.SSLError):
                # Whatever stands before it may hold on to an attempt, or let go of it, until it is awake.
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

    def _is_worth_another_look(self, error: Exception) -> bool:
        now = time.monotonic()
        if not self._sleeps or not _may_pass(error) or now - self._tried_again_at < _DISCOURAGED_SECONDS:
            return False
        self._tried_again_at = now
        return True


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        # Refused or reset; of several addresses all, which asyncio says with a plain OSError.
        return not isinstance(error, _NO_CONNECTION_ERRORS)
    return isinstance(
        error, (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, asyncpg.ConnectionDoesNotExistError)
    )
