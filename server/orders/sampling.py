"""Random samples of orders: orders at random locations in the table, or a small table sorted at random."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from server.orders import sql_aggregates as aggregates

if TYPE_CHECKING:
    from schema.ports.columns import Column
    from schema.ports.values import Row
    from server.orders.sql_merged import Orders
    from server.tables.reading.read_connection import ReadConnection

# A table with fewer locations (page, line pointer) for each order wanted is sampled by sorting it: random draws would
# repeat or miss too often.
_LOCATIONS_PER_ORDER = 50
# Locations drawn in the first round for each order wanted: TPC-H's orders fill about a quarter of the locations.
_DRAWS_PER_ORDER = 8.0
# A later round draws this many times the locations that the round before needed per order, so it is likely the last.
_MARGIN = 1.5
_DRAW_ROUNDS = 6
_MAX_DRAWS = 20_000
_shuffle = random.SystemRandom()


async def random_orders(connection: ReadConnection[Orders], columns: tuple[Column, ...], size: int) -> list[Row]:
    """A random sample of orders. On a table with few gaps this takes two statements."""
    orders = await connection.source()
    heap = await connection.rows(aggregates.heap_statement(orders))
    if heap and (drawn := await _draw(connection, orders, columns, size, pages=heap[0][0], pointers=heap[0][1])):
        return drawn
    shuffled = await connection.rows(aggregates.shuffled_statement(orders, columns, size=size))
    return [tuple(row) for row in shuffled]


async def _draw(
    connection: ReadConnection[Orders],
    orders: Orders,
    columns: tuple[Column, ...],
    size: int,
    *,
    pages: int,
    pointers: int,
) -> list[Row] | None:
    """Orders at random locations; None if the table is too small or too empty to find enough of them."""
    if pages * pointers < size * _LOCATIONS_PER_ORDER:
        return None
    found: dict[str, Row] = {}
    draws_per_order = _DRAWS_PER_ORDER
    for _ in range(_DRAW_ROUNDS):
        before, draws = len(found), min(_MAX_DRAWS, int(draws_per_order * (size - len(found))) + 1)
        statement = aggregates.sample_statement(orders, columns, pages=pages, pointers=pointers, draws=draws)
        found |= {row[0]: tuple(row)[1:] for row in await connection.rows(statement)}
        if len(found) >= size:
            # PostgreSQL returned the rows in the order of their locations, so the first ones are not a random choice.
            return _shuffle.sample(list(found.values()), size)
        draws_per_order = _MARGIN * draws / max(1, len(found) - before)
    return None
