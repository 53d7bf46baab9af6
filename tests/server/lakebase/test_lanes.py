"""Steps that run in lanes: side by side, and within a lane one after the other."""

from __future__ import annotations

import asyncio

import pytest

from schema.errors import PlatformError, Reason
from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.operations import OperationKind, OperationState, OperationStep
from server.lakebase.lanes import run_lanes
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.stored_json import steps_from_json, steps_to_json
from server.lakebase.operations.table import LeaseLostError
from server.lakebase.steps.step import OperationCancelledError, StoppedError
from tests.servers.process import PATIENCE_SECONDS

DONE = OperationState.SUCCEEDED


def operation(*steps: tuple[str, bool, OperationState]) -> OperationRecord:
    """An operation with steps: the resource of each, whether it is beside others, and its state."""
    made = [OperationStep("do", resource, state, beside=beside) for resource, beside, state in steps]
    return OperationRecord(AdminRequest(OperationKind.PROVISION), (), made, {}, "ada")


def test_consecutive_steps_beside_one_another_are_lanes_of_their_resources() -> None:
    """Whatever is before them is done first, and whatever is after them waits for all."""
    pending = OperationState.PENDING
    steps = [("a", False, pending), ("b", True, pending), ("b", True, pending), ("c", True, pending)]
    assert operation(*steps, ("d", False, pending)).next_lanes() == [[0]]
    begun = [("a", False, DONE), *steps[1:]]
    assert operation(*begun, ("d", False, pending)).next_lanes() == [[1, 2], [3]]
    half = [("a", False, DONE), ("b", True, DONE), ("b", True, OperationState.RUNNING), ("c", True, DONE)]
    assert operation(*half, ("d", False, pending)).next_lanes() == [[2]]
    assert operation(("a", False, DONE), ("b", True, DONE)).next_lanes() == []


def test_a_row_of_an_earlier_release_has_steps_one_after_the_other() -> None:
    """It does not say whether they are side by side."""
    rows = steps_to_json(operation(("a", True, DONE), ("b", True, OperationState.PENDING)).steps)
    assert [one.beside for one in steps_from_json(rows)] == [True, True]
    for row in rows:
        del row["beside"]
    assert [one.beside for one in steps_from_json(rows)] == [False, False]


async def test_lanes_run_side_by_side_and_the_steps_of_a_lane_one_after_the_other() -> None:
    """Each lane waits here for a step of the other one."""
    began = [asyncio.Event() for _ in range(4)]

    async def run(index: int) -> None:
        began[index].set()
        await began[{0: 2, 1: 3, 2: 0, 3: 1}[index]].wait()
        assert began[1].is_set() <= began[0].is_set()

    async with asyncio.timeout(PATIENCE_SECONDS):
        await run_lanes([[0, 1], [2, 3]], run)
    assert all(one.is_set() for one in began)


async def test_a_lane_that_fails_leaves_the_others_alone() -> None:
    """Its own steps end there. The failure of the first lane is told once all have ended."""
    ran, failed = [], asyncio.Event()

    async def run(index: int) -> None:
        if index in {2, 4}:
            failed.set()
            raise PlatformError(Reason.SYNC_FAILED, f"step {index}")
        await failed.wait()
        ran.append(index)

    with pytest.raises(PlatformError, match="step 2"):
        await run_lanes([[0, 1], [2, 3], [4]], run)
    assert ran == [0, 1]


@pytest.mark.parametrize("kind", [StoppedError, OperationCancelledError])
async def test_a_stop_or_a_cancellation_is_told_before_a_failure(kind: type[Exception]) -> None:
    """The next process tries again what has failed. A cancelled operation has not failed."""

    async def run(index: int) -> None:
        raise kind if index else PlatformError(Reason.SYNC_FAILED, "failed")

    with pytest.raises(kind):
        await run_lanes([[0], [1]], run)


async def test_a_lost_lease_cuts_all_lanes_off() -> None:
    """Another process works on them."""
    cut = []

    async def run(index: int) -> None:
        if index == 0:
            raise LeaseLostError("lost")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(index)
            raise

    with pytest.raises(LeaseLostError):
        await run_lanes([[0], [1], [2]], run)
    assert cut == [1, 2]


async def test_who_gives_up_waiting_leaves_no_lane_behind() -> None:
    """As when another operation supersedes this one."""
    cut, begun = [], asyncio.Event()

    async def run(index: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.append(index)

    running = asyncio.ensure_future(run_lanes([[0], [1]], run))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert 0 in cut
