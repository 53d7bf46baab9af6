"""The processors of this machine: one for the server, the others for everything else."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def keep_away() -> set[int]:
    """Leave one CPU to the server if there are several, and return it. PostgreSQL inherits the rest.

    On two CPUs, a generator of twice the capacity would take CPU time from the server, and the loss would not be the
    server's fault. The server has the same CPU while its capacity is measured.
    """
    if sys.platform != "linux":
        return set()
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return set()
    os.sched_setaffinity(0, others)
    return {first}


def give(process_id: int, processors: set[int]) -> None:
    """Run all threads of a process on these CPUs."""
    if sys.platform == "linux" and processors:
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            os.sched_setaffinity(int(thread.name), processors)
