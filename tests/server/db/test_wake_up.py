"""The wake-up of a database: a request waits while the database is asleep, and fails at once if it is down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from server.db import wake_up as module
from server.db.wake_up import WakeUp
from tests.support.clock import LoopTime, in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import Callable

STARTING = asyncpg.CannotConnectNowError("the database system is starting up")
REFUSED = ConnectionRefusedError()
# While it falls asleep, the database may refuse for a moment. After this time the request tries once more.
REFUSING_SECONDS = 0.1


class Peer:
    """A database that answers attempts to connect with these failures in turn, and then with a connection."""

    def __init__(self, *failures: Exception, awake_after: float = 0) -> None:
        self._failures = list(failures)
        self._awake_at = now() + awake_after
        self.attempts = 0

    async def __call__(self) -> str:
        """One attempt."""
        self.attempts += 1
        await asyncio.sleep(0)  # let the other tasks run
        if self._failures and (len(self._failures) > 1 or now() < self._awake_at):
            raise self._failures.pop(0) if len(self._failures) > 1 else self._failures[0]
        return "connected"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the module use the event loop's clock."""
    monkeypatch.setattr(module, "time", LoopTime)


def asleep(patience: float = 30) -> WakeUp:
    """The wake-up of a database that can sleep and has not been used."""
    return WakeUp(sleeps=True, patience=patience)


def awake(*, sleeps: bool = True) -> WakeUp:
    """The wake-up of a database that has just answered."""
    wake_up = WakeUp(sleeps=sleeps, patience=30)
    wake_up.answered()
    return wake_up


@pytest.mark.parametrize(
    ("wake_up", "failure"),
    [
        (asleep, STARTING),
        (asleep, REFUSED),
        (asleep, ConnectionResetError()),
        (asleep, asyncpg.TooManyConnectionsError("sorry")),
        (awake, STARTING),
    ],
)
@in_virtual_time
async def test_a_database_that_may_be_asleep_is_waited_for(wake_up: Callable[[], WakeUp], failure: Exception) -> None:
    """Whatever it answers while it wakes. With 57P03 the request waits even if the database has just answered."""
    found = wake_up()
    await asyncio.sleep(1)
    assert await found.connect(Peer(failure, awake_after=20)) == "connected"


@pytest.mark.parametrize(
    ("sleeps", "failure"),
    [
        (True, REFUSED),
        (False, REFUSED),
        (False, STARTING),
        (True, asyncpg.InvalidPasswordError("no")),
        (True, TimeoutError()),
    ],
)
@in_virtual_time
async def test_a_database_that_was_asked_a_moment_ago_is_not_asleep(sleeps: bool, failure: Exception) -> None:  # noqa: FBT001 # from the table above
    """The request fails at once. A refused login or a silent peer is no sleep either."""
    began = now()
    with pytest.raises(type(failure)):
        await awake(sleeps=sleeps).connect(Peer(failure, awake_after=60))
    assert now() - began <= 1.01 * REFUSING_SECONDS


@in_virtual_time
async def test_an_outage_of_any_length_is_reported_at_once() -> None:
    """Attempts count as use too. Otherwise a database that is down, and asked all the time, would seem to be asleep."""
    wake_up = awake()
    for _ in range(60):
        await asyncio.sleep(10)
        began = now()
        with pytest.raises(ConnectionRefusedError):
            await wake_up.connect(Peer(REFUSED, awake_after=60))
        assert now() - began <= 1.01 * REFUSING_SECONDS


@in_virtual_time
async def test_a_crowd_wakes_it_with_one_attempt_at_a_time() -> None:
    """Fifty waiting requests do not make fifty times the attempts."""
    peer = Peer(STARTING, awake_after=2)
    wake_up = asleep()
    assert await asyncio.gather(*(wake_up.connect(peer) for _ in range(50))) == ["connected"] * 50
    # Each request once, the checks with pauses of at least 0.05 s, and each again when the database is awake.
    assert peer.attempts < 50 + 2 / 0.05 + 50
    assert not wake_up.under_way


@in_virtual_time
async def test_one_attempt_that_takes_too_long_does_not_end_the_wait() -> None:
    """A proxy may hold an attempt until the database is awake."""
    assert await asleep().connect(Peer(STARTING, TimeoutError(), STARTING, awake_after=1)) == "connected"


@in_virtual_time
async def test_after_the_longest_wait_no_request_waits_again_at_once() -> None:
    """The next requests fail at once, until another second has passed."""
    wake_up = asleep(patience=5)
    with pytest.raises(TimeoutError):
        await wake_up.connect(Peer(STARTING, awake_after=60))
    began = now()
    with pytest.raises(asyncpg.CannotConnectNowError):
        await wake_up.connect(Peer(STARTING, awake_after=60))
    assert now() - began <= 1.01 * REFUSING_SECONDS
    await asyncio.sleep(1)
    began = now()
    with pytest.raises(TimeoutError):
        await wake_up.connect(Peer(STARTING, awake_after=60))
    assert now() - began == pytest.approx(5)
