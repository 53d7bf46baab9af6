"""Holds measured times to what is promised, in `make faults` alone, and by how fast the machine is just now.

`make test` passes on any machine, however slow and busy, so nothing is held to a time there. `make faults` has a machine
with nothing else to do. Promises are given for the machine on which they were first kept; another one takes longer, and
the same one changes by a third from hour to hour. So the part of a promise that is computing scales with a fixed piece
of pure Python work, which is timed in the same run.
"""

from __future__ import annotations

import os
import time
from typing import Final

# Whether this is `make faults`.
MEASURES: Final = os.environ.get("FAULTS") == "all"
# What the work takes on the machine for which the times are promised, in seconds of a processor.
_REFERENCE_SECONDS: Final = 0.00033
_REPETITIONS: Final = 200
# A line for each time that was held, for the end of the run.
held: Final[list[str]] = []


def slowness() -> float:
    """How many times as long as on the reference machine pure Python takes here, now: 2 on a machine half as fast.

    The least of many repetitions, in time of the processor: others on the machine do not count.
    """
    best = float("inf")
    for _ in range(_REPETITIONS):
        began = time.process_time()
        _work()
        best = min(best, time.process_time() - began)
    return best / _REFERENCE_SECONDS


def allowed(computing_seconds: float, *, waiting_seconds: float = 0.0) -> float:
    """What is allowed here, in seconds.

    Args:
        computing_seconds: what is promised for computing, which a slower machine takes longer for.
        waiting_seconds: what is waited for by the clock, on any machine alike: a timeout, say.
    """
    return computing_seconds * slowness() + waiting_seconds


def hold(what: str, seconds: float, *, computing_seconds: float, waiting_seconds: float = 0.0) -> None:
    """Hold a measured time to what is promised, where `make faults` measures; the other arguments are `allowed`'s.

    Raises:
        AssertionError: it took longer.
    """
    if not MEASURES:
        return
    most = allowed(computing_seconds, waiting_seconds=waiting_seconds)
    told = f"{what}: {seconds:.3f} s of {most:.3f} s"
    held.append(told)
    assert seconds <= most, told


def _work() -> int:
    """Names, dictionaries, sorting and text: what parsing, checking and answering a document are made of."""
    seen: dict[str, int] = {}
    for number in range(2_000):
        name = f"field{number % 97}"
        seen[name] = seen.get(name, 0) + number
    text = " ".join(f"{name}:{count}" for name, count in sorted(seen.items(), key=lambda pair: -pair[1]))
    return sum(len(part) for part in text.split(" "))
