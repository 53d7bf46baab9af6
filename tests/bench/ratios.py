"""The report's ratios and their targets: to other servers, by depth and scale, of writes, latencies and memory."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from tests.bench import works, writes
from tests.bench.contenders import CONTENDERS, OURS
from tests.bench.load import CLIENTS
from tests.bench.tables import latency, processor, rate, ratios, spread, table, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.measuring import Load
    from tests.bench.openloop import Offered
    from tests.bench.scales import ByScale
    from tests.bench.soak import Soak

    Loads = Mapping[str, Sequence[Load]]

_LEAST_OF_FLOOR: Final = 0.5
_MOST_OF_START: Final = 1.15
_MOST_OF_PLAIN: Final = 1.3
_MOST_OF_SMALLEST: Final = 1.25
_MOST_OF_MEDIAN: Final = 3.0
_MOST_MEGABYTES: Final = 130.0
_MOST_GROWTH_MEGABYTES: Final = 3.0


def to_others(loads: Mapping[str, Loads]) -> str:
    """Our requests per second in each work, relative to each other server."""
    others = [contender.name for contender in CONTENDERS if contender.name != OURS]
    rows = []
    for work in works.WORKS:
        its = loads.get(work.name, {})
        if OURS not in its or work.group == works.DEPTH:
            continue
        cells = []
        for other in others:
            if other not in its:
                cells.append("not run")
                continue
            found = ratios(its[OURS], its[other], rate)
            target = (work.targets or {}).get(other)
            target_text = "" if target is None else f" >= {target:g} {verdict(met=statistics.median(found) >= target)}"
            cells.append(f"{spread(found)}{target_text}")
        rows.append((work.title, *cells))
    return table(("work", *others), rows)


def by_depth(loads: Mapping[str, Loads]) -> str | None:
    """The cost of a page by its place relative to the start, and with status relative to without; None if missing."""
    start, *others = works.PLACES
    pairs = [
        *(((place, status), (start, status), _MOST_OF_START) for status in (False, True) for place in others),
        *(((place, True), (place, False), _MOST_OF_PLAIN) for place in works.PLACES),
    ]
    rows = []
    for (place, status), base, most in pairs:
        name = f"{_place(place, status=status)} / {_place(base[0], status=base[1])}"
        found = [
            loads.get(works.depth_name(where, status=merged, connections=count), {}).get(OURS)
            for where, merged in ((place, status), base)
            for count in (1, CLIENTS)
        ]
        alone, together, base_alone, base_together = found
        if not (alone and together and base_alone and base_together):
            continue
        # Both ratios compare latencies: with one client, and with eight.
        by_one, by_all = ratios(alone, base_alone, latency), ratios(together, base_together, latency)
        met = max(statistics.median(by_one), statistics.median(by_all)) <= most
        cost = spread(ratios(together, base_together, processor))
        rows.append((name, spread(by_one), spread(by_all), f"<= {most}", verdict(met=met), cost))
    if not rows:
        return None
    return table(("", "p50, one client", f"p50, {CLIENTS} clients", "target", "", "processor time"), rows)


def _place(place: str, *, status: bool) -> str:
    return f"{place}, with status" if status else place


def of_writes(loads: Loads) -> str:
    """Status changes, relative to the server's own statements on asyncpg alone and behind a bare application."""
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
            rows.append((name, spread(found), f">= {_LEAST_OF_FLOOR}", verdict(met=met), cost))
    return table(("setOrderStatus", "requests/s", "target", "", "processor time"), rows)


def by_scale(of_titles: Mapping[str, ByScale]) -> str:
    """The cost of pages of the largest table, relative to the smallest."""
    rows = []
    for title, loads in of_titles.items():
        for which, found in largest_to_smallest(loads).items():
            met = statistics.median(found) <= _MOST_OF_SMALLEST
            rows.append((f"{title}, {which}", spread(found), f"<= {_MOST_OF_SMALLEST}", verdict(met=met)))
    return table(("", "p50", "target", ""), rows)


def largest_to_smallest(loads: ByScale) -> Mapping[str, list[float]]:
    """The ratios of the latency at the largest scale to that at the smallest, for each number of connections."""
    scales = sorted({scale for scale, _ in loads})
    return {
        f"scale {scales[-1]:g} / {scales[0]:g}, {connections} connections": ratios(
            loads[scales[-1], connections], loads[scales[0], connections], latency
        )
        for connections in (1, CLIENTS)
        if len(scales) > 1 and all((scale, connections) in loads for scale in (scales[0], scales[-1]))
    }


def of_latencies(offered: Mapping[tuple[str, str], Sequence[Offered]]) -> str:
    """The 99th percentile relative to the median, at half of the capacity."""
    titles = {work.name: work.title for work in works.WORKS}
    rows = []
    for (work, name), rounds in offered.items():
        found = [one.latency.p99 / one.latency.p50 for one in rounds]
        met = statistics.median(found) <= _MOST_OF_MEDIAN
        rows.append(
            (
                f"{titles[work]}: {name}",
                spread(found),
                *((f"<= {_MOST_OF_MEDIAN:g}", verdict(met=met)) if name == OURS else ("", "")),
                f"{rounds[0].rate:,.0f}",
                spread([one.latency.p50 for one in rounds]),
                spread([one.latency.p99 for one in rounds]),
                spread([one.latency.most for one in rounds]),
                *(spread([value(one) for one in rounds]) for value in (_late_p50, _late_p99, _late_most)),
            )
        )
    late = ("late p50 ms", "late p99 ms", "late most ms")
    return table(("", "p99 / p50", "target", "", "requests/s", "p50 ms", "p99 ms", "most ms", *late), rows)


def _late_p50(offered: Offered) -> float:
    return offered.lateness.p50


def _late_p99(offered: Offered) -> float:
    return offered.lateness.p99


def _late_most(offered: Offered) -> float:
    return offered.lateness.most


def of_memory(soaks: Sequence[Soak]) -> str:
    """The process's memory after many pages, and its growth from the first tenth of them to the last."""
    rows = []
    for soak in soaks:
        last, growth = soak.tenths[-1], soak.tenths[-1].resident - soak.tenths[0].resident
        met = growth <= _MOST_GROWTH_MEGABYTES and (soak.with_sdk or last.resident <= _MOST_MEGABYTES)
        rows.append(
            (
                "SDK loaded" if soak.with_sdk else "SDK not loaded",
                f"{soak.before.resident:.1f} ({soak.before.unique:.1f})",
                f"{last.resident:.1f} ({last.unique:.1f})",
                "" if soak.with_sdk else f"<= {_MOST_MEGABYTES:g}",
                f"{growth:+.1f}",
                f"<= {_MOST_GROWTH_MEGABYTES:g}",
                verdict(met=met),
                " ".join(f"{one.resident:.1f}" for one in soak.tenths),
            )
        )
    head = ("resident MB (its own)", "before", "after", "target", "last tenth - first", "target", "", "each tenth")
    return table(head, rows)
