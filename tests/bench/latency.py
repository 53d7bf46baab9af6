"""The measurement of latency at half of the capacity, which an earlier part of the run has measured."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING, Final

import uvloop

from tests.bench.answers import volley_of
from tests.bench.contenders import FLOOR, OURS
from tests.bench.measuring import BenchError
from tests.bench.openloop import offer
from tests.bench.works import WORKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.answers import Truth
    from tests.bench.contenders import Running
    from tests.bench.load import Plan
    from tests.bench.openloop import Offered
    from tests.bench.rounds import Measured
    from tests.bench.works import Points

MEASURED: Final = ("page100", "page10", "order")
_OF_CAPACITY: Final = 0.5


def measure_latency(
    runnings: Mapping[str, Running], measured: Measured, points: Points, truth: Truth, plan: Plan
) -> Mapping[tuple[str, str], Sequence[Offered]]:
    """The latencies by the names of the work and the contender. The floor shows how steady this machine is."""
    volleys = {}
    for work in WORKS:
        for name in (OURS, FLOOR):
            if work.name not in MEASURED or name not in measured.loads.get(work.name, {}):
                continue
            volley = uvloop.run(volley_of(runnings[name], work.name, work.asks(points), truth))
            if volley:
                capacity = statistics.median(load.rate for load in measured.loads[work.name][name])
                volleys[work.name, name] = volley, capacity * _OF_CAPACITY
    offered: dict[tuple[str, str], list[Offered]] = {key: [] for key in volleys}
    for number in range(plan.rounds):
        sys.stderr.write(f"latency at half of the capacity: round {number + 1} of {plan.rounds}\n")
        for key, (volley, rate) in volleys.items():
            try:
                offered[key].append(offer(volley, rate=rate, seconds=plan.seconds))
            except BenchError as error:
                measured.not_run.append(f"latency at half of the capacity: {error}")
    return {key: rounds for key, rounds in offered.items() if rounds}
