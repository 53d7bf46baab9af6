"""Owns the promises of the line before a pool: each is told in its turn, or in time, on the event loop that serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
import uvloop

from server.db.wait_queue import WaitQueue
from tests.calibration import hold
from tests.clock import in_virtual_time, now
from tests.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LATE: Final = "late"
# The server's own, whose timers are not asyncio's.
RUN: Final = (asyncio.run, uvloop.run)


def line(told_again: list[str] | None = None) -> WaitQueue[str]:
    """One in which the late are told so, and what nobody could be told any more is noted."""

    async def give_on(told: str) -> None:
        if told_again is not None:
            told_again.append(told)

    return WaitQueue(timed_out=lambda: LATE, pass_on=give_on)


def on_both_loops(work: Callable[[], Awaitable[None]]) -> None:
    """Run it on asyncio's loop, and on the server's."""

    async def main() -> None:
        await work()

    for run in RUN:
        run(main())


def test_each_is_told_in_turn() -> None:
    """In the order in which they came, but for one who has waited already."""

    async def work() -> None:
        waiting, until = line(), asyncio.get_running_loop().time() + PATIENCE_SECONDS
        turns = [asyncio.create_task(waiting.wait(until)) for _ in range(2)]
        turns.append(asyncio.create_task(waiting.wait(until, first=True)))
        await asyncio.sleep(0)  # they come
        assert len(waiting) == 3
        assert [waiting.give(told) for told in ("first", "second", "third", "nobody")] == [True, True, True, False]
        assert await asyncio.gather(*turns) == ["second", "third", "first"]

    on_both_loops(work)


async def waits() -> dict[float, float]:
    """How long each waits who may for so many seconds; they come in another order."""
    waiting, loop = line(), asyncio.get_running_loop()
    began = loop.time()
    for seconds in (0.0, -1.0):
        assert await waiting.wait(began + seconds) == LATE
    took: dict[float, float] = {}

    async def wait(seconds: float) -> None:
        assert await waiting.wait(began + seconds) == LATE
        took[seconds] = loop.time() - began

    await asyncio.gather(*(wait(seconds) for seconds in (0.15, 0.05, 0.1, 0.0001, 0.051)))
    assert len(waiting) == 0
    assert not waiting.give("nobody")
    return took


@in_virtual_time
async def test_nobody_waits_for_longer_than_said() -> None:
    """Whoever comes in which order, each at its own time; and at once where that is over."""
    took = await waits()
    assert now() == pytest.approx(0.15)
    # Those whose times are less than 0.01 s apart are looked at together.
    assert took == pytest.approx({0.0001: 0.0001, 0.05: 0.05, 0.051: 0.06, 0.1: 0.1, 0.15: 0.15})


@pytest.mark.parametrize("run", RUN)
def test_nobody_is_told_too_early(run: Callable[..., dict[float, float]]) -> None:
    """By the timers of either loop."""
    # The clock is read before; uvloop's timers are of whole milliseconds.
    assert all(took >= seconds - 0.002 for seconds, took in run(waits()).items())


@pytest.mark.long
@pytest.mark.parametrize("run", RUN)
def test_each_is_told_at_its_own_time(run: Callable[..., dict[float, float]]) -> None:
    """By the timers of either loop, on a machine that has time for it."""
    took = run(waits())
    for seconds, measured in took.items():
        hold(f"told after {seconds} s of waiting in line", measured, computing_seconds=0.5, waiting_seconds=seconds)
    assert sorted(took, key=lambda seconds: took[seconds]) == sorted(took)


def test_who_is_cancelled_takes_nothing_with_it() -> None:
    """Neither a turn that comes later, nor the one that has come in the same moment."""

    async def work() -> None:
        again: list[str] = []
        waiting, until = line(again), asyncio.get_running_loop().time() + PATIENCE_SECONDS
        turns = [asyncio.create_task(waiting.wait(until)) for _ in range(3)]
        await asyncio.sleep(0)  # they come
        turns[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await turns[0]
        assert len(waiting) == 2
        waiting.give("second")
        turns[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await turns[1]
        assert again == ["second"]
        waiting.give("third")
        assert await turns[2] == "third"

    on_both_loops(work)
