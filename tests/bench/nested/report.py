"""The nested bench's part of the report: its ratios and their targets, and its figures."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from tests.bench import tables
from tests.bench.changes import CHANGED
from tests.bench.contenders import OURS
from tests.bench.nested.contenders import BARE_TEXT, CONTENDERS
from tests.bench.nested.works import COMPARED, ENDS, scale_title
from tests.bench.ratios import largest_to_smallest
from tests.bench.tables import latency, rate, spread, table, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.measuring import Load
    from tests.bench.nested.run import Nested
    from tests.bench.nested.works import Work
    from tests.bench.options import Options
    from tests.bench.scales import ByScale

    Loads = Mapping[Work, Mapping[str, Sequence[Load]]]

_MOST_OF_START: Final = 1.2
_MOST_OF_SMALLEST: Final = 1.3
_HOW_TO_READ: Final = """
A page of orders with customer, nation, up to ten line items and their parts. Every answer of every server was compared with
the rows that PostgreSQL finds.
""".strip()


def ratios(nested: Nested, options: Options) -> Iterator[str]:
    """The sections about ratios."""
    servers = [f"- {one.name}: {one.title}" for one in CONTENDERS if one.name in options.contenders]
    yield "## Nested pages: ours in requests/s, relative to each other server"
    yield "\n".join([_HOW_TO_READ, "", f"- {nested.orders:,} orders, {CHANGED:,} of them changed", *servers])
    if compared := to_others(nested.loads):
        yield compared
    if by_place := at_the_end(nested.loads):
        yield "## Nested pages: the end of the table, relative to its start"
        yield by_place
    if nested.scales:
        yield "## Nested pages: the largest table, relative to the smallest"
        yield by_largest_scale(nested.scales)


def to_others(loads: Loads) -> str | None:
    """Our requests per second, relative to each other server; None if ours was not measured."""
    others = [contender for contender in CONTENDERS if contender.name != OURS]
    rows = []
    for work in COMPARED:
        its = loads.get(work, {})
        if OURS not in its:
            continue
        cells = []
        for other in others:
            if other.name not in its:
                cells.append("not run")
                continue
            found = tables.ratios(its[OURS], its[other.name], rate)
            target = other.target
            target_text = "" if target is None else f" >= {target:g} {verdict(met=statistics.median(found) >= target)}"
            cells.append(f"{spread(found)}{target_text}")
        rows.append((work.title, *cells))
    return table(("", *(other.name for other in others)), rows) if rows else None


def at_the_end(loads: Loads) -> str | None:
    """The latency of our pages at the end of the table, relative to the start; None if they were not measured."""
    rows = []
    for start, end in ENDS:
        first, last = loads.get(start, {}).get(OURS), loads.get(end, {}).get(OURS)
        if first and last:
            found = tables.ratios(last, first, latency)
            met = statistics.median(found) <= _MOST_OF_START
            rows.append((f"{end.title} / start", spread(found), f"<= {_MOST_OF_START}", verdict(met=met)))
    return table(("", "p50", "target", ""), rows) if rows else None


def by_largest_scale(scales: Mapping[str, ByScale]) -> str:
    """The latency of pages of the largest tables, relative to the smallest: ours, and the statement's alone."""
    rows = []
    for work in COMPARED:
        bare = largest_to_smallest(scales.get(scale_title(work, BARE_TEXT), {}))
        for which, found in largest_to_smallest(scales.get(scale_title(work, OURS), {})).items():
            met = statistics.median(found) <= _MOST_OF_SMALLEST
            alone = spread(bare[which]) if which in bare else "not run"
            rows.append((f"{work.title}, {which}", spread(found), f"<= {_MOST_OF_SMALLEST}", verdict(met=met), alone))
    return table(("", "p50", "target", "", BARE_TEXT), rows)


def figures(nested: Nested) -> Iterator[str]:
    """The figures of all works."""
    for work, loads in nested.loads.items():
        if loads:
            yield f"### {work.title}"
            yield tables.figures(loads)
    yield from tables.figures_by_scale(nested.scales)
