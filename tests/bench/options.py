"""Owns what a run is told, by arguments and by the environment."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.contenders import CONTENDERS, FLOOR, OURS
from tests.bench.measuring import BenchError
from tests.bench.works import WORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Beside the works of tests/bench/works.py.
WRITES: Final = "writes"
LATENCY: Final = "latency"
STARTUP: Final = "startup"
MEMORY: Final = "memory"
_BY_DEFAULT: Final = (*dict.fromkeys(work.group for work in WORKS), WRITES, LATENCY, STARTUP)
# Below it there are not enough orders beside those that are changed beforehand.
_MIN_SCALE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and for how long.

    Attributes:
        directory: of PostgreSQL's data and of the report.
        scale: of TPC-H, at which everything is measured.
        scales: those that are compared, which shows what the size of the table costs.
        parts: names of works or of groups of them.
    """

    directory: Path
    scale: float
    scales: tuple[float, ...]
    rounds: int
    seconds: float
    contenders: frozenset[str]
    parts: frozenset[str]


def options(arguments: Sequence[str] | None = None) -> Options:
    """The options of this run.

    Raises:
        BenchError: one of them is none.
    """
    works = {work.name for work in WORKS}
    parser = argparse.ArgumentParser("python -m tests.bench", description="Measure the server beside others.")
    parser.add_argument(
        "--only", default=",".join(_BY_DEFAULT), help=f"of {', '.join((*_BY_DEFAULT, MEMORY))}; or of works"
    )
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--contenders", default=",".join(names), help=f"of {', '.join(names)}; {OURS} is always there")
    parser.add_argument("--rounds", help="how many, 5 by default; or else BENCH_ROUNDS")
    parser.add_argument("--seconds", help="of each contender in each round, 2 by default; or else BENCH_SECONDS")
    given = parser.parse_args(arguments)
    environment = os.environ
    parts = _among({*_BY_DEFAULT, MEMORY, *works}, given.only, name="--only")
    contenders = {OURS, *_among(names, given.contenders, name="--contenders")}
    if WRITES in parts:
        contenders.add(FLOOR)
    return Options(
        directory=Path(environment.get("LOCAL_DIR", ".local/bench")),
        scale=_number("SCALE", environment.get("SCALE") or "1", least=_MIN_SCALE),
        scales=tuple(_number("SCALES", text, least=_MIN_SCALE) for text in environment.get("SCALES", "").split()),
        rounds=int(_number("BENCH_ROUNDS", given.rounds or environment.get("BENCH_ROUNDS", "5"), least=1)),
        seconds=_number("BENCH_SECONDS", given.seconds or environment.get("BENCH_SECONDS", "2"), least=1),
        contenders=frozenset(contenders),
        parts=frozenset(parts),
    )


def _among(known: Iterable[str], text: str, *, name: str) -> set[str]:
    chosen = {part.strip() for part in text.split(",") if part.strip()}
    if unknown := chosen - set(known):
        raise BenchError(f"{name}: there is no {', '.join(sorted(unknown))}; there is {', '.join(known)}")
    return chosen


def _number(name: str, text: str, *, least: float) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)) and number >= least:
            return number
    raise BenchError(f"{name}: {text!r} is not a number from {least:g}")
