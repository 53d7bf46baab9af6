"""The check of measured times against promises: only in `make faults`, and relative to the machine's current speed.

`make test` passes on any machine, however slow and busy, so it checks no times. `make faults` needs a machine without
other work. The promises are for the reference machine. Another machine may be slower, and the same one varies by a
third from hour to hour. So the computing part of a promise scales with a fixed piece of pure Python work, which is
timed in the same run.
"""

from __future__ import annotations

import os
import time
from typing import Final

# Whether this run is `make faults`.
MEASURES: Final = os.environ.get("FAULTS") == "all"
# The CPU time of the work on the reference machine, in seconds.
_REFERENCE_SECONDS: Final = 0.00033
_REPETITIONS: Final = 200
# One line for each checked time, for the end of the run.
held: Final[list[str]] = []


def slowness() -> float:
    """How many times slower pure Python is now than on the reference machine: 2 if it takes twice as long.

    This is the minimum of many repetitions in CPU time, so other processes do not count.
    """
    best = float("inf")
    for _ in range(_REPETITIONS):
        began = time.process_time()
        _work()
        best = min(best, time.process_time() - began)
    return best / _REFERENCE_SECONDS


def allowed(computing_seconds: float, *, waiting_seconds: float = 0.0) -> float:
    """The time allowed on this machine, in seconds.

    Args:
        computing_seconds: the promise for computing, which scales with the machine.
        waiting_seconds: the time waited by the clock, such as a timeout. It is the same on any machine.
    """
    return computing_seconds * slowness() + waiting_seconds


def hold(what: str, seconds: float, *, computing_seconds: float, waiting_seconds: float = 0.0) -> None:
    """Check a measured time if this run is `make faults`. The other arguments are those of `allowed`.

    Raises:
        AssertionError: it took longer.
    """
    if not MEASURES:
        return
    most = allowed(computing_seconds, waiting_seconds=waiting_seconds)
    line = f"{what}: {seconds:.3f} s of {most:.3f} s"
    held.append(line)
    assert seconds <= most, line


def _work() -> int:
    """Names, dictionaries, sorting and text, like the parsing, checking and answering of a document."""
    seen: dict[str, int] = {}
    for number in range(2_000):
        name = f"field{number % 97}"
        seen[name] = seen.get(name, 0) + number
    text = " ".join(f"{name}:{count}" for name, count in sorted(seen.items(), key=lambda pair: -pair[1]))
    return sum(len(part) for part in text.split(" "))
