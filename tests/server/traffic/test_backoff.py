"""The backoff: growing pauses between attempts."""

from __future__ import annotations

import itertools

from server.traffic.backoff import Backoff


def pauses(backoff: Backoff, number: int) -> list[float]:
    """The next pauses."""
    return [backoff.next_pause() for _ in range(number)]


def test_pauses_grow_up_to_the_longest() -> None:
    """Each pause is longer by the factor. If the limit is lowered, it applies from the pause after the next."""
    backoff = Backoff(0.5, 3.0)
    assert pauses(backoff, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.longest_seconds = 1.0
    assert pauses(backoff, 2) == [3.0, 1.0]
    assert pauses(Backoff(1.0, 9.0, factor=1.5), 3) == [1.0, 1.5, 2.25]


def test_a_reset_starts_over() -> None:
    """After a success the next failure is followed by the first pause."""
    backoff = Backoff(0.5, 3.0)
    pauses(backoff, 3)
    backoff.reset()
    assert pauses(backoff, 2) == [0.5, 1.0]


def test_jitter_keeps_processes_from_retrying_in_step() -> None:
    """Each pause is longer or shorter by a random share. The growth is not affected."""
    backoff = Backoff(1.0, 8.0, jitter=0.5)
    found = pauses(backoff, 50)
    for pause, middle in zip(found, itertools.chain((1.0, 2.0, 4.0), itertools.repeat(8.0)), strict=False):
        assert middle * 0.5 <= pause <= middle * 1.5
    assert len(set(found)) > 40
