"""`make load`: twice the capacity for a minute, and 500 trickling clients, against a PostgreSQL of its own."""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from server.local.cluster import Cluster
from tests.bench import orders as table
from tests.bench.answers import Truth, volley_of
from tests.bench.contenders import running_ours
from tests.bench.tables import verdict
from tests.bench.works import WORKS
from tests.load.figures import percentile, quantiles
from tests.load.generator import Phase, PhaseResult, offer, results_of
from tests.load.processors import give, keep_away
from tests.load.trickling import trickle

if TYPE_CHECKING:
    from tests.bench import wrk

_WORK: Final = next(work for work in WORKS if work.name == "page100")
_OVER: Final = 2.0
_CALM: Final = 0.4
_CALM_SECONDS: Final = 5.0
_CAPACITY_SECONDS: Final = 8.0
# As many requests as the server admits at once.
_CLIENTS: Final = 40
_CONNECTIONS: Final = 800
_CALM_CONNECTIONS: Final = 64
_TRICKLING: Final = 500
_TRICKLING_SECONDS: Final = 15.0
_WINDOW_SECONDS: Final = 0.1
# Latencies up to twice those before count as normal, and a hiccup of the machine does not count as overload.
_NORMAL: Final = 2.0
_HICCUP_SECONDS: Final = 0.02
_OK, _OVERLOADED = 200, 503
# The targets.
_GOODPUT: Final = 0.9
_REFUSED_SECONDS: Final = 0.3
_RECOVERED_SECONDS: Final = 1.0
_CUT_SECONDS: Final = 12.0


@dataclass(frozen=True, slots=True)
class Line:
    """A figure, its target, and whether the target is met."""

    name: str
    figure: str
    target: str = ""
    met: bool = True

    def __str__(self) -> str:
        """The line as it is printed."""
        return f"{self.name:<58} {self.figure:>26}   {f'{self.target}: {verdict(met=self.met)}' if self.target else ''}"


def main() -> int:
    """Measure, report, and return the exit code, which says whether every target was met."""
    parser = argparse.ArgumentParser("python -m tests.load")
    parser.add_argument("--seconds", type=float, default=60, help="seconds at twice the capacity")
    parser.add_argument("--scale", type=float, default=0.1, help="scale factor of TPC-H")
    parser.add_argument("--directory", type=Path, default=Path(".local/load"), help="directory of PostgreSQL's data")
    given = parser.parse_args()
    processors = keep_away()
    with Cluster(given.directory / "postgres", options={"max_connections": "200"}) as cluster:
        orders, setup = table.load(cluster, given.scale)
        truth, points = Truth(setup.orders_table, cluster.run_sql), table.points(cluster, orders)
        with running_ours(setup) as running:
            give(running.process_id, processors)
            volley = uvloop.run(volley_of(running, _WORK.name, _WORK.asks(points), truth))
            if volley is None:
                raise TypeError(running)
            capacity = _capacity(volley)
            lines = _overload(volley, capacity, given.seconds)
            lines += _beside_trickling(volley, capacity)
    sys.stdout.write("\n".join(map(str, lines)) + "\n")
    return 0 if all(line.met for line in lines) else 1


def _capacity(volley: wrk.Volley) -> float:
    phase = Phase(0, _CAPACITY_SECONDS, clients=_CLIENTS)
    (reached,) = results_of(offer(volley.url, volley.requests, [phase], connections=_CLIENTS))
    return reached.statuses()[_OK] / _CAPACITY_SECONDS


def _overload(volley: wrk.Volley, capacity: float, seconds: float) -> list[Line]:
    calm = Phase(_CALM * capacity, _CALM_SECONDS)
    phases = [calm, Phase(_OVER * capacity, seconds), calm]
    before, over, after = results_of(offer(volley.url, volley.requests, phases, connections=_CONNECTIONS))
    # On shared machines the speed changes by up to a third from one moment to the next.
    again = _capacity(volley)
    normal = max(_NORMAL * percentile(before.latencies(_OK), 99), _HICCUP_SECONDS)
    goodput = over.statuses()[_OK] / seconds / statistics.mean([capacity, again])
    good, refused = over.latencies(_OK), over.latencies(_OVERLOADED)
    others = sum(over.statuses().values()) - len(good) - len(refused) + over.unanswered
    recovered = _recovered(after, normal)
    return [
        Line("capacity before and after, closed loop, pages of 100", f"{capacity:,.0f}/s {again:,.0f}/s"),
        Line(
            f"goodput at twice the capacity for {seconds:g} s, of the mean",
            f"{goodput:.2f}",
            "at least 0.9",
            goodput >= _GOODPUT,
        ),
        Line("successes under overload, p50 p99 max", quantiles(good)),
        Line(
            f"{len(refused):,} refusals under overload, p50 p99 max",
            quantiles(refused),
            "at most 300 ms",
            not refused or max(refused) <= _REFUSED_SECONDS,
        ),
        Line("other responses, or none", f"{others} {dict(over.statuses())}", "none", others == 0),
        Line("lateness of the generator, p50 p99 max", quantiles(over.lateness)),
        Line("normal requests before, p50 p99 max", quantiles(before.latencies(_OK))),
        Line("until they were normal again", f"{recovered:.1f} s", "at most 1 s", recovered <= _RECOVERED_SECONDS),
    ]


def _beside_trickling(volley: wrk.Volley, capacity: float) -> list[Line]:
    phase = Phase(_CALM * capacity, _TRICKLING_SECONDS)
    (without,) = results_of(offer(volley.url, volley.requests, [phase], connections=_CALM_CONNECTIONS))
    offered = offer(volley.url, volley.requests, [phase], connections=_CALM_CONNECTIONS)
    durations = uvloop.run(trickle(volley.url, _TRICKLING, seconds=_TRICKLING_SECONDS))
    (beside,) = results_of(offered)
    usual, slowed = (percentile(one.latencies(_OK), 99) for one in (without, beside))
    failed = sum(beside.statuses().values()) - beside.statuses()[_OK] + beside.unanswered
    return [
        Line("normal requests, p50 p99 max", quantiles(without.latencies(_OK))),
        Line(
            f"normal requests beside {_TRICKLING} trickling clients",
            quantiles(beside.latencies(_OK)),
            "p99 at most doubled",
            slowed <= 2 * usual,
        ),
        Line("of these, failed or not answered", str(failed), "none", failed == 0),
        Line(
            "trickling clients were cut after, p50 p99 max",
            quantiles(durations),
            "at most 12 s",
            max(durations) <= _CUT_SECONDS,
        ),
    ]


def _recovered(after: PhaseResult, normal: float) -> float:
    """Seconds until all windows are normal: their p99, with no refusals."""
    windows: dict[int, list[float]] = {}
    for status, latency, moment in after.answers:
        windows.setdefault(int(moment / _WINDOW_SECONDS), []).append(latency if status == _OK else float("inf"))
    late = [number for number, latencies in windows.items() if percentile(latencies, 99) > normal]
    return (max(late) + 1) * _WINDOW_SECONDS if late else 0.0


if __name__ == "__main__":
    sys.exit(main())
