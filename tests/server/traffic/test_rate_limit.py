"""The buckets of the rate limit, by a clock of the test's own."""

from __future__ import annotations

import pytest

from schema.errors import RateLimitedError, Reason
from server.traffic.rate_limit import RateLimit


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """It stands still."""
    return Clock()


def limit(clock: Clock, *, rate: float = 10, burst: int = 100, remembered: int = 10) -> RateLimit:
    """A limit by the test's clock."""
    return RateLimit(rate, burst, remembered=remembered, clock=clock)


def refusal(rates: RateLimit, user: str, points: int) -> RateLimitedError:
    """Why the points cannot be spent."""
    with pytest.raises(RateLimitedError) as refused:
        rates.spend(user, points)
    return refused.value


def test_points_are_spent_and_come_again(clock: Clock) -> None:
    """A bucket is full to begin with, fills up steadily and never beyond its size."""
    rates = limit(clock)
    rates.spend("a", 60)
    rates.spend("a", 40)
    clock.now += 1
    rates.spend("a", 10)
    clock.now += 1_000
    rates.spend("a", 100)
    assert refusal(rates, "a", 1).reason is Reason.RATE_LIMITED


def test_a_refusal_says_when_to_come_again_and_takes_nothing(clock: Clock) -> None:
    """In whole seconds, and then it is paid, however often it was asked before."""
    rates = limit(clock, rate=3)
    rates.spend("a", 100)
    for _ in range(5):
        refused = refusal(rates, "a", 10)
        assert (refused.retry_after_seconds, refused.retryable) == (4, True)
        assert refused.details == {"retryAfter": 4}
    clock.now += 4
    rates.spend("a", 10)


def test_what_can_never_be_paid_is_refused_for_good(clock: Clock) -> None:
    """With the setting's name, and without a word of coming again."""
    refused = refusal(limit(clock), "a", 101)
    assert (refused.retry_after_seconds, refused.retryable, refused.details) == (None, False, {})
    assert "RATE_BURST" in refused.message


def test_each_caller_has_a_bucket(clock: Clock) -> None:
    """Who has spent everything takes nothing from another."""
    rates = limit(clock)
    rates.spend("a", 100)
    rates.spend("b", 100)
    assert refusal(rates, "a", 1)
    assert refusal(rates, "b", 1)


def test_a_mistake_costs_a_point_as_far_as_there_is_one(clock: Clock) -> None:
    """Who makes nothing but mistakes is refused before the next is read."""
    rates = limit(clock, burst=2)
    for _ in range(3):
        rates.note_mistake("a")
    with pytest.raises(RateLimitedError):
        rates.demand_any("a")
    clock.now += 0.1
    rates.demand_any("a")


def test_a_full_bucket_is_forgotten(clock: Clock) -> None:
    """It needs no memory: of callers who come and go none is left."""
    rates = limit(clock, remembered=1_000)
    for number in range(100):
        rates.spend(f"user {number}", 10)
    assert rates.callers == 100
    clock.now += 1
    for _ in range(50):
        rates.spend("a", 1)
    assert rates.callers == 1


def test_the_number_of_callers_remembered_is_bounded(clock: Clock) -> None:
    """Beyond it who has asked nothing for longest is forgotten, and no other."""
    rates = limit(clock, remembered=10)
    for number in range(25):
        rates.spend(f"user {number}", 100)
        assert rates.callers <= 10
    assert refusal(rates, "user 24", 1)
    assert refusal(rates, "user 15", 1)
    rates.spend("user 14", 100)
