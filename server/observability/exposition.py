"""The metrics at a scrape: this process's gauges are brought up to date, and all workers' metrics are added up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from server.observability import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Prometheus scrapes every 15 s or so: gauges that are a second old are new enough.
_SAMPLE_SECONDS: Final = 1.0


class PoolState(Protocol):
    """A pool of database connections as it is now."""

    @property
    def name(self) -> str:
        """What the pool is for."""

    @property
    def size(self) -> int:
        """How many connections it may have."""

    @property
    def used(self) -> int:
        """How many connections are in use."""

    @property
    def idle(self) -> int:
        """How many connections are open and not in use."""

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""


class Sampler:
    """Sets the gauges of this process: they show a state, where counters count events.

    It does so at each scrape, and with several workers every second, because a scrape may reach another worker.
    `scraped` is called at a scrape that reaches this one.
    """

    def __init__(
        self,
        *,
        pools: Callable[[], Iterable[PoolState]],
        feed_subscribers: Callable[[], int],
        operations_at_work: Callable[[], Mapping[str, int]],
        memory: Callable[[], tuple[int, int | None]],
        ready: Callable[[], Mapping[str, bool]],
        scraped: Callable[[], None] = lambda: None,
    ) -> None:
        self._pools = pools
        self._feed_subscribers = feed_subscribers
        self._operations_at_work = operations_at_work
        self._memory = memory
        self._ready = ready
        self.scraped = scraped
        self._sampling: asyncio.Task[None] | None = None

    def sample(self) -> None:
        """Set the gauges, and count what was observed since the last time."""
        metrics.count()
        for pool in self._pools():
            metrics.set_pool(pool.name, size=pool.size, used=pool.used, idle=pool.idle, waiting=pool.waiting)
        metrics.set_feed_subscribers(self._feed_subscribers())
        metrics.set_operations_at_work(self._operations_at_work())
        metrics.set_memory(*self._memory())
        metrics.set_ready(self._ready())

    def start(self) -> None:
        """Sample once, and with several workers from now on."""
        self.sample()
        if metrics.MULTIPROCESS:
            self._sampling = asyncio.create_task(self._keep_sampling(), name="metrics")

    async def close(self) -> None:
        """Stop sampling. Everything observed is counted first."""
        metrics.count()
        if self._sampling is not None:
            self._sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sampling

    async def _keep_sampling(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)  # between two samples
            self.sample()


class _AllWorkers(Collector):
    """The metrics of all workers, and the ages of the token and of the last syncs."""

    def collect(self) -> Iterable[Metric]:
        source: Collector = MultiProcessCollector(None) if metrics.MULTIPROCESS else metrics.REGISTRY  # type: ignore[no-untyped-call] # prometheus_client leaves it untyped
        for metric in source.collect():
            yield metric
            # The age is computed here, because any worker may have minted the token.
            if metric.name == metrics.MINTED and metric.samples and (minted := metric.samples[0].value):
                yield GaugeMetricFamily(metrics.AGE, metrics.AGE_MEANING, max(0.0, time.time() - minted))
            if metric.name == metrics.SYNCED:
                ages = GaugeMetricFamily(metrics.SYNC_AGE, metrics.SYNC_AGE_MEANING, labels=["table"])
                for sample in metric.samples:
                    if sample.value:
                        ages.add_metric([sample.labels["table"]], max(0.0, time.time() - sample.value))
                yield ages


_EXPOSED: Final = CollectorRegistry()
_EXPOSED.register(_AllWorkers())
ProcessCollector(registry=_EXPOSED)


def exposition(accept: str) -> tuple[bytes, str]:
    """All metrics in the format that an `Accept` header asks for, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(_EXPOSED), media_type
