"""The directory in which all processes of this server keep their metrics: made at the start, removed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# prometheus_client reads it once, when it is imported.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_made: dict[int, Path] = {}


def make() -> None:
    """Name a new directory in the environment, for this process and those it starts, unless one is named already."""
    if not os.environ.get(_VARIABLE):
        _made[os.getpid()] = Path(tempfile.mkdtemp(prefix="lakebase-orders-metrics-"))
        os.environ[_VARIABLE] = str(_made[os.getpid()])


def forget(pid: int) -> None:
    """Drop the gauges of a process that has ended. What it counted stays counted."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 # it reads the variable then

    mark_process_dead(pid)  # type: ignore[no-untyped-call] # its package is typed in part


def remove() -> None:
    """Remove the directory, if this process made it."""
    if directory := _made.pop(os.getpid(), None):
        shutil.rmtree(directory, ignore_errors=True)
