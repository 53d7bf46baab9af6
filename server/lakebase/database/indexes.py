"""The indexes on the served tables: finds missing and invalid ones, and builds them."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from schema.ports.admin.tables import TableIndex
from schema.tables.indexes import indexes_of, text_indexes_of
from server.db.app_tables import quoted
from server.lakebase.database.trigrams import (
    CREATE_EXTENSION,
    NoTrigramsError,
    can_have_trigrams,
    create_trigrams,
    has_trigrams,
    trigrams_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from schema.ports.columns import Table
    from server.lakebase.database.inspection import Postgres, TableLocation

_POLL_SECONDS: Final = 0.5
# PostgreSQL cuts longer identifiers.
_NAME_CHARACTERS: Final = 63
_INDEXES: Final = """
    SELECT c.relname, pg_get_indexdef(c.oid) AS definition, i.indisvalid AND i.indisready AS valid,
           m.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL
             AND 0 = ALL (i.indoption::int2[]) AS plain,
           m.amname = 'gin' AND i.indpred IS NULL AND i.indnkeyatts = 1 AND o.opcname = 'gin_trgm_ops' AS of_trigrams,
           CASE WHEN i.indexprs IS NOT NULL
             -- An expression of varchar(n) and char(n) has a cast to text.
             THEN ARRAY[regexp_replace(pg_get_indexdef(c.oid, 1, true), '::text[)]$', ')')]
             ELSE ARRAY(
               SELECT quote_ident(a.attname) || CASE WHEN l.collname = 'C' THEN ' COLLATE "C"' ELSE '' END
               FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1], i.indcollation::oid[])
                 WITH ORDINALITY k (number, ordered_by, position)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
               LEFT JOIN pg_collation l ON l.oid = k.ordered_by
               ORDER BY k.position
           ) END AS columns,
           EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) AS building
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_opclass o ON o.oid = (i.indclass::oid[])[0]
    WHERE i.indrelid = to_regclass($1)
    ORDER BY c.relname
"""
_COLUMNS: Final = """
    SELECT attname::text, quote_ident(attname) || CASE WHEN attcollation = 0 THEN '' ELSE ' COLLATE "C"' END,
           format('lower(%I)', attname)
    FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0
"""
_PROGRESS: Final = """
    SELECT phase, CASE WHEN blocks_total > 0 THEN blocks_done::float / blocks_total ELSE 0 END
    FROM pg_stat_progress_create_index WHERE relid = to_regclass($1)
"""


@dataclass(frozen=True, slots=True)
class _Index:
    """An index that is there. Its columns are as in `_Wanted`."""

    name: str
    definition: str
    valid: bool
    columns: tuple[str, ...]
    plain: bool
    of_trigrams: bool
    building: bool

    def serves(self, wanted: _Wanted) -> bool:
        """Whether this index begins with these columns, in this order."""
        fits = self.of_trigrams if wanted.of_trigrams else self.plain
        return fits and self.columns[: len(wanted.columns)] == wanted.columns


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An index that a table needs: the end of its name, and its columns as SQL. Text sorts by its code points.

    One of trigrams has the expression that `contains` compares, in place of columns.
    """

    suffix: str
    columns: tuple[str, ...]
    of_trigrams: bool = False

    def __str__(self) -> str:
        return ("trigrams of " if self.of_trigrams else "") + ", ".join(self.columns)


class _Column(NamedTuple):
    """A column as the SQL that an index is made of: to sort by, and in small letters."""

    in_order: str
    lowered: str


class TableIndexes:
    """Reads and builds the indexes on synced tables.

    Args:
        postgres: connects to the databases.
        served: the tables that the server serves. A synced table is the one whose key it has.
        timeout: how many seconds building one index may take.
    """

    def __init__(self, postgres: Postgres, served: Collection[Table], *, timeout: float) -> None:
        self._postgres = postgres
        self._needed = indexes_of(served)
        self._texts = text_indexes_of(served)
        self._timeout = timeout

    async def found(self, table: TableLocation) -> list[TableIndex]:
        """All indexes on the table.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            return [TableIndex(one.name, one.definition, one.valid) for one in await _indexes(connection, table.name)]

    async def apply_to(self, table: TableLocation) -> bool:
        """Whether a table with these columns is served: whether it has the key of one.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            return bool(self._wanted(await _columns(connection, table.name)))

    async def missing(self, table: TableLocation, *, text: bool = False) -> list[str]:
        """What `build` would build, as text: the columns of each index, and before them the extension if it is absent.

        Raises:
            UnavailableError: the database does not answer.
            NoTrigramsError: PostgreSQL does not offer the extension.
        """
        async with self._postgres.connected(table.instance, table.database) as connection:
            wanted = self._wanted(await _columns(connection, table.name), text=text)
            found = await _indexes(connection, table.name)
            missing = [one for one in wanted if not any(index.valid and index.serves(one) for index in found)]
            names = [str(one) for one in missing]
            if any(one.of_trigrams for one in missing):
                await _require_trigrams(connection, table)
                if not await has_trigrams(connection):
                    names.insert(0, "the extension pg_trgm")
        return names

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

    async def build(
        self, table: TableLocation, report: Callable[[float, str], Awaitable[None]], *, text: bool = False
    ) -> list[str]:
        """Build the missing indexes, one by one, without blocking readers and writers.

        An index that an interrupted build left INVALID is dropped and built again. If another session is building an
        index, this waits for it.

        Args:
            table: the table.
            report: called with the progress, 0 to 1, and a message.
            text: whether to build the indexes of trigrams too, and before them the extension that they need.

        Returns:
            The statements that the server's role may not run, for the table's owner; empty if there are none.

        Raises:
            UnavailableError: the database does not answer, a build failed, or one took longer than the timeout.
            NoTrigramsError: PostgreSQL does not offer the extension.
        """
        refused: list[str] = []
        async with (
            self._postgres.connected(table.instance, table.database, seconds=self._timeout) as builder,
            self._postgres.connected(table.instance, table.database) as watcher,
        ):
            needed = self._wanted(await _columns(watcher, table.name), text=text)
            has_extension = True
            if any(one.of_trigrams for one in needed):
                await _require_trigrams(watcher, table)
                has_extension = await create_trigrams(watcher)
                if not has_extension:
                    refused.append(CREATE_EXTENSION)
            for number, wanted in enumerate(needed):
                await report(number / len(needed), f"index on {wanted}")
                statements = await self._statements(watcher, table, wanted)
                if wanted.of_trigrams and not has_extension:
                    refused += statements
                    continue
                try:
                    for statement in statements:
                        scaled = functools.partial(_scaled, report, number, len(needed))
                        await self._run(builder, watcher, table, statement, scaled)
                except asyncpg.InsufficientPrivilegeError:
                    refused += statements
        return refused

    def _wanted(self, columns: Mapping[str, _Column], *, text: bool = False) -> list[_Wanted]:
        """The indexes of the served table whose key is among these columns, as far as it has the columns."""
        found = []
        for one in (*self._needed, *(self._texts if text else ())):
            stored = [column.stored for column in (*one.table.key, *one.columns)]
            if columns.keys() >= set(stored):
                parts = [columns[str(column.stored)] for column in one.columns]
                written = tuple(part.lowered if one.of_trigrams else part.in_order for part in parts)
                found.append(_Wanted(one.suffix, written, one.of_trigrams))
        return found

    async def _statements(self, watcher: asyncpg.Connection, table: TableLocation, wanted: _Wanted) -> list[str]:
        """The statements that make an index on these columns; none if there is a valid one."""
        while True:
            serving = [one for one in await _indexes(watcher, table.name) if one.serves(wanted)]
            if any(one.valid for one in serving):
                return []
            if not any(one.building for one in serving):
                break
            await asyncio.sleep(_POLL_SECONDS)  # PostgreSQL does not notify when another session's build ends
        broken = [_drop_statement(table, one) for one in serving]
        index = await _free_name(watcher, table.schema, f"{table.table}_{wanted.suffix}", {one.name for one in serving})
        by = await trigrams_of(watcher, *wanted.columns) if wanted.of_trigrams else f"({wanted})"
        return [*broken, f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quoted(index)} ON {table.name} {by}"]

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


async def _scaled(
    report: Callable[[float, str], Awaitable[None]], number: int, builds: int, part: float, message: str
) -> None:
    """Report the progress of one build as part of all builds."""
    await report((number + part) / builds, message)


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


async def _indexes(connection: asyncpg.Connection, name: str) -> list[_Index]:
    rows: Sequence[Any] = await connection.fetch(_INDEXES, name)
    return [
        _Index(
            row["relname"],
            row["definition"],
            row["valid"],
            tuple(row["columns"]),
            row["plain"],
            row["of_trigrams"],
            row["building"],
        )
        for row in rows
    ]


async def _columns(connection: asyncpg.Connection, name: str) -> dict[str, _Column]:
    """The columns of a table."""
    return {row[0]: _Column(row[1], row[2]) for row in await connection.fetch(_COLUMNS, name)}


async def _require_trigrams(connection: asyncpg.Connection, table: TableLocation) -> None:
    if not await can_have_trigrams(connection):
        raise NoTrigramsError(table.name)
