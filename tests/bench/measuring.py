"""Owns what is measured of one contender in one round, and whose use of the processors goes into it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BenchError(Exception):
    """There is nothing to measure; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one contender did in one round."""

    rate: float
    p50_ms: float
    p99_ms: float
    # What the contender's own process took of a processor for each request, and what PostgreSQL's took.
    own_ms: float
    database_ms: float
    # How much of one processor the load generator was busy: near 1 it would be what is measured.
    generator: float
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Processors:
    """How long the processors have worked for a contender and for PostgreSQL, when this was made."""

    process: psutil.Process
    database: psutil.Process
    _own: Mapping[int, float]
    _database: Mapping[int, float]

    @classmethod
    def now(cls, process_id: int, postmaster: int) -> Self:
        """Of the two processes, PostgreSQL's with its children."""
        process, database = psutil.Process(process_id), psutil.Process(postmaster)
        return cls(process, database, _used([process]), _used(database.children()))

    def since(self) -> tuple[float, float]:
        """Milliseconds that they have worked since: the contender, and PostgreSQL."""
        return _more(self._own, [self.process]), _more(self._database, self.database.children())


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MB: all that is resident, and what would be free without it."""

    resident: float
    unique: float

    @classmethod
    def of(cls, process_id: int) -> Self:
        """That of a process now."""
        info = psutil.Process(process_id).memory_full_info()
        return cls(info.rss / 1e6, info.uss / 1e6)


def _used(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Each one's use of the processors so far, in milliseconds, by its id."""
    used = {}
    for process in processes:
        # One of PostgreSQL's may have ended since it was listed.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[int(process.pid)] = 1000 * float(times.user + times.system)
    return used


def _more(before: Mapping[int, float], processes: Sequence[psutil.Process]) -> float:
    return sum(now - before.get(process_id, 0) for process_id, now in _used(processes).items())
