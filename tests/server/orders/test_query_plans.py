"""The query plan of a page: an index scan of page size + 1 rows, wherever the page lies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest
import sqlalchemy as sa

from schema.orders.types import ORDERS
from schema.ports.templates import Form, Slot, Template
from schema.ports.values import Condition, Operator, Ordering, PageRequest, Position
from schema.ports.ways import Way, way_of
from server.db.app_tables import change_tables
from server.db.database import UrlDatabase
from server.db.driver import Compiled, Driver
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.orders.orders_table import OrdersTable
from server.orders.store import ServedOrders
from server.settings import Settings
from server.tables.measuring.measurement import Measurement
from server.tables.reading.reader import Reader
from server.tables.reading.readiness import Readiness
from server.tables.sql.conditions import values_of
from server.tables.sql.json import json_page_statement
from server.tables.sql.pages import page_statement
from server.tables.sql.rows import rows_by_key
from server.tables.sql.shape import Shape
from server.tables.store import SqlTableStore
from tests.server.plans import explain, rows_read, scans
from tests.support.orderings import ordering_by, position_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from schema.ports.columns import Column
    from schema.ports.values import Conditions
    from server.db.engine import Engines
    from server.orders.sql_merged import Orders

SIZE = 100
COLUMNS = [ORDERS["order_key"], ORDERS["clerk"]]
MERGED = [ORDERS["status"], ORDERS["status_version"], ORDERS["status_superseded"]]
SORTS = [ORDERS["order_key"], ORDERS["order_date"], ORDERS["total_price"]]


@pytest.fixture(scope="module")
async def table(engines: Engines, database: asyncpg.Connection, orders_url: str) -> Orders:
    """The TPC-H orders, as the store sees them. The overlay has a status for every tenth one."""
    await Migrations(
        create_migration_engine(Settings(database_url=orders_url), UrlDatabase(orders_url)), "plans"
    ).upgrade()
    await database.execute(
        "INSERT INTO plans.order_status SELECT o_orderkey, 'P', 1, o_orderstatus, 'test', now() FROM orders_synced "
        "WHERE o_orderkey % 10 = 0; ANALYZE plans.order_status"
    )
    async with engines.pages.connect() as connection:
        return await OrdersTable("public.orders_synced", change_tables("plans")).resolve(connection)


def paged(
    orders: Orders,
    request: PageRequest,
    columns: Sequence[Column],
    *,
    written: bool,
    way: Way = Way.SERVED,
) -> sa.Select[Any]:
    """The statement of a page, as rows or as JSON, with its values."""
    shape = Shape.of(request, way)
    if not written:
        return page_statement(orders, shape, tuple(columns)).params(**values_of(request))
    template = Template(tuple(Slot(column, Form.STRING) for column in columns))
    return json_page_statement(orders, shape, (template,), ends=True).params(**values_of(request))


async def position(database: asyncpg.Connection, ordering: Ordering, fraction: float) -> Position:
    """The position of the order that has this fraction of all orders before it."""
    column = {"order_key": "o_orderkey", "order_date": "o_orderdate", "total_price": "o_totalprice"}[
        ordering.first.name
    ]
    row = await database.fetchrow(
        f"SELECT {column}, o_orderkey FROM orders_synced ORDER BY {column}, o_orderkey "
        f"OFFSET (SELECT floor(count(*) * {fraction}) FROM orders_synced) LIMIT 1"
    )
    return position_of(ordering, row[0], (row[1],))


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("fraction", [None, 0.01, 0.5, 0.97], ids=["first", "near", "middle", "far"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("descending", [False, True], ids=["asc", "desc"])
@pytest.mark.parametrize("column", SORTS)
async def test_a_page_is_an_index_scan_that_stops(
    table: Orders,
    database: asyncpg.Connection,
    column: Column,
    descending: bool,  # noqa: FBT001 # pytest gives it by name
    backward: bool,  # noqa: FBT001 # as above
    fraction: float | None,
    mode: str,
    written: bool,  # noqa: FBT001 # as above
) -> None:
    """In every ordering and at any depth there are only index scans, which read page size + 1 rows and a probe."""
    ordering = ordering_by(ORDERS, column, descending=descending)
    at = None if fraction is None else await position(database, ordering, fraction)
    request = PageRequest(ordering, (), SIZE, at, backward=backward, look_back=True)
    plan = await explain(database, paged(table, request, COLUMNS, written=written), mode)
    nodes = list(scans(plan))
    assert {node["Node Type"] for node in nodes} <= {"Index Scan", "Index Only Scan", "Result"}, plan
    assert {node.get("Rows Removed by Filter", 0) for node in nodes} == {0}
    # The probe reads one row. If the sort column may be null, the stretches of nulls of the page and the probe read none.
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes) <= SIZE + 2


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("fraction", [None, 0.01, 0.97], ids=["first", "near", "far"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("column", SORTS)
async def test_a_page_with_statuses_probes_the_overlay_for_its_own_rows(
    table: Orders,
    database: asyncpg.Connection,
    column: Column,
    backward: bool,  # noqa: FBT001 # pytest gives it by name
    fraction: float | None,
    mode: str,
    written: bool,  # noqa: FBT001 # as above
) -> None:
    """At any depth and in any ordering: one probe of its primary key for each row, and none for rows before the page."""
    ordering = ordering_by(ORDERS, column)
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
    """A page of one customer's orders reads no other orders."""
    customer = await database.fetchval("SELECT o_custkey FROM orders_synced ORDER BY o_orderkey LIMIT 1")
    request = PageRequest(
        ordering_by(ORDERS, ORDERS["order_key"]), (Condition(ORDERS["customer_key"], Operator.EQ, customer),), SIZE
    )
    for look in (request, replace(request, position=Position((), (100,)), look_back=True)):
        plan = await explain(database, paged(table, look, COLUMNS, written=written), mode)
        nodes = list(scans(plan))
        assert all("Index" in node["Node Type"] for node in nodes)
        assert {node.get("Rows Removed by Filter", 0) for node in nodes} == {0}


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_single_orders_are_found_by_their_primary_key(
    table: Orders, database: asyncpg.Connection, mode: str
) -> None:
    """A batch of keys is an index scan that reads only their orders."""
    plan = await explain(database, rows_by_key(table, tuple(COLUMNS)).params(keys_0=[1, 2, 3, 999_999]), mode)
    assert [node["Index Name"] for node in scans(plan) if "Index Name" in node] == ["orders_synced_pkey"]


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("fraction", [None, 0.5], ids=["first", "middle"])
@pytest.mark.parametrize(
    ("condition", "sort"),
    [
        (Condition(ORDERS["total_price"], Operator.GTE, Decimal(999_999)), ORDERS["order_date"]),
        (Condition(ORDERS["total_price"], Operator.GTE, Decimal(999_999)), ORDERS["order_key"]),
        (Condition(ORDERS["order_date"], Operator.GT, date(1998, 8, 2)), ORDERS["total_price"]),
        (Condition(ORDERS["order_key"], Operator.GT, 10**9), ORDERS["total_price"]),
        (Condition(ORDERS["order_priority"], Operator.EQ, "none"), ORDERS["total_price"]),
    ],
    ids=["price by date", "price by key", "date by price", "key by price", "priority by price"],
)
async def test_a_page_that_is_sorted_walks_no_index_of_its_order(
    table: Orders,
    database: asyncpg.Connection,
    condition: Condition,
    sort: Column,
    fraction: float | None,
    mode: str,
    written: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """However few orders match: the page's index would be read to its end."""
    ordering = ordering_by(ORDERS, sort)
    at = None if fraction is None else await position(database, ordering, fraction)
    request = PageRequest(ordering, (condition,), SIZE, at, look_back=True)
    plan = await explain(database, paged(table, request, COLUMNS, written=written, way=Way.SORTED), mode)
    order = {"order_key": "orders_synced_pkey", "order_date": "orders_by_date", "total_price": "orders_by_price"}
    nodes = list(scans(plan))
    assert order[sort.name] not in {node.get("Index Name") for node in nodes if "Index Cond" not in node}
    if mode == "force_custom_plan" and condition.column in SORTS:
        # Its own index shows that none matches.
        assert sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes) <= 1


async def test_a_plan_for_its_values_is_made_each_time(engines: Engines) -> None:
    """PostgreSQL would soon use one plan for all values of a statement that stays prepared."""
    statement = sa.select(sa.bindparam("value", type_=sa.Integer()).label("planned_by_values"))
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%planned_by_values%' AND statement NOT LIKE '%LIKE%'"
    async with engines.pages.checkout() as raw:
        driver = Driver(raw, pool="pages")
        for by_values, kept in ((True, 0), (False, 1)):
            rows = [await driver.rows(Compiled(statement, by_values=by_values), {"value": n}) for n in range(8)]
            assert [row[0][0] for row in rows] == [*range(8)]
            assert await driver.value(prepared) == kept


async def test_counts_are_planned_for_their_values(engines: Engines) -> None:
    """Pages without conditions are not: planning takes as long as reading."""
    found = []
    for pool in (engines.aggregates, engines.pages):
        async with pool.checkout() as raw:
            found.append(await Driver(raw, pool=pool.name).value("SHOW plan_cache_mode"))
    assert found == ["force_custom_plan", "auto"]


@pytest.mark.parametrize(
    ("conditions", "sort", "by_values"),
    [
        ((), ORDERS["order_date"], False),
        ((Condition(ORDERS["total_price"], Operator.GTE, Decimal(1)),), ORDERS["total_price"], False),
        ((Condition(ORDERS["customer_key"], Operator.EQ, 7),), ORDERS["order_key"], False),
        ((Condition(ORDERS["status"], Operator.EQ, "O"),), ORDERS["order_date"], False),
        ((Condition(ORDERS["total_price"], Operator.GTE, Decimal(1)),), ORDERS["order_date"], True),
        ((Condition(ORDERS["customer_key"], Operator.EQ, 7),), ORDERS["order_date"], True),
    ],
)
async def test_only_conditions_on_other_columns_than_the_order_need_a_plan_for_their_values(
    engines: Engines,
    monkeypatch: pytest.MonkeyPatch,
    conditions: Conditions,
    sort: Column,
    by_values: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """All others keep their plan: it takes one round trip less."""
    table = OrdersTable("public.orders_synced", change_tables("no_changes"))
    measurement = Measurement(engines.aggregates, ORDERS, "public.orders_synced")
    measurement.renew()
    await measurement.settled()
    reader = Reader(table, Readiness())
    orders = ServedOrders(engines, reader, aggregate_ttl=0.0, statistics=measurement.statistics)
    await orders.probe()
    seen: list[Compiled] = []
    rows = Driver.rows

    async def note(driver: Driver, statement: Compiled, *rest: Any, **named: Any) -> Any:
        seen.append(statement)
        return await rows(driver, statement, *rest, **named)

    monkeypatch.setattr(Driver, "rows", note)
    store = SqlTableStore({"orders": orders}, cast("Any", reader))
    await store.page(PageRequest(ordering_by(ORDERS, sort), conditions, 10), frozenset({ORDERS["order_key"]}))
    assert [statement.by_values for statement in seen] == [by_values]


OF_THE_DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
async def desk(table: Orders, database: asyncpg.Connection) -> Orders:
    """The orders, of whose changes three were made today. The sync has overtaken two."""
    await database.execute(
        "UPDATE plans.order_status SET updated_at = '2026-01-01';"
        "UPDATE plans.order_status SET updated_at = '2026-03-01 09:00Z', updated_by = 'ann' WHERE o_orderkey IN "
        "(SELECT o_orderkey FROM plans.order_status ORDER BY o_orderkey % 997, o_orderkey LIMIT 3);"
        "UPDATE plans.order_status SET synced_status = 'none' WHERE o_orderkey IN "
        "(SELECT o_orderkey FROM plans.order_status ORDER BY o_orderkey % 991, o_orderkey LIMIT 2);"
        "ANALYZE plans.order_status"
    )
    return table


@pytest.mark.parametrize("written", [False, True], ids=["rows", "json"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    ("condition", "found", "looked_at"),
    [
        (Condition(ORDERS["status_updated_at"], Operator.GTE, OF_THE_DAY), 3, 3),
        (Condition(ORDERS["status_updated_by"], Operator.EQ, "ann"), 3, 3),
        (Condition(ORDERS["status_superseded"], Operator.EQ, True), 2, None),
    ],
    ids=["today", "by whom", "superseded"],
)
async def test_a_list_of_the_order_desk_begins_at_the_overlay(
    desk: Orders,
    database: asyncpg.Connection,
    condition: Condition,
    found: int,
    looked_at: int | None,
    sort: Column,
    mode: str,
    written: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """Orders are read by their keys alone: of what was changed today, those that are shown; else those changed here."""
    request = PageRequest(ordering_by(ORDERS, sort, descending=sort is not ORDERS["order_key"]), (condition,), SIZE)
    plan = await explain(database, paged(desk, request, [*COLUMNS, *MERGED], written=written, way=Way.CHANGED), mode)
    assert Shape.of(request, Way.CHANGED).by_values
    nodes = list(scans(plan))
    changes = [node for node in nodes if node.get("Relation Name") == "order_status"]
    orders = [node for node in nodes if node.get("Relation Name") == "orders_synced"]
    assert len(nodes) == len(changes) + len(orders)
    assert {node["Index Name"] for node in orders} == {"orders_synced_pkey"}
    assert all("Index Cond" in node for node in orders)
    changed = await database.fetchval("SELECT count(*) FROM plans.order_status")
    assert sum(map(rows_read, orders)) <= (looked_at or changed)
    assert sum(map(rows_read, changes)) <= changed
    if mode == "force_custom_plan" and condition.operator is Operator.GTE:
        assert {node["Index Name"] for node in changes} == {"order_status_by_time"}
        assert sum(map(rows_read, changes)) == found


async def test_the_way_of_a_list_is_decided_by_what_was_changed(desk: Orders, engines: Engines) -> None:
    """The overlay is measured with the orders: what it has few of is cheap, whichever order the page has."""
    assert desk.overlay is not None
    measurement = Measurement(engines.aggregates, ORDERS, "public.orders_synced", changes="plans")
    measurement.renew()
    await measurement.settled()
    known = measurement.statistics()
    assert known.changed == pytest.approx(known.rows / 10, rel=0.1)
    today = Condition(ORDERS["status_updated_at"], Operator.GTE, OF_THE_DAY)
    for sort in SORTS:
        found = way_of((today,), ordering_by(ORDERS, sort), SIZE, known)
        assert found.way is Way.CHANGED
        assert found.microseconds < 700 + known.changed
    never = Condition(ORDERS["status_version"], Operator.EQ, 0)
    assert way_of((never,), ordering_by(ORDERS, ORDERS["order_date"]), SIZE, known).way is Way.PASSING
    one = Condition(ORDERS["customer_key"], Operator.EQ, 7)
    assert way_of((one, today), ordering_by(ORDERS, ORDERS["order_date"]), SIZE, known).way is Way.SORTED
