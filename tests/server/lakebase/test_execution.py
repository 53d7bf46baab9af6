"""The execution of an operation: what may end it or its heartbeat, and what may not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.audit import AuditOutcome
from schema.ports.admin.operations import OperationKind, OperationState, OperationStep
from server.lakebase import ending, execution
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import LeaseLostError, OperationTable
from tests.server.lakebase.conftest import SCHEMA
from tests.server.lakebase.executors import executor_of, operation
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from server.lakebase.steps.step import Step
    from tests.server.conftest import LogLines


class LateTable(OperationTable):
    """The table as a heartbeat sees it when the deletion of its row overtakes it.

    `early`: the heartbeat has its answer before the deletion has its own.
    """

    def __init__(self, *arguments: Any, early: bool) -> None:
        super().__init__(*arguments)
        self._early = early
        self._renewing, self._deleted, self.refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def renew(self, operation: OperationRecord) -> None:
        """Renew the lease once the row is gone."""
        self._renewing.set()
        await self._deleted.wait()
        try:
            await super().renew(operation)
        except LeaseLostError:
            self.refused.set()
            raise

    async def delete_held(self, operation: OperationRecord) -> None:
        """Delete the row while a lease is being renewed."""
        await self._renewing.wait()
        await super().delete_held(operation)
        self._deleted.set()
        if self._early:
            await self.refused.wait()


@pytest.mark.parametrize("early", [True, False])
async def test_a_heartbeat_that_finds_its_row_deleted_by_this_very_process_ends_nothing(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, *, early: bool
) -> None:
    """The operation that deletes its own database goes on in memory, and is not left half done."""
    table = LateTable(*arguments, early=early)
    store, held = OperationStore(table), operation()

    async def delete(step: Step) -> str:
        await step.detach(deleting=True)
        await table.refused.wait()
        # If the heartbeat ends this, it does so now.
        await asyncio.sleep(0)
        return "gone"

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(execution, "STEPS", {"delete": delete})
    assert await store.begin(held) is None
    await executor_of(store, arguments).run(held)
    assert held.state is OperationState.SUCCEEDED


class WatchedTable(OperationTable):
    """A table that tells which writes of a row fail, and when a lease is renewed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.renewed = asyncio.Event()
        self._failed: dict[str, asyncio.Queue[Exception]] = {"renew": asyncio.Queue(), "save": asyncio.Queue()}

    async def renew(self, operation: OperationRecord) -> None:
        """Renew a lease."""
        await self._watch("renew", super().renew(operation))
        self.renewed.set()

    async def save(self, operation: OperationRecord) -> None:
        """Save an operation."""
        await self._watch("save", super().save(operation))

    async def fails(self, write: str) -> None:
        """Wait until a write has failed more than once from now on."""
        queue = self._failed[write] = asyncio.Queue()
        for _ in range(3):
            await queue.get()

    async def _watch(self, write: str, writing: Awaitable[None]) -> None:
        try:
            await writing
        except Exception as error:
            self._failed[write].put_nowait(error)
            raise


# A failover answers 25006 for a while, until the new primary takes over. Nobody foresees XX000.
@pytest.mark.parametrize("state", ["25006", "XX000"])
async def test_nothing_unforeseen_ends_a_heartbeat_or_an_operation(
    arguments: tuple[Any, ...],
    refuse: Callable[[str | None], Awaitable[object]],
    monkeypatch: pytest.MonkeyPatch,
    log_lines: LogLines,
    state: str,
) -> None:
    """The heartbeat beats again, progress is saved later, and so is the end. Each cause is logged once."""
    table, held, worked = WatchedTable(*arguments), operation(), asyncio.Event()
    store = OperationStore(table)

    async def work(step: Step) -> str:
        await refuse(state)
        await table.fails("renew")
        await step.report(0.5, "half")
        await refuse(None)
        table.renewed.clear()
        await table.renewed.wait()
        await refuse(state)
        worked.set()
        return "done"

    async def accept_again() -> None:
        await worked.wait()
        await table.fails("save")
        await refuse(None)

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(ending, "_FINISH_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(accept_again())
        tasks.create_task(executor_of(store, arguments).run(held))
    found = await table.find(held.id)
    assert found is not None
    assert (found.state, found.steps[0].message) == (OperationState.SUCCEEDED, "done")
    assert len([line for line in log_lines() if line["level"] == "error"]) <= 1


async def test_an_operation_in_memory_that_another_process_has_claimed_is_left_to_it(
    arguments: tuple[Any, ...], database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to its insertion was lost, so it went on in memory, without renewing the lease of its row."""
    store, other = (OperationStore(OperationTable(*arguments)) for _ in range(2))
    held = operation()

    async def work(_: Step) -> str:
        await asyncio.Event().wait()
        return "never"

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    store.abandon(held)
    await database.execute(f"UPDATE {SCHEMA}.operation SET lease_ends_at = clock_timestamp() - interval '1 s'")
    (taken,) = await other.claim()
    running = asyncio.create_task(executor_of(store, arguments).run(held))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await store.find(held.id) == taken


class ProcessDiesError(Exception):
    """The process dies here."""


async def test_an_operation_whose_process_dies_at_its_end_is_in_the_audit(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after its end is stored, and before anything else is done."""
    store, held = OperationStore(OperationTable(*arguments)), operation()

    async def work(_: Step) -> str:
        return "done"

    def die(_: OperationRecord) -> None:
        raise ProcessDiesError

    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    with pytest.raises(ProcessDiesError):
        await executor_of(store, arguments, finished=die).run(held)
    entries = await AuditTable(OwnTables(*arguments)).of_operation(held.id)
    assert [one.outcome for one in entries] == [AuditOutcome.SUCCEEDED]


@pytest.mark.parametrize("durable", [True, False])
async def test_an_operation_has_one_outcome_and_one_line(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, log_lines: LogLines, *, durable: bool
) -> None:
    """Whether it ends in its row or in memory, from where the operation and its entry are written down later."""
    store, held = OperationStore(OperationTable(*arguments)), operation()

    async def work(_: Step) -> str:
        if not durable:
            await store.detach(held)
            held.facts["detached"] = True
        return "done"

    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    await executor_of(store, arguments).run(held)
    await store.write_down_ended()
    entries = await AuditTable(OwnTables(*arguments)).of_operation(held.id)
    assert [(one.outcome, one.at) for one in entries] == [(AuditOutcome.SUCCEEDED, held.finished_at)]
    written = [line for line in log_lines() if line["event"] == "audit"]
    assert [(line["outcome"], line["operation"], line["request_id"]) for line in written] == [
        ("SUCCEEDED", held.id, None)
    ]


async def test_an_operation_in_memory_that_another_one_supersedes_is_in_the_audit(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    """It began while the database did not answer, as did another one in another process, on the same resources."""
    store, held = OperationStore(OperationTable(*arguments)), operation()
    other = replace(operation(), request=AdminRequest(OperationKind.PROVISION))

    async def work(_: Step) -> str:
        await asyncio.Event().wait()
        return "never"

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    await store.detach(held)
    assert await OperationStore(OperationTable(*arguments)).begin(other) is None
    await executor_of(store, arguments).run(held)
    entries = await AuditTable(OwnTables(*arguments)).of_operation(held.id)
    assert [(one.outcome, one.reason) for one in entries] == [(AuditOutcome.FAILED, "OPERATION_IN_PROGRESS")]
    assert len([line for line in log_lines() if line["event"] == "audit"]) == 1


class MetTable(OperationTable):
    """A table that tells when an insertion has met another operation a second time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._met = 0
        self.met_twice = asyncio.Event()

    async def insert(self, operation: OperationRecord) -> OperationRecord | None:
        """Insert an operation."""
        other = await super().insert(operation)
        if other is not None:
            self._met += 1
            if self._met > 1:
                self.met_twice.set()
        return other


async def test_the_same_work_begun_twice_while_the_database_did_not_answer_succeeds_twice(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two operators start the stopped instance, each by another process: neither operation is in the other's way."""
    table = MetTable(*arguments)
    store, other_store = OperationStore(table), OperationStore(OperationTable(*arguments))
    held, other = operation(), operation()

    async def work(_: Step) -> str:
        await table.met_twice.wait()
        return "done"

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    await store.detach(held)
    assert await other_store.begin(other) is None
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(executor_of(store, arguments).run(held))
        tasks.create_task(executor_of(other_store, arguments).run(other))
    for one in (held, other):
        assert one.state is OperationState.SUCCEEDED, one.failure
        kept = await table.find(one.id)
        assert kept is not None
        assert kept.state is OperationState.SUCCEEDED


async def test_what_the_first_steps_have_made_is_served_while_others_run_side_by_side(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server looks at its database again before it goes on, and once more at the end."""
    seen: list[str] = []

    async def make(step: Step) -> str:
        seen.append(step.resource)
        return "made"

    async def database_changed() -> None:
        seen.append("served")

    monkeypatch.setattr(execution, "STEPS", {"make": make})
    steps = [OperationStep("make", "one"), *(OperationStep("make", name, beside=True) for name in ("two", "three"))]
    made = OperationRecord(AdminRequest(OperationKind.PROVISION), ("one",), steps, {}, "ada")
    store = OperationStore(OperationTable(*arguments))
    assert await store.begin(made) is None
    await executor_of(store, arguments, database_changed=database_changed).run(made)
    assert made.state is OperationState.SUCCEEDED
    assert seen == ["one", "served", "two", "three", "served"]


async def test_steps_side_by_side_remember_what_is_theirs_and_overwrite_nothing(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has facts of its own, and all are in the row before the next call of any of them."""
    both = asyncio.Barrier(2)
    table = OperationTable(*arguments)

    async def remember(step: Step) -> str:
        for number in range(20):
            step.facts["number"] = number
            await both.wait()
            await step.guard()
            row = await table.find(made.id)
            assert row is not None
            assert row.facts[step.resource]["number"] >= number
        return "done"

    monkeypatch.setattr(execution, "STEPS", {"remember": remember})
    steps = [OperationStep("remember", name, beside=True) for name in ("one", "two")]
    made = OperationRecord(AdminRequest(OperationKind.REFRESH_SYNCED_TABLE), ("one", "two"), steps, {}, "ada")
    store = OperationStore(table)
    assert await store.begin(made) is None
    await executor_of(store, arguments).run(made)
    assert made.state is OperationState.SUCCEEDED, made.failure
    assert made.facts == {"one": {"number": 19}, "two": {"number": 19}}
