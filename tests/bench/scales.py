"""The comparison of tables of different sizes: the same pages of each, from separate servers, in the same rounds."""

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
    from tests.bench.wrk import Volley

    # By scale and number of connections.
    ByScale = Mapping[tuple[float, int], Sequence[Load]]
    Prepare = Callable[[ExitStack, Cluster, float], Mapping[str, Volley]]

_WORK: Final = next(work for work in WORKS if work.name == "page100")


def compare_scales(
    scales: Sequence[float], prepare: Prepare, options: Options, not_run: list[str]
) -> Mapping[str, ByScale]:
    """Measure the same volleys at each scale, by title.

    Each scale has a PostgreSQL of its own, so that its tables are there for the next run.

    Args:
        scales: the scale factors.
        prepare: loads the tables of a scale, starts the server, and returns the volleys for it by title.
        options: for how long to measure.
        not_run: the reasons for what is not measured.
    """
    loads: dict[str, dict[tuple[float, int], Sequence[Load]]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        drives: dict[tuple[str, int], dict[float, Callable[[float], Load]]] = {}
        for scale in scales:
            cluster = stack.enter_context(Cluster(options.directory / f"postgres-{scale:g}"))
            volleys = prepare(stack, cluster, scale)
            sys.stderr.write(f"Scale {scale:g} is there\n")
            for title, volley in volleys.items():
                for connections in (1, CLIENTS):
                    script = directory / f"{scale:g}-{title}-{connections}.lua"
                    of_scales = drives.setdefault((title, connections), {})
                    of_scales[scale] = driver(volley, connections, cluster.process_id(), script)
        for (title, connections), of_scales in drives.items():
            name = f"{title} by scale, {connections} connections"
            found = interleave(name, of_scales, options.rounds, options.seconds, not_run, warm_up=True)
            loads.setdefault(title, {}).update({(scale, connections): rounds for scale, rounds in found.items()})
    return loads


def page_by_scale(stack: ExitStack, cluster: Cluster, scale: float) -> Mapping[str, Volley]:
    """Prepare a page of 100 orders."""
    orders, setup = table.load(cluster, scale)
    running = stack.enter_context(running_ours(setup))
    asks = _WORK.asks(table.points(cluster, orders))
    volley = uvloop.run(volley_of(running, f"scale {scale:g}", asks, Truth(setup.orders_table, cluster.run_sql)))
    if volley is None:
        raise TypeError(running)
    return {"page of 100": volley}
