"""Owns one run: the table, the servers that can be started, and each part of what is measured, one after the other."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvloop

from server.settings import Settings
from tests.bench import options as parts
from tests.bench import orders as table
from tests.bench.answers import Truth
from tests.bench.changes import CHANGED, change_orders
from tests.bench.contenders import CONTENDERS, FLOOR, OURS
from tests.bench.load import CLIENTS, Plan
from tests.bench.node import NotRunError
from tests.bench.rounds import Measured, measure
from tests.bench.works import WORKS
from tests.bench.writes import measure_writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.local.cluster import Cluster
    from tests.bench.contenders import Running, Setup
    from tests.bench.measuring import Load
    from tests.bench.options import Options


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MB: all that is resident, and what would be free without it."""

    resident: float
    unique: float

    @classmethod
    def of(cls, process_id: int) -> Memory:
        """That of a process now."""
        info = psutil.Process(process_id).memory_full_info()
        return cls(info.rss / 1e6, info.uss / 1e6)


@dataclass(slots=True)
class Results:
    """All that a run has found, as far as it was asked for."""

    orders: int
    load_average: float
    measured: Measured = field(default_factory=Measured)
    writes: Mapping[str, Sequence[Load]] = field(default_factory=dict)
    memory: tuple[Memory, Memory] | None = None


def run(cluster: Cluster, options: Options) -> Results:
    """Measure at the first of the scales."""
    orders, setup = table.load(cluster, options.scales[0])
    plan = Plan(options.rounds, options.seconds, cluster.process_id())
    results = Results(orders, os.getloadavg()[0])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runnings = _start(stack, cluster, setup, orders, options, results.measured.not_run)
        ours = runnings[OURS]
        before = Memory.of(ours.process_id)
        works = [work for work in WORKS if options.parts & {work.name, work.group}]
        truth = Truth(setup.orders_table, cluster.run_sql)
        points = table.points(cluster, orders)
        not_run = results.measured.not_run
        results.measured = measure(works, list(runnings.values()), points, truth, plan, directory)
        results.measured.not_run[:0] = not_run
        results.memory = before, Memory.of(ours.process_id)
        if parts.WRITES in options.parts and FLOOR in runnings:
            results.writes = _measure_writes(cluster, setup, runnings, orders, plan)
    return results


def _start(
    stack: ExitStack, cluster: Cluster, setup: Setup, orders: int, options: Options, not_run: list[str]
) -> dict[str, Running]:
    """Ours first, whose changes the others merge; then as many of the others as can be started."""
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
            not_run.append(f"{contender.title}: {error}")
            continue
        if running.server is not None:
            uvloop.run(
                change_orders(running.server, [key for key, _ in table.every(cluster, orders // CHANGED, 0)][:CHANGED])
            )
            table.settle(cluster)
    return runnings


def _measure_writes(
    cluster: Cluster, setup: Setup, runnings: Mapping[str, Running], orders: int, plan: Plan
) -> Mapping[str, Sequence[Load]]:
    ours, floor = runnings[OURS], runnings[FLOOR]
    if ours.server is None:
        raise TypeError(ours)
    step = orders // CHANGED
    unchanged = table.every(cluster, step, step // 2)
    settings = Settings(
        database_url=setup.database_url,
        orders_table=setup.orders_table,
        app_schema=setup.app_schema,
        write_pool_size=CLIENTS,
    )
    each = Plan(plan.rounds, min(1.0, plan.seconds), plan.postmaster)
    return uvloop.run(measure_writes(ours.server, floor.url, floor.process_id, settings, unchanged, each))
