"""Patience with a database that does not answer: who is asleep is waited for, who has died is told of at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from server.db import wake_up as module
from server.db.wake_up import WakeUp
from tests.clock import LoopTime, in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import Callable

STARTING = asyncpg.CannotConnectNowError("the database system is starting up")
REFUSED = ConnectionRefusedError()
# Just as it falls asleep it may be deaf for a moment: after so long one tries once more.
DEAF_SECONDS = 0.1


class Peer:
    """What answers attempts to connect: with these failures one after the other, and then with a connection."""

    def __init__(self, *failures: Exception, awake_after: float = 0) -> None:
        self._failures = list(failures)
        self._awake_at = now() + awake_after
        self.attempts = 0

    async def __call__(self) -> str:
        """One attempt."""
        self.attempts += 1
        await asyncio.sleep(0)  # the others have their turn
        if self._failures and (len(self._failures) > 1 or now() < self._awake_at):
            raise self._failures.pop(0) if len(self._failures) > 1 else self._failures[0]
        return "connected"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock."""
    monkeypatch.setattr(module, "time", LoopTime)


def asleep(patience: float = 30) -> WakeUp:
    """One that can sleep, and was never asked."""
    return WakeUp(sleeps=True, patience=patience)


def awake(*, sleeps: bool = True) -> WakeUp:
    """One that has just answered."""
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
async def test_one_that_may_be_asleep_is_waited_for(wake_up: Callable[[], WakeUp], failure: Exception) -> None:
    """Whatever it says while it wakes; 57P03 also where it has answered a moment ago."""
    found = wake_up()
    await asyncio.sleep(1)  # that moment
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
async def test_one_that_was_asked_a_moment_ago_has_not_fallen_asleep(sleeps: bool, failure: Exception) -> None:  # noqa: FBT001 # from the table above
    """Who asks is told at once; and a refused login or a silent peer is no sleep at all."""
    began = now()
    with pytest.raises(type(failure)):
        await awake(sleeps=sleeps).connect(Peer(failure, awake_after=60))
    assert now() - began <= 1.01 * DEAF_SECONDS


@in_virtual_time
async def test_an_outage_however_long_is_told_at_once() -> None:
    """It is the attempts that count, not the answers: otherwise who is asked all the time would seem to have rested."""
    wake_up = awake()
    for _ in range(60):
        await asyncio.sleep(10)  # for which nobody asks
        began = now()
        with pytest.raises(ConnectionRefusedError):
            await wake_up.connect(Peer(REFUSED, awake_after=60))
        assert now() - began <= 1.01 * DEAF_SECONDS


@in_virtual_time
async def test_a_crowd_wakes_it_with_one_attempt_at_a_time() -> None:
    """Fifty who wait do not knock fifty times as often as one."""
    peer = Peer(STARTING, awake_after=2)
    wake_up = asleep()
    assert await asyncio.gather(*(wake_up.connect(peer) for _ in range(50))) == ["connected"] * 50
    # Each once, the one that looks with pauses of 0.05 s at least, and each again when it is awake.
    assert peer.attempts < 50 + 2 / 0.05 + 50
    assert not wake_up.under_way


@in_virtual_time
async def test_one_attempt_that_takes_too_long_does_not_end_the_patience() -> None:
    """A proxy may hold on to it until the database is awake."""
    assert await asleep().connect(Peer(STARTING, TimeoutError(), STARTING, awake_after=1)) == "connected"


@in_virtual_time
async def test_after_the_patience_nobody_waits_again_at_once() -> None:
    """The next ones are told, until another second has passed."""
    wake_up = asleep(patience=5)
    with pytest.raises(TimeoutError):
        await wake_up.connect(Peer(STARTING, awake_after=60))
    began = now()
    with pytest.raises(asyncpg.CannotConnectNowError):
        await wake_up.connect(Peer(STARTING, awake_after=60))
    assert now() - began <= 1.01 * DEAF_SECONDS
    await asyncio.sleep(1)  # the other second
    began = now()
    with pytest.raises(TimeoutError):
        await wake_up.connect(Peer(STARTING, awake_after=60))
    assert now() - began == pytest.approx(5)
