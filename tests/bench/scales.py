"""The comparison of tables of different sizes: the same page of each, from separate servers, in the same rounds."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from server.local.cluster import Cluster
from tests.bench import orders as table
from tests.bench.answers import Truth, volley_of
from tests.bench.contenders import running_ours
from tests.bench.load import CLIENTS
from tests.bench.rounds import driver, interleave
from tests.bench.works import WORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.measuring import Load
    from tests.bench.options import Options

_WORK: Final = next(work for work in WORKS if work.name == "page100")


def compare_scales(options: Options, not_run: list[str]) -> Mapping[tuple[float, int], Sequence[Load]]:
    """Measure a page of 100 orders by scale and number of connections.

    Each scale has a PostgreSQL of its own, so that its table is there for the next run.
    """
    loads: dict[tuple[float, int], Sequence[Load]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        drives: dict[int, dict[str, Callable[[float], Load]]] = {1: {}, CLIENTS: {}}
        for scale in options.scales:
            cluster = stack.enter_context(Cluster(options.directory / f"postgres-{scale:g}"))
            orders, setup = table.load(cluster, scale)
            running = stack.enter_context(running_ours(setup))
            sys.stderr.write(f"Scale {scale:g} is there\n")
            asks = _WORK.asks(table.points(cluster, orders))
            volley = uvloop.run(
                volley_of(running, f"scale {scale:g}", asks, Truth(setup.orders_table, cluster.run_sql))
            )
            if volley is None:
                raise TypeError(running)
            for connections, of_scales in drives.items():
                script = directory / f"{scale:g}-{connections}.lua"
                of_scales[f"{scale:g}"] = driver(volley, connections, cluster.process_id(), script)
        for connections, of_scales in drives.items():
            title = f"scales, {connections} connections"
            found = interleave(title, of_scales, options.rounds, options.seconds, not_run, warm_up=True)
            loads.update({(float(scale), connections): rounds for scale, rounds in found.items()})
    return loads
