"""Export and import of the history and the audit as JSON Lines. Ids are kept, so cursors stay valid.

A line is a change, or an entry of the audit as `{"audit": ...}`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from schema.errors import Reason, UnavailableError
from server.changes.sql_writes import CHANGE_COLUMNS
from server.db.app_tables import quoted
from server.db.errors import sqlstate
from server.lakebase.database.audit_table import AUDIT_COLUMNS, AUDIT_LINES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from server.db.app_tables import ChangeTables

_BATCH: Final = 5000
_NAMES: Final = frozenset(CHANGE_COLUMNS.split(", "))
_AUDIT_NAMES: Final = frozenset(AUDIT_COLUMNS.split(", "))
_EXPORT: Final = """
SELECT id, row_to_json(c)::text FROM (
    SELECT {columns} FROM {table} WHERE id > :after AND id <= :until ORDER BY id LIMIT {batch}
) AS c ORDER BY id
"""
_LINES: Final = """
jsonb_to_recordset(CAST(:lines AS jsonb)) AS l (
    id bigint, o_orderkey bigint, previous_status text, status text, cleared boolean, synced_status text,
    version integer, changed_by text, changed_at timestamptz, note text
)
"""
# The first line up to the head that is not in the database. None may be added there: subscribers never look back.
_FOREIGN: Final = """
SELECT min(l.id) FROM {lines} LEFT JOIN {table} AS c USING (id)
WHERE l.id <= :head
  AND (l.id, l.o_orderkey, l.previous_status, l.status, l.cleared, l.synced_status, l.version, l.changed_by,
       l.changed_at, l.note)
      IS DISTINCT FROM
      (c.id, c.o_orderkey, c.previous_status, c.status, c.cleared, c.synced_status, c.version, c.changed_by,
       c.changed_at, c.note)
"""
_INSERT: Final = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {lines} WHERE id > :head ORDER BY id"
_OVERLAY: Final = """
INSERT INTO {overlay} AS x (o_orderkey, status, version, synced_status, updated_by, updated_at)
SELECT DISTINCT ON (o_orderkey) o_orderkey, CASE WHEN cleared THEN NULL ELSE status END, version, synced_status,
       changed_by, changed_at
FROM {table} WHERE id > :head
ORDER BY o_orderkey, version DESC
ON CONFLICT (o_orderkey) DO UPDATE
    SET status = excluded.status, version = excluded.version, synced_status = excluded.synced_status,
        updated_by = excluded.updated_by, updated_at = excluded.updated_at
    WHERE x.version < excluded.version
"""
_EXPORT_AUDIT: Final = """
SELECT a.at, a.id, json_build_object('audit', row_to_json(a))::text FROM (
    SELECT {audit_columns} FROM {audit}
    WHERE CAST(:id AS uuid) IS NULL OR (at, id) > (CAST(:at AS timestamptz), CAST(:id AS uuid))
    ORDER BY at, id LIMIT {batch}
) AS a ORDER BY a.at, a.id
"""
_INSERT_AUDIT: Final = """
INSERT INTO {audit} ({audit_columns}) SELECT {audit_columns} FROM {audit_lines} ON CONFLICT (id) DO NOTHING
"""
# The table or a column does not exist.
_OLDER: Final = frozenset({"42P01", "42703"})
_SEQUENCE: Final = "SELECT setval(:sequence, GREATEST(max(id), 1)) FROM {table} HAVING max(id) > :head"


class ImportRefusedError(Exception):
    """A line cannot be imported; the message says which one and why. Nothing was imported."""


async def exported(engine: AsyncEngine, tables: ChangeTables) -> AsyncIterator[str]:
    """Every change that exists at the start, oldest first, then the audit, each as a JSON object.

    Raises:
        UnavailableError: the tables are of an older revision, without an audit to export.
    """
    # The reader of the lines may be slow, so no transaction stays open between two batches.
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        until = (await connection.execute(_text("SELECT COALESCE(max(id), 0) FROM {table}", tables))).scalar_one()
        after = 0
        while after < until:
            rows = (await connection.execute(_text(_EXPORT, tables), {"after": after, "until": until})).all()
            for _, line in rows:
                yield line
            after = rows[-1][0] if rows else until
        at = id_ = None
        try:
            while rows := (await connection.execute(_text(_EXPORT_AUDIT, tables), {"at": at, "id": id_})).all():
                for _, _, line in rows:
                    yield line
                at, id_, _ = rows[-1]
        except DBAPIError as error:
            if sqlstate(error) not in _OLDER:
                raise
            raise UnavailableError(
                Reason.CHANGES_UNAVAILABLE,
                "The changes were exported, but not the audit, because the server's tables are of an older revision. "
                "Run python -m server migrate, then try again.",
            ) from error


async def import_lines(engine: AsyncEngine, tables: ChangeTables, lines: Iterable[str]) -> tuple[int, int, int]:
    """Import all lines in one transaction. Return the numbers of new and known changes, and of new audit entries.

    Raises:
        ImportRefusedError: a line is not from an export, or the database has another history.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    new = known = audited = 0
    async with engine.begin() as connection:
        # Changes can be read meanwhile. Writers wait until the import is done.
        await connection.execute(_text("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE", tables))
        head = (await connection.execute(_text("SELECT COALESCE(max(id), 0) FROM {table}", tables))).scalar_one()
        last = 0
        while batch := list(islice(numbered, _BATCH)):
            changes, entries, last = _checked(batch, last)
            added = await _add(connection, tables, f"[{','.join(changes)}]", head)
            new, known = new + added, known + len(changes) - added
            audited += await _insert(
                connection, _text(_INSERT_AUDIT, tables), {"lines": orjson.dumps(entries).decode()}
            )
        await connection.execute(_text(_OVERLAY, tables), {"head": head})
        sequence = f"{quoted(tables.schema)}.order_status_change_id"
        await connection.execute(_text(_SEQUENCE, tables), {"sequence": sequence, "head": head})
    return new, known, audited


async def _add(connection: AsyncConnection, tables: ChangeTables, lines: str, head: int) -> int:
    parameters = {"lines": lines, "head": head}
    try:
        foreign = (await connection.execute(_text(_FOREIGN, tables), parameters)).scalar_one()
    except DBAPIError as error:
        raise _refusal(error) from error
    if foreign is not None:
        raise ImportRefusedError(
            f"Change {foreign} is not the same in the database, whose own history goes up to change {head}."
        )
    return await _insert(connection, _text(_INSERT, tables), parameters)


async def _insert(connection: AsyncConnection, statement: sa.TextClause, parameters: dict[str, Any]) -> int:
    try:
        result: Any = await connection.execute(statement, parameters)
    except DBAPIError as error:
        raise _refusal(error) from error
    return int(result.rowcount)


def _refusal(error: DBAPIError) -> Exception:
    """The error for lines that PostgreSQL refuses; the error itself if it has another cause."""
    if sqlstate(error)[:2] not in {"22", "23"}:
        return error
    return ImportRefusedError(f"The lines contradict each other or the database: {error.orig}")


def _checked(batch: list[tuple[int, str]], last: int) -> tuple[list[str], list[dict[str, Any]], int]:
    """Check that each line is an entry of the audit, or a change that follows the one before.

    Return the changes, still as text; the entries; and the id of the last change.
    """
    changes, entries = [], []
    for number, line in batch:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ImportRefusedError(f"Line {number} is not JSON.") from None
        if isinstance(value, dict) and value.keys() == {"audit"}:
            entry = value["audit"]
            if not isinstance(entry, dict) or entry.keys() != _AUDIT_NAMES:
                raise ImportRefusedError(f"Line {number} is not an entry of the audit from `export-changes`.")
            _require_moment(number, entry, "at")
            _require_moment(number, entry, "last_at")
            entries.append(entry)
            continue
        if not isinstance(value, dict) or value.keys() != _NAMES or not isinstance(value["id"], int):
            raise ImportRefusedError(f"Line {number} is not a change from `export-changes`.")
        if value["id"] <= last:
            raise ImportRefusedError(
                f"Line {number} has the id {value['id']}, which is not above the id before it, {last}."
            )
        _require_moment(number, value, "changed_at")
        last = value["id"]
        changes.append(line)
    return changes, entries, last


def _require_moment(number: int, values: dict[str, Any], name: str) -> None:
    """Refuse the line unless this value is a time, as `export-changes` writes it, that DateTime can represent."""
    try:
        moment = datetime.fromisoformat(str(values[name]))
        moment.astimezone(UTC)
        represented = moment.tzinfo is not None
    except (ValueError, OverflowError):
        represented = False
    if not represented:
        raise ImportRefusedError(
            f"Line {number}: `{name}` is not a time with an offset from UTC in the years 1 to 9999."
        )


def _text(template: str, tables: ChangeTables) -> sa.TextClause:
    text = template.replace("{lines}", _LINES).replace("{columns}", CHANGE_COLUMNS).replace("{batch}", str(_BATCH))
    text = text.replace("{audit_lines}", AUDIT_LINES).replace("{audit_columns}", AUDIT_COLUMNS)
    text = text.replace("{audit}", f"{quoted(tables.schema)}.admin_audit")
    for placeholder, table in {"{table}": tables.change, "{overlay}": tables.status}.items():
        text = text.replace(placeholder, f"{quoted(tables.schema)}.{quoted(table.name)}")
    return sa.text(text)
