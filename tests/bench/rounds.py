"""The interleaved rounds of all works: each contender in turn, in alternating order, with wrk or a substitute."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import uvloop

from tests.bench import wrk
from tests.bench.answers import check_the_same, volley_of
from tests.bench.contenders import FLOOR, OURS
from tests.bench.load import Entry, checked, connected, drive
from tests.bench.measuring import BenchError
from tests.bench.works import DEPTH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.bench.answers import Truth
    from tests.bench.contenders import Running
    from tests.bench.load import Plan
    from tests.bench.measuring import Load
    from tests.bench.works import Points, Work
    from tests.bench.wrk import Volley

SHORT_SECONDS: Final = 1.0
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(slots=True)
class Measured:
    """The figures of each contender in each round of each work, and the reasons for what was not measured."""

    loads: dict[str, dict[str, list[Load]]] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)


def measure(
    measured: Measured,
    works: Sequence[Work],
    runnings: Sequence[Running],
    points: Points,
    truth: Truth,
    plan: Plan,
    directory: Path,
) -> None:
    """Measure all rounds of all works. A contender that fails in a work is left out of it, and the reason noted."""
    for _, batch in itertools.groupby(works, _interleaved_with):
        together = list(batch)
        drives: dict[tuple[str, str], Callable[[float], Load]] = {}
        for work in together:
            for name, volley in _volleys(work, runnings, points, truth, measured.not_run).items():
                script = directory / f"{len(drives)}.lua"
                drives[work.name, name] = driver(volley, work.connections, plan.postmaster, script)
        first = together[0]
        title = first.title if len(together) == 1 else f"{first.group}, {first.connections} connections"
        seconds = plan.seconds if first.whole else SHORT_SECONDS
        loads = interleave(title, drives, plan.rounds, seconds, measured.not_run, warm_up=first.whole)
        for work in together:
            measured.loads[work.name] = {name: rounds for (of, name), rounds in loads.items() if of == work.name}


def _interleaved_with(work: Work) -> tuple[str, int]:
    """Works for which this is equal are compared with each other, and so take turns."""
    return (DEPTH if work.group == DEPTH else work.name), work.connections


def _volleys(
    work: Work, runnings: Sequence[Running], points: Points, truth: Truth, not_run: list[str]
) -> Mapping[str, Volley]:
    volleys: dict[str, Volley] = {}
    for running in runnings:
        if work.only is None or running.name in work.only:
            try:
                if volley := uvloop.run(_volley(running, work, points, truth, volleys)):
                    volleys[running.name] = volley
            except (BenchError, ConnectionError, asyncio.IncompleteReadError) as error:
                not_run.append(f"{work.title}, {running.name}: {error}")
    return volleys


async def _volley(
    running: Running, work: Work, points: Points, truth: Truth, others: Mapping[str, Volley]
) -> Volley | None:
    volley = await volley_of(running, work.name, work.asks(points), truth)
    if volley and running.name == FLOOR and OURS in others:
        await check_the_same(others[OURS], volley)
    return volley


def interleave(
    title: str,
    drives: Mapping[_Key, Callable[[float], Load]],
    rounds: int,
    seconds: float,
    not_run: list[str],
    *,
    warm_up: bool = False,
) -> dict[_Key, list[Load]]:
    """Measure each contender in each round. One that fails is left out, and the reason noted."""
    loads: dict[_Key, list[Load]] = {name: [] for name in drives}
    if warm_up:
        for name in list(loads):
            _once(title, name, drives[name], SHORT_SECONDS, loads, not_run)
    loads = {name: [] for name in loads}
    for number in range(rounds):
        sys.stderr.write(f"{title}: round {number + 1} of {rounds}\n")
        # In alternating order, so that no contender always follows the same other one.
        for name in list(loads) if number % 2 == 0 else list(reversed(loads)):
            _once(title, name, drives[name], seconds, loads, not_run)
    return loads


def _once(
    title: str,
    name: _Key,
    drive_for: Callable[[float], Load],
    seconds: float,
    loads: dict[_Key, list[Load]],
    not_run: list[str],
) -> None:
    try:
        loads[name].append(drive_for(seconds))
    except BenchError as error:
        # Its earlier rounds are dropped too: a measurement with wrong responses is not valid.
        del loads[name]
        not_run.append(f"{title}: {error}")


def driver(volley: Volley, connections: int, postmaster: int, script: Path) -> Callable[[float], Load]:
    """A function that sends a volley for some seconds, with wrk, whose script goes into a file, or with our clients."""
    if not wrk.available():
        return lambda seconds: uvloop.run(_drive_without_wrk(volley, connections, seconds, postmaster))
    volley.write_script(script)
    return lambda seconds: wrk.drive(volley, script, connections=connections, seconds=seconds, postmaster=postmaster)


async def _drive_without_wrk(volley: Volley, connections: int, seconds: float, postmaster: int) -> Load:
    """The same with our own clients, which use about as much CPU as the floor."""
    turns = iter(range(sys.maxsize))

    async with connected(volley.url, connections) as clients:

        def turn_of(client_number: int) -> Callable[[], Awaitable[None]]:
            async def turn() -> None:
                request = volley.requests[next(turns) % len(volley.requests)]
                checked(*await clients[client_number].send(request))

            return turn

        entry = Entry(volley.name, [turn_of(number) for number in range(connections)], volley.process_id)
        return await drive(entry, seconds, postmaster)
