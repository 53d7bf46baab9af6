"""The execution of an operation: what its heartbeat may end, and what it may not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from schema.ports.administration import AdminRequest, OperationKind, OperationState, OperationStep
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase import execution
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.home import Home
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import LeaseLostError, OperationTable
from server.lakebase.steps.step import StepTimeouts
from tests.server.conftest import patient_settings

if TYPE_CHECKING:
    from server.lakebase.steps.step import Step

SCHEMA = "executed_operations"


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
    orders_url: str, monkeypatch: pytest.MonkeyPatch, *, early: bool
) -> None:
    """The operation that deletes its own database goes on in memory, and is not left half done."""
    settings, url = patient_settings(orders_url), UrlDatabase(orders_url)
    migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
    pool = create_operations_pool(settings, url)
    home = Home(url, SCHEMA)
    table = LateTable(pool, SCHEMA, migrations, home, early=early)
    store = OperationStore(table)
    operation = OperationRecord(
        AdminRequest(OperationKind.TEARDOWN), ("instance one",), [OperationStep("delete", "instance one")], {}, "ada"
    )

    async def delete(step: Step) -> str:
        await step.detach(deleting=True)
        await table.refused.wait()
        # If the heartbeat ends this, it does so now.
        await asyncio.sleep(0)
        return "gone"

    async def nothing() -> Any:
        return None

    monkeypatch.setattr(execution, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(execution, "STEPS", {"delete": delete})
    executor = execution.Executor(
        store,
        AuditLog(AuditTable(OwnTables(pool, SCHEMA, migrations, home))),
        StepTimeouts(60, 60, 60),
        nothing,
        stopping=asyncio.Event(),
        changed=nothing,
        finished=lambda _: None,
        database_changed=nothing,
    )
    assert await store.begin(operation) is None
    await executor.run(operation)
    assert operation.state is OperationState.SUCCEEDED
    await pool.dispose()
