"""Owns what administration leaves behind: the audit of every privileged action, and what a sync takes with a table."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from schema.errors import ApiError
from schema.ports.administration import OperationKind
from server.db.app_tables import quoted
from server.db.database import DatabaseAbsentError
from server.db.errors import DRIVER_ERRORS, classify, sqlstate
from server.lakebase.database.inspection import Belongings
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schema.errors import Reason
    from server.db.migrate import Migrations
    from server.db.pool import Pool

_audit = structlog.get_logger("audit")
_log = structlog.get_logger(__name__)
# No such table or schema.
_MISSING = frozenset({"42P01", "3F000"})


# An action is called what its mutation is.
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


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One privileged action: by whom, on what, and what became of it."""

    principal: str
    action: str
    outcome: str
    resources: Sequence[str] = ()
    reason: Reason | None = None
    operation: str | None = None


class Records:
    """Rows beside the operations."""

    def __init__(self, pool: Pool, schema: str, migrations: Migrations) -> None:
        self._pool = pool
        self._migrations = migrations
        self._schema = quoted(schema)
        self._belongings: dict[str, Belongings] = {}

    async def audit(self, entry: AuditEntry) -> None:
        """Leave an audit entry: a line of the log always, and a row where the database can be reached. Never fails.

        The row goes with the database that it stands in, and that is what some of these actions delete.
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
            INSERT INTO {self._schema}.admin_audit
                (principal, action, outcome, reason, resources, operation, request_id)
            VALUES (:principal, :action, :outcome, :reason, CAST(:resources AS text[]), CAST(:operation AS uuid),
                    :request_id)
            RETURNING id
        """  # noqa: S608 # the setting is an identifier, and quoted
        try:
            await self._rows(statement, values)
        except (ApiError, DBAPIError) as error:
            # The line above stands in its place.
            _log.info("no audit row was left in the database", cause=type(error).__name__)

    async def note_belongings(self, table: str, found: Belongings) -> None:
        """Keep what stands on a table, beside what was kept of it and has not been put back yet.

        Raises:
            UnavailableError: the database does not answer.
        """
        await self.put_back(table, (await self.belongings(table)).beside(found))

    async def belongings(self, table: str) -> Belongings:
        """What was kept of a table and has not been put back; where there is no database, what this process knows.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            rows = await self._rows(
                f"SELECT grants, indexes FROM {self._schema}.synced_table_belongings WHERE name = :name",  # noqa: S608 # the setting is an identifier, and quoted
                {"name": table.lower()},
            )
        except DatabaseAbsentError:
            return self._belongings.get(table.lower(), Belongings())
        return Belongings(*(tuple(part) for part in rows[0])) if rows else Belongings()

    async def put_back(self, table: str, left: Belongings) -> None:
        """Keep what is left to be put back, and no more.

        Raises:
            UnavailableError: the database does not answer.
        """
        self._belongings[table.lower()] = left
        with contextlib.suppress(DatabaseAbsentError):
            await self._rows(
                f"""
                INSERT INTO {self._schema}.synced_table_belongings (name, grants, indexes)
                VALUES (:name, CAST(:grants AS jsonb), CAST(:indexes AS jsonb))
                ON CONFLICT (name) DO UPDATE
                SET grants = excluded.grants, indexes = excluded.indexes, noted_at = clock_timestamp()
                RETURNING name
                """,  # noqa: S608 # as above
                {
                    "name": table.lower(),
                    "grants": json.dumps(left.grants),
                    "indexes": json.dumps(left.indexes),
                },
            )

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        try:
            await self._migrations.ensure()
            async with self._pool.connect() as connection:
                return (await connection.execute(sa.text(statement), dict(values))).all()
        except DBAPIError as error:
            if sqlstate(error) in _MISSING:
                # Another database than the one that was migrated: nothing was kept in it, and it is migrated next.
                self._migrations.forget()
            raise classify(error) or error from error
        except (PoolTimeoutError, OSError, TimeoutError, *DRIVER_ERRORS) as error:
            raise classify(error) or error from error
