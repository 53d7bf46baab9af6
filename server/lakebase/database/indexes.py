"""Owns the indexes that orders need: which are there, which are missing or broken, and the building of them."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.ports.administration import TableIndex
from server.db.app_tables import quoted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from server.lakebase.database.inspection import Postgres, TableLocation

_POLL_SECONDS: Final = 0.5
_NAME_CHARACTERS: Final = 63
# One for each order that is offered, and one for the customer, all ending in the key: what `orders` asks for.
NEEDED: Final = {
    "by_key": ("o_orderkey",),
    "by_date": ("o_orderdate", "o_orderkey"),
    "by_price": ("o_totalprice", "o_orderkey"),
    "by_customer": ("o_custkey", "o_orderkey"),
}
_FOUND: Final = """
    SELECT c.relname, pg_get_indexdef(c.oid) AS definition, i.indisvalid AND i.indisready AS valid,
           m.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL
             AND 0 = ALL (i.indoption::int2[]) AS plain,
           ARRAY(
             SELECT a.attname::text
             FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place
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
class _Found:
    name: str
    definition: str
    valid: bool
    columns: tuple[str, ...]
    plain: bool
    building: bool

    def serves(self, wanted: tuple[str, ...]) -> bool:
        """Whether it has these columns first, in this order."""
        return self.plain and self.columns[: len(wanted)] == wanted


class OrderIndexes:
    """The indexes on synced tables of orders."""

    def __init__(self, postgres: Postgres, *, timeout: float) -> None:
        self._postgres = postgres
        self._timeout = timeout

    async def found(self, place: TableLocation) -> list[TableIndex]:
        """All indexes on the table.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(place.instance, place.database) as connection:
            return [TableIndex(one.name, one.definition, one.valid) for one in await _indexes(connection, place.name)]

    async def apply_to(self, place: TableLocation) -> bool:
        """Whether it has an order's key, at least.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(place.instance, place.database) as connection:
            return set(NEEDED["by_key"]) <= await _columns(connection, place.name)

    async def missing(self, place: TableLocation) -> list[str]:
        """What `build` would build, by the columns.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(place.instance, place.database) as connection:
            found, columns = await _indexes(connection, place.name), await _columns(connection, place.name)
        return [", ".join(wanted) for _, wanted in _unserved(found, columns)]

    async def broken(self, place: TableLocation) -> list[str]:
        """Statements that take away what builds have left INVALID, so that the same names can be built again.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self._postgres.connected(place.instance, place.database) as connection:
            return [
                _dropping(place, one)
                for one in await _indexes(connection, place.name)
                if not one.valid and not one.building
            ]

    async def build(self, place: TableLocation, report: Callable[[float, str], Awaitable[None]]) -> list[str]:
        """Build what is missing, one by one, readers and writers going on beside it.

        One that is INVALID, left by a build that was cut off, is dropped and built anew; one that is being built by
        somebody is waited for.

        Args:
            place: where the table of orders is.
            report: told how far it is, 0 to 1, and what is being done.

        Returns:
            What the server's role may not do, as statements for the table's owner; empty where all is well.

        Raises:
            UnavailableError: the database does not answer.
            asyncpg.PostgresError: a build has failed, or took longer than the timeout.
        """
        refused: list[str] = []
        async with (
            self._postgres.connected(place.instance, place.database, seconds=self._timeout) as builder,
            self._postgres.connected(place.instance, place.database) as watcher,
        ):
            columns = await _columns(watcher, place.name)
            for number, (suffix, wanted) in enumerate(NEEDED.items()):
                share = number / len(NEEDED)
                await report(share, f"index on {', '.join(wanted)}")
                if not set(wanted) <= columns:
                    continue
                statements = await self._statements(watcher, place, suffix, wanted)
                try:
                    for statement in statements:
                        await self._run(builder, watcher, place, statement, functools.partial(_scaled, report, share))
                except asyncpg.InsufficientPrivilegeError:
                    refused += statements
        return refused

    async def _statements(
        self, watcher: asyncpg.Connection, place: TableLocation, suffix: str, wanted: tuple[str, ...]
    ) -> list[str]:
        """What it takes for an index on these columns to be there."""
        while True:
            serving = [one for one in await _indexes(watcher, place.name) if one.serves(wanted)]
            if any(one.valid for one in serving):
                return []
            if not any(one.building for one in serving):
                break
            await asyncio.sleep(_POLL_SECONDS)  # between two looks at somebody else's build, of which nobody tells
        broken = [_dropping(place, one) for one in serving]
        index = await _free_name(watcher, place.schema, f"{place.table}_{suffix}", {one.name for one in serving})
        listed = ", ".join(quoted(column) for column in wanted)
        return [*broken, f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quoted(index)} ON {place.name} ({listed})"]

    @staticmethod
    async def _run(
        builder: asyncpg.Connection,
        watcher: asyncpg.Connection,
        place: TableLocation,
        statement: str,
        report: Callable[[float, str], Awaitable[None]],
    ) -> None:
        running = asyncio.ensure_future(builder.execute(statement))
        try:
            while not (await asyncio.wait({running}, timeout=_POLL_SECONDS))[0]:
                if row := await watcher.fetchrow(_PROGRESS, place.name):
                    await report(float(row[1]), f"{statement}: {row[0]}")
            await running
        finally:
            # Cut off from outside, PostgreSQL is told to stop, and the next build finds an INVALID index.
            running.cancel()


def _dropping(place: TableLocation, index: _Found) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(place.schema)}.{quoted(index.name)}"


async def _scaled(report: Callable[[float, str], Awaitable[None]], share: float, part: float, said: str) -> None:
    """Report how far one build is as a part of all."""
    await report(share + part / len(NEEDED), said)


async def _free_name(connection: asyncpg.Connection, schema: str, wanted: str, ours: set[str]) -> str:
    """The name, or another where it is taken by something else."""
    number = 1
    while True:
        suffix = "" if number == 1 else f"_{number}"
        name = f"{wanted[: _NAME_CHARACTERS - len(suffix)]}{suffix}"
        taken = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{quoted(schema)}.{quoted(name)}")
        if not taken or name in ours:
            return name
        number += 1


def _unserved(found: Sequence[_Found], columns: set[str]) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (suffix, wanted)
        for suffix, wanted in NEEDED.items()
        if set(wanted) <= columns and not any(one.valid and one.serves(wanted) for one in found)
    ]


async def _indexes(connection: asyncpg.Connection, name: str) -> list[_Found]:
    rows: Sequence[Any] = await connection.fetch(_FOUND, name)
    return [
        _Found(row["relname"], row["definition"], row["valid"], tuple(row["columns"]), row["plain"], row["building"])
        for row in rows
    ]


async def _columns(connection: asyncpg.Connection, name: str) -> set[str]:
    return {row[0] for row in await connection.fetch(_COLUMNS, name)}
