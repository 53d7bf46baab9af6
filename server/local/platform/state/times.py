"""Times in the platform's formats."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> str:
    """The time in the platform's format."""
    return stamp(time.time())


def stamp(unix_time: float) -> str:
    """A Unix time in the platform's format."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_time(stamp: str) -> float:
    """A time in the platform's format as Unix time."""
    return datetime.fromisoformat(stamp).timestamp()


def now_milliseconds() -> int:
    """The time in milliseconds since 1970, the format of pipelines."""
    return time.time_ns() // 1_000_000
