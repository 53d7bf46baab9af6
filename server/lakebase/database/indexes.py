"""The indexes on a table of orders: finds missing and invalid ones, and builds them."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.ports.admin.tables import TableIndex
from server.db.app_tables import quoted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from server.lakebase.database.inspection import Postgres, TableLocation

_POLL_SECONDS: Final = 0.5
# PostgreSQL cuts longer identifiers.
_NAME_CHARACTERS: Final = 63
# One index for each sort order that the API offers, and one for the customer filter. All end in the key, by which
# pages continue.
NEEDED: Final = {
    "by_key": ("o_orderkey",),
    "by_date": ("o_orderdate", "o_orderkey"),
    "by_price": ("o_totalprice", "o_orderkey"),
    "by_customer": ("o_custkey", "o_orderkey"),
}
_INDEXES: Final = """
    SELECT c.relname, pg_get_indexdef(c.oid) AS definition, i.indisvalid AND i.indisready AS valid,
           m.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL
             AND 0 = ALL (i.indoption::int2[]) AS plain,
           ARRAY(
             SELECT a.attname::text
             FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k (number, position)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.position
           ) AS columns,
           EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) AS building
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    WHERE i.indrelid = to_regclass($1)
    ORDER BY c.relname
"""
_COLUMNS: Final = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0"
_PROGRESS: Final = """
    SELECT phase, CASE WHEN blocks_total > 0 THEN blocks_done::float / blocks_total ELSE 0 END
    FROM pg_stat_progress_create_index WHERE relid = to_regclass($1)
"""


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    definition: str
    valid: bool
    columns: tuple[str, ...]
    plain: bool
    building: bool

    def serves(self, wanted: tuple[str, ...]) -> bool:
        """Whether this index begins with these columns, in this order."""
        return self.plain and self.columns[: len(wanted)] == wanted


class OrderIndexes:
    """Reads and builds the indexes on synced tables of orders."""

    def __init__(self, postgres: Postgres, *, timeout: float) -> None:
        self._postgres = postgres
        self._timeout = timeout

    async def found(self, table: TableLocation) -> list[TableIndex]:
        """All indexes on the table.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            return [TableIndex(one.name, one.definition, one.valid) for one in await _indexes(connection, table.name)]

    async def apply_to(self, table: TableLocation) -> bool:
        """Whether the table holds orders: whether it has the order key.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            return set(NEEDED["by_key"]) <= await _columns(connection, table.name)

    async def missing(self, table: TableLocation) -> list[str]:
        """The columns of each index that `build` would build, as text.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            found, columns = await _indexes(connection, table.name), await _columns(connection, table.name)
        return [", ".join(wanted) for _, wanted in _missing(found, columns)]

    async def broken(self, table: TableLocation) -> list[str]:
        """The statements that drop indexes left INVALID by interrupted builds, so that their names are free again.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            return [
                _drop_statement(table, one)
                for one in await _indexes(connection, table.name)
                if not one.valid and not one.building
            ]

    async def build(self, table: TableLocation, report: Callable[[float, str], Awaitable[None]]) -> list[str]:
        """Build the missing indexes, one by one, without blocking readers and writers.

        An index that an interrupted build left INVALID is dropped and built again. If another session is building an
        index, this waits for it.

        Args:
            table: the table of orders.
            report: called with the progress, 0 to 1, and a message.

        Returns:
            The statements that the server's role may not run, for the table's owner; empty if there are none.

        Raises:
            UnavailableError: the database does not answer, a build failed, or one took longer than the timeout.
        """
        refused: list[str] = []
        async with (
            self._postgres.connected(table.instance, table.database, seconds=self._timeout) as builder,
            self._postgres.connected(table.instance, table.database) as watcher,
        ):
            columns = await _columns(watcher, table.name)
            for number, (suffix, wanted) in enumerate(NEEDED.items()):
                share = number / len(NEEDED)
                await report(share, f"index on {', '.join(wanted)}")
                if not set(wanted) <= columns:
                    continue
                statements = await self._statements(watcher, table, suffix, wanted)
                try:
                    for statement in statements:
                        await self._run(builder, watcher, table, statement, functools.partial(_scaled, report, share))
                except asyncpg.InsufficientPrivilegeError:
                    refused += statements
        return refused

    async def _statements(
        self, watcher: asyncpg.Connection, table: TableLocation, suffix: str, wanted: tuple[str, ...]
    ) -> list[str]:
        """The statements that make an index on these columns; none if there is a valid one."""
        while True:
            serving = [one for one in await _indexes(watcher, table.name) if one.serves(wanted)]
            if any(one.valid for one in serving):
                return []
            if not any(one.building for one in serving):
                break
            await asyncio.sleep(_POLL_SECONDS)  # PostgreSQL does not notify when another session's build ends
        broken = [_drop_statement(table, one) for one in serving]
        index = await _free_name(watcher, table.schema, f"{table.table}_{suffix}", {one.name for one in serving})
        listed = ", ".join(quoted(column) for column in wanted)
        return [*broken, f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quoted(index)} ON {table.name} ({listed})"]

    @staticmethod
    async def _run(
        builder: asyncpg.Connection,
        watcher: asyncpg.Connection,
        table: TableLocation,
        statement: str,
        report: Callable[[float, str], Awaitable[None]],
    ) -> None:
        running = asyncio.ensure_future(builder.execute(statement))
        try:
            while not (await asyncio.wait({running}, timeout=_POLL_SECONDS))[0]:
                if row := await watcher.fetchrow(_PROGRESS, table.name):
                    await report(float(row[1]), f"{statement}: {row[0]}")
            await running
        finally:
            # If this task is cancelled, PostgreSQL has to stop the build too. The next build drops the INVALID index.
            running.cancel()


def _drop_statement(table: TableLocation, index: _Index) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(table.schema)}.{quoted(index.name)}"


async def _scaled(report: Callable[[float, str], Awaitable[None]], share: float, part: float, message: str) -> None:
    """Report the progress of one build as part of all builds."""
    await report(share + part / len(NEEDED), message)


async def _free_name(connection: asyncpg.Connection, schema: str, wanted: str, ours: set[str]) -> str:
    """The wanted name, or one with a number after it if another relation has that name."""
    number = 1
    while True:
        suffix = "" if number == 1 else f"_{number}"
        name = f"{wanted[: _NAME_CHARACTERS - len(suffix)]}{suffix}"
        taken = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{quoted(schema)}.{quoted(name)}")
        if not taken or name in ours:
            return name
        number += 1


def _missing(found: Sequence[_Index], columns: set[str]) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (suffix, wanted)
        for suffix, wanted in NEEDED.items()
        if set(wanted) <= columns and not any(one.valid and one.serves(wanted) for one in found)
    ]


async def _indexes(connection: asyncpg.Connection, name: str) -> list[_Index]:
    rows: Sequence[Any] = await connection.fetch(_INDEXES, name)
    return [
        _Index(row["relname"], row["definition"], row["valid"], tuple(row["columns"]), row["plain"], row["building"])
        for row in rows
    ]


async def _columns(connection: asyncpg.Connection, name: str) -> set[str]:
    return {row[0] for row in await connection.fetch(_COLUMNS, name)}
