"""The operations of a process: they outlive the request that begins them, and take nothing of it along."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from schema.deadline import current_deadline, request_deadline
from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.audit import AuditOutcome
from schema.ports.admin.operations import OperationKind, OperationState, OperationStep
from server.lakebase import execution
from server.lakebase import runner as runners
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_entry import new_entry
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import OperationTable
from server.lakebase.runner import Runner
from server.lakebase.steps.step import StepTimeouts
from server.observability.request_record import RequestRecord, current_record
from server.traffic.admission import Admission, holds_slot
from tests.server.lakebase.conftest import SCHEMA
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    import pytest

    from schema.ports.admin.audit import AuditEntry
    from server.lakebase.steps.step import Step
    from tests.server.conftest import LogLines


def inherited() -> tuple[bool, bool, bool]:
    """Whether this task has a request's record, its admission slot and its deadline."""
    return current_record.get() is not None, holds_slot(), current_deadline() is not None


class Seen:
    """What each task has inherited."""

    def __init__(self) -> None:
        self.inherited: dict[str, tuple[bool, bool, bool]] = {}
        self.heartbeat, self.search = asyncio.Event(), asyncio.Event()

    def note(self, task: str) -> None:
        """Note what the current task has inherited."""
        self.inherited[task] = inherited()


class SeenTable(OperationTable):
    """A table that notes what a heartbeat and a search for orphans have inherited."""

    def __init__(self, seen: Seen, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen = seen

    async def renew(self, operation: OperationRecord) -> None:
        """Renew a lease."""
        self._seen.note("heartbeat")
        self._seen.heartbeat.set()
        await super().renew(operation)

    async def next_lease_end(self) -> float | None:
        """Find the end of the next lease."""
        self._seen.note("search")
        self._seen.search.set()
        return await super().next_lease_end()


class SeenAudit(AuditTable):
    """The same for the task that writes entries."""

    def __init__(self, seen: Seen, tables: OwnTables) -> None:
        super().__init__(tables)
        self._seen = seen

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries."""
        self._seen.note("audit")
        await super().add(entries)


async def nothing() -> Any:
    """Do nothing, in place of a callback."""


def runner_of(store: OperationStore, audit: AuditLog) -> Runner:
    """A runner of these operations."""
    return Runner(store, audit, StepTimeouts(60, 60, 60), nothing, answered=nothing, database_changed=nothing)


def operation(resource: str = "instance one") -> OperationRecord:
    """An operation with one step."""
    request = AdminRequest(OperationKind.TEARDOWN, instance_name=resource)
    return OperationRecord(request, (resource,), [OperationStep("work", resource)], {}, "ada")


async def ended(runner: Runner, begun: OperationRecord) -> None:
    """Wait until an operation has succeeded."""
    async for one in runner.progress(begun.id):
        if one.state is OperationState.SUCCEEDED:
            return


async def test_nothing_of_a_request_reaches_the_operation_that_it_begins(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its record, nor its admission slot, nor its deadline: in no task that outlives it."""
    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    seen = Seen()
    store, audit = OperationStore(SeenTable(seen, *arguments)), AuditLog(SeenAudit(seen, OwnTables(*arguments)))

    async def work(_: Step) -> str:
        seen.note("operation")
        await seen.heartbeat.wait()
        return "done"

    monkeypatch.setattr(execution, "STEPS", {"work": work})
    runner, begun = runner_of(store, audit), operation()

    async def request() -> None:
        current_record.set(RequestRecord("r-1"))
        slot = await Admission(1, wait_seconds=PATIENCE_SECONDS).enter()
        async with request_deadline(PATIENCE_SECONDS):
            assert inherited() == (True, True, True)
            assert await store.begin(begun) is None
            runner.start(begun)
            runner.look_for_orphans()
            await audit.write(new_entry("ada", "teardownLakebase", AuditOutcome.BEGUN, input_=None))
            await seen.heartbeat.wait()
        slot.leave()

    await asyncio.create_task(request(), context=Context())
    await ended(runner, begun)
    await seen.search.wait()
    await runner.close()
    ends = [one for one in await audit.of_operation(begun.id) if one.outcome is AuditOutcome.SUCCEEDED]
    await audit.close()
    assert seen.inherited == dict.fromkeys(("operation", "heartbeat", "search", "audit"), (False, False, False))
    assert [one.request_id for one in ends] == [None]


class FailingTable(OperationTable):
    """A table whose claims fail, with an error that nobody foresees, until `over` is set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.failed, self.over = asyncio.Queue[None](), False

    async def claim(self, **options: Any) -> list[OperationRecord]:
        """Claim operations."""
        if not self.over:
            self.failed.put_nowait(None)
            raise RuntimeError("unforeseen")
        return await super().claim(**options)


async def test_nothing_unforeseen_ends_the_search_for_operations_without_a_process(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    """A process that knows of an unfinished operation searches again, and resumes it. The cause is logged once."""

    async def work(_: Step) -> str:
        return "done"

    monkeypatch.setattr(execution, "STEPS", {"work": work})
    monkeypatch.setattr(runners, "_POLL_SECONDS", 0.01)
    table, orphan = FailingTable(*arguments), operation()
    store = OperationStore(table)
    runner = runner_of(store, AuditLog(AuditTable(OwnTables(*arguments))))
    assert await store.begin(orphan) is None
    await store.release(orphan)
    runner.look_for_orphans()
    for _ in range(3):
        await table.failed.get()
    table.over = True
    await ended(runner, orphan)
    await runner.close()
    assert [line["event"] for line in log_lines() if line["level"] == "error"] == ["search for operations failed"]


async def test_a_process_that_wakes_after_an_hour_ends_none_of_its_own_operations(
    arguments: tuple[Any, ...], database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it begins, plans or searches for others before its heartbeat has renewed the lease."""
    working, wakes = asyncio.Event(), asyncio.Event()

    async def work(_: Step) -> str:
        working.set()
        await wakes.wait()
        return "done"

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(execution, "STEPS", {"work": work})
    store, held, other = OperationStore(OperationTable(*arguments)), operation(), operation("instance two")
    audit = AuditLog(AuditTable(OwnTables(*arguments)))
    runner = runner_of(store, audit)
    assert await store.begin(held) is None
    runner.start(held)
    await working.wait()
    await database.execute(f"UPDATE {SCHEMA}.operation SET lease_ends_at = clock_timestamp() - interval '61 min'")
    assert await store.conflicting(other) is None
    assert await store.begin(other) is None
    runner.look_for_orphans()
    await store.find(held.id)
    wakes.set()
    await ended(runner, held)
    await runner.close()
    found = await store.find(held.id)
    assert found is not None
    assert found.state is OperationState.SUCCEEDED
