"""What is measured of one contender in one round, and the CPU time used for it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BenchError(Exception):
    """The bench cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """The figures of one contender in one round."""

    rate: float
    p50_ms: float
    p99_ms: float
    # CPU time per request: of the contender's own process, and of PostgreSQL.
    own_ms: float
    database_ms: float
    # The share of one CPU that the load generator used. Near 1, the generator would be what is measured.
    generator: float
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Processors:
    """The CPU time used by a contender and by PostgreSQL up to a moment."""

    process: psutil.Process
    database: psutil.Process
    _own: Mapping[int, float]
    _database: Mapping[int, float]

    @classmethod
    def now(cls, process_id: int, postmaster: int) -> Self:
        """The current CPU times. PostgreSQL's includes its children."""
        process, database = psutil.Process(process_id), psutil.Process(postmaster)
        return cls(process, database, _used([process]), _used(database.children()))

    def since(self) -> tuple[float, float]:
        """The CPU time used since then, in milliseconds: of the contender, and of PostgreSQL."""
        return _more(self._own, [self.process]), _more(self._database, self.database.children())


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory in MB: all that is resident, and the part not shared with other processes."""

    resident: float
    unique: float

    @classmethod
    def of(cls, process_id: int) -> Self:
        """The current memory of a process."""
        info = psutil.Process(process_id).memory_full_info()
        return cls(info.rss / 1e6, info.uss / 1e6)


def _used(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """The CPU time used by each process, in milliseconds, by process id."""
    used = {}
    for process in processes:
        # One of PostgreSQL's backends may have ended in the meantime.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[int(process.pid)] = 1000 * float(times.user + times.system)
    return used


def _more(before: Mapping[int, float], processes: Sequence[psutil.Process]) -> float:
    return sum(now - before.get(process_id, 0) for process_id, now in _used(processes).items())
