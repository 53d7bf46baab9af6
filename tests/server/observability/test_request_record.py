"""The request's record: how long the steps of an operation hold the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from server.observability.request_record import RequestRecord, metered

HELD_SECONDS = 0.02


def hold() -> None:
    """Hold the event loop."""
    ends_at = time.perf_counter() + HELD_SECONDS
    while time.perf_counter() < ends_at:
        pass


async def test_the_steps_of_an_operation_are_added_up_and_its_waits_are_not() -> None:
    """What others do meanwhile does not count, however long it takes."""
    record, others = RequestRecord("1"), RequestRecord("2")
    turn, back = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        hold()
        turn.set()
        await back.wait()
        hold()
        return "done"

    async def other() -> None:
        await turn.wait()
        while others.loop_seconds < 5 * HELD_SECONDS:
            hold()
            others.loop_seconds += HELD_SECONDS
        back.set()

    found, _ = await asyncio.gather(metered(record, work()), other())
    assert found == "done"
    assert record.loop_seconds >= 2 * HELD_SECONDS


async def test_errors_and_cancellations_reach_the_work_and_come_back() -> None:
    """As if nobody measured. The time is noted all the same."""
    record, met = RequestRecord("1"), []

    async def failing() -> None:
        hold()
        raise LookupError

    async def waiting() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            met.append("cancelled")
            raise

    async def shrugging() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "shrugged"
        return ""

    with pytest.raises(LookupError):
        await metered(record, failing())
    assert record.loop_seconds >= HELD_SECONDS
    task: asyncio.Task[Any] = asyncio.create_task(metered(record, waiting()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert met == ["cancelled"]
    task = asyncio.create_task(metered(record, shrugging()))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "shrugged"


async def test_any_awaitable_is_metered() -> None:
    """A future, and the next value of a generator until its end."""
    record = RequestRecord("1")
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, 7)
    assert await metered(record, future) == 7

    async def numbers() -> Any:
        yield 1

    generator = numbers()
    assert await metered(record, generator.__anext__()) == 1
    with pytest.raises(StopAsyncIteration):
        await metered(record, generator.__anext__())
