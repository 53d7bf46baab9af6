"""The query plans of pages in several orders: what one index has, they read; of what ties there, no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from schema.orders.types import ORDERS
from schema.ports.templates import Form, Slot, Template
from schema.ports.values import Ordering, PageRequest, Position, SortKey
from schema.ports.ways import Way, way_of
from server.db.app_tables import change_tables
from server.orders.orders_table import OrdersTable
from server.orders.sql_aggregates import numbered_page
from server.tables.measuring.measurement import Measurement
from server.tables.sql.conditions import values_of
from server.tables.sql.json import json_page_statement
from server.tables.sql.pages import page_statement
from server.tables.sql.shape import Shape
from tests.server.plans import explain, rows_read, scans

if TYPE_CHECKING:
    import asyncpg

    from schema.ports.statistics import TableStatistics
    from server.db.engine import Engines
    from server.orders.sql_merged import Orders

SIZE: Final = 50
MODES: Final = ["force_custom_plan", "force_generic_plan"]
# Twenty orders of each of a thousand days; a price of each order; ten orders of each customer. A tenth of the orders
# were changed here, a hundred of them at the same time.
ROWS, DAY, CUSTOMER, MOMENT = 20_000, 20, 10, 100
_CREATE: Final = f"""
DROP SCHEMA IF EXISTS sorted_plans CASCADE;
CREATE SCHEMA sorted_plans;
CREATE TABLE sorted_plans.orders AS
SELECT n::bigint AS o_orderkey, (n * 7919 % {ROWS // CUSTOMER})::bigint AS o_custkey, 'O' AS o_orderstatus,
       (n * 104729 % {ROWS} + 0.5)::numeric(18, 2) AS o_totalprice, date '1992-01-01' + n % {ROWS // DAY} AS o_orderdate,
       '5-LOW' AS o_orderpriority, 'Clerk#1' AS o_clerk, n % 3 AS o_shippriority, repeat('x', 40) AS o_comment
FROM generate_series(1, {ROWS}) n;
ALTER TABLE sorted_plans.orders ADD PRIMARY KEY (o_orderkey);
CREATE INDEX by_date ON sorted_plans.orders (o_orderdate, o_orderkey);
CREATE INDEX by_price ON sorted_plans.orders (o_totalprice, o_orderkey);
CREATE INDEX by_customer ON sorted_plans.orders (o_custkey, o_orderkey);
CREATE TABLE sorted_plans.order_status (
    o_orderkey bigint PRIMARY KEY, status text, version int NOT NULL, synced_status text, updated_by text NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX order_status_by_time ON sorted_plans.order_status (updated_at, o_orderkey);
INSERT INTO sorted_plans.order_status
SELECT n, 'P', 1, 'O', 'me', timestamptz '2026-01-01 00:00:00Z' + n / {10 * MOMENT} * interval '1 hour'
FROM generate_series(10, {ROWS}, 10) n;
ANALYZE sorted_plans.orders, sorted_plans.order_status
"""


def key(name: str, direction: str = "ASC", nulls: str | None = None) -> SortKey:
    """A sort by this column."""
    return SortKey.of(ORDERS[name], descending=direction == "DESC", nulls_first=None if nulls is None else nulls == "FIRST")


# The orders, how many rows tie in the first column of each, and the position of a row with these values.
INDEXED: Final[dict[str, tuple[list[SortKey], int, Position]]] = {
    "date, key descending": ([key("order_date"), key("order_key", "DESC")], DAY, Position(("1993-05-05",), (7_000,))),
    "date, price": (
        [key("order_date", "DESC"), key("total_price")],
        DAY,
        Position(("1993-05-05", "9000.5"), (7_000,)),
    ),
    "customer, date, price": (
        [key("customer_key"), key("order_date", "DESC", "LAST"), key("total_price", "ASC", "FIRST")],
        CUSTOMER,
        Position((700, "1993-05-05", None), (7_000,)),
    ),
    "price, what was changed last": (
        [key("total_price", "DESC"), key("status_updated_at", "DESC", "LAST")],
        1,
        Position(("9000.5", None), (7_000,)),
    ),
    "date, nulls first": ([key("order_date", "ASC", "FIRST")], 1, Position(("1993-05-05",), (7_000,))),
    "price descending, nulls last": ([key("total_price", "DESC", "LAST")], 1, Position(("9000.5",), (7_000,))),
    "customer": ([key("customer_key")], 1, Position((700,), (7_000,))),
}
LAST_CHANGED: Final = key("status_updated_at", "DESC", "LAST")


@pytest.fixture(scope="module")
async def orders(engines: Engines, database: asyncpg.Connection) -> Orders:
    """The orders, as the store sees them."""
    await database.execute(_CREATE)
    async with engines.pages.connect() as connection:
        return await OrdersTable("sorted_plans.orders", change_tables("sorted_plans")).resolve(connection)


@pytest.fixture(scope="module")
async def known(engines: Engines, orders: Orders) -> TableStatistics:
    """What is known of them."""
    assert orders.overlay is not None
    measurement = Measurement(engines.aggregates, ORDERS, "sorted_plans.orders", changes="sorted_plans")
    measurement.renew()
    await measurement.settled()
    return measurement.statistics()


async def plan_of(
    database: asyncpg.Connection, orders: Orders, request: PageRequest, way: Way, mode: str, *, written: bool
) -> list[dict[str, Any]]:
    """The nodes that read tables, of a page as rows or as JSON."""
    shape, columns = Shape.of(request, way), (ORDERS["order_key"], ORDERS["clerk"])
    statement = (
        json_page_statement(orders, shape, (Template(tuple(Slot(one, Form.STRING) for one in columns)),), ends=True)
        if written
        else page_statement(orders, shape, columns)
    )
    return list(scans(await explain(database, statement.params(**values_of(request)), mode)))


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("name", INDEXED)
async def test_a_page_reads_what_it_returns_and_what_ties_with_its_ends(
    orders: Orders,
    known: TableStatistics,
    database: asyncpg.Connection,
    name: str,
    later: bool,  # noqa: FBT001 # pytest gives it by name
    backward: bool,  # noqa: FBT001 # as above
    mode: str,
    written: bool,  # noqa: FBT001 # as above
) -> None:
    """Along the index of the first column, whatever the other columns, the directions and the place of nulls."""
    keys, ties, position = INDEXED[name]
    ordering = Ordering.by(ORDERS, keys)
    assert way_of((), ordering, SIZE, known).way is Way.SERVED
    request = PageRequest(ordering, (), SIZE, position if later else None, backward=backward, look_back=True)
    nodes = await plan_of(database, orders, request, Way.SERVED, mode, written=written)
    of_orders = [node for node in nodes if node.get("Relation Name") == "orders"]
    assert {node["Node Type"] for node in of_orders} <= {"Index Scan", "Index Only Scan"}, nodes
    # Incremental sort reads one row of the next group. The look back reads the ties of the position, too.
    assert sum(map(rows_read, of_orders)) <= SIZE + 4 * ties + 4


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("others", [[], [key("order_date")], [key("order_key")]], ids=["alone", "date", "key"])
@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
async def test_what_was_changed_last_is_read_from_the_overlay(
    orders: Orders,
    known: TableStatistics,
    database: asyncpg.Connection,
    later: bool,  # noqa: FBT001 # pytest gives it by name
    others: list[SortKey],
    mode: str,
    written: bool,  # noqa: FBT001 # as above
) -> None:
    """Along its index of the time, and each order by its key. The orders that were not changed are not read."""
    ordering = Ordering.by(ORDERS, [LAST_CHANGED, *others])
    found = way_of((), ordering, SIZE, known)
    assert found.way is Way.SERVED
    at = Position(("2026-01-01 10:00:00+00", *(["1993-05-05"] if ordering.keys[1:] else [])), (10_500,))
    request = PageRequest(ordering, (), SIZE, at if later else None, look_back=True)
    nodes = await plan_of(database, orders, request, Way.SERVED, mode, written=written)
    changes = [node for node in nodes if node.get("Index Name") == "order_status_by_time"]
    assert changes, nodes
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    ties = 0 if ordering == Ordering.by(ORDERS, [LAST_CHANGED]) else 3 * MOMENT
    assert sum(map(rows_read, changes)) <= SIZE + 2 + ties
    of_orders = [node for node in nodes if node.get("Relation Name") == "orders"]
    assert sum(map(rows_read, of_orders)) <= SIZE + 2 + ties


@pytest.mark.parametrize("mode", MODES)
async def test_an_order_without_an_index_reads_all_orders_once(
    orders: Orders, known: TableStatistics, database: asyncpg.Connection, mode: str
) -> None:
    """And its price says so."""
    ordering = Ordering.by(ORDERS, [key("ship_priority", "DESC"), key("total_price")])
    found = way_of((), ordering, SIZE, known)
    assert found.way is Way.SORTED
    assert found.microseconds >= ROWS * 0.1
    request = PageRequest(ordering, (), SIZE, Position((1, "9000.5"), (7_000,)))
    (node,) = await plan_of(database, orders, request, found.way, mode, written=False)
    assert rows_read(node) == ROWS


async def test_a_numbered_page_of_what_was_changed_last_reads_what_it_skips(
    orders: Orders, known: TableStatistics, database: asyncpg.Connection
) -> None:
    """Not all orders."""
    request = PageRequest(Ordering.by(ORDERS, [LAST_CHANGED]), (), SIZE)
    way = way_of((), request.ordering, SIZE, known, skipped=SIZE).way
    statement = numbered_page(orders, Shape.of(request, way), (ORDERS["order_key"],))
    nodes = list(scans(await explain(database, statement, MODES[0], {"skipped": SIZE})))
    assert sum(rows_read(node) for node in nodes if node.get("Relation Name") == "orders") <= 2 * SIZE + 2
