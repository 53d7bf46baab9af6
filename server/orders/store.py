"""The orders: what is read of them and of no other table, and the schema's OrderStore."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from async_lru import alru_cache

from schema.orders.types import ORDERS
from schema.ports.statistics import NO_STATISTICS
from schema.ports.values import Block, Page, PageRequest, PriceStats, Row, Stats, StatsGroup
from server.orders import sql_aggregates as aggregates
from server.orders.estimates import OrderEstimates
from server.orders.sampling import random_orders
from server.orders.sql_merged import Orders
from server.tables.sql.conditions import values_of
from server.tables.store import ServedTable, without_placeholder
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schema.ports.columns import Columns
    from schema.ports.statistics import TableStatistics
    from schema.ports.values import Conditions, Ordering
    from server.db.engine import Engines
    from server.tables.reading.read_connection import ReadConnection
    from server.tables.reading.reader import Reader


class ServedOrders(ServedTable[Orders]):
    """The served orders, and the schema's OrderStore: numbered pages, statistics and samples."""

    def __init__(
        self,
        engines: Engines,
        reader: Reader[Orders],
        *,
        aggregate_ttl: float,
        statistics: Callable[[], TableStatistics] = lambda: NO_STATISTICS,
    ) -> None:
        super().__init__(engines, reader, aggregate_ttl=aggregate_ttl, statistics=statistics)
        self.aggregate_ttl = aggregate_ttl
        self._stats_all = alru_cache(ttl=aggregate_ttl)(self._stats)

    @cached_property
    def estimates(self) -> OrderEstimates:
        """Estimates the number of matching orders, with their merged statuses."""
        return OrderEstimates(self.engines, self.reader_of, ttl=self.aggregate_ttl)

    async def numbered_page(
        self, ordering: Ordering, conditions: Conditions, columns: Columns, *, offset: int, size: int
    ) -> Page:
        """A numbered page, in one statement."""
        wanted, request = ORDERS.in_order(columns), PageRequest(ordering, conditions, size)
        shape = self.shape(request, skipped=offset)
        rows: Sequence[Row] = await self.reader_of(conditions).rows(
            self.engines.pages,
            lambda orders: aggregates.numbered_page(orders, shape, wanted),
            {**values_of(request), "skipped": offset},
        )
        rows = [tuple(row) for row in rows]
        block = Block(wanted, without_placeholder(wanted, rows[:size]))
        return Page(block, more_ahead=len(rows) > size, any_behind=offset > 0)

    async def stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        """Statistics of the matching orders, from one statement or from the cache."""
        with giving_way():
            return await (self._stats(conditions, groups) if conditions else self._stats_all(conditions, groups))

    async def sample(self, size: int, columns: Columns) -> Block:
        """A random sample of orders. On a table with few gaps this takes two statements."""
        wanted = ORDERS.in_order(columns)

        async def draw(connection: ReadConnection[Orders]) -> list[Row]:
            return await random_orders(connection, wanted, size)

        with giving_way():
            rows = await self.reader.run(self.engines.aggregates, draw) if size else []
        return Block(wanted, without_placeholder(wanted, rows))

    async def _stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        as_of = datetime.now(UTC)
        wanted = [group for group in StatsGroup if group in groups]
        rows = await self.reader_of(conditions).fetch(
            self.engines.aggregates, lambda orders: aggregates.stats_statement(orders, conditions, wanted)
        )
        total = PriceStats(0)
        found: dict[StatsGroup, list[tuple[str | None, PriceStats]]] = {group: [] for group in wanted}
        for row in rows:
            bits, values, stats = row[0], row[1 : 1 + len(wanted)], PriceStats(*row[1 + len(wanted) :])
            # A set bit means that this row is not grouped by the column. The leftmost column has the highest bit.
            grouped = [
                (group, value)
                for index, (group, value) in enumerate(zip(wanted, values, strict=True))
                if not bits >> (len(wanted) - 1 - index) & 1
            ]
            if grouped:
                group, value = grouped[0]
                found[group].append((value, stats))
            else:
                total = stats
        return Stats(total, found, as_of)
