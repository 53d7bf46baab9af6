"""Owns what is told at a scrape: the metrics of all workers, and what follows from them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from server.observability.metrics import DESCRIBED, MINTED, MULTIPROCESS, REGISTRY, Described

if TYPE_CHECKING:
    from collections.abc import Iterable

_AGE: Final = Described(
    "orders_api_token_age_seconds",
    (),
    "Age of the latest database token: one lives an hour and is renewed at half of that, so alert at 50 minutes.",
)
_PROCESS: Final = Described(
    "process_*",
    (),
    "Memory, processor time and open files of the worker that was scraped; of several, one at a time.",
)


class _Exposed(Collector):
    def collect(self) -> Iterable[Metric]:
        # Every worker's files, and the age after them: it has to be right whichever worker is asked.
        source: Collector = MultiProcessCollector(None) if MULTIPROCESS else REGISTRY  # type: ignore[no-untyped-call] # prometheus_client leaves it untyped
        for metric in source.collect():
            yield metric
            if metric.name == MINTED and metric.samples and (minted := metric.samples[0].value):
                yield GaugeMetricFamily(_AGE.name, _AGE.meaning, max(0.0, time.time() - minted))


_EXPOSED: Final = CollectorRegistry()
_EXPOSED.register(_Exposed())
ProcessCollector(registry=_EXPOSED)


def exposition(accept: str) -> tuple[bytes, str]:
    """All metrics in the format that an `Accept` header asks for, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(_EXPOSED), media_type


def metrics_table() -> str:
    """The table of all metrics as Markdown, for the README (a test holds the two together)."""
    rows = ["| metric | labels | what to do with it |", "| --- | --- | --- |"]
    for metric in (*DESCRIBED, _AGE, _PROCESS):
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{metric.name}` | {labels} | {metric.meaning} |")
    return "\n".join(rows)
