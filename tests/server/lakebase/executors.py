"""Executors in the process, over the tables of a test and without a platform, and an operation for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.operations import OperationKind, OperationStep
from server.lakebase import execution
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.steps.step import StepTimeouts

if TYPE_CHECKING:
    from server.lakebase.operations.store import OperationStore


async def nothing() -> Any:
    """Do nothing, in place of a callback."""


def executor_of(store: OperationStore, arguments: tuple[Any, ...], **callbacks: Any) -> execution.Executor:
    """An executor, with these of its callbacks."""
    return execution.Executor(
        store,
        AuditLog(AuditTable(OwnTables(*arguments))),
        StepTimeouts(60, 60, 60),
        nothing,
        stopping=asyncio.Event(),
        **{"changed": nothing, "finished": lambda _: None, "database_changed": nothing, **callbacks},
    )


def operation() -> OperationRecord:
    """An operation with one step."""
    request, resource = AdminRequest(OperationKind.TEARDOWN), "instance one"
    return OperationRecord(request, (resource,), [OperationStep("delete", resource)], {}, "ada")
