"""The wait queue of a pool: each waiter is served in order or refused in time, on both event loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
import uvloop

from server.db.wait_queue import WaitQueue
from tests.servers.process import PATIENCE_SECONDS
from tests.support.calibration import hold
from tests.support.clock import in_virtual_time, now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LATE: Final = "late"
# The server runs on uvloop, whose timers differ from asyncio's.
RUN: Final = (asyncio.run, uvloop.run)


def new_queue(passed_on: list[str] | None = None) -> WaitQueue[str]:
    """A queue that gives LATE to a waiter that times out, and notes the values that it passes on."""

    async def pass_on(value: str) -> None:
        if passed_on is not None:
            passed_on.append(value)

    return WaitQueue(timed_out=lambda: LATE, pass_on=pass_on)


def on_both_loops(work: Callable[[], Awaitable[None]]) -> None:
    """Run the work on asyncio's loop, and on uvloop."""

    async def main() -> None:
        await work()

    for run in RUN:
        run(main())


def test_waiters_are_served_in_order() -> None:
    """In the order of their arrival. A waiter that has waited before comes first."""

    async def work() -> None:
        queue, until = new_queue(), asyncio.get_running_loop().time() + PATIENCE_SECONDS
        turns = [asyncio.create_task(queue.wait(until)) for _ in range(2)]
        turns.append(asyncio.create_task(queue.wait(until, first=True)))
        await asyncio.sleep(0)  # they join the queue
        assert len(queue) == 3
        assert [queue.give(value) for value in ("first", "second", "third", "nobody")] == [True, True, True, False]
        assert await asyncio.gather(*turns) == ["second", "third", "first"]

    on_both_loops(work)


async def waits() -> dict[float, float]:
    """The seconds that each waiter waits, by the seconds that it may. They arrive in another order."""
    queue, loop = new_queue(), asyncio.get_running_loop()
    began = loop.time()
    for seconds in (0.0, -1.0):
        assert await queue.wait(began + seconds) == LATE
    took: dict[float, float] = {}

    async def wait(seconds: float) -> None:
        assert await queue.wait(began + seconds) == LATE
        took[seconds] = loop.time() - began

    await asyncio.gather(*(wait(seconds) for seconds in (0.15, 0.05, 0.1, 0.0001, 0.051)))
    assert len(queue) == 0
    assert not queue.give("nobody")
    return took


@in_virtual_time
async def test_no_wait_is_longer_than_allowed() -> None:
    """Each wait ends at its own time, in any order of arrival, and at once if its time is over."""
    took = await waits()
    assert now() == pytest.approx(0.15)
    # Waits that end within 0.01 s are checked together.
    assert took == pytest.approx({0.0001: 0.0001, 0.05: 0.05, 0.051: 0.06, 0.1: 0.1, 0.15: 0.15})


@pytest.mark.parametrize("run", RUN)
def test_no_wait_ends_too_early(run: Callable[..., dict[float, float]]) -> None:
    """This holds with the timers of either loop."""
    # uvloop's timers have whole milliseconds, and the clock is read before the wait.
    assert all(took >= seconds - 0.002 for seconds, took in run(waits()).items())


@pytest.mark.long
@pytest.mark.parametrize("run", RUN)
def test_each_wait_ends_at_its_own_time(run: Callable[..., dict[float, float]]) -> None:
    """This holds with the timers of either loop, on a machine that is not busy."""
    took = run(waits())
    for seconds, measured in took.items():
        hold(f"refused after {seconds} s in the wait queue", measured, computing_seconds=0.5, waiting_seconds=seconds)
    assert sorted(took, key=lambda seconds: took[seconds]) == sorted(took)


def test_a_cancelled_waiter_loses_no_value() -> None:
    """A value given later goes to the next waiter. A value given at the moment of the cancellation is passed on."""

    async def work() -> None:
        passed_on: list[str] = []
        queue, until = new_queue(passed_on), asyncio.get_running_loop().time() + PATIENCE_SECONDS
        turns = [asyncio.create_task(queue.wait(until)) for _ in range(3)]
        await asyncio.sleep(0)  # they join the queue
        turns[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await turns[0]
        assert len(queue) == 2
        queue.give("second")
        turns[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await turns[1]
        assert passed_on == ["second"]
        queue.give("third")
        assert await turns[2] == "third"

    on_both_loops(work)
