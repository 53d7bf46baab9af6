"""The schema's OrderStore and OrderLookup, over PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from aiodataloader import DataLoader
from async_lru import alru_cache

from schema.orders.types import ORDERS
from schema.ports.statistics import NO_STATISTICS
from schema.ports.templates import JsonPage
from schema.ports.values import Block, Count, Page, PageRequest, PriceStats, Row, Stats, StatsGroup
from schema.ports.ways import way_of
from server.http.read_requirement import note_load
from server.orders import sql_aggregates as aggregates
from server.orders.measuring.estimates import Estimates
from server.orders.sampling import random_orders
from server.tables.shared_lookups import SharedLookups
from server.tables.sql_json import BETWEEN_ROWS, json_page, json_rows
from server.tables.sql_pages import Shape, page_of, values_of
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schema.ports.columns import Column, Columns
    from schema.ports.statistics import OrderStatistics
    from schema.ports.templates import Template
    from schema.ports.values import Conditions, Ordering
    from server.db.engine import Engines
    from server.orders.sql_merged import Orders
    from server.tables.read_connection import ReadConnection
    from server.tables.reader import Reader


class SqlOrderStore:
    """The schema's OrderStore: pages, counts, statistics and samples."""

    def __init__(
        self,
        engines: Engines,
        reader: Reader[Orders],
        *,
        aggregate_ttl: float,
        statistics: Callable[[], OrderStatistics] = lambda: NO_STATISTICS,
    ) -> None:
        self._engines = engines
        self._reader = reader
        self._statistics = statistics
        # An aggregate over all orders reads the whole table, so requests share its result for a while.
        # Results for filters are not cached: there are too many different filters.
        self._count_all = alru_cache(ttl=aggregate_ttl)(self._count)
        self._stats_all = alru_cache(ttl=aggregate_ttl)(self._stats)
        self._lookups = SharedLookups(self._json_orders)
        self._estimates = Estimates(engines, reader, ttl=aggregate_ttl)

    async def probe(self) -> None:
        """Read one order, to check that orders can be read.

        Raises:
            UnavailableError: orders cannot be read; the error says why.
        """
        await self._reader.fetch(self._engines.pages, aggregates.probe_statement)

    async def page(self, request: PageRequest, columns: Columns) -> Page:
        """A page of orders, in one statement."""
        wanted, shape = _ordered(columns), self._shape(request)
        rows: Sequence[Row] = await self._reader.rows(
            self._engines.pages, lambda orders: page_of(orders, shape, wanted), values_of(request)
        )
        any_behind = False
        if request.look_back and request.position is not None:
            any_behind = bool(rows[0][0])
            rows = [tuple(row)[2:] for row in rows if row[1] is not None]
        more_ahead = len(rows) > request.size
        rows = rows[: request.size]
        if request.backward:
            rows = rows[::-1]
        return Page(Block(wanted, _without_placeholder(wanted, rows)), more_ahead, any_behind)

    def _shape(self, request: PageRequest, *, skipped: int = 0) -> Shape:
        """The shape of a page, with the way in which its orders are found: the one that its price assumes."""
        found = way_of(request.conditions, request.ordering, request.size, self._statistics(), skipped=skipped)
        return Shape.of(request, found.way)

    async def json_page(self, request: PageRequest, templates: tuple[Template, ...], *, ends: bool) -> JsonPage | None:
        """A page of orders as JSON, in one statement; None if a value cannot be written."""
        shape = self._shape(request)
        ((read, any_behind, *found),) = await self._reader.rows(
            self._engines.pages,
            lambda orders: json_page(orders, shape, templates, ends=ends),
            values_of(request),
            count=_orders_read,
        )
        texts: list[str] = []
        for index in range(len(templates)):
            written, text = found[2 * index : 2 * index + 2]
            if written != read:
                return None
            texts.append(_page_text(text or "", request, more=read > request.size))
        outermost: list[Any] = [None, None]
        if ends and min(read, request.size):
            both = found[2 * len(templates) :]
            first, last = both[: len(both) // 2], both[len(both) // 2 :]
            outermost = [(first[0], tuple(first[1:])), (last[0], tuple(last[1:]))]
            if request.backward:
                outermost.reverse()
        return JsonPage(tuple(texts), read > request.size, any_behind, *outermost)

    async def json_orders(
        self, keys: Sequence[int], templates: tuple[Template, ...]
    ) -> Mapping[int, tuple[str, ...]] | None:
        """Orders as JSON, in one statement.

        Requests for a single order share their statement, unless replicas may answer: the shared one
        always reads the primary.
        """
        if len(keys) == 1 and not self._reader.has_replicas:
            texts = await self._lookups.order(keys[0], templates)
            found = {} if texts is None else {keys[0]: texts}
        else:
            found = await self._json_orders(keys, templates)
        written = {key: tuple(text for text in texts if text is not None) for key, texts in found.items()}
        return written if all(len(texts) == len(templates) for texts in written.values()) else None

    async def _json_orders(
        self, keys: Sequence[int], templates: tuple[Template, ...]
    ) -> dict[int, tuple[str | None, ...]]:
        rows = await self._reader.rows(
            self._engines.pages, lambda orders: json_rows(orders, templates), {"keys": list(keys)}
        )
        return {row[0]: tuple(row)[1:] for row in rows}

    async def numbered_page(
        self, ordering: Ordering, conditions: Conditions, columns: Columns, *, offset: int, size: int
    ) -> Page:
        """A numbered page, in one statement."""
        wanted, request = _ordered(columns), PageRequest(ordering, conditions, size)
        shape = self._shape(request, skipped=offset)
        rows: Sequence[Row] = await self._reader.rows(
            self._engines.pages,
            lambda orders: aggregates.numbered_page(orders, shape, wanted),
            {**values_of(request), "skipped": offset},
        )
        rows = [tuple(row) for row in rows]
        block = Block(wanted, _without_placeholder(wanted, rows[:size]))
        return Page(block, more_ahead=len(rows) > size, any_behind=offset > 0)

    async def count(self, conditions: Conditions) -> Count:
        """The number of matching orders, from one statement or from the cache."""
        with giving_way():
            return await (self._count(conditions) if conditions else self._count_all(conditions))

    async def stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        """Statistics of the matching orders, from one statement or from the cache."""
        with giving_way():
            return await (self._stats(conditions, groups) if conditions else self._stats_all(conditions, groups))

    async def estimated_count(self, conditions: Conditions) -> int | None:
        """The planner's estimate of the number of matching orders; None if ANALYZE has not run."""
        return await self._estimates.count(conditions)

    async def sample(self, size: int, columns: Columns) -> Block:
        """A random sample of orders. On a table with few gaps this takes two statements."""
        wanted = _ordered(columns)

        async def draw(connection: ReadConnection[Orders]) -> list[Row]:
            return await random_orders(connection, wanted, size)

        with giving_way():
            rows = await self._reader.run(self._engines.aggregates, draw) if size else []
        return Block(wanted, _without_placeholder(wanted, rows))

    async def _count(self, conditions: Conditions) -> Count:
        as_of = datetime.now(UTC)
        rows = await self._reader.fetch(
            self._engines.aggregates, lambda orders: aggregates.count_statement(orders, conditions)
        )
        return Count(rows[0][0], as_of)

    async def _stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        as_of = datetime.now(UTC)
        wanted = [group for group in StatsGroup if group in groups]
        rows = await self._reader.fetch(
            self._engines.aggregates, lambda orders: aggregates.stats_statement(orders, conditions, wanted)
        )
        total = PriceStats(0, None, None, None, None)
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


class SqlOrderLookup:
    """The schema's OrderLookup: one statement for all orders that are requested in one turn of the event loop.

    Nothing is cached. A mutation may change an order between two lookups, so the second one reads it again.
    """

    def __init__(self, engines: Engines, reader: Reader[Orders]) -> None:
        # Not a method: the lookup and its loader would be a cycle.
        self._loader: DataLoader[tuple[int, Columns], Block | None] = DataLoader(
            partial(_load, engines, reader), cache=False
        )

    async def order(self, key: int, columns: Columns) -> Block | None:
        """The order with this key."""
        return await self._loader.load((key, columns))

    async def orders(self, keys: Iterable[int], columns: Columns) -> Sequence[Block | None]:
        """The orders with these keys."""
        return await self._loader.load_many([(key, columns) for key in keys])


async def _load(engines: Engines, reader: Reader[Orders], wanted: list[tuple[int, Columns]]) -> list[Block | None]:
    note_load()
    columns = _ordered(frozenset().union(*(columns for _, columns in wanted)))
    keys = sorted({key for key, _ in wanted})
    rows = await reader.rows(engines.pages, lambda orders: aggregates.lookup_statement(orders, columns), {"keys": keys})
    blocks = {row[0]: Block(columns, [tuple(row)[1:]]) for row in rows}
    return [blocks.get(key) for key, _ in wanted]


def _ordered(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns in the order of the type's fields, so that one selection always makes the same statement."""
    wanted = set(columns)
    return tuple(column for column in ORDERS.columns if column in wanted)


def _orders_read(rows: Sequence[Any]) -> int:
    """The number of orders that were read for a page in one row."""
    return int(rows[0][0])


def _page_text(text: str, request: PageRequest, *, more: bool) -> str:
    """Turn rows in the direction of travel into a JSON list's elements in the page's order, without the extra row.

    The elements are written as the ordinary path writes them, without white space: an answer has one entity tag.
    """
    if more:
        # On a page of size 0 the extra row is the first one, with no separator before it.
        text = text[: max(0, text.rfind(BETWEEN_ROWS))]
    return ",".join(reversed(text.split(BETWEEN_ROWS))) if request.backward else text.replace(BETWEEN_ROWS, ",")


def _without_placeholder(columns: tuple[Column, ...], rows: Sequence[Any]) -> Sequence[Row]:
    """The rows without the constant that is selected if there are no columns."""
    return rows if columns else [() for _ in rows]
