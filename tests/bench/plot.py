"""The plot: requests per second of each server, with a panel for each work that has targets."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from tests.bench.contenders import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.bench.measuring import Load

_PANEL_INCHES: Final = (5.2, 2.6)
_COLUMNS: Final = 2
_DOTS_PER_INCH: Final = 120
_OURS_COLOUR: Final = "#d9480f"
_OTHERS_COLOUR: Final = "#adb5bd"
# Space beyond the longest bar, for the figures.
_ROOM: Final = 1.3


def plot(works: Sequence[tuple[str, Mapping[str, Sequence[Load]]]], path: Path) -> str | None:
    """Plot the medians of works, with lines from the minimum to the maximum. Return None, or why there is no plot.

    Args:
        works: the title of each work, and each contender's figures.
        path: the picture's file.
    """
    # An earlier run's plot does not belong to this report.
    path.unlink(missing_ok=True)
    if not works:
        return "no work with targets was measured"
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 # nothing else in the bench needs it
    except ImportError:
        return "matplotlib is missing: `make bench` installs it"
    rows = -(-len(works) // _COLUMNS)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * _COLUMNS, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for panel, (title, loads) in zip(panels, works, strict=False):
        _draw(panel, title, loads)
    for panel in panels[len(works) :]:
        panel.set_visible(False)
    figure.suptitle("Requests per second, one process each: median of the rounds, least to greatest", fontsize=10)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    return None


def _draw(panel: Any, title: str, loads: Mapping[str, Sequence[Load]]) -> None:
    names = list(loads)
    rates = [[load.rate for load in loads[name]] for name in names]
    medians = [statistics.median(of) for of in rates]
    below = [median - min(of) for median, of in zip(medians, rates, strict=True)]
    above = [max(of) - median for median, of in zip(medians, rates, strict=True)]
    colours = [_OURS_COLOUR if name == OURS else _OTHERS_COLOUR for name in names]
    panel.barh(names, medians, color=colours, xerr=[below, above], error_kw={"linewidth": 1, "ecolor": "#495057"})
    for position, (median, over) in enumerate(zip(medians, above, strict=True)):
        panel.annotate(
            f"{median:,.0f}", (median + over, position), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    panel.invert_yaxis()
    panel.set_xlim(0, _ROOM * max(max(of) for of in rates))
    panel.set_title(title, fontsize=10, loc="left")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
