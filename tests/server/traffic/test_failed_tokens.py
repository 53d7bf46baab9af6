"""Tests of the limit of failed tokens, with a clock that the test moves."""

from __future__ import annotations

import secrets

import pytest

from schema.errors import RateLimitedError, Reason
from server.settings import Settings
from server.traffic.addresses import Addresses
from server.traffic.failed_tokens import FailedTokens
from tests.server.traffic.test_rate_limit import Clock

HOST, OTHER = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    clock = Clock()
    clock.now = 1_000.3
    return clock


@pytest.fixture
def failed(clock: Clock) -> FailedTokens:
    """The limit, for clients without a proxy."""
    return FailedTokens(Addresses(Settings(database_url="postgresql://127.0.0.1/x")), remembered=100, clock=clock)


def token() -> str:
    """Another token."""
    return secrets.token_urlsafe(300)


def fail(failed: FailedTokens, times: int = 1_000, host: str = HOST) -> None:
    """Send bad tokens."""
    for _ in range(times):
        failed.note_bad(host)


def wait(failed: FailedTokens, text: str, host: str = HOST) -> int:
    """How many seconds this token has to wait; 0 if it is verified now."""
    try:
        failed.check(host, text)
    except RateLimitedError as error:
        refused = error
    else:
        return 0
    assert refused.reason is Reason.TOO_MANY_BAD_TOKENS
    # A close frame holds no more.
    assert len(refused.message.encode()) <= 123
    assert refused.retry_after_seconds
    return refused.retry_after_seconds


def test_an_address_that_fails_now_and_then_is_not_limited(failed: FailedTokens, clock: Clock) -> None:
    """Tokens expire, and a user tries several times."""
    for _ in range(1_000):
        fail(failed, 1)
        clock.now += 1
        assert not wait(failed, token())


def test_most_tokens_of_an_address_that_fails_often_are_not_verified(failed: FailedTokens) -> None:
    """A quarter is, give or take what chance does. Other addresses are not limited."""
    fail(failed)
    verified = sum(not wait(failed, token()) for _ in range(2_000))
    assert 300 < verified < 700
    assert not any(wait(failed, token(), OTHER) for _ in range(100))


def test_a_token_that_was_good_is_not_limited(failed: FailedTokens) -> None:
    """The users of an address do not notice that somebody else sends bad tokens from there."""
    good = [token() for _ in range(50)]
    for one in good:
        failed.note_good(one)
    fail(failed)
    assert not any(wait(failed, one) for one in good)


def test_a_new_good_token_gets_in_when_it_is_told(failed: FailedTokens, clock: Clock) -> None:
    """However many others fail meanwhile, within sixteen seconds, and also if the client is a little late."""
    fail(failed)
    for late in (0.0, 0.9):
        for _ in range(200):
            one, began = token(), clock.now
            if seconds := wait(failed, one):
                assert seconds <= 16
                clock.now += seconds
                fail(failed, 100)
                clock.now += late
                assert not wait(failed, one)
            clock.now = began + 0.37


def test_a_tokens_turn_is_another_in_each_round(failed: FailedTokens, clock: Clock) -> None:
    """A sender of bad tokens has to ask for the turn of each token again, which is not verified then."""
    fail(failed)
    ones = [token() for _ in range(400)]
    now = [one for one in ones if not wait(failed, one)]
    clock.now += 8
    fail(failed)
    again = sum(not wait(failed, one) for one in now)
    assert 0 < again < 0.6 * len(now)


def test_failures_are_forgiven(failed: FailedTokens, clock: Clock) -> None:
    """After a minute, however many there were."""
    fail(failed, 5_000)
    clock.now += 61
    assert not any(wait(failed, token()) for _ in range(100))


def test_what_is_remembered_is_bounded(failed: FailedTokens, clock: Clock) -> None:
    """The address that has not failed for longest is forgotten, and forgiven ones are."""
    fail(failed)
    for number in range(99):
        failed.note_bad(f"198.51.100.{number}")
    assert failed.addresses == 100
    assert any(wait(failed, token()) for _ in range(50))
    failed.note_bad("203.0.113.1")
    assert failed.addresses == 100
    assert not any(wait(failed, token()) for _ in range(50))
    clock.now += 10
    for _ in range(100):
        failed.note_bad(OTHER)
    assert failed.addresses == 1
    good = [token() for _ in range(150)]
    for one in good:
        failed.note_good(one)
    fail(failed)
    assert not any(wait(failed, one) for one in good[50:])
    assert any(wait(failed, one) for one in good[:50])
