"""The operations of a process: they outlive the request that begins them, and take nothing of it along."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from schema.deadline import current_deadline, request_deadline
from schema.ports.administration import AdminRequest, OperationKind, OperationState, OperationStep
from schema.ports.audit import AuditOutcome
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase import execution
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_entry import new_entry
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.home import Home
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import OperationTable
from server.lakebase.runner import Runner
from server.lakebase.steps.step import StepTimeouts
from server.observability.request_record import RequestRecord, current_record
from server.traffic.admission import Admission, holds_slot
from tests.server.conftest import patient_settings
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from schema.ports.audit import AuditEntry
    from server.lakebase.steps.step import Step

SCHEMA = "run_operations"


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


async def test_nothing_of_a_request_reaches_the_operation_that_it_begins(
    orders_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its record, nor its admission slot, nor its deadline: in no task that outlives it."""
    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    settings, url, seen = patient_settings(orders_url), UrlDatabase(orders_url), Seen()
    pool, home = create_operations_pool(settings, url), Home(url, SCHEMA)
    migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
    await migrations.upgrade()
    store = OperationStore(SeenTable(seen, pool, SCHEMA, migrations, home))
    audit = AuditLog(SeenAudit(seen, OwnTables(pool, SCHEMA, migrations, home)))

    async def nothing() -> Any:
        return None

    async def work(_: Step) -> str:
        seen.note("operation")
        await seen.heartbeat.wait()
        return "done"

    monkeypatch.setattr(execution, "STEPS", {"work": work})
    runner = Runner(store, audit, StepTimeouts(60, 60, 60), nothing, answered=nothing, database_changed=nothing)
    operation = OperationRecord(
        AdminRequest(OperationKind.TEARDOWN), ("instance one",), [OperationStep("work", "instance one")], {}, "ada"
    )

    async def request() -> None:
        current_record.set(RequestRecord("r-1"))
        slot = await Admission(1, wait_seconds=PATIENCE_SECONDS).enter()
        async with request_deadline(PATIENCE_SECONDS):
            assert inherited() == (True, True, True)
            assert await store.begin(operation) is None
            runner.start(operation)
            runner.look_for_orphans()
            await audit.write(new_entry("ada", "teardownLakebase", AuditOutcome.BEGUN, input_=None))
            await seen.heartbeat.wait()
        slot.leave()

    async def wait_for_end() -> None:
        async for one in runner.progress(operation.id):
            if one.state is OperationState.SUCCEEDED:
                return

    await asyncio.create_task(request(), context=Context())
    await wait_for_end()
    await seen.search.wait()
    await runner.close()
    ends = [one for one in await audit.of_operation(operation.id) if one.outcome is AuditOutcome.SUCCEEDED]
    await audit.close()
    await pool.dispose()
    assert seen.inherited == dict.fromkeys(("operation", "heartbeat", "search", "audit"), (False, False, False))
    assert [one.request_id for one in ends] == [None]
