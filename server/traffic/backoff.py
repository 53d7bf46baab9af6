"""Backoff: growing pauses between the attempts at work that keeps failing."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """A pause that grows by a factor with each failure, up to a maximum, until a success resets it.

    Args:
        first_seconds: the first pause.
        longest_seconds: the maximum. It may be changed between two failures.
        factor: how many times longer each pause is than the one before.
        jitter: the share by which a pause is longer or shorter at random, so that processes do not retry in step.
    """

    def __init__(
        self, first_seconds: float, longest_seconds: float, *, factor: float = 2.0, jitter: float = 0.0
    ) -> None:
        self.longest_seconds = longest_seconds
        self._first_seconds = first_seconds
        self._factor = factor
        self._jitter = jitter
        self._seconds = first_seconds

    def next_pause(self) -> float:
        """How many seconds to wait before the next attempt; the pause after it will be longer."""
        seconds = self._seconds
        self._seconds = min(seconds * self._factor, self.longest_seconds)
        return seconds * random.uniform(1 - self._jitter, 1 + self._jitter)  # noqa: S311 # no secret

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._seconds = self._first_seconds
