"""Owns the keeping of a value from elsewhere: fetched by one at a time, kept for as long as no new one can be had."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from schema.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
# How soon after a failure the next fetch may begin: what fails is not to be asked by every request.
_PAUSE_SECONDS: Final = 1.0
# How long a request waits for a new value where an old one would do.
_PATIENCE_SECONDS: Final = 1.0


class RefreshedValue(Generic[T]):
    """A value that is fetched when it is asked for, and used until its time is over.

    Beyond that it is fetched anew, and the old one used where that fails or takes long, for `grace_seconds` more.
    `fetch` has a deadline of its own, and raises ApiError.
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
            ApiError: it cannot be fetched, and there is none from before.
        """
        value = self._within(self._ttl_seconds)
        if value is None:
            value = await self.renewed(patience_seconds=_PATIENCE_SECONDS)
        return value

    async def renewed(self, *, patience_seconds: float | None = None) -> T:
        """The value fetched anew, or the old one where that fails, or takes longer than the patience.

        Raises:
            ApiError: it cannot be fetched, and there is none from before.
        """
        if self._fetching is None and time.monotonic() >= self._not_before:
            self._fetching = asyncio.create_task(self._renew())
        fetching = self._fetching
        if fetching is not None:
            old = self._within(self._ttl_seconds + self._grace_seconds)
            # Waited for and not awaited: whoever goes away takes it from nobody else.
            await asyncio.wait({fetching}, timeout=None if old is None else patience_seconds)
        value = self._within(self._ttl_seconds + self._grace_seconds)
        if value is not None:
            return value
        if fetching is not None and fetching.done():
            # A fault of ours is no ApiError, and is seen here.
            fetching.result()
        if self._failure is None:
            raise RuntimeError("neither a value nor a failure")
        raise self._failure.with_traceback(None)

    async def _renew(self) -> None:
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
