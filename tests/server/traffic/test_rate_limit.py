"""The token buckets of the rate limit, with a clock that the test moves."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from schema.errors import RateLimitedError, Reason
from server.observability.request_record import RequestRecord
from server.traffic.rate_limit import RateLimit


class Clock:
    """A monotonic clock in seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


def limit(clock: Clock, *, rate: float = 10, burst: int = 100, remembered: int = 10) -> RateLimit:
    """A rate limit with the test's clock."""
    return RateLimit(rate, burst, remembered=remembered, clock=clock)


def refusal(rates: RateLimit, user: str, points: int) -> RateLimitedError:
    """The error of spending these points."""
    with pytest.raises(RateLimitedError) as refused:
        rates.spend(user, points)
    return refused.value


def test_spent_points_come_back(clock: Clock) -> None:
    """A bucket starts full, and fills up at a steady rate to its size."""
    rates = limit(clock)
    rates.spend("a", 60)
    rates.spend("a", 40)
    clock.now += 1
    rates.spend("a", 10)
    clock.now += 1_000
    rates.spend("a", 100)
    assert refusal(rates, "a", 1).reason is Reason.RATE_LIMITED


def test_a_refusal_says_when_to_retry_and_takes_nothing(clock: Clock) -> None:
    """In whole seconds. After that time there are enough points, however many requests were refused before."""
    rates = limit(clock, rate=3)
    rates.spend("a", 100)
    for _ in range(5):
        refused = refusal(rates, "a", 10)
        assert (refused.retry_after_seconds, refused.retryable) == (4, True)
    clock.now += 4
    rates.spend("a", 10)


def test_a_cost_above_the_bucket_size_is_refused_for_good(clock: Clock) -> None:
    """The message names the setting, and the error is not retryable."""
    refused = refusal(limit(clock), "a", 101)
    assert (refused.retry_after_seconds, refused.retryable) == (None, False)
    assert "RATE_BURST" in refused.message


def test_each_caller_has_a_bucket(clock: Clock) -> None:
    """A caller that has spent all its points takes none from another caller."""
    rates = limit(clock)
    rates.spend("a", 100)
    rates.spend("b", 100)
    assert refusal(rates, "a", 1)
    assert refusal(rates, "b", 1)


def test_a_mistake_costs_points(clock: Clock) -> None:
    """A caller that only makes mistakes is refused before the server reads the next one."""
    rates = limit(clock, burst=20)
    for _ in range(3):
        rates.note_mistake("a")
    with pytest.raises(RateLimitedError):
        rates.demand_any("a")
    clock.now += 0.5
    rates.demand_any("a")
    clock.now += 1_000
    rates.note_mistake("a", 2)
    assert refusal(rates, "a", 5)
    rates.spend("a", 4)


def test_what_has_been_done_is_charged_in_any_case(clock: Clock) -> None:
    """It is never refused, and never gives points back. A caller owes as much as its bucket holds at most."""
    rates = limit(clock)
    rates.settle("a", -50)
    assert rates.callers == 0
    rates.settle("a", 99)
    rates.spend("a", 1)
    for _ in range(5):
        rates.settle("a", 1_000)
    refused = refusal(rates, "a", 10)
    assert refused.retry_after_seconds == 11
    assert "0 left" in refused.message
    clock.now += 11
    rates.spend("a", 10)


def test_a_full_bucket_is_forgotten(clock: Clock) -> None:
    """It takes no memory. No bucket remains of a caller that has gone."""
    rates = limit(clock, remembered=1_000)
    for number in range(100):
        rates.spend(f"user {number}", 10)
    assert rates.callers == 100
    clock.now += 1
    for _ in range(50):
        rates.spend("a", 1)
    assert rates.callers == 1


def test_the_number_of_remembered_callers_is_bounded(clock: Clock) -> None:
    """If there are more, only the caller that has been idle for longest is forgotten."""
    rates = limit(clock, remembered=10)
    for number in range(25):
        rates.spend(f"user {number}", 100)
        assert rates.callers <= 10
    assert refusal(rates, "user 24", 1)
    assert refusal(rates, "user 15", 1)
    rates.spend("user 14", 100)


def settled(clock: Clock, **took: Any) -> RateLimit:
    """The buckets of 300,000 points after an operation of "a", for which it paid 100,000, took this.

    A second is worth as many, and a quarter of a second is free.
    """
    rates = limit(clock, burst=300_000)
    with patch("server.traffic.rate_limit._FREE_SECONDS", 0.25):
        rates.settle_operation(RequestRecord("1", **{"caller": "a", "cost": 100_000, **took}))
    return rates


@pytest.mark.parametrize(
    "took",
    [
        {"database_seconds": 2.5, "statements": 1},
        {"processor_seconds": 2.25},
        {"database_seconds": 1.25, "processor_seconds": 1.25, "statements": 1},
    ],
)
def test_an_operation_that_took_more_than_its_price_is_charged_the_rest(clock: Clock, took: dict[str, Any]) -> None:
    """Of the database and of the event loop, without what is free for each operation and each statement."""
    rates = settled(clock, **took)
    rates.spend("a", 200_000)
    assert refusal(rates, "a", 1)


@pytest.mark.parametrize(
    "took",
    [
        {},
        {"processor_seconds": 1.25},
        # It may be a wait for another caller's lock.
        {"database_seconds": 100, "mutation": True},
        # Each event has been paid for.
        {"database_seconds": 100, "processor_seconds": 100, "subscription": True},
        # Its caller is not known.
        {"processor_seconds": 100, "caller": None},
    ],
)
def test_an_operation_is_charged_nothing_more(clock: Clock, took: dict[str, Any]) -> None:
    """If it took less than its price, or for another reason. Nothing is ever paid back."""
    assert settled(clock, **took).callers == 0
