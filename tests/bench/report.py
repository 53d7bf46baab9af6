"""Owns the report: ratios first, each of the same round's figures, then the figures; as Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from tests.bench import pages, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.load import Load

    Loads = Mapping[str, Sequence[Load]]

_HOW_TO_READ: Final = """
A figure is the median of all rounds, and in brackets the least and the greatest; a ratio is formed within each round.
"own" and "PostgreSQL" are processor time for each request: where other work goes on beside, it tells more than the
clock. "generator" is how much of one processor the load generator was busy with asking, which for bare asyncpg is the
work itself. "refused" counts answers of 503, in all rounds.
""".strip()
_LEAST_OF_FLOOR: Final = 0.5
_MOST_OF_NEAR: Final = 1.3


def report(about: str, page_loads: Loads, write_loads: Loads) -> str:
    """The whole report."""
    parts = [
        "# make bench",
        about.strip(),
        _HOW_TO_READ,
        "## setOrderStatus: ours in requests/s, relative to the floor",
        _write_ratios(write_loads),
        f"## A page of {pages.SIZE}: what it costs, relative to another",
        _page_ratios(page_loads),
        "## Figures",
        _figures(write_loads),
        _figures(page_loads),
    ]
    return "\n\n".join(parts) + "\n"


def _write_ratios(loads: Loads) -> str:
    rows = []
    for reading in (False, True):
        for floor in (writes.BARE_ASYNCPG, writes.BARE_APP):
            ours = loads[writes.contender(writes.OURS, reading=reading)]
            theirs = loads[writes.contender(floor, reading=reading)]
            ratios = _ratios(ours, theirs, _rate)
            selected = "change and order" if reading else "change"
            met = statistics.median(ratios) >= _LEAST_OF_FLOOR
            cost = _spread(_ratios(ours, theirs, _processor))
            name = f"{selected}: ours / {floor}"
            rows.append((name, _spread(ratios), f">= {_LEAST_OF_FLOOR}", _word(met=met), cost))
    return _table(("setOrderStatus", "requests/s", "target", "", "processor time"), rows)


def _page_ratios(loads: Loads) -> str:
    pairs = [
        *(((place, with_status), ("near", with_status)) for with_status in (True, False) for place in pages.PLACES[1:]),
        *(((place, True), (place, False)) for place in pages.PLACES),
    ]
    rows = []
    for pair in pairs:
        names = [
            [pages.contender(place, with_status=with_status, sequential=sequential) for place, with_status in pair]
            for sequential in (True, False)
        ]
        # Both say what the first costs: how much longer one takes, and how many fewer there are in a second.
        latency = _ratios(loads[names[0][0]], loads[names[0][1]], _latency)
        rate = _ratios(loads[names[1][1]], loads[names[1][0]], _rate)
        met = max(statistics.median(latency), statistics.median(rate)) <= _MOST_OF_NEAR
        cost = _spread(_ratios(loads[names[1][0]], loads[names[1][1]], _processor))
        name = " / ".join(names[1])
        rows.append((name, _spread(latency), _spread(rate), f"<= {_MOST_OF_NEAR}", _word(met=met), cost))
    head = (f"page of {pages.SIZE}", "p50, one client", "1 / (requests/s), 8 clients", "target", "", "processor time")
    return _table(head, rows)


def _figures(loads: Loads) -> str:
    rows = [
        (
            name,
            _spread([_rate(load) for load in rounds], digits=0),
            _spread([_latency(load) for load in rounds]),
            _spread([load.p99_ms for load in rounds]),
            _spread([load.own_ms for load in rounds]),
            _spread([load.database_ms for load in rounds]),
            _spread([load.generator for load in rounds]),
            str(sum(load.refused for load in rounds)),
        )
        for name, rounds in loads.items()
    ]
    return _table(("", "requests/s", "p50 ms", "p99 ms", "own ms", "PostgreSQL ms", "generator", "refused"), rows)


def _rate(load: Load) -> float:
    return load.rate


def _latency(load: Load) -> float:
    return load.p50_ms


def _processor(load: Load) -> float:
    return load.own_ms + load.database_ms


def _ratios(these: Sequence[Load], those: Sequence[Load], figure: Callable[[Load], float]) -> list[float]:
    return [figure(this) / figure(that) for this, that in zip(these, those, strict=True)]


def _spread(values: Sequence[float], *, digits: int = 2) -> str:
    middle, least, greatest = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({least}..{greatest})"


def _word(*, met: bool) -> str:
    return "met" if met else "MISSED"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Padded, so that it reads as well in a terminal."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
