"""A subscriber of the feed: the buffer of changes that it has not received yet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from schema.errors import ApiError, Reason, UnavailableError

if TYPE_CHECKING:
    from schema.ports.changes import FeedPlace, StatusChange


class Subscriber:
    """Buffers changes for one subscriber, up to a limit.

    Args:
        order_keys: the orders whose changes it wants; None for all.
        buffer: how many changes may wait.
        since: the place after which changes are buffered; None if the feed does not listen yet.
    """

    def __init__(self, order_keys: frozenset[int] | None, *, buffer: int, since: FeedPlace | None) -> None:
        self._order_keys = order_keys
        self._buffer = buffer
        self._changes: deque[StatusChange] = deque()
        self._news = asyncio.Event()
        self._end: ApiError | None = None
        self._since = since

    def add(self, change: StatusChange) -> bool:
        """Buffer a change, if the subscriber wants it; False if the subscriber is too slow to receive more."""
        if self._order_keys is not None and change.order_key not in self._order_keys:
            return True
        if len(self._changes) >= self._buffer:
            # Drop the buffer: subscribers that do read need the memory, and the history has every change.
            self._changes.clear()
            self.end(
                UnavailableError(
                    Reason.SUBSCRIBER_TOO_SLOW,
                    f"More than {self._buffer:,} changes were waiting for you. Subscribe again with `after`, the "
                    "cursor of the last change that you received. Nothing is lost.",
                )
            )
            return False
        self._changes.append(change)
        self._news.set()
        return True

    def begin(self, since: FeedPlace) -> None:
        """Set the place after which changes are buffered."""
        self._since = since
        self._news.set()

    async def since(self) -> FeedPlace:
        """Wait until the feed listens, and return the place after which changes are buffered.

        Raises:
            ApiError: the subscription has been ended.
        """
        while self._since is None:
            await self._wait()
        return self._since

    def end(self, error: ApiError) -> None:
        """End the subscription with this error, after the changes that are buffered."""
        self._end = error
        self._news.set()

    async def next(self) -> StatusChange:
        """Wait for the next change.

        Raises:
            ApiError: the subscription has been ended.
        """
        while not self._changes:
            await self._wait()
        return self._changes.popleft()

    async def _wait(self) -> None:
        if self._end is not None:
            raise self._end
        self._news.clear()
        await self._news.wait()
