"""A cached value that is fetched anew when it expires, and kept while the fetch fails."""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import structlog

from schema.errors import ApiError, Reason, UnavailableError
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
_log = structlog.get_logger(__name__)
# The pauses after failed fetches, so that not every request calls a service that fails.
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0


class RefreshedValue(Generic[T]):
    """A value that is fetched on first use. All callers share one fetch, and the pause after one that failed.

    Args:
        name: what the value is, for the log.
        fetch: fetches the value within a deadline of its own, or raises any exception.
        missing: what a caller is told while there is no value.
        ttl_seconds: how long the value is used before it is fetched anew.
        grace_seconds: how much longer the old value is used while a new fetch is under way or fails.
        patience_seconds: how long after the beginning of a fetch its callers wait for it if they can use the old value.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[], Awaitable[T]],
        *,
        missing: str,
        ttl_seconds: float,
        grace_seconds: float,
        patience_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._missing = missing
        self._ttl_seconds = ttl_seconds
        self._longest_seconds = ttl_seconds + grace_seconds
        self._patience_seconds = patience_seconds
        self._value: tuple[T, float] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._fetching_since = 0.0
        # Why the last fetch failed; None if it did not.
        self._failure: str | None = None
        self._not_before = 0.0
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)

    @property
    def fetching(self) -> bool:
        """Whether a fetch is under way."""
        return self._fetching is not None

    @property
    def unsettled(self) -> bool:
        """Whether a fetch is under way, or the pause after one that failed."""
        return self.fetching or time.monotonic() < self._not_before

    async def get(self) -> T:
        """The value, which may be older than `ttl_seconds` while it is fetched anew.

        Raises:
            UnavailableError: AUTHENTICATION_UNAVAILABLE, the fetch failed, and there is no old value.
        """
        value = self._within(self._ttl_seconds)
        if value is not None:
            return value
        fetching = self._begin()
        if fetching is not None:
            patience = None
            if self._within(self._longest_seconds) is not None:
                patience = self._fetching_since + self._patience_seconds - time.monotonic()
            if patience is None or patience > 0:
                # `wait` does not cancel the fetch for the other callers if this caller goes away.
                await asyncio.wait({fetching}, timeout=patience)
        return self._found()

    async def refresh(self) -> T:
        """The value, fetched anew.

        Raises:
            UnavailableError: AUTHENTICATION_UNAVAILABLE, the fetch failed.
        """
        fetching = self._begin()
        if fetching is not None:
            await asyncio.wait({fetching})
        if self._failure is not None:
            raise self._unavailable()
        return self._found()

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one; None in the pause after a fetch that failed."""
        now = time.monotonic()
        if self._fetching is None and now >= self._not_before:
            self._fetching = asyncio.create_task(self._fetch_value(), name="refresh", context=Context())
            self._fetching_since = now
        return self._fetching

    async def _fetch_value(self) -> None:
        try:
            self._value = (await self._fetch(), time.monotonic())
            self._failure = None
            self._backoff.reset()
        except Exception as error:  # noqa: BLE001 # a fault of another service must not become one of every request
            self._not_before = time.monotonic() + self._backoff.next_pause()
            bug = None if isinstance(error, ApiError) else error
            cause = type(error).__name__ if bug else str(error)
            # Logged once for each cause, however often it is met.
            if cause != self._failure:
                self._failure = cause
                _log.warning("not fetched", what=self._name, cause=cause, exc_info=bug)
        finally:
            self._fetching = None

    def _found(self) -> T:
        value = self._within(self._longest_seconds)
        if value is None:
            raise self._unavailable()
        return value

    def _within(self, seconds: float) -> T | None:
        if self._value is None or time.monotonic() - self._value[1] >= seconds:
            return None
        return self._value[0]

    def _unavailable(self) -> UnavailableError:
        pause = math.ceil(self._not_before - time.monotonic())
        return UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, self._missing, retry_after_seconds=max(1, pause))
