"""The audit trail: one entry for every privileged action, done or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy.exc import DBAPIError

from schema.errors import ApiError
from schema.ports.administration import OperationKind
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.errors import Reason
    from server.lakebase.database.own_tables import OwnTables

_audit = structlog.get_logger("audit")
_log = structlog.get_logger(__name__)


# An action has the name of its mutation.
ACTIONS: Final = {
    OperationKind.CREATE_INSTANCE: "createDatabaseInstance",
    OperationKind.UPDATE_INSTANCE: "updateDatabaseInstance",
    OperationKind.DELETE_INSTANCE: "deleteDatabaseInstance",
    OperationKind.CREATE_CATALOG: "createDatabaseCatalog",
    OperationKind.DELETE_CATALOG: "deleteDatabaseCatalog",
    OperationKind.CREATE_SYNCED_TABLE: "createSyncedTable",
    OperationKind.DELETE_SYNCED_TABLE: "deleteSyncedTable",
    OperationKind.REFRESH_SYNCED_TABLE: "refreshSyncedTable",
    OperationKind.ENSURE_INDEXES: "ensureOrderIndexes",
    OperationKind.PROVISION: "provisionLakebase",
    OperationKind.TEARDOWN: "teardownLakebase",
}
CANCEL: Final = "cancelOperation"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One privileged action: its principal, its resources, and its outcome."""

    principal: str
    action: str
    outcome: str
    resources: Sequence[str] = ()
    reason: Reason | None = None
    operation: str | None = None


class AuditLog:
    """Audit entries, in the log and in the database."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    async def write(self, entry: AuditEntry) -> None:
        """Write a line to the log, and a row to the database if it can be reached. This never fails.

        The line is the lasting record: some actions delete the very database that holds the row.
        """
        request = current_record.get()
        values = {
            "principal": entry.principal,
            "action": entry.action,
            "outcome": entry.outcome,
            "reason": entry.reason and entry.reason.name,
            "resources": list(entry.resources),
            "operation": entry.operation,
            "request_id": request and request.request_id,
        }
        _audit.info("audit", **values)
        statement = f"""
            INSERT INTO {self._tables.schema}.admin_audit
                (principal, action, outcome, reason, resources, operation, request_id)
            VALUES (:principal, :action, :outcome, :reason, CAST(:resources AS text[]), CAST(:operation AS uuid),
                    :request_id)
            RETURNING id
        """  # noqa: S608 # the setting is an identifier, and quoted
        try:
            await self._tables.rows(statement, values)
        except (ApiError, DBAPIError) as error:
            _log.info("audit row not written", cause=type(error).__name__)
