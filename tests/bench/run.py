"""One run: the table, the servers that can be started, and the measurements, one after another."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from server.settings import Settings
from tests.bench import options as parts
from tests.bench import orders as table
from tests.bench.answers import Truth
from tests.bench.changes import CHANGED, change_orders
from tests.bench.contenders import CONTENDERS, FLOOR, OURS, running_ours
from tests.bench.exporting import measure_exports
from tests.bench.latency import MEASURED as LATENCY_WORKS
from tests.bench.latency import measure_latency
from tests.bench.load import CLIENTS, Plan
from tests.bench.measuring import BenchError, Memory
from tests.bench.nested.run import run_nested
from tests.bench.nested.works import COMPARED
from tests.bench.node import NotRunError
from tests.bench.rounds import Measured, measure
from tests.bench.scales import compare_scales, page_by_scale
from tests.bench.soak import Soak, soak
from tests.bench.starting import measure_starts
from tests.bench.works import WORKS
from tests.bench.writes import measure_writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.local.cluster import Cluster
    from tests.bench.contenders import Running, Setup
    from tests.bench.exporting import Exports
    from tests.bench.measuring import Load
    from tests.bench.nested.run import Nested
    from tests.bench.openloop import Offered
    from tests.bench.options import Options
    from tests.bench.scales import ByScale


@dataclass(slots=True)
class Results:
    """The results of a run, as far as they were requested."""

    load_average: float
    orders: int = 0
    measured: Measured = field(default_factory=Measured)
    writes: Mapping[str, Sequence[Load]] = field(default_factory=dict)
    memory: tuple[Memory, Memory] | None = None
    latency: Mapping[tuple[str, str], Sequence[Offered]] = field(default_factory=dict)
    starts: Sequence[float] = ()
    soaks: Sequence[Soak] = ()
    scales: Mapping[str, ByScale] = field(default_factory=dict)
    nested: Nested | None = None
    exports: Exports | None = None

    def with_targets(self) -> list[tuple[str, Mapping[str, Sequence[Load]]]]:
        """The titles and figures of the works in which ours is compared with others."""
        found: dict[str, Mapping[str, Sequence[Load]]] = {
            work.title: self.measured.loads.get(work.name, {}) for work in WORKS if work.targets
        }
        if self.nested:
            found.update({work.title: self.nested.loads.get(work, {}) for work in COMPARED})
        return [(title, loads) for title, loads in found.items() if loads]


def run(cluster: Cluster, options: Options) -> Results:
    """Run the requested measurements."""
    results = Results(os.getloadavg()[0])
    if options.parts - {parts.NESTED}:
        _run_flat(cluster, options, results)
    if parts.NESTED in options.parts:
        results.nested = run_nested(options, results.measured.not_run)
    return results


def _run_flat(cluster: Cluster, options: Options, results: Results) -> None:
    """Measure everything that needs the orders alone."""
    orders, setup = table.load(cluster, options.scale)
    plan = Plan(options.rounds, options.seconds, cluster.process_id())
    results.orders = orders
    measured, chosen = results.measured, options.parts
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runnings = _start(stack, cluster, setup, orders, options, measured.not_run)
        truth, points = Truth(setup.orders_table, cluster.run_sql), table.points(cluster, orders)
        before = Memory.of(runnings[OURS].process_id)
        # Measuring latency at half of the capacity needs the capacity.
        wanted = {*chosen, *(LATENCY_WORKS if parts.LATENCY in chosen else ())}
        works = [work for work in WORKS if wanted & {work.name, work.group}]
        measure(measured, works, list(runnings.values()), points, truth, plan, directory)
        if parts.LATENCY in chosen:
            results.latency = measure_latency(runnings, measured, points, truth, plan)
        results.memory = before, Memory.of(runnings[OURS].process_id)
        if parts.WRITES in chosen and FLOOR in runnings:
            results.writes = _measure_writes(cluster, setup, runnings[FLOOR], orders, plan)
    if parts.EXPORT in chosen:
        results.exports = measure_exports(
            setup, points, Truth(setup.orders_table, cluster.run_sql), plan, measured.not_run
        )
    if parts.STARTUP in chosen:
        results.starts = measure_starts(setup)
    if parts.MEMORY in chosen:
        try:
            results.soaks = soak(cluster, setup, points)
        except BenchError as error:
            measured.not_run.append(f"memory soak: {error}")
    if options.scales:
        results.scales = compare_scales(options.scales, page_by_scale, options, measured.not_run)


def _start(
    stack: ExitStack, cluster: Cluster, setup: Setup, orders: int, options: Options, not_run: list[str]
) -> dict[str, Running]:
    """Start our server first, because the others merge its changes; then the others, as far as they can be started."""
    runnings: dict[str, Running] = {}
    for contender in CONTENDERS:
        if contender.name not in options.contenders:
            continue
        sys.stderr.write(f"Starting {contender.title}\n")
        try:
            runnings[contender.name] = running = stack.enter_context(contender.start(setup))
        except (NotRunError, TimeoutError) as error:
            if contender.name == OURS:
                raise
            not_run.append(f"{contender.title}: {str(error).strip().splitlines()[-1]}")
            continue
        if running.server is not None:
            uvloop.run(
                change_orders(running.server, [key for key, _ in table.every(cluster, orders // CHANGED, 0)][:CHANGED])
            )
            table.settle(cluster)
    return runnings


def _measure_writes(
    cluster: Cluster, setup: Setup, floor: Running, orders: int, plan: Plan
) -> Mapping[str, Sequence[Load]]:
    step = orders // CHANGED
    unchanged = table.every(cluster, step, step // 2)
    settings = Settings(
        database_url=setup.database_url,
        orders_table=setup.orders_table,
        app_schema=setup.app_schema,
        write_pool_size=CLIENTS,
    )
    each = Plan(plan.rounds, min(1.0, plan.seconds), plan.postmaster)
    # Another process of ours: the bench counts the statements in its log, and the first one's log is long by now.
    with running_ours(setup) as ours:
        if ours.server is None:
            raise TypeError(ours)
        writes = measure_writes(ours.server, f"{floor.url}/", floor.process_id, settings, unchanged, each)
        return uvloop.run(writes)
