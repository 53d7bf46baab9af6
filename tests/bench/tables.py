"""The form of figures: ratios within a round, medians with their spread, and aligned Markdown tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.bench.measuring import Load
    from tests.bench.scales import ByScale


def rate(load: Load) -> float:
    """Requests per second."""
    return load.rate


def latency(load: Load) -> float:
    """The median latency, in milliseconds."""
    return load.p50_ms


def processor(load: Load) -> float:
    """The CPU time of a request, including PostgreSQL's, in milliseconds."""
    return load.own_ms + load.database_ms


def ratios(these: Sequence[Load], those: Sequence[Load], figure: Callable[[Load], float]) -> list[float]:
    """The ratio of a figure in each round."""
    return [figure(this) / figure(that) for this, that in zip(these, those, strict=True)]


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """The median, with the minimum and the maximum in brackets."""
    middle, least, greatest = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({least}..{greatest})"


def verdict(*, met: bool) -> str:
    """The verdict on a target."""
    return "met" if met else "MISSED"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, aligned for reading in a terminal."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def figures(loads: Mapping[str, Sequence[Load]]) -> str:
    """The figures of each contender."""
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


def figures_by_scale(of_titles: Mapping[str, ByScale]) -> Iterator[str]:
    """The figures by scale, below their titles."""
    for title, loads in of_titles.items():
        yield f"### {title} by scale"
        yield figures({f"scale {scale:g}, {count} connections": of for (scale, count), of in loads.items()})
