"""A cached value that is fetched anew when it expires, and kept while the fetch fails."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from schema.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
# The pause after a failed fetch, so that not every request calls a service that fails.
_PAUSE_SECONDS: Final = 1.0
# How long a request waits for a new value if it can use the old one.
_PATIENCE_SECONDS: Final = 1.0


class RefreshedValue(Generic[T]):
    """A value that is fetched on first use. All callers share one fetch.

    Args:
        fetch: fetches the value within a deadline of its own, or raises ApiError.
        ttl_seconds: how long the value is used before it is fetched anew.
        grace_seconds: how much longer the old value is used while a new fetch fails or is slow.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, ttl_seconds: float, grace_seconds: float) -> None:
        self._fetch = fetch
        self._ttl_seconds = ttl_seconds
        self._grace_seconds = grace_seconds
        self._value: tuple[T, float] | None = None
        self._failure: ApiError | None = None
        self._not_before = 0.0
        self._fetching: asyncio.Task[None] | None = None

    @property
    def fetching(self) -> bool:
        """Whether a fetch is under way."""
        return self._fetching is not None

    async def get(self) -> T:
        """The value.

        Raises:
            ApiError: the fetch failed, and there is no old value.
        """
        value = self._within(self._ttl_seconds)
        if value is None:
            value = await self.refresh(patience_seconds=_PATIENCE_SECONDS)
        return value

    async def refresh(self, *, patience_seconds: float | None = None) -> T:
        """Fetch the value anew, and return the old one if that fails or takes longer than `patience_seconds`.

        Raises:
            ApiError: the fetch failed, and there is no old value.
        """
        if self._fetching is None and time.monotonic() >= self._not_before:
            self._fetching = asyncio.create_task(self._fetch_value(), name="refresh", context=Context())
        fetching = self._fetching
        if fetching is not None:
            old = self._within(self._ttl_seconds + self._grace_seconds)
            # `wait` does not cancel the fetch for the other callers if this caller goes away.
            await asyncio.wait({fetching}, timeout=None if old is None else patience_seconds)
        value = self._within(self._ttl_seconds + self._grace_seconds)
        if value is not None:
            return value
        if fetching is not None and fetching.done():
            # A bug is not an ApiError, and is raised here.
            fetching.result()
        if self._failure is None:
            raise RuntimeError("neither a value nor a failure")
        raise self._failure.with_traceback(None)

    async def _fetch_value(self) -> None:
        try:
            self._value = (await self._fetch(), time.monotonic())
        except ApiError as error:
            self._failure = error
            self._not_before = time.monotonic() + _PAUSE_SECONDS
        finally:
            self._fetching = None

    def _within(self, seconds: float) -> T | None:
        if self._value is None or time.monotonic() - self._value[1] >= seconds:
            return None
        return self._value[0]
