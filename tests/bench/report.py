"""Owns the report: ratios first, each of the same round's figures, then the figures; as Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from typing import TYPE_CHECKING, Final

from tests.bench import works, writes, wrk
from tests.bench.changes import CHANGED
from tests.bench.contenders import CONTENDERS, OURS
from tests.bench.load import CLIENTS
from tests.bench.tables import latency, processor, rate, ratios, spread, table, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from server.local.cluster import Cluster
    from tests.bench.measuring import Load
    from tests.bench.options import Options
    from tests.bench.run import Results

    Loads = Mapping[str, Sequence[Load]]

_HOW_TO_READ: Final = """
A figure is the median of all rounds, and in brackets the least and the greatest; a ratio is formed within each round.
"own" and "PostgreSQL" are processor time for each request: where other work goes on beside, it tells more than the
clock. "generator" is how much of one processor the load generator was busy with asking, which for bare asyncpg is the
work itself. "refused" counts answers of 503, in all rounds.
""".strip()
_LEAST_OF_FLOOR: Final = 0.5
_MOST_OF_START: Final = 1.15


def report(cluster: Cluster, options: Options, results: Results) -> str:
    """The whole report."""
    return "\n\n".join(["# make bench", _about(cluster, options, results), *_sections(results)]) + "\n"


def _sections(results: Results) -> Iterator[str]:
    loads = results.measured.loads
    yield "## Ours in requests/s, relative to each other server"
    yield _ratios_to_others(loads)
    if any(name in loads for name in _depth_names()):
        yield "## Depth: a page of 100, relative to the start of the table"
        yield _depth(loads)
    if results.writes:
        yield "## setOrderStatus: ours in requests/s, relative to the floor"
        yield _write_ratios(results.writes)
    if results.measured.not_run:
        yield "## Not run"
        yield "\n".join(f"- {reason}" for reason in results.measured.not_run)
    yield "## Figures"
    yield _HOW_TO_READ
    for work in works.WORKS:
        if loads.get(work.name):
            yield f"### {work.title}"
            yield _figures(loads[work.name])
    if results.writes:
        yield "### setOrderStatus"
        yield _figures(results.writes)
    if results.memory:
        before, after = results.memory
        yield (
            f"Our process held {before.resident:.0f} MB resident ({before.unique:.0f} its own) before the works, and "
            f"{after.resident:.0f} MB ({after.unique:.0f}) after them."
        )


def _about(cluster: Cluster, options: Options, results: Results) -> str:
    flushing = ", ".join(f"{name} {cluster.run_sql(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit"))
    generator = "wrk -t1" if wrk.available() else f"asyncio clients, since {wrk.HOW_TO_GET_IT}"
    servers = "\n".join(
        f"- {contender.name}: {contender.title}" for contender in CONTENDERS if contender.name in options.contenders
    )
    return (
        f"- {results.orders:,} orders, {CHANGED:,} of them changed; PostgreSQL {cluster.version}, {flushing}\n"
        f"- {CLIENTS} connections from {generator}; {options.rounds} rounds of {options.seconds:g} s each, of 1 s where "
        "there is no target; every answer's keys and values were looked at first\n"
        f"- {os.cpu_count()} processors, which the load generator, the servers and PostgreSQL share; load average "
        f"{results.load_average:.1f} before; Python {platform.python_version()}\n"
        f"{servers}"
    )


def _ratios_to_others(loads: Mapping[str, Loads]) -> str:
    others = [contender.name for contender in CONTENDERS if contender.name != OURS]
    rows = []
    for work in works.WORKS:
        its = loads.get(work.name, {})
        if OURS not in its or work.group == "depth":
            continue
        cells = []
        for other in others:
            if other not in its:
                cells.append("not run")
                continue
            found = ratios(its[OURS], its[other], rate)
            target = (work.targets or {}).get(other)
            verdict = "" if target is None else f" >= {target:g} {word(met=statistics.median(found) >= target)}"
            cells.append(f"{spread(found)}{verdict}")
        rows.append((work.title, *cells))
    return table(("work", *others), rows)


def _depth_names() -> list[str]:
    return [work.name for work in works.WORKS if work.group == "depth"]


def _depth(loads: Mapping[str, Loads]) -> str:
    rows = []
    for status in (False, True):
        for place in works.PLACES[1:]:
            here, start = (
                [loads[works.depth_name(where, status=status, connections=count)][OURS] for count in (1, CLIENTS)]
                for where in (place, works.PLACES[0])
            )
            alone = ratios(here[0], start[0], latency)
            together = ratios(here[1], start[1], latency)
            met = max(statistics.median(alone), statistics.median(together)) <= _MOST_OF_START
            cost = spread(ratios(here[1], start[1], processor))
            name = f"{place} / {works.PLACES[0]}{', with status' if status else ''}"
            rows.append((name, spread(alone), spread(together), f"<= {_MOST_OF_START}", word(met=met), cost))
    return table(("", "p50, one client", f"p50, {CLIENTS} clients", "target", "", "processor time"), rows)


def _write_ratios(loads: Loads) -> str:
    rows = []
    for reading in (False, True):
        for floor in (writes.BARE_ASYNCPG, writes.BARE_APP):
            ours = loads[writes.contender(writes.OURS, reading=reading)]
            theirs = loads[writes.contender(floor, reading=reading)]
            found = ratios(ours, theirs, rate)
            selected = "change and order" if reading else "change"
            met = statistics.median(found) >= _LEAST_OF_FLOOR
            cost = spread(ratios(ours, theirs, processor))
            name = f"{selected}: ours / {floor}"
            rows.append((name, spread(found), f">= {_LEAST_OF_FLOOR}", word(met=met), cost))
    return table(("setOrderStatus", "requests/s", "target", "", "processor time"), rows)


def _figures(loads: Loads) -> str:
    rows = [
        (
            name,
            spread([load.rate for load in rounds], digits=0),
            spread([load.p50_ms for load in rounds]),
            spread([load.p99_ms for load in rounds]),
            spread([load.own_ms for load in rounds], digits=3),
            spread([load.database_ms for load in rounds], digits=3),
            spread([load.generator for load in rounds]),
            str(sum(load.refused for load in rounds)),
        )
        for name, rounds in loads.items()
    ]
    return table(("", "requests/s", "p50 ms", "p99 ms", "own ms", "PostgreSQL ms", "generator", "refused"), rows)
