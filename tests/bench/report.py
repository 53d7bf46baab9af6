"""The report in Markdown: first the ratios, each between figures of the same round, then the figures."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Final

from tests.bench import ratios, works, wrk
from tests.bench.changes import CHANGED
from tests.bench.contenders import CONTENDERS
from tests.bench.exporting import report_on
from tests.bench.load import CLIENTS
from tests.bench.nested import report as nested
from tests.bench.tables import figures, figures_by_scale, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster
    from tests.bench.options import Options
    from tests.bench.run import Results

_HOW_TO_READ: Final = """
A figure is the median of all rounds, with the minimum and the maximum in brackets. A ratio is formed within each round.
"own" and "PostgreSQL" are CPU time per request, which is more reliable than the clock if the machine does other work.
"generator" is the share of one CPU that the load generator used, which for bare asyncpg is the work itself. "refused"
counts responses of 503 in all rounds. A server gets no work that it has no usual means for: the guide's recipe has neither
a selection of fields nor filters, PostGraphile's filters are equalities and its count is exact.
""".strip()
_ON_LATENCY: Final = """
A separate process sends the requests on a fixed schedule, and a latency counts from the scheduled moment. "late" is how
much later they went out, which is due to the generator, or to a machine with too few CPUs.
""".strip()


def report(cluster: Cluster, options: Options, results: Results) -> str:
    """The whole report."""
    return "\n\n".join(["# make bench", _about(cluster, options, results), *_sections(options, results)]) + "\n"


def _sections(options: Options, results: Results) -> Iterator[str]:
    loads = results.measured.loads
    if any(work.group != works.DEPTH and loads.get(work.name) for work in works.WORKS):
        yield "## Ours in requests/s, relative to each other server"
        yield ratios.to_others(loads)
    if by_depth := ratios.by_depth(loads):
        yield "## Depth and status: a page of 100, relative to another"
        yield by_depth
    if results.scales:
        yield "## Scale: a page of 100 of the largest table, relative to the smallest"
        yield ratios.by_scale(results.scales)
    if results.latency:
        yield "## Latency at half of the capacity"
        yield _ON_LATENCY
        yield ratios.of_latencies(results.latency)
    if results.writes:
        yield "## setOrderStatus: ours in requests/s, relative to the floor"
        yield ratios.of_writes(results.writes)
    if results.exports:
        yield "## Exports of all orders"
        yield report_on(results.exports)
    if results.soaks:
        yield f"## Memory, {results.soaks[0].requests:,} pages of 100"
        yield ratios.of_memory(results.soaks)
    if results.nested:
        yield from nested.ratios(results.nested, options)
    if results.measured.not_run:
        yield "## Not run"
        yield "\n".join(f"- {' '.join(reason.split())}" for reason in results.measured.not_run)
    yield "## Figures"
    yield _HOW_TO_READ
    yield from _all_figures(results)


def _all_figures(results: Results) -> Iterator[str]:
    for work in works.WORKS:
        if found := results.measured.loads.get(work.name):
            yield f"### {work.title}"
            yield figures(found)
    yield from figures_by_scale(results.scales)
    if results.writes:
        yield "### setOrderStatus"
        yield figures(results.writes)
    if results.starts:
        yield f"From `python -m server` to the first page of 10 orders: {spread(results.starts)} s."
    if results.memory:
        before, after = results.memory
        yield (
            f"Our process had {before.resident:.0f} MB resident ({before.unique:.0f} its own) before the works, and "
            f"{after.resident:.0f} MB ({after.unique:.0f}) after them."
        )
    if results.nested:
        yield from nested.figures(results.nested)


def _about(cluster: Cluster, options: Options, results: Results) -> str:
    flushing = ", ".join(f"{name} {cluster.run_sql(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit"))
    generator = "wrk -t1" if wrk.available() else f"asyncio clients, because {wrk.HOW_TO_GET_IT}"
    servers = "\n".join(
        f"- {contender.name}: {contender.title}"
        for contender in CONTENDERS
        if results.orders and contender.name in options.contenders
    )
    orders = f"{results.orders:,} orders, {CHANGED:,} of them changed; " if results.orders else ""
    return (
        f"- {orders}PostgreSQL {cluster.version}, {flushing}\n"
        f"- {CLIENTS} connections from {generator}; {options.rounds} rounds of {options.seconds:g} s each, of 1 s where "
        "there is no target; every answer's keys and values were checked first\n"
        f"- {os.cpu_count()} CPUs, which the load generator, the servers and PostgreSQL share; load average "
        f"{results.load_average:.1f} before; Python {platform.python_version()}\n"
        f"{servers}"
    )
