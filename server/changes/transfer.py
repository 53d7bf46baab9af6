"""Export and import of the history as JSON Lines. The ids are kept, so cursors stay valid in the new database."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from server.changes.sql_writes import CHANGE_COLUMNS
from server.db.app_tables import quoted
from server.db.errors import sqlstate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from server.db.app_tables import ChangeTables

_BATCH: Final = 5000
_NAMES: Final = frozenset(CHANGE_COLUMNS.split(", "))
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
_SEQUENCE: Final = "SELECT setval(:sequence, GREATEST(max(id), 1)) FROM {table} HAVING max(id) > :head"


class ImportRefusedError(Exception):
    """A line cannot be imported; the message says which one and why. Nothing was imported."""


async def exported(engine: AsyncEngine, tables: ChangeTables) -> AsyncIterator[str]:
    """Every change that exists at the start, oldest first, each as a JSON object."""
    # The reader of the lines may be slow, so no transaction stays open between two batches.
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        until = (await connection.execute(_text("SELECT COALESCE(max(id), 0) FROM {table}", tables))).scalar_one()
        after = 0
        while after < until:
            rows = (await connection.execute(_text(_EXPORT, tables), {"after": after, "until": until})).all()
            for _, line in rows:
                yield line
            after = rows[-1][0] if rows else until


async def import_lines(engine: AsyncEngine, tables: ChangeTables, lines: Iterable[str]) -> tuple[int, int]:
    """Import all lines in one transaction. Return the number of new changes and of those that existed already.

    Raises:
        ImportRefusedError: a line is not from an export, or the database has another history.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    new = known = 0
    async with engine.begin() as connection:
        # Changes can be read meanwhile. Writers wait until the import is done.
        await connection.execute(_text("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE", tables))
        head = (await connection.execute(_text("SELECT COALESCE(max(id), 0) FROM {table}", tables))).scalar_one()
        last = 0
        while batch := list(islice(numbered, _BATCH)):
            last = _check(batch, last)
            text = "[" + ",".join(line for _, line in batch) + "]"
            added = await _add(connection, tables, text, head)
            new, known = new + added, known + len(batch) - added
        await connection.execute(_text(_OVERLAY, tables), {"head": head})
        sequence = f"{quoted(tables.schema)}.order_status_change_id"
        await connection.execute(_text(_SEQUENCE, tables), {"sequence": sequence, "head": head})
    return new, known


async def _add(connection: AsyncConnection, tables: ChangeTables, lines: str, head: int) -> int:
    parameters = {"lines": lines, "head": head}
    try:
        foreign = (await connection.execute(_text(_FOREIGN, tables), parameters)).scalar_one()
        if foreign is not None:
            raise ImportRefusedError(
                f"Change {foreign} is not the same in the database, whose own history goes up to change {head}."
            )
        result: Any = await connection.execute(_text(_INSERT, tables), parameters)
    except DBAPIError as error:
        if sqlstate(error)[:2] not in {"22", "23"}:
            raise
        raise ImportRefusedError(f"The lines contradict each other or the database: {error.orig}") from error
    return int(result.rowcount)


def _check(batch: list[tuple[int, str]], last: int) -> int:
    """Check that each line is a change that follows the one before. Return the id of the last."""
    for number, line in batch:
        try:
            change = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ImportRefusedError(f"Line {number} is not JSON.") from None
        if not isinstance(change, dict) or change.keys() != _NAMES or not isinstance(change["id"], int):
            raise ImportRefusedError(f"Line {number} is not a change from `export-changes`.")
        if change["id"] <= last:
            raise ImportRefusedError(
                f"Line {number} has the id {change['id']}, which is not above the id before it, {last}."
            )
        if not _is_moment(change["changed_at"]):
            raise ImportRefusedError(
                f"Line {number} has a `changed_at` that is not a time with its offset from UTC, in the years 1 to 9999."
            )
        last = change["id"]
    return last


def _is_moment(text: object) -> bool:
    """Whether a text is a time that the schema's DateTime can represent, as `export-changes` writes it."""
    try:
        moment = datetime.fromisoformat(str(text))
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return moment.tzinfo is not None


def _text(template: str, tables: ChangeTables) -> sa.TextClause:
    text = template.replace("{lines}", _LINES).replace("{columns}", CHANGE_COLUMNS).replace("{batch}", str(_BATCH))
    for placeholder, table in {"{table}": tables.change, "{overlay}": tables.status}.items():
        text = text.replace(placeholder, f"{quoted(tables.schema)}.{quoted(table.name)}")
    return sa.text(text)
