"""The nested bench's run: the tables, the servers that can be started, the comparison, and the cost of depth and scale.

It has a PostgreSQL of its own for each scale, so that the tables are there for the next run.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from server.local.cluster import Cluster
from tests.bench import orders as table
from tests.bench.answers import as_bytes, looked_at
from tests.bench.changes import CHANGED, change_orders
from tests.bench.contenders import OURS
from tests.bench.measuring import BenchError
from tests.bench.nested import tables
from tests.bench.nested.contenders import CONTENDERS, bare_text, ours
from tests.bench.nested.query import expected
from tests.bench.nested.works import COMPARED, ENDS, scale_title
from tests.bench.node import NotRunError
from tests.bench.rounds import SHORT_SECONDS, driver, interleave
from tests.bench.scales import compare_scales
from tests.bench.wrk import Volley

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.bench.contenders import Setup
    from tests.bench.measuring import Load
    from tests.bench.nested.contenders import Running
    from tests.bench.nested.query import NestedPage
    from tests.bench.nested.works import Work
    from tests.bench.options import Options
    from tests.bench.scales import ByScale

# The pools of all servers together exceed PostgreSQL's default limit.
_OPTIONS: Final = {"max_connections": "200"}
# The line items of scale 10 would take 15 GB.
_LARGEST_SCALE: Final = 1.0


@dataclass(slots=True)
class Nested:
    """The figures of each contender in each round of each work, and of ours by scale."""

    orders: int
    loads: dict[Work, dict[str, Sequence[Load]]] = field(default_factory=dict)
    scales: Mapping[str, ByScale] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Truth:
    """The pages of works, and their connections as PostgreSQL finds them."""

    cluster: Cluster
    setup: Setup
    orders: int
    _known: dict[tuple[int, str], tuple[Sequence[NestedPage], Sequence[Any]]] = field(default_factory=dict)

    def of(self, work: Work) -> tuple[Sequence[NestedPage], Sequence[Any]]:
        """The pages of a work, and what they have to contain."""
        key = work.size, work.place
        if key not in self._known:
            pages = work.pages(self.cluster, self.orders)
            merged = f"{self.setup.peers_schema}.merged_orders"
            self._known[key] = pages, expected(pages, merged, self.cluster.run_sql)
        return self._known[key]


def run_nested(options: Options, not_run: list[str]) -> Nested:
    """Run all measurements. A contender that does not start, or answers wrongly, is left out, and the reason noted."""
    with ExitStack() as stack:
        directory = options.directory / f"postgres-{options.nested_scale:g}"
        cluster = stack.enter_context(Cluster(directory, options=_OPTIONS))
        orders, setup = tables.load(cluster, options.nested_scale)
        found = Nested(orders)
        runnings = _start(stack, cluster, setup, orders, options, not_run)
        truth, scripts = Truth(cluster, setup, orders), Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for work in COMPARED:
            found.loads.update(measure([work], runnings, truth, scripts, options, options.seconds, not_run))
        # A server that could not answer these pages does not answer others.
        if all(OURS in found.loads[work] for work in COMPARED):
            for pair in ENDS:
                found.loads.update(measure(pair, runnings[:1], truth, scripts, options, SHORT_SECONDS, not_run))
    scales = [scale for scale in options.scales if scale <= _LARGEST_SCALE]
    try:
        found.scales = compare_scales(scales, _by_scale, options, not_run) if len(scales) > 1 else {}
    except BenchError as error:
        not_run.append(f"nested pages by scale: {error}")
    return found


def _start(
    stack: ExitStack, cluster: Cluster, setup: Setup, orders: int, options: Options, not_run: list[str]
) -> list[Running]:
    runnings: list[Running] = []
    for contender in CONTENDERS:
        if contender.name not in options.contenders:
            continue
        sys.stderr.write(f"Starting {contender.title}\n")
        try:
            running = stack.enter_context(contender.start(setup))
        except (NotRunError, TimeoutError) as error:
            if contender.name == OURS:
                raise
            not_run.append(f"{contender.title}: {str(error).strip().splitlines()[-1]}")
            continue
        runnings.append(running)
        if running.server is not None:
            keys = [key for key, _ in table.every(cluster, orders // CHANGED, 0)][:CHANGED]
            uvloop.run(change_orders(running.server, keys))
            table.settle(cluster)
    return runnings


def measure(
    works: Sequence[Work],
    runnings: Iterable[Running],
    truth: Truth,
    scripts: Path,
    options: Options,
    seconds: float,
    not_run: list[str],
) -> dict[Work, dict[str, Sequence[Load]]]:
    """Measure some works in the same rounds."""
    postmaster = truth.cluster.process_id()
    drives: dict[tuple[Work, str], Callable[[float], Load]] = {}
    for work in works:
        for running in runnings:
            try:
                volley = uvloop.run(_volley(running, work, truth))
            except (BenchError, ConnectionError, asyncio.IncompleteReadError) as error:
                not_run.append(f"{work.title}, {running.name}: {error}")
                continue
            drives[work, running.name] = driver(volley, work.connections, postmaster, scripts / f"{len(drives)}.lua")
    title = " and ".join(work.title for work in works)
    found = interleave(title, drives, options.rounds, seconds, not_run, warm_up=True)
    return {work: {name: rounds for (of, name), rounds in found.items() if of == work} for work in works}


async def _volley(running: Running, work: Work, truth: Truth) -> Volley:
    """The requests of a work, whose responses have all been compared with what PostgreSQL finds."""
    pages, wanted = truth.of(work)
    requests = [as_bytes(running.url, running.graph.request(page)) for page in pages]

    def check(number: int, answer: Any) -> None:
        running.graph.check(running.name, pages[number], answer, wanted[number])

    volley = Volley(f"{running.name}: {work.title}", running.url, running.process_id, requests)
    # All of them, because the pages differ in size: the mean has to be that of the whole round.
    return await looked_at(volley, check, len(requests))


def _by_scale(stack: ExitStack, cluster: Cluster, scale: float) -> Mapping[str, Volley]:
    orders, setup = tables.load(cluster, scale)
    running = stack.enter_context(ours(setup))
    # A larger table costs the statement itself more: its indexes have another level, and the caches hold less of it.
    statement = stack.enter_context(bare_text(setup))
    table.settle(cluster)
    truth = Truth(cluster, setup, orders)
    return {
        scale_title(work, one.name): uvloop.run(_volley(one, work, truth))
        for work in COMPARED
        for one in (running, statement)
    }
