"""Owns the interleaved rounds of all works: each contender in turn, to and fro, by wrk or what stands in for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.bench import wrk
from tests.bench.answers import volley_of
from tests.bench.load import Entry, checked, connected, drive
from tests.bench.measuring import BenchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.bench.answers import Truth
    from tests.bench.contenders import Running
    from tests.bench.load import Plan
    from tests.bench.measuring import Load
    from tests.bench.works import Points, Work
    from tests.bench.wrk import Volley

Loads = Mapping[str, list["Load"]]
_SHORT_SECONDS: Final = 1.0


@dataclass(slots=True)
class Measured:
    """What each contender did in each round of each work, and what was not measured, with the reason."""

    loads: dict[str, dict[str, list[Load]]] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)


def measure(
    works: Sequence[Work], runnings: Sequence[Running], points: Points, truth: Truth, plan: Plan, directory: Path
) -> Measured:
    """All rounds of all works. A contender that fails in a work is left out of it, and that is said."""
    measured = Measured()
    for work in works:
        volleys = {}
        for running in runnings:
            if work.only is None or running.name in work.only:
                try:
                    if volley := asyncio.run(volley_of(running, work.name, work.asks(points), truth)):
                        volleys[running.name] = volley
                except BenchError as error:
                    measured.not_run.append(f"{work.title}: {error}")
        measured.loads[work.name] = _rounds(work, volleys, plan, directory, measured.not_run)
    return measured


def _rounds(
    work: Work, volleys: Mapping[str, Volley], plan: Plan, directory: Path, not_run: list[str]
) -> dict[str, list[Load]]:
    drives = {name: _driver(work, volley, plan, directory / f"{name}.lua") for name, volley in volleys.items()}
    loads: dict[str, list[Load]] = {name: [] for name in drives}
    if work.whole:
        for drive_once in drives.values():
            drive_once(_SHORT_SECONDS)  # what warms up is thrown away
    for number in range(plan.rounds):
        sys.stderr.write(f"{work.title}: round {number + 1} of {plan.rounds}\n")
        # To and fro, so that none always comes right after the same other one.
        for name in list(loads) if number % 2 == 0 else list(reversed(loads)):
            try:
                loads[name].append(drives[name](plan.seconds if work.whole else _SHORT_SECONDS))
            except BenchError as error:
                # Of the rounds before nothing is kept: a measurement with wrong answers in it is none.
                del loads[name]
                not_run.append(f"{work.title}: {error}")
    return loads


def _driver(work: Work, volley: Volley, plan: Plan, script: Path) -> Callable[[float], Load]:
    if not wrk.available():
        return lambda seconds: asyncio.run(_drive_without_wrk(work, volley, seconds, plan.postmaster))
    volley.write_script(script)
    return lambda seconds: wrk.drive(
        volley, script, connections=work.connections, seconds=seconds, postmaster=plan.postmaster
    )


async def _drive_without_wrk(work: Work, volley: Volley, seconds: float, postmaster: int) -> Load:
    """The same by clients of our own, whose own work is about that of the floor."""
    turns = iter(range(sys.maxsize))

    async with connected(volley.url, work.connections) as clients:

        def turn_of(client_number: int) -> Callable[[], Awaitable[None]]:
            async def turn() -> None:
                request = volley.requests[next(turns) % len(volley.requests)]
                checked(*await clients[client_number].send(request))

            return turn

        entry = Entry(volley.name, [turn_of(number) for number in range(work.connections)], volley.process_id)
        return await drive(entry, seconds, postmaster)
