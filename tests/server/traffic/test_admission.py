"""Admission of operations: which requests wait for a slot, which are shed, and how a wake-up changes that."""

from __future__ import annotations

import asyncio

import pytest

from schema.errors import Reason, UnavailableError
from server.traffic.admission import Admission, giving_way, holds_slot, patience_left
from tests.support.clock import in_virtual_time, now

WAIT_SECONDS = 1.0


@in_virtual_time
async def test_no_request_is_refused_during_a_wake_up() -> None:
    """However long it takes. New requests are not shed meanwhile, and afterwards every waiting request gets a slot."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(3)]
    await asyncio.sleep(60 * WAIT_SECONDS)  # longer than the longest wait for a slot
    assert not admission.sheds
    assert not any(turn.done() for turn in turns)
    waking = False
    first.leave()
    for turn in turns:
        (await turn).leave()
    assert not admission.sheds


@in_virtual_time
async def test_a_request_is_refused_some_time_after_a_wake_up_has_failed() -> None:
    """After the grace period a request that still waits is refused with OVERLOADED, as at any other time."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    turn = asyncio.create_task(admission.enter())
    await asyncio.sleep(3 * WAIT_SECONDS)  # longer than the longest wait for a slot
    waking = False
    gave_up = now()
    with pytest.raises(UnavailableError) as refused:
        await turn
    # The grace period is 2 s, and the queue checks every 0.05 s whether the wake-up is over.
    assert 2 <= now() - gave_up <= 2.1
    assert refused.value.reason is Reason.OVERLOADED
    first.leave()
    await admission.enter()


@in_virtual_time
async def test_a_request_that_arrives_after_a_wake_up_has_no_grace_period() -> None:
    """Only requests that waited during the wake-up have more time."""
    admission, waking = Admission(1, wait_seconds=WAIT_SECONDS), True
    admission.wakes = lambda: waking
    first = await admission.enter()
    old = asyncio.create_task(admission.enter())
    await asyncio.sleep(3 * WAIT_SECONDS)  # until the queue has noticed the wake-up
    waking = False
    await asyncio.sleep(0.1)  # until the queue has noticed its end
    came = now()
    with pytest.raises(UnavailableError):
        await admission.enter()
    assert now() - came == pytest.approx(WAIT_SECONDS)
    assert not old.done()
    first.leave()
    (await old).leave()


@in_virtual_time
async def test_a_released_slot_is_not_inherited() -> None:
    """The next request of a connection inherits the context, but waits for a slot of its own."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slot = await admission.enter()
    assert holds_slot()
    slot.leave()
    assert not holds_slot()
    assert patience_left(1.0) == 1.0


@pytest.mark.parametrize(("longest", "left"), [(0.3, 0.1), (0.4, 0.2), (5.0, 0.3)])
@in_virtual_time
async def test_the_wait_for_a_slot_counts_against_later_waits(longest: float, left: float) -> None:
    """However many queues there are, a refusal comes within the longest of their promised waits."""
    admission = Admission(1, wait_seconds=longest)
    first = await admission.enter()
    asyncio.get_running_loop().call_later(0.2, first.leave)
    slot = await admission.enter()
    assert now() == pytest.approx(0.2)
    assert patience_left(0.3) == pytest.approx(left)
    slot.leave()


@in_virtual_time
async def test_requests_are_shed_if_slots_are_freed_quickly_and_the_queue_is_too_long() -> None:
    """While no slot is freed, all operations wait for the database, and the process has time to read further requests."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slot = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(200)]
    await asyncio.sleep(0)  # let the tasks join the queue
    assert not admission.sheds
    for turn in turns[:100]:
        await asyncio.sleep(0.004)  # one operation's duration: the last of them would get its slot after 0.8 s
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
async def test_nothing_is_shed_if_slots_are_freed_in_bursts_with_long_pauses() -> None:
    """Operations that wait for the database and fail together look like that. The process itself is not overloaded."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slot = await admission.enter()
    turns = [asyncio.create_task(admission.enter()) for _ in range(200)]
    for number, turn in enumerate(turns[:40]):
        if number % 5 == 0:
            await asyncio.sleep(0.05)  # in which no slot is freed
        slot.leave()
        slot = await turn
        assert not admission.sheds
    for turn in turns:
        turn.cancel()
    await asyncio.wait(turns)


@in_virtual_time
async def test_slow_work_with_its_own_pool_releases_its_slot() -> None:
    """Only once it is slow. The next operation then holds the slot, and it is not handed on twice."""
    admission = Admission(1, wait_seconds=WAIT_SECONDS)
    slow = await admission.enter()
    with giving_way():
        pass
    next_one, third = (asyncio.create_task(admission.enter()) for _ in range(2))
    with giving_way():
        slot = await next_one
    slow.leave()
    await asyncio.sleep(0)  # let the other tasks run
    assert not third.done()
    slot.leave()
    (await third).leave()
