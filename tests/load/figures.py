"""Quantiles of durations, as they are reported."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(seconds: Sequence[float], which: int) -> float:
    """A percentile of durations; 0 if there are none."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, len(ordered) * which // 100)] if ordered else 0.0


def quantiles(seconds: Sequence[float]) -> str:
    """The median, the 99th percentile and the maximum, in milliseconds."""
    if not seconds:
        return "-"
    return f"{1000 * statistics.median(seconds):.1f} {1000 * percentile(seconds, 99):.1f} {1000 * max(seconds):.1f} ms"
