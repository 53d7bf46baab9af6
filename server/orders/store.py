"""Owns the reading of orders from PostgreSQL: the schema's OrderStore and OrderLookup."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiodataloader import DataLoader
from async_lru import alru_cache

from schema.ports.templates import JsonPage
from schema.ports.values import (
    Count,
    Operator,
    OrderBlock,
    OrderColumn,
    OrderColumns,
    Page,
    PriceStats,
    Row,
    Stats,
    StatsGroup,
)
from server.orders import sql_aggregates as aggregates
from server.orders.shared_lookups import SharedLookups
from server.orders.sql_json import BETWEEN_ROWS, json_orders, json_page
from server.orders.sql_pages import Shape, page_of, values_of
from server.read_requirement import note_load
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from schema.ports.templates import Template
    from schema.ports.values import Conditions, Ordering, PageRequest
    from server.db.engine import Engines
    from server.orders.read_connection import ReadConnection
    from server.orders.reader import Reader
    from server.orders.sql_merged import Orders

# A table with fewer places for each order wanted is sampled by sorting it: draws would repeat or miss too often.
_PLACES_PER_ORDER = 50
# How many places are drawn at first for an order wanted: TPC-H's orders fill about a quarter of their pages' places.
_DRAWS_PER_ORDER = 8.0
# How many more to draw than were needed last time, so that the next round is likely to be the last.
_MARGIN = 1.5
_DRAW_ROUNDS = 6
_MAX_DRAWS = 20_000
_shuffle = random.SystemRandom()


class SqlOrderStore:
    """The schema's OrderStore."""

    def __init__(self, engines: Engines, reader: Reader, *, aggregate_ttl: float) -> None:
        self._engines = engines
        self._reader = reader
        # Over all orders an aggregate reads the whole table, so those who ask at once share one answer.
        # Filters are too many to remember.
        self._count_all = alru_cache(ttl=aggregate_ttl)(self._count)
        self._stats_all = alru_cache(ttl=aggregate_ttl)(self._stats)
        self._lookups = SharedLookups(self._json_orders)
        self._moved = alru_cache(ttl=aggregate_ttl)(self._statuses_moved)

    async def probe(self) -> None:
        """Read one order, as a sign of life.

        Raises:
            UnavailableError: why orders cannot be read.
        """
        await self._reader.fetch(self._engines.pages, aggregates.probe_statement)

    async def page(self, request: PageRequest, columns: OrderColumns) -> Page:
        """One statement."""
        wanted, shape = _ordered(columns), Shape.of(request)
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
        return Page(OrderBlock(wanted, _without_placeholder(wanted, rows)), more_ahead, any_behind)

    async def json_page(self, request: PageRequest, templates: tuple[Template, ...], *, ends: bool) -> JsonPage | None:
        """The same statement, with PostgreSQL writing what it reads."""
        shape = Shape.of(request)
        ((read, any_behind, *found),) = await self._reader.rows(
            self._engines.pages,
            lambda orders: json_page(orders, shape, templates, ends=ends),
            values_of(request),
            count=_read,
        )
        texts: list[str] = []
        for index in range(len(templates)):
            written, text = found[2 * index : 2 * index + 2]
            if written != read:
                return None
            texts.append(_page_of(text or "", request, more=read > request.size))
        outermost: list[Any] = [None, None]
        if ends and min(read, request.size):
            value, key, last_value, last_key = found[2 * len(templates) :]
            outermost = [(value, key), (last_value, last_key)]
            if request.backward:
                outermost.reverse()
        return JsonPage(tuple(texts), read > request.size, any_behind, *outermost)

    async def json_orders(
        self, keys: Sequence[int], templates: tuple[Template, ...]
    ) -> Mapping[int, tuple[str, ...]] | None:
        """One statement; a single order's is shared with other requests, unless each may be read somewhere else."""
        if len(keys) == 1 and not self._reader.is_divided:
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
            self._engines.pages, lambda orders: json_orders(orders, templates), {"keys": list(keys)}
        )
        return {row[0]: tuple(row)[1:] for row in rows}

    async def numbered_page(
        self, ordering: Ordering, conditions: Conditions, columns: OrderColumns, *, offset: int, size: int
    ) -> Page:
        """One statement."""
        wanted = _ordered(columns)
        rows = await self._reader.fetch(
            self._engines.pages,
            lambda orders: aggregates.numbered_page_statement(
                orders, ordering, conditions, wanted, offset=offset, size=size
            ),
        )
        block = OrderBlock(wanted, _without_placeholder(wanted, rows[:size]))
        return Page(block, more_ahead=len(rows) > size, any_behind=offset > 0)

    async def count(self, conditions: Conditions) -> Count:
        """One statement, or a remembered answer."""
        with giving_way():
            return await (self._count(conditions) if conditions else self._count_all(conditions))

    async def stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        """One statement, or a remembered answer."""
        with giving_way():
            return await (self._stats(conditions, groups) if conditions else self._stats_all(conditions, groups))

    async def estimated_count(self, conditions: Conditions) -> int | None:
        """What the planner foretells, where ANALYZE has been there.

        It foretells badly what a merged status comes to, so it is asked for the synced one, and what the changes
        have moved from one status to another is added: a part of it as large as the other conditions leave.
        """
        if any(condition.value == () for condition in conditions):
            # The planner never says 0.
            return 0
        others = tuple(condition for condition in conditions if condition.column is not OrderColumn.STATUS)
        merged = len(others) < len(conditions)

        async def estimate(reading: ReadConnection) -> tuple[int, float, Orders] | None:
            orders = await reading.orders()
            known = await reading.rows(aggregates.statistics_known_statement(orders))
            if not (known and known[0][0]):
                return None
            as_synced = await _foretold(reading, orders, conditions)
            share = 1.0
            if merged and others:
                share = await _foretold(reading, orders, others) / max(1, await _foretold(reading, orders, ()))
            return as_synced, share, orders

        found = await self._reader.run(self._engines.pages, estimate)
        if found is None:
            return None
        as_synced, share, orders = found
        with giving_way():
            moved = await self._moved(orders.overlay is not None) if merged else ()
        return max(0, round(as_synced + share * sum(count for change in moved for count in _moves(change, conditions))))

    async def sample(self, size: int, columns: OrderColumns) -> OrderBlock:
        """Two statements on a table that is filled as usual."""
        wanted = _ordered(columns)

        async def draw(reading: ReadConnection) -> list[Row]:
            orders = await reading.orders()
            heap = await reading.rows(aggregates.heap_statement(orders))
            if heap and (drawn := await _draw(reading, orders, wanted, size, pages=heap[0][0], pointers=heap[0][1])):
                return drawn
            shuffled = await reading.rows(aggregates.shuffled_statement(orders, wanted, size=size))
            return [tuple(row) for row in shuffled]

        with giving_way():
            rows = await self._reader.run(self._engines.aggregates, draw) if size else []
        return OrderBlock(wanted, _without_placeholder(wanted, rows))

    async def _statuses_moved(self, any_overlay: bool) -> Sequence[tuple[str | None, str, int]]:  # noqa: FBT001 # the key of what is remembered
        """How many orders were moved from which synced status to which other."""
        if not any_overlay:
            return ()
        rows = await self._reader.fetch(self._engines.aggregates, aggregates.moved_statement)
        return [(row[0], row[1], row[2]) for row in rows]

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
            # A bit says that its column is not grouped by in this row; the leftmost column has the highest.
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
    """The schema's OrderLookup: all orders that are asked for in one turn of the event loop are one statement.

    Nothing is remembered: an order asked for again later is read again, as a mutation in between may want.
    """

    def __init__(self, engines: Engines, reader: Reader) -> None:
        self._engines = engines
        self._reader = reader
        self._loader: DataLoader[tuple[int, OrderColumns], OrderBlock | None] = DataLoader(self._load, cache=False)

    async def order(self, key: int, columns: OrderColumns) -> OrderBlock | None:
        """The order with this key."""
        return await self._loader.load((key, columns))

    async def orders(self, keys: Iterable[int], columns: OrderColumns) -> Sequence[OrderBlock | None]:
        """The orders with these keys."""
        return await self._loader.load_many([(key, columns) for key in keys])

    async def _load(self, wanted: list[tuple[int, OrderColumns]]) -> list[OrderBlock | None]:
        note_load()
        columns = _ordered(frozenset().union(*(columns for _, columns in wanted)))
        keys = sorted({key for key, _ in wanted})

        rows = await self._reader.rows(
            self._engines.pages, lambda orders: aggregates.lookup_statement(orders, columns), {"keys": keys}
        )
        blocks = {row[0]: OrderBlock(columns, [tuple(row)[1:]]) for row in rows}
        return [blocks.get(key) for key, _ in wanted]


async def _foretold(reading: ReadConnection, orders: Orders, conditions: Conditions) -> int:
    plans = await reading.rows(aggregates.estimate_statement(orders.as_synced(), conditions))
    return int(plans[0][0][0]["Plan"]["Plan Rows"])


def _moves(change: tuple[str | None, str, int], conditions: Conditions) -> Iterator[int]:
    """By how much the changes from one status to another make more or fewer orders match."""
    synced, set_here, count = change
    wanted = [
        condition.value if condition.operator is Operator.IN else (condition.value,)
        for condition in conditions
        if condition.column is OrderColumn.STATUS
    ]
    for status, sign in ((set_here, 1), (synced, -1)):
        if all(isinstance(values, tuple) and status in values for values in wanted):
            yield sign * count


async def _draw(
    reading: ReadConnection, orders: Orders, columns: tuple[OrderColumn, ...], size: int, *, pages: int, pointers: int
) -> list[Row] | None:
    """Orders found at random places; None where the table is too small or too empty to find enough this way."""
    if pages * pointers < size * _PLACES_PER_ORDER:
        return None
    found: dict[str, Row] = {}
    draws_per_order = _DRAWS_PER_ORDER
    for _ in range(_DRAW_ROUNDS):
        before, draws = len(found), min(_MAX_DRAWS, int(draws_per_order * (size - len(found))) + 1)
        statement = aggregates.sample_statement(orders, columns, pages=pages, pointers=pointers, draws=draws)
        found |= {row[0]: tuple(row)[1:] for row in await reading.rows(statement)}
        if len(found) >= size:
            # The rows came in the order of their places: the first ones are not a random choice.
            return _shuffle.sample(list(found.values()), size)
        draws_per_order = _MARGIN * draws / max(1, len(found) - before)
    return None


def _ordered(columns: Iterable[OrderColumn]) -> tuple[OrderColumn, ...]:
    """In the enum's order, so that one selection is one statement."""
    wanted = set(columns)
    return tuple(column for column in OrderColumn if column in wanted)


def _read(rows: Sequence[Any]) -> int:
    """How many orders were read for a page that comes in one row."""
    return int(rows[0][0])


def _page_of(text: str, request: PageRequest, *, more: bool) -> str:
    """Rows that were read in the direction of travel, without the one more, in the ordering."""
    if more:
        # Of a page of none that is the first one too.
        text = text[: max(0, text.rfind(BETWEEN_ROWS))]
    return BETWEEN_ROWS.join(reversed(text.split(BETWEEN_ROWS))) if request.backward else text


def _without_placeholder(columns: tuple[OrderColumn, ...], rows: Sequence[Any]) -> Sequence[Row]:
    """Where no column is selected a constant stands in for them."""
    return rows if columns else [() for _ in rows]
