"""Tests of the limit of failed tokens, with a clock that the test moves."""

from __future__ import annotations

import secrets

import pytest

from schema.errors import RateLimitedError, Reason, UnauthenticatedError
from server.settings import Settings
from server.traffic.addresses import Addresses
from server.traffic.failed_tokens import FailedTokens
from tests.server.traffic.test_rate_limit import Clock

HOST, OTHER = "192.0.2.1", "192.0.2.2"
BAD = UnauthenticatedError("The token has expired.", challenge="Bearer")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    clock = Clock()
    clock.now = 1_000.3
    return clock


@pytest.fixture
def addresses() -> Addresses:
    """Addresses of clients without a proxy."""
    return Addresses(Settings(database_url="postgresql://127.0.0.1/x"))


@pytest.fixture
def failed(addresses: Addresses, clock: Clock) -> FailedTokens:
    """The limit of a process."""
    return FailedTokens(addresses, remembered=100, clock=clock)


def token() -> str:
    """Another token."""
    return secrets.token_urlsafe(300)


def fail(failed: FailedTokens, text: str | None = None, host: str = HOST) -> bool:
    """Send a bad token. False if it is not verified."""
    try:
        digest = failed.check(host, text or token())
    except RateLimitedError as error:
        refused: tuple[object, object] = (error.reason, error.retry_after_seconds)
    except UnauthenticatedError as error:
        refused = (error.message, error.challenge)
    else:
        failed.note_bad(host, digest, BAD)
        return True
    assert refused in {(Reason.TOO_MANY_BAD_TOKENS, 1), (BAD.message, BAD.challenge)}
    return False


def limit(failed: FailedTokens, host: str = HOST) -> None:
    """Send bad tokens until the address is limited."""
    for _ in range(1_000):
        fail(failed, host=host)


def is_share(verified: int) -> bool:
    """Whether it is a quarter of 2,000, give or take what chance does in one of 10^24 runs."""
    return 300 < verified < 700


def test_an_address_that_fails_now_and_then_is_not_limited(failed: FailedTokens, clock: Clock) -> None:
    """Tokens expire, and users try several times."""
    for _ in range(1_000):
        assert all(fail(failed) for _ in range(10))
        clock.now += 1


def test_few_tokens_of_an_address_that_fails_often_are_verified(failed: FailedTokens) -> None:
    """Other addresses are not limited."""
    limit(failed)
    assert is_share(sum(fail(failed) for _ in range(2_000)))
    assert all(fail(failed, host=OTHER) for _ in range(100))


def test_nothing_is_won_by_a_part_of_a_good_token(failed: FailedTokens, clock: Clock) -> None:
    """A sender may copy or keep any part of a token: it is another one, and chance decides at each attempt."""
    good = token()
    failed.note_good(failed.check(HOST, good), clock.now + 60)
    limit(failed)
    assert is_share(sum(fail(failed, f"{token()}{good[-200:]}") for _ in range(2_000)))
    assert is_share(sum(fail(failed, f"{good[:200]}{token()}") for _ in range(2_000)))


def test_a_good_token_is_verified_until_it_expires(failed: FailedTokens, clock: Clock) -> None:
    """The users of an address do not notice that somebody else sends bad tokens from there."""
    good = [token() for _ in range(50)]
    for one in good:
        failed.note_good(failed.check(HOST, one), clock.now + 60)
    limit(failed)
    clock.now += 59
    limit(failed)
    assert all(failed.check(HOST, one) for one in good * 10)
    clock.now += 1
    limit(failed)
    assert not all(fail(failed, one) for one in good)


def test_a_new_good_token_gets_in_while_others_fail(addresses: Addresses, clock: Clock) -> None:
    """Within a few attempts, in whichever process, however many others fail meanwhile."""
    workers = [FailedTokens(addresses, clock=clock) for _ in range(4)]
    for worker in workers:
        limit(worker)
    attempts = [0] * 200
    for user in range(len(attempts)):
        one, let_in = token(), False
        while not let_in:
            worker = workers[attempts[user] % len(workers)]
            attempts[user] += 1
            fail(worker)
            try:
                worker.note_good(worker.check(HOST, one), clock.now + 60)
                let_in = True
            except RateLimitedError:
                pass
        assert worker.check(HOST, one)
    # Four, give or take what chance does.
    assert 2.5 < sum(attempts) / len(attempts) < 6


def test_a_bad_token_counts_once(failed: FailedTokens, clock: Clock) -> None:
    """A program that repeats its expired token is told so each time, and limits nobody else at its address."""
    stuck = token()
    for _ in range(60):
        assert sum(fail(failed, stuck) for _ in range(100)) == 1
        clock.now += 5
    assert all(fail(failed) for _ in range(100))


def test_failures_are_forgiven(failed: FailedTokens, clock: Clock) -> None:
    """Within twenty seconds, however many there were."""
    limit(failed)
    limit(failed)
    clock.now += 20
    assert all(fail(failed) for _ in range(200))


def test_what_is_remembered_is_bounded(failed: FailedTokens, clock: Clock) -> None:
    """The address that has not failed for longest is forgotten, and so is the good token that was not used for longest."""
    limit(failed)
    for number in range(100):
        fail(failed, host=f"198.51.100.{number}")
    assert all(fail(failed) for _ in range(200))
    good = [token() for _ in range(150)]
    for one in good:
        failed.note_good(failed.check(OTHER, one), clock.now + 60)
    failed.note_good(failed.check(OTHER, good[50]), clock.now + 60)
    failed.note_good(failed.check(OTHER, token()), clock.now + 60)
    limit(failed)
    assert all(fail(failed, one) for one in [good[50], *good[52:]])
    assert not all(fail(failed, one) for one in good[:50])
