"""The bound on the memory of a process: above it, the caches are let go first, and then new work is refused.

The process looks at what it holds twice a second. No request does. While the process is idle, it also looks for cycles.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import structlog

from server.observability.observations import MemoryHigh, MemoryShort
from server.observability.request_record import running_loop
from server.observability.sinks import observe
from server.settings.limits import LEAST_MEGABYTES
from server.traffic.cgroups import container_bytes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from server.settings import Settings
    from server.traffic.admission import Admission

_log = structlog.get_logger(__name__)
_MEGABYTE: Final = 1 << 20
# The share of a container's memory that its workers may hold. The rest is for the supervisor, for the kernel's buffers,
# and for what arrives between two checks.
_WORKERS_SHARE: Final = 0.8
# A worker holds up to 165 MB without any load. With less than this it would refuse work that the container can do.
_LEAST_BYTES: Final = LEAST_MEGABYTES * _MEGABYTE
_CHECK_SECONDS: Final = 0.5
# Shares of the limit: above the first the caches are let go, and below the second all is normal again. New work is
# refused above the limit itself, until memory is below the third.
_HIGH: Final = 0.8
_NORMAL: Final = 0.7
_ENOUGH: Final = 0.9
# Python keeps much of what was freed for itself: after hostile traffic a process held 380 MB, and used 90 of them. So
# below the first share of the limit work is refused for some seconds at most, and then again when memory has grown by
# the second share.
_MOST: Final = 1.1
_GROWTH: Final = 0.05
_REFUSAL_SECONDS: Final = 5.0
# A process that has refused all work for this long, and does none any more, holds what it will never let go.
_STUCK_SECONDS: Final = 60.0
# After letting go the process rests for this many times as long as that took.
_REST: Final = 20
# A process that has used less of a processor than this since the last check is idle. It looks for cycles if it holds
# that much more than after the last time. Measured: 10,000 mixed requests leave no memory in cycles, and looking takes
# 30 to 50 ms; but subscriptions whose clients had sent 2 MB each left 200 of 340 MB.
_IDLE_SECONDS: Final = 0.01
_GROWN_BYTES: Final = 16 * _MEGABYTE
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def limit_of(settings: Settings) -> int | None:
    """The memory in bytes above which this process refuses new work, by the settings or the container; None: no limit.

    There is none where the system does not tell a process what it holds (not Linux).
    """
    if settings.memory_limit == "off" or not _STATM.exists():
        return None
    if settings.memory_limit is not None:
        return settings.memory_limit * _MEGABYTE
    container = container_bytes()
    if container is None:
        return None
    limit = int(_WORKERS_SHARE * container / settings.workers)
    if limit < _LEAST_BYTES:
        _log.warning(
            "the container has too little memory for a limit: give each worker 320 MB",
            container=container // _MEGABYTE,
            workers=settings.workers,
        )
        return None
    return limit


def resident_bytes() -> int:
    """The memory that this process holds, as the system counts it; 0 if the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


class _Level:
    """An amount of memory, which rises when it is passed: it is passed again only after memory has grown some more."""

    def __init__(self, limit: int, share: float) -> None:
        self._lowest = share * limit
        self._step = _GROWTH * limit
        self._highest = _MOST * limit
        self._above = self._lowest

    def is_passed(self, held: int) -> bool:
        """Whether the process holds more. The level follows when memory falls."""
        self._above = max(self._lowest, min(self._above, held + self._step))
        return held > self._above

    def rise(self, held: int) -> None:
        """Stay above what the process holds now."""
        self._above = min(held + self._step, self._highest)


class MemoryGuard:
    """Lets the caches of a process go while it holds much memory, and has its admission refuse new work above a limit.

    What is running goes on. Both states end only some way below where they began, so that they do not alternate.
    Without a limit the guard only looks for cycles.

    Args:
        limit_bytes: the limit; None: there is none.
        admission: refuses new work.
        caches: functions that empty a cache each.
        give_up: called when the process is stuck (`stuck`), at each check.
        resident: tells what the process holds, in bytes.
    """

    def __init__(
        self,
        limit_bytes: int | None,
        admission: Admission,
        *,
        caches: Iterable[Callable[[], object]],
        give_up: Callable[[], object] = lambda: None,
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._admission = admission
        self._caches = tuple(caches)
        self._give_up = give_up
        self._resident = resident
        limit = limit_bytes or 0
        self._high = False
        # Above these, the caches are let go, and new work is refused.
        self._caches_level, self._work_level = _Level(limit, _HIGH), _Level(limit, 1.0)
        self._refuses_since = 0.0
        self._rests_until = 0.0
        # The processor time at the last check, and the memory after the last search for cycles.
        self._used_seconds = 0.0
        self._settled = resident()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Check from now on, if the system says what the process holds."""
        held = self._settled = self._resident()
        if self.limit_bytes is not None and held > _HIGH * self.limit_bytes:
            _log.warning(
                "MEMORY_LIMIT is too low: the process holds nearly as much without any load",
                held=held // _MEGABYTE,
                limit=self.limit_bytes // _MEGABYTE,
            )
        if held:
            self._again()
        return self

    def __exit__(self, *_: object) -> None:
        """Check no longer."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def stuck(self) -> bool:
        """Whether the process has refused all work for a minute, and does none: only a new process helps."""
        admission = self._admission
        return (
            admission.short_of_memory and admission.is_idle and time.monotonic() - self._refuses_since >= _STUCK_SECONDS
        )

    def _again(self) -> None:
        self._timer = running_loop().call_later(_CHECK_SECONDS, self._keep_checking)

    def _keep_checking(self) -> None:
        try:
            self.check()
        finally:
            self._again()

    def check(self) -> None:
        """Look at what the process holds. Let the caches go, change what the admission refuses, or look for cycles."""
        held = self._resident()
        if self.limit_bytes is not None:
            held = self._keep_below(self.limit_bytes, held)
            if self.stuck:
                self._give_up()
        used = time.process_time()
        idle, self._used_seconds = used - self._used_seconds < _IDLE_SECONDS, used
        if idle and held > self._settled + _GROWN_BYTES:
            held = self._settled = self._collect()
        self._settled = min(self._settled, held)

    def _keep_below(self, limit: int, held: int) -> int:
        """Let the caches go, or change what the admission refuses; return what the process holds then."""
        short, now = self._admission.short_of_memory, time.monotonic()
        if not self._high and held > _HIGH * limit:
            self._high = True
            observe(MemoryHigh(held, limit, begins=True))
        # They are not what fills a process that stays high, and without them each document would be read anew.
        if (self._caches_level.is_passed(held) or short) and now >= self._rests_until:
            held = self._let_go(now)
            self._caches_level.rise(held)
        if not short and self._work_level.is_passed(held):
            self._refuses_since = now
            self._refuse(held, limit, begins=True)
        elif short and (
            held < _ENOUGH * limit or (held < _MOST * limit and now - self._refuses_since >= _REFUSAL_SECONDS)
        ):
            self._work_level.rise(held)
            self._refuse(held, limit, begins=False)
        if self._high and held < _NORMAL * limit:
            self._high = False
            observe(MemoryHigh(held, limit, begins=False))
        return held

    def _refuse(self, held: int, limit: int, *, begins: bool) -> None:
        self._admission.short_of_memory = begins
        observe(MemoryShort(held, limit, begins=begins))

    def _let_go(self, began: float) -> int:
        for empty in self._caches:
            empty()
        held = self._settled = self._collect()
        ended = time.monotonic()
        self._rests_until = ended + _REST * (ended - began)
        return held

    def _collect(self) -> int:
        gc.collect()
        _return_free_memory()
        return self._resident()


def _return_free_memory() -> None:
    """Have glibc return free memory to the system: 66 of 445 MB after hostile traffic, in 14 ms."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
