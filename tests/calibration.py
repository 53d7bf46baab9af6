"""How fast this machine is just now: what a promised time of computing comes to on it.

Promises about time are given for the machine on which they were first kept. Another one takes longer or less, and the
same one changes by a third from hour to hour. So what is measured is held to the promise as it scales with a fixed
piece of pure Python work, which is timed beside it.
"""

from __future__ import annotations

import time
from typing import Final

# What the work takes on the machine for which the times are promised, in seconds of a processor.
_REFERENCE_SECONDS: Final = 0.00033
_REPETITIONS: Final = 200


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


def _work() -> int:
    """Names, dictionaries, sorting and text: what parsing, checking and answering a document are made of."""
    seen: dict[str, int] = {}
    for number in range(2_000):
        name = f"field{number % 97}"
        seen[name] = seen.get(name, 0) + number
    text = " ".join(f"{name}:{count}" for name, count in sorted(seen.items(), key=lambda pair: -pair[1]))
    return sum(len(part) for part in text.split(" "))
