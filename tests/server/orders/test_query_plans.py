"""What PostgreSQL does for a page: an index scan of page size + 1 rows, wherever the page lies."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from schema.ports.templates import Form, Slot, Template
from schema.ports.values import Condition, Operator, OrderColumn, Ordering, PageRequest, Position
from server.db.app_tables import change_tables
from server.db.database import UrlDatabase
from server.db.engine import RANDOM_PAGE_COST, create_migration_engine
from server.db.migrate import Migrations
from server.orders.orders_table import OrdersTable
from server.orders.sql_aggregates import lookup_statement
from server.orders.sql_json import json_page_statement
from server.orders.sql_pages import Shape, page_statement, values_of
from server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import asyncpg
    import sqlalchemy as sa

    from server.db.engine import Engines
    from server.orders.sql_merged import Orders

SIZE = 100
COLUMNS = [OrderColumn.ORDER_KEY, OrderColumn.CLERK]
MERGED = [OrderColumn.STATUS, OrderColumn.STATUS_VERSION, OrderColumn.STATUS_SUPERSEDED]
SORTS = [OrderColumn.ORDER_KEY, OrderColumn.ORDER_DATE, OrderColumn.TOTAL_PRICE]


@pytest.fixture(scope="module")
async def table(engines: Engines, database: asyncpg.Connection, orders_url: str) -> Orders:
    """The TPC-H orders, as the store sees them, with the statuses of every tenth one set beside them."""
    await Migrations(
        create_migration_engine(Settings(database_url=orders_url), UrlDatabase(orders_url)), "plans"
    ).upgrade()
    await database.execute(
        "INSERT INTO plans.order_status SELECT o_orderkey, 'P', 1, o_orderstatus, 'test', now() FROM orders_synced "
        "WHERE o_orderkey % 10 = 0; ANALYZE plans.order_status"
    )
    async with engines.pages.connect() as connection:
        return await OrdersTable("public.orders_synced", change_tables("plans")).resolve(connection)


def paged(orders: Orders, request: PageRequest, columns: Sequence[OrderColumn], *, written: bool) -> sa.Select[Any]:
    """The statement of a page, as rows or as JSON, with its values."""
    shape = Shape.of(request)
    if not written:
        return page_statement(orders, shape, tuple(columns)).params(**values_of(request))
    template = Template(tuple(Slot(column, Form.STRING) for column in columns))
    return json_page_statement(orders, shape, (template,), ends=True).params(**values_of(request))


async def explain(database: asyncpg.Connection, statement: sa.Select[Any], mode: str) -> dict[str, Any]:
    """The plan that was run for the statement, prepared with its parameters, in a plan_cache_mode."""
    compiled = statement.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
    parameters = [compiled.params[name] for name in compiled.positiontup or []]
    literals = ", ".join([await literal(database, value) for value in parameters])
    await database.execute(f"SET plan_cache_mode = {mode}; SET random_page_cost = {RANDOM_PAGE_COST}")
    await database.execute(f"PREPARE page AS {compiled}")
    try:
        plan = await database.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page{f'({literals})' if literals else ''}"
        )
    finally:
        await database.execute("DEALLOCATE page; RESET plan_cache_mode; RESET random_page_cost")
    root: dict[str, Any] = json.loads(plan)[0]["Plan"]
    return root


async def literal(database: asyncpg.Connection, value: object) -> str:
    """The value as SQL text."""
    if isinstance(value, list | tuple):
        return f"ARRAY[{', '.join(str(item) for item in value)}]"
    return str(await database.fetchval("SELECT quote_literal($1::text)", str(value)))


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read the table."""
    if "Scan" in plan["Node Type"] and plan["Node Type"] != "Subquery Scan":
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)


async def position(database: asyncpg.Connection, ordering: Ordering, fraction: float) -> Position:
    """Where the order lies that has this fraction of all orders before it."""
    column = {"order_key": "o_orderkey", "order_date": "o_orderdate", "total_price": "o_totalprice"}[
        ordering.column.value
    ]
    row = await database.fetchrow(
        f"SELECT {column}, o_orderkey FROM orders_synced ORDER BY {column}, o_orderkey "
        f"OFFSET (SELECT floor(count(*) * {fraction}) FROM orders_synced) LIMIT 1"
    )
    return Position(None if column == "o_orderkey" else row[0], row[1])


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("fraction", [None, 0.01, 0.5, 0.97], ids=["first", "near", "middle", "far"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("descending", [False, True], ids=["asc", "desc"])
@pytest.mark.parametrize("column", SORTS)
async def test_a_page_is_an_index_scan_that_stops(
    table: Orders,
    database: asyncpg.Connection,
    column: OrderColumn,
    descending: bool,  # noqa: FBT001 # pytest gives it by name
    backward: bool,  # noqa: FBT001 # as above
    fraction: float | None,
    mode: str,
    written: bool,  # noqa: FBT001 # as above
) -> None:
    """For every order offered, at any depth, prepared: index scans only, which read page size + 1 rows and a probe."""
    ordering = Ordering(column, descending=descending)
    at = None if fraction is None else await position(database, ordering, fraction)
    request = PageRequest(ordering, (), SIZE, at, backward=backward, look_back=True)
    plan = await explain(database, paged(table, request, COLUMNS, written=written), mode)
    nodes = list(scans(plan))
    assert {node["Node Type"] for node in nodes} <= {"Index Scan", "Index Only Scan", "Result"}, plan
    assert {node.get("Rows Removed by Filter", 0) for node in nodes} == {0}
    # The probe reads one row; where the sort column may be null, its stretch of nulls and theirs read none.
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes) <= SIZE + 2


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("fraction", [None, 0.01, 0.97], ids=["first", "near", "far"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("column", SORTS)
async def test_a_page_with_statuses_probes_the_overlay_for_its_own_rows(
    table: Orders,
    database: asyncpg.Connection,
    column: OrderColumn,
    backward: bool,  # noqa: FBT001 # pytest gives it by name
    fraction: float | None,
    mode: str,
    written: bool,  # noqa: FBT001 # as above
) -> None:
    """At any depth and in any order: one probe of its primary key a row, and nothing of what lies before the page."""
    ordering = Ordering(column)
    at = None if fraction is None else await position(database, ordering, fraction)
    request = PageRequest(ordering, (), SIZE, at, backward=backward, look_back=True)
    plan = await explain(database, paged(table, request, [*COLUMNS, *MERGED], written=written), mode)
    nodes = list(scans(plan))
    probes = [node for node in nodes if node.get("Relation Name") == "order_status"]
    orders = [node for node in nodes if node not in probes]
    assert probes
    assert {node["Index Name"] for node in probes} == {"order_status_pkey"}
    assert sum(node["Actual Loops"] for node in probes) <= SIZE + 1
    assert {node["Node Type"] for node in orders} <= {"Index Scan", "Index Only Scan", "Result"}, plan
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in orders) <= SIZE + 2


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_orders_of_a_customer_are_an_index_scan(
    table: Orders,
    database: asyncpg.Connection,
    mode: str,
    written: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """A page of one customer's orders reads no others."""
    customer = await database.fetchval("SELECT o_custkey FROM orders_synced ORDER BY o_orderkey LIMIT 1")
    request = PageRequest(Ordering(), (Condition(OrderColumn.CUSTOMER_KEY, Operator.EQ, customer),), SIZE)
    for look in (request, replace(request, position=Position(None, 100), look_back=True)):
        plan = await explain(database, paged(table, look, COLUMNS, written=written), mode)
        nodes = list(scans(plan))
        assert all("Index" in node["Node Type"] for node in nodes)
        assert {node.get("Rows Removed by Filter", 0) for node in nodes} == {0}


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_single_orders_are_found_by_their_primary_key(
    table: Orders, database: asyncpg.Connection, mode: str
) -> None:
    """A batch of keys is an index scan that reads just those."""
    plan = await explain(database, lookup_statement(table, tuple(COLUMNS)).params(keys=[1, 2, 3, 999_999]), mode)
    assert [node["Index Name"] for node in scans(plan) if "Index Name" in node] == ["orders_synced_pkey"]
