"""Runs the steps of an operation in lanes: side by side, and within a lane one after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.lakebase.operations.table import LeaseLostError
from server.lakebase.steps.step import OperationCancelledError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


async def run_lanes(lanes: Sequence[Sequence[int]], run: Callable[[int], Awaitable[None]]) -> None:
    """Run the steps with these indexes. A lane that fails ends, and leaves the others alone.

    Args:
        lanes: the indexes of the steps of each lane.
        run: runs the step with an index.

    Raises:
        LeaseLostError: another process holds the operation; all lanes were cut off.
        StoppedError, OperationCancelledError: the lanes have ended at their next look.
        Exception: the first lane's failure, when all others have ended.
    """

    async def run_lane(lane: Sequence[int]) -> None:
        for index in lane:
            await run(index)

    tasks = [asyncio.create_task(run_lane(lane)) for lane in lanes]
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and isinstance(task.exception(), LeaseLostError):
                    task.result()
    finally:
        for task in tasks:
            task.cancel()
        failures = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if one is not None]
    for kind in (StoppedError, OperationCancelledError, BaseException):
        for failure in failures:
            if isinstance(failure, kind):
                raise failure
