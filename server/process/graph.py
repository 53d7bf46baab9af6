"""The served tables: the orders, and those that the settings name beside them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from schema.errors import UnavailableError
from schema.graph import TABLES
from schema.ports.statistics import NO_STATISTICS
from schema.tables.registry import ORDERS_NAME
from server.orders.groups import SqlOrderGroups
from server.tables.catalog.locks import LockWatch
from server.tables.catalog.served import ServedTables, TableBesideOthers, TableHealth
from server.tables.catalog.synced_table import Definition, SyncedTable
from server.tables.lookup import SqlRowLookup
from server.tables.measuring.measurement import Measurement
from server.tables.reading.reader import Reader
from server.tables.sql.json import BETWEEN_ROWS
from server.tables.store import ServedTable, SqlTableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from schema.ports.columns import Table
    from schema.ports.statistics import TableStatistics
    from server.db.engine import Engines
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.orders.store import ServedOrders
    from server.tables.reading.read_connection import Lookup
    from server.tables.reading.readiness import Readiness
    from server.tables.reading.replicas import Replicas

# How long the count of all rows of a table is reused.
_COUNTS_SECONDS: Final = 5.0


class Graph:
    """What reads the served tables, each by itself and several in one statement.

    Args:
        tables: the tables beside the orders: their names, and those in the database.
        engines: the pools.
        readiness: whether orders can be served.
        replicas: the replicas.
        orders_table: the lookup of the orders table.
        orders: the served orders.
        hidden: fields that the schema leaves out, as "Type.attribute".
    """

    def __init__(
        self,
        tables: Mapping[str, str],
        engines: Engines,
        readiness: Readiness,
        replicas: Replicas | None,
        orders_table: OrdersTable,
        orders: ServedOrders,
        *,
        hidden: Collection[str] = (),
    ) -> None:
        self._engines = engines
        self._readiness = readiness
        self._tables = {
            name: SyncedTable(Definition(TABLES[name], table, hidden=hidden)) for name, table in tables.items()
        }
        self._measured = {
            name: Measurement(engines.aggregates, TABLES[name], table.definition.qualified_name)
            for name, table in self._tables.items()
        }
        for name, table in self._tables.items():
            table.looked_up = self._measured[name].renew
        locks = LockWatch(
            {table.definition.qualified_name: table.note_locked for table in self._tables.values()},
            (engines.pages, engines.aggregates),
        )
        self._health = {name: TableHealth(readiness) for name in self._tables}
        self._lookups: dict[str, Lookup[Any]] = {ORDERS_NAME: orders_table, **self._tables}
        self._together = ServedTables(self._lookups)
        self._served: dict[str, ServedTable[Any]] = {
            ORDERS_NAME: orders,
            **{
                name: ServedTable(
                    engines,
                    Reader(table, self._health[name], replicas, locks=locks),
                    aggregate_ttl=_COUNTS_SECONDS,
                    statistics=self._measured[name].statistics,
                )
                for name, table in self._tables.items()
            },
        }
        together = Reader(self._together, TableHealth(readiness), replicas, locks=locks)
        self.store = SqlTableStore(self._served, together)
        for name, served in self._served.items():
            both: Reader[Any] = Reader(
                TableBesideOthers(self._together, name), TableHealth(readiness), replicas, locks=locks
            )
            served.stand_beside(self.statistics, both)
        self.groups = SqlOrderGroups(engines, orders.reader_of, together, aggregate_ttl=orders.aggregate_ttl)

    def through(self, pool: Pool) -> tuple[SqlTableStore, Callable[[], SqlRowLookup]]:
        """The same tables, read through another pool, and never from a replica: a store, and what makes lookups.

        Between the rows of a page, its store writes newlines.
        """
        engines = replace(self._engines, pages=pool)
        served = {
            name: ServedTable(
                engines,
                Reader(self._lookups[name], self._health.get(name, self._readiness)),
                aggregate_ttl=_COUNTS_SECONDS,
                statistics=table.statistics,
            )
            for name, table in self._served.items()
        }
        for name, table in served.items():
            both: Reader[Any] = Reader(TableBesideOthers(self._together, name), TableHealth(self._readiness))
            table.stand_beside(self.statistics, both)
        together = Reader(self._together, TableHealth(self._readiness))
        return SqlTableStore(served, together, separator=BETWEEN_ROWS), lambda: SqlRowLookup(pool, served)

    def new_lookup(self) -> SqlRowLookup:
        """A lookup of rows for an operation."""
        return SqlRowLookup(self._engines.pages, self._served)

    def statistics(self, table: Table) -> TableStatistics:
        """What is known of a table before it is read. It returns at once."""
        served = self._served.get(table.name)
        return NO_STATISTICS if served is None else served.statistics()

    async def close(self) -> None:
        """End the measurements that are under way."""
        for measurement in self._measured.values():
            await measurement.close()

    def forget(self) -> None:
        """Look all tables up again."""
        self._together.forget()

    async def probe(self) -> None:
        """Read a row of each table beside the orders, so that `states` tells which cannot be read."""
        for name in self._tables:
            with contextlib.suppress(UnavailableError):
                await self._served[name].probe()

    def states(self) -> dict[str, str]:
        """The state of each table beside the orders, in words for an operator."""
        return {name: health.reason or "ok" for name, health in self._health.items()}
