"""Admission of operations: who waits for a database that wakes is not one too many."""

from __future__ import annotations

import asyncio

import pytest

from schema.errors import Reason, UnavailableError
from server.admission import Admission, giving_way, has_place, patience_left
from tests.process import PATIENCE_SECONDS

WAIT_SECONDS = 0.03


async def test_who_waits_while_the_database_wakes_is_not_refused() -> None:
    """However long it takes, nor are those shed who come meanwhile; and once it is awake all have their turn."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(3)]
    await asyncio.sleep(4 * WAIT_SECONDS)  # longer than anybody waits for others
    assert not admission.sheds
    assert not any(turn.done() for turn in turns)
    waking = False
    first.leave()
    for turn in turns:
        (await turn).leave()
    assert not admission.sheds


async def test_one_that_does_not_wake_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who still waits a while later is refused, as others are shed by then."""
    monkeypatch.setattr("server.admission._WOKEN_SECONDS", WAIT_SECONDS)
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    turn = asyncio.create_task(admission.enter())
    await asyncio.sleep(2 * WAIT_SECONDS)  # longer than anybody waits for others
    waking = False
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError) as refused:
            await turn
    assert refused.value.reason is Reason.OVERLOADED
    first.leave()
    await admission.enter()


async def test_who_comes_after_a_wake_waits_no_longer_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although those who have waited for it have more time."""
    monkeypatch.setattr("server.admission._WOKEN_SECONDS", 60)
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    old = asyncio.create_task(admission.enter())
    await asyncio.sleep(3 * WAIT_SECONDS)  # until it is known to wake
    waking = False
    await asyncio.sleep(0.1)  # until it is known to be awake
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError):
            await admission.enter()
    assert not old.done()
    first.leave()
    (await old).leave()


async def test_a_place_that_has_been_left_is_nobodys() -> None:
    """What is begun from there, as the next request of a connection, is let in as others are."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    place = await admission.enter()
    assert has_place()
    place.leave()
    assert not has_place()
    assert patience_left(1.0) == 1.0


async def test_where_turns_come_quickly_those_are_shed_whose_turn_would_come_too_late() -> None:
    """And where nobody has a turn, for all wait for the database, there is time to look at what is asked."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    place = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(200)]
    await asyncio.sleep(0)  # the others have their turn
    assert not admission.sheds
    for turn in turns[:100]:
        await asyncio.sleep(0.001)  # what an operation takes
        place.leave()
        place = await turn
        if admission.sheds:
            break
    assert admission.sheds
    for turn in turns:
        turn.cancel()
    await asyncio.wait(turns)
    assert not admission.sheds


async def test_where_many_have_their_turn_at_once_and_then_nobody_for_long_nobody_is_shed() -> None:
    """As where all wait for the database, and are refused together: it is not the process that has too much to do."""
    admission = Admission(1, wait_seconds=1.0)
    place = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(200)]
    for number, turn in enumerate(turns[:40]):
        if number % 5 == 0:
            await asyncio.sleep(0.05)  # for which nobody has a turn
        place.leave()
        place = await turn
        assert not admission.sheds
    for turn in turns:
        turn.cancel()
    await asyncio.wait(turns)


async def test_what_is_slow_and_has_connections_of_its_own_gives_way() -> None:
    """Once it is slow; its place is then another's, and is not given on twice."""
    admission = Admission(1, wait_seconds=5)
    slow = await admission.enter()
    with giving_way():
        pass
    next_one, third = (asyncio.create_task(admission.enter()) for _ in range(2))
    with giving_way():
        async with asyncio.timeout(PATIENCE_SECONDS):
            place = await next_one
    slow.leave()
    await asyncio.sleep(0)  # the others have their turn
    assert not third.done()
    place.leave()
    (await third).leave()
