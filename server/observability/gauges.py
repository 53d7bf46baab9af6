"""Owns the sampling of what is a state and no event: pools, subscribers, operations at work, readiness."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from server.observability import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_EVERY_SECONDS: Final = 1.0


class PoolState(Protocol):
    """A pool of database connections as it is now."""

    @property
    def name(self) -> str:
        """What it is for."""

    @property
    def size(self) -> int:
        """How many connections it may have."""

    @property
    def used(self) -> int:
        """How many are at work."""

    @property
    def idle(self) -> int:
        """How many are open and not at work."""

    @property
    def waiting(self) -> int:
        """How many wait for one."""


class Sampler:
    """Sets the gauges of this process: at each scrape, and every second where another worker may be the one scraped."""

    def __init__(
        self,
        *,
        pools: Callable[[], Iterable[PoolState]],
        feed_subscribers: Callable[[], int],
        operations_at_work: Callable[[], Mapping[str, int]],
        ready: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._pools = pools
        self._feed_subscribers = feed_subscribers
        self._operations_at_work = operations_at_work
        self._ready = ready
        self._sampling: asyncio.Task[None] | None = None

    def sample(self) -> None:
        """Set the gauges to what is now, and count what was noted since."""
        metrics.count()
        for pool in self._pools():
            metrics.set_pool(pool.name, size=pool.size, used=pool.used, idle=pool.idle, waiting=pool.waiting)
        metrics.set_feed_subscribers(self._feed_subscribers())
        metrics.set_operations_at_work(self._operations_at_work())
        metrics.set_ready(self._ready())

    def start(self) -> None:
        """Begin to sample."""
        self.sample()
        if metrics.MULTIPROCESS:
            self._sampling = asyncio.create_task(self._sample_on(), name="metrics")

    async def close(self) -> None:
        """Stop sampling, with everything counted."""
        metrics.count()
        if self._sampling is not None:
            self._sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sampling

    async def _sample_on(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)  # between two samples
            self.sample()
