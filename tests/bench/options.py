"""The options of a run, from arguments and the environment."""

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
from tests.bench.nested.contenders import CONTENDERS as NESTED_CONTENDERS
from tests.bench.works import WORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A part in addition to the works of tests/bench/works.py.
WRITES: Final = "writes"
LATENCY: Final = "latency"
STARTUP: Final = "startup"
NESTED: Final = "nested"
EXPORT: Final = "export"
MEMORY: Final = "memory"
_BY_DEFAULT: Final = (*dict.fromkeys(work.group for work in WORKS), WRITES, LATENCY, STARTUP, NESTED, EXPORT)
# Smaller tables do not have enough orders besides those changed beforehand.
_MIN_SCALE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and for how long.

    Attributes:
        directory: the directory of PostgreSQL's data and the report.
        scale: the TPC-H scale factor for all measurements but the nested pages and the comparison of scales.
        nested_scale: the TPC-H scale factor for the nested pages, which need more tables.
        scales: the scale factors to compare, which shows the cost of the table's size.
        parts: names of works or of groups of works.
    """

    directory: Path
    scale: float
    nested_scale: float
    scales: tuple[float, ...]
    rounds: int
    seconds: float
    contenders: frozenset[str]
    parts: frozenset[str]


def options(arguments: Sequence[str] | None = None) -> Options:
    """Parse the options of this run.

    Raises:
        BenchError: an option is invalid.
    """
    works = {work.name for work in WORKS}
    parser = argparse.ArgumentParser(
        "python -m tests.bench", description="Measure the server and compare it with others."
    )
    parser.add_argument(
        "--only",
        default=",".join(_BY_DEFAULT),
        help=f"parts among {', '.join((*_BY_DEFAULT, MEMORY))}; or names of works",
    )
    names = list(dict.fromkeys(contender.name for contender in (*CONTENDERS, *NESTED_CONTENDERS)))
    parser.add_argument("--contenders", default=",".join(names), help=f"among {', '.join(names)}; {OURS} always runs")
    parser.add_argument("--rounds", help="number of rounds, 5 by default; or BENCH_ROUNDS")
    parser.add_argument("--seconds", help="seconds of each contender in each round, 2 by default; or BENCH_SECONDS")
    given = parser.parse_args(arguments)
    environment = os.environ
    parts = _among({*_BY_DEFAULT, MEMORY, *works}, given.only, name="--only")
    contenders = {OURS, *_among(names, given.contenders, name="--contenders")}
    if WRITES in parts:
        contenders.add(FLOOR)
    return Options(
        directory=Path(environment.get("LOCAL_DIR", ".local/bench")),
        scale=_number("SCALE", environment.get("SCALE") or "1", least=_MIN_SCALE),
        nested_scale=_number("SCALE", environment.get("SCALE") or "0.1", least=_MIN_SCALE),
        scales=tuple(_number("SCALES", text, least=_MIN_SCALE) for text in environment.get("SCALES", "").split()),
        rounds=int(_number("BENCH_ROUNDS", given.rounds or environment.get("BENCH_ROUNDS", "5"), least=1)),
        seconds=_number("BENCH_SECONDS", given.seconds or environment.get("BENCH_SECONDS", "2"), least=1),
        contenders=frozenset(contenders),
        parts=frozenset(parts),
    )


def _among(known: Iterable[str], text: str, *, name: str) -> set[str]:
    chosen = {part.strip() for part in text.split(",") if part.strip()}
    if unknown := chosen - set(known):
        raise BenchError(f"{name}: unknown {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    return chosen


def _number(name: str, text: str, *, least: float) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)) and number >= least:
            return number
    raise BenchError(f"{name}: {text!r} is not a number of at least {least:g}")
