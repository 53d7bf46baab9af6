"""Owns what administration leaves behind: the audit of every privileged action, and what a sync takes with a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from schema.errors import ApiError
from server.db.changes import quoted
from server.db.errors import DRIVER_ERRORS
from server.lakebase.postgres import Belongings
from server.record import current_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from schema.errors import Reason
    from server.db.migrate import Migrations

_audit = structlog.get_logger("audit")
_log = structlog.get_logger(__name__)
_FAILURES = (ApiError, SQLAlchemyError, OSError, TimeoutError, *DRIVER_ERRORS)


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
    """Rows beside the operations. None of it fails: what cannot be written is logged."""

    def __init__(self, engine: AsyncEngine, schema: str, migrations: Migrations) -> None:
        self._engine = engine
        self._migrations = migrations
        self._schema = quoted(schema)
        self._belongings: dict[str, Belongings] = {}

    async def audit(self, entry: AuditEntry) -> None:
        """Leave an audit entry: a line of the log always, and a row where the database can be reached.

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
        await self._write(
            f"""
            INSERT INTO {self._schema}.admin_audit
                (principal, action, outcome, reason, resources, operation, request_id)
            VALUES (:principal, :action, :outcome, :reason, CAST(:resources AS text[]), CAST(:operation AS uuid),
                    :request_id)
            """,  # noqa: S608 # the setting is an identifier, and quoted
            values,
        )

    async def note_belongings(self, table: str, found: Belongings) -> None:
        """Keep what stands on a table, beside what was kept of it and has not been put back yet."""
        kept = await self.belongings(table)
        merged = Belongings(
            tuple(dict.fromkeys((*kept.grants, *found.grants))), tuple(dict.fromkeys((*kept.indexes, *found.indexes)))
        )
        self._belongings[table] = merged
        await self._write(
            f"""
            INSERT INTO {self._schema}.synced_table_belongings (name, grants, indexes)
            VALUES (:name, CAST(:grants AS jsonb), CAST(:indexes AS jsonb))
            ON CONFLICT (name) DO UPDATE
            SET grants = excluded.grants, indexes = excluded.indexes, noted_at = clock_timestamp()
            """,  # noqa: S608 # as above
            {"name": table, "grants": json.dumps(merged.grants), "indexes": json.dumps(merged.indexes)},
        )

    async def belongings(self, table: str) -> Belongings:
        """What was kept of a table and has not been put back."""
        if kept := self._belongings.get(table):
            return kept
        rows = await self._rows(
            f"SELECT grants, indexes FROM {self._schema}.synced_table_belongings WHERE name = :name",  # noqa: S608 # as above
            {"name": table},
        )
        return Belongings(*(tuple(part) for part in rows[0])) if rows else Belongings((), ())

    async def forget_belongings(self, table: str) -> None:
        """They have been put back."""
        self._belongings.pop(table, None)
        await self._write(
            f"DELETE FROM {self._schema}.synced_table_belongings WHERE name = :name",  # noqa: S608 # as above
            {"name": table},
        )

    async def _write(self, statement: str, values: Mapping[str, Any]) -> None:
        try:
            await self._migrations.ensure()
            async with self._engine.connect() as connection:
                await connection.execute(sa.text(statement), dict(values))
        except _FAILURES as error:
            self._note(error)

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(sa.text(statement), dict(values))).all()
        except _FAILURES as error:
            self._note(error)
            return ()

    @staticmethod
    def _note(error: BaseException) -> None:
        # Without a database there is no row, and the line stands in its place.
        _log.info("no row was left in the database", cause=type(error).__name__)
