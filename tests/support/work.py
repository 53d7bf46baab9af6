"""Counts work: unlike time, it is the same on every machine."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Work:
    """The number of calls of functions, in Python or built in."""

    calls: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    """Count the calls inside the block, in this thread."""
    work = Work()

    def note(_frame: object, event: str, _what: Any) -> None:
        work.calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield work
    finally:
        sys.setprofile(before)


def processor_seconds(work: Callable[[], object], *, times: int = 3) -> float:
    """The CPU time of some work: the minimum of several runs, in seconds."""
    took = []
    for _ in range(times):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)
