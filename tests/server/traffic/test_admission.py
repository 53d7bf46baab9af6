"""Admission of operations: who waits for a database that wakes is not one too many."""

from __future__ import annotations

import asyncio

import pytest

from schema.errors import Reason, UnavailableError
from server.traffic.admission import Admission, giving_way, holds_slot, patience_left
from tests.clock import in_virtual_time, now

WAIT_SECONDS = 1.0


@in_virtual_time
async def test_who_waits_while_the_database_wakes_is_not_refused() -> None:
    """However long it takes, nor are those shed who come meanwhile; and once it is awake all have their turn."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(3)]
    await asyncio.sleep(60 * WAIT_SECONDS)  # longer than anybody waits for others
    assert not admission.sheds
    assert not any(turn.done() for turn in turns)
    waking = False
    first.leave()
    for turn in turns:
        (await turn).leave()
    assert not admission.sheds


@in_virtual_time
async def test_one_that_does_not_wake_is_waited_for_no_longer() -> None:
    """Who still waits a while later is refused, as others are shed by then."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    turn = asyncio.create_task(admission.enter())
    await asyncio.sleep(3 * WAIT_SECONDS)  # longer than anybody waits for others
    waking = False
    gave_up = now()
    with pytest.raises(UnavailableError) as refused:
        await turn
    # Two seconds after it is seen to have given up, which is looked for 20 times a second.
    assert 2 <= now() - gave_up <= 2.1
    assert refused.value.reason is Reason.OVERLOADED
    first.leave()
    await admission.enter()


@in_virtual_time
async def test_who_comes_after_a_wake_waits_no_longer_than_others() -> None:
    """Although those who have waited for it have more time."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    old = asyncio.create_task(admission.enter())
    await asyncio.sleep(3 * WAIT_SECONDS)  # until it is known to wake
    waking = False
    await asyncio.sleep(0.1)  # until it is known to be awake
    came = now()
    with pytest.raises(UnavailableError):
        await admission.enter()
    assert now() - came == pytest.approx(WAIT_SECONDS)
    assert not old.done()
    first.leave()
    (await old).leave()


@in_virtual_time
async def test_a_slot_that_has_been_left_belongs_to_nobody() -> None:
    """What is begun from there, as the next request of a connection, is let in as others are."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slot = await admission.enter()
    assert holds_slot()
    slot.leave()
    assert not holds_slot()
    assert patience_left(1.0) == 1.0


@pytest.mark.parametrize(("longest", "left"), [(0.3, 0.1), (0.4, 0.2), (5.0, 0.3)])
@in_virtual_time
async def test_the_time_that_a_slot_was_waited_for_is_taken_from_all_further_waiting(
    longest: float, left: float
) -> None:
    """However many lines there are, an answer that says no comes after the longest of the times that are promised."""
    admission = Admission(1, wait_seconds=longest)
    first = await admission.enter()
    asyncio.get_running_loop().call_later(0.2, first.leave)
    slot = await admission.enter()
    assert now() == pytest.approx(0.2)
    assert patience_left(0.3) == pytest.approx(left)
    slot.leave()


@in_virtual_time
async def test_where_turns_come_quickly_those_are_shed_whose_turn_would_come_too_late() -> None:
    """And where nobody has a turn, for all wait for the database, there is time to look at what is asked."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slot = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(200)]
    await asyncio.sleep(0)  # the others have their turn
    assert not admission.sheds
    for turn in turns[:100]:
        await asyncio.sleep(0.004)  # what an operation takes: the last turn comes after 0.8 s
        slot.leave()
        slot = await turn
        if admission.sheds:
            break
    assert admission.sheds
    for turn in turns:
        turn.cancel()
    await asyncio.wait(turns)
    assert not admission.sheds


@in_virtual_time
async def test_where_many_have_their_turn_at_once_and_then_nobody_for_long_nobody_is_shed() -> None:
    """As where all wait for the database, and are refused together: it is not the process that has too much to do."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slot = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(200)]
    for number, turn in enumerate(turns[:40]):
        if number % 5 == 0:
            await asyncio.sleep(0.05)  # for which nobody has a turn
        slot.leave()
        slot = await turn
        assert not admission.sheds
    for turn in turns:
        turn.cancel()
    await asyncio.wait(turns)


@in_virtual_time
async def test_what_is_slow_and_has_connections_of_its_own_gives_way() -> None:
    """Once it is slow; its slot is then another's, and is not given on twice."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slow = await admission.enter()
    with giving_way():
        pass
    next_one, third = (asyncio.create_task(admission.enter()) for _ in range(2))
    with giving_way():
        slot = await next_one
    slow.leave()
    await asyncio.sleep(0)  # the others have their turn
    assert not third.done()
    slot.leave()
    (await third).leave()
