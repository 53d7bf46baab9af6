"""The table of the audit: writes entries, reads pages of them, and deletes the old ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.ports.admin.audit import AuditEntry, AuditOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.admin.audit import AuditFilter, AuditPosition
    from server.lakebase.database.own_tables import OwnTables

_log = structlog.get_logger(__name__)
AUDIT_COLUMNS: Final = (
    "id, at, last_at, principal, action, outcome, reason, resources, operation, request_id, input, count, home"
)
# Lines of JSON as rows of the table.
AUDIT_LINES: Final = """
jsonb_to_recordset(CAST(:lines AS jsonb)) AS l (
    id uuid, at timestamptz, last_at timestamptz, principal text, action text, outcome text, reason text,
    resources text[], operation uuid, request_id text, input text, count integer, home text
)
"""
_CONDITIONS: Final = {
    "principal": "principal = :principal",
    "action": "action = :action",
    "outcome": "outcome = :outcome",
    "since": "at >= CAST(:since AS timestamptz)",
    "until": "at < CAST(:until AS timestamptz)",
}
# Rows that one statement deletes.
_PRUNED_AT_ONCE: Final = 5000


class AuditTable:
    """The entries of all processes on one database.

    Every method raises UnavailableError if the database does not answer, and DatabaseAbsentError if there is none.
    """

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables
        self._name = f"{tables.schema}.admin_audit"

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries. If a refusal has a row already, the counts are added up; any other entry is added once only.

        If the reply is lost and this is repeated, the counts of the first attempt may be added twice.

        Raises:
            InputError: PostgreSQL cannot store one of the values. Nothing was added.
        """
        home = await self._tables.home()
        await self._tables.rows(
            f"""
            INSERT INTO {self._name} AS a ({AUDIT_COLUMNS})
            SELECT {AUDIT_COLUMNS} FROM {AUDIT_LINES}
            ON CONFLICT (id) DO UPDATE
            SET count = a.count + excluded.count, last_at = GREATEST(a.last_at, excluded.last_at)
            WHERE a.outcome = 'REFUSED'
            RETURNING id
            """,  # noqa: S608 # the setting is an identifier, and quoted
            {"lines": json.dumps([{**_line(entry), "home": home} for entry in entries])},
        )

    async def page(
        self, wanted: AuditFilter, *, size: int, after: AuditPosition | None
    ) -> tuple[list[AuditEntry], bool]:
        """The newest of the wanted entries, or the next ones after a position; and whether more of them follow."""
        conditions, values = _conditions(wanted)
        if after is not None:
            conditions.append("(at, id) < (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))")
        rows = await self._tables.rows(
            f"SELECT {AUDIT_COLUMNS} FROM {self._name} WHERE {' AND '.join(conditions)} "  # noqa: S608 # as above
            "ORDER BY at DESC, id DESC LIMIT :size",
            {**values, **_place(after), "size": size + 1},
        )
        return await self._entries(rows[:size]), len(rows) > size

    async def any_before(self, wanted: AuditFilter, position: AuditPosition) -> bool:
        """Whether there is a wanted entry at a position or before it, in the order of the pages."""
        conditions, values = _conditions(wanted)
        conditions.append("(at, id) >= (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))")
        rows = await self._tables.rows(
            f"SELECT EXISTS (SELECT FROM {self._name} WHERE {' AND '.join(conditions)})",  # noqa: S608 # as above
            {**values, **_place(position)},
        )
        return bool(rows[0][0])

    async def find(self, id_: str) -> AuditEntry | None:
        """The entry with this id."""
        statement = f"SELECT {AUDIT_COLUMNS} FROM {self._name} WHERE id = CAST(:id AS uuid)"  # noqa: S608 # as above
        return next(iter(await self._entries(await self._tables.rows(statement, {"id": id_}))), None)

    async def of_operation(self, operation_id: str) -> list[AuditEntry]:
        """The entries of one operation, oldest first."""
        rows = await self._tables.rows(
            f"SELECT {AUDIT_COLUMNS} FROM {self._name} WHERE operation = CAST(:id AS uuid) ORDER BY at, id",  # noqa: S608 # as above
            {"id": operation_id},
        )
        return await self._entries(rows)

    async def prune(self, *, days: float) -> None:
        """Delete the entries that are older than this, in batches, so that no statement takes long."""
        pruned = _PRUNED_AT_ONCE
        while pruned == _PRUNED_AT_ONCE:
            rows = await self._tables.rows(
                f"""
                WITH allowed AS MATERIALIZED (
                    SELECT CAST(set_config(
                        'orders_app.prune_before', CAST(now() - make_interval(secs => :seconds) AS text), true
                    ) AS timestamptz) AS before
                ), old AS MATERIALIZED (
                    SELECT a.ctid AS row FROM {self._name} AS a, allowed WHERE a.at < allowed.before LIMIT :size
                )
                DELETE FROM {self._name} WHERE ctid = ANY(ARRAY(SELECT row FROM old)) RETURNING 1
                """,  # noqa: S608 # as above
                {"seconds": days * 86_400, "size": _PRUNED_AT_ONCE},
            )
            pruned = len(rows)

    async def _entries(self, rows: Sequence[Any]) -> list[AuditEntry]:
        """The entries from rows. A row that only another version of this code can read is logged and left out."""
        if not rows:
            return []
        home = await self._tables.home()
        entries = []
        for row in rows:
            try:
                entries.append(_entry(row, home))
            except ValueError:
                _log.exception("audit row cannot be read", row=str(row[0]))
        return entries


def _line(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "last_at": entry.last_at.isoformat(),
        "principal": entry.principal,
        "action": entry.action,
        "outcome": entry.outcome.value,
        "reason": entry.reason,
        "resources": list(entry.resources),
        "operation": entry.operation_id,
        "request_id": entry.request_id,
        "input": entry.input,
        "count": entry.count,
    }


def _entry(row: Any, home: str) -> AuditEntry:
    *before, operation, request_id, input_, count, written_in = row
    id_, at, last_at, principal, action, outcome, reason, resources = before
    return AuditEntry(
        id=str(id_),
        at=at,
        last_at=last_at,
        principal=principal,
        action=action,
        outcome=AuditOutcome(outcome),
        reason=reason,
        resources=tuple(resources),
        operation_id=operation and str(operation),
        request_id=request_id,
        input=input_,
        count=count,
        elsewhere=None if written_in is None else written_in != home,
    )


def _conditions(wanted: AuditFilter) -> tuple[list[str], dict[str, Any]]:
    """The conditions that are given, so that PostgreSQL can use an index, and their values."""
    values = {
        "principal": wanted.principal,
        "action": wanted.action,
        "outcome": wanted.outcome and wanted.outcome.value,
        "since": wanted.since,
        "until": wanted.until,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return ["true", *(_CONDITIONS[name] for name in given)], given


def _place(position: AuditPosition | None) -> dict[str, Any]:
    return {} if position is None else {"after_at": position.at, "after_id": position.id}
