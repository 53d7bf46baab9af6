"""The plans of a graph's statements: each reads the rows of its parents by an index, and about as many as it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schema.graph import TABLES
from schema.orders.types import ORDERS
from schema.ports.columns import Kind
from schema.ports.values import Condition, Not, OfRelated, Operator, PageRequest, Position
from schema.ports.ways import Way, way_of
from schema.tables.indexes import indexes_of
from server.tables.catalog.served import Sources
from server.tables.catalog.synced_table import Definition, SyncedTable
from server.tables.measuring.sql_statistics import measure
from server.tables.sql.conditions import values_of
from server.tables.sql.pages import page_of
from server.tables.sql.rows import counts_of_parents, key_values, page_of_parents, parent_values, rows_by_key
from server.tables.sql.shape import Shape
from tests.server.plans import explain, rows_read, scans
from tests.servers.graph_tables import make_graph, orders_of, served
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    import asyncpg

    from schema.ports.columns import Table
    from schema.ports.statistics import TableStatistics
    from schema.ports.values import Conditions, Term
    from server.db.engine import Engines
    from server.tables.source import Source

SCHEMA = "graph_plans"
LINES, CUSTOMERS, NATIONS, PARTS = (TABLES[name] for name in ("line_items", "customers", "nations", "parts"))
BY_CODE_POINT = ' COLLATE "C"'
SIZE = 10
MODES = ("force_custom_plan", "force_generic_plan")
# 2,000 of 10,000 customers have ten orders each; an order has four lines, and a nation 40 customers. Keys begin here.
FIRST = 1_000
FILL = f"""
TRUNCATE {", ".join((orders_of(SCHEMA), *served(SCHEMA).values()))};
INSERT INTO {SCHEMA}.orders_synced
  SELECT {FIRST} + n, {FIRST} + n % 2000, 'O', n % 977, date '1992-01-01' + n % 1000, '5-LOW', 'Clerk', 0, repeat('c', 40)
  FROM generate_series(0, 19999) n;
INSERT INTO {SCHEMA}.lineitem_synced
  SELECT {FIRST} + n, {FIRST} + (n * 7 + line) % 800, 1, line, 1, 1, 0, 0, 'N', 'O', '1996-01-01', '1996-01-01',
    '1996-01-01', 'NONE', 'MAIL', repeat('c', 40)
  FROM generate_series(0, 19999) n, generate_series(1, 4) line;
INSERT INTO {SCHEMA}.customer_synced
  SELECT {FIRST} + n, 'Customer#' || n % 500, 'there', n % 250, '10', n % 300, 'BUILDING', repeat('c', 60)
  FROM generate_series(0, 9999) n;
INSERT INTO {SCHEMA}.part_synced SELECT {FIRST} + n, 'part', 'm', 'b', 't', 1, 'c', 1, '' FROM generate_series(0, 799) n;
INSERT INTO {SCHEMA}.nation_synced SELECT n, 'N' || n, n % 5, '' FROM generate_series(0, 249) n;
"""


@pytest.fixture(scope="module")
async def sources(engines: Engines, database: asyncpg.Connection) -> dict[str, Source]:
    """The tables as the server sees them, with the indexes that it builds, and more rows than can be read for a page."""
    await make_graph(database, SCHEMA)
    await database.execute(FILL)
    names = {"orders": orders_of(SCHEMA), **served(SCHEMA)}
    for index in indexes_of([ORDERS, *TABLES.values()]):
        if index.columns != index.table.key:
            columns = ", ".join(f"{one.stored}{BY_CODE_POINT * (one.kind is Kind.TEXT)}" for one in index.columns)
            name = f"{index.table.name}_{index.suffix}"
            await database.execute(f"CREATE INDEX {name} ON {names[index.table.name]} ({columns})")
    for table in names.values():
        await database.execute(f"VACUUM (ANALYZE) {table}")
    async with engines.pages.connect() as connection:
        return {
            name: await SyncedTable(Definition(ORDERS if name == "orders" else TABLES[name], table)).resolve(connection)
            for name, table in names.items()
        }


def of_table(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes that read a table: others read the list of the parents."""
    return [node for node in scans(plan) if "Relation Name" in node or "Index Name" in node]


# The rows of which table belong to a parent, by which column, and the index that finds them.
RELATIONS = {
    "lines of an order": (LINES, "order_key", "lineitem_synced_pkey"),
    "lines of a part": (LINES, "part_key", "line_items_by_part"),
    "orders of a customer": (ORDERS, "customer_key", "orders_by_customer"),
    "customers of a nation": (CUSTOMERS, "nation_key", "customers_by_nation"),
}
# The number of rows of a parent.
EACH = {"order_key": 4, "part_key": 100, "customer_key": 10, "nation_key": 40}


def parents_of(within: str) -> list[int]:
    """Twenty parents, in no order."""
    return [*range(24, 4, -1)] if within == "nation_key" else [*range(FIRST + 700, FIRST + 100, -30)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("descending", [False, True], ids=["asc", "desc"])
@pytest.mark.parametrize("at_place", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("name", RELATIONS)
async def test_a_page_of_each_parent_reads_what_it_returns(
    sources: dict[str, Source],
    database: asyncpg.Connection,
    name: str,
    at_place: bool,  # noqa: FBT001 # pytest gives it by name
    descending: bool,  # noqa: FBT001 # as above
    backward: bool,  # noqa: FBT001 # as above
    mode: str,
) -> None:
    """By the index on the parent's key and the row's: page size + 1 rows for each parent, and one to look back."""
    table, within, index = RELATIONS[name]
    size, parents = 2, parents_of(within)
    position = Position((), (FIRST + 900, 2)[: len(table.key)]) if at_place else None
    ordering = ordering_by(table, table.key[0], descending=descending, within=table[within])
    request = PageRequest(ordering, (), size, position, backward=backward, look_back=True)
    statement = page_of_parents(sources[table.name], Shape.of_parents(request), table.columns[:2])
    plan = await explain(database, statement, mode, parent_values(parents, values_of(request)))
    nodes = of_table(plan)
    assert {node["Index Name"] for node in nodes} == {index}, plan
    assert sum(map(rows_read, nodes)) <= len(parents) * (size + 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("at_place", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(
    ("name", "by", "value"),
    [
        ("orders of a customer", "total_price", "5"),
        ("orders of a customer", "order_date", "1992-05-05"),
        ("customers of a nation", "name", "Customer#5"),
        ("customers of a nation", "account_balance", "7"),
    ],
    ids=["orders by price", "orders by date", "customers by name", "customers by balance"],
)
async def test_a_page_in_another_order_reads_the_rows_of_its_parents_alone(
    sources: dict[str, Source],
    database: asyncpg.Connection,
    name: str,
    by: str,
    value: str,
    at_place: bool,  # noqa: FBT001 # pytest gives it by name
    mode: str,
) -> None:
    """There is no index of a parent's rows in this order: all of them are read, and not those of other parents."""
    table, within, _ = RELATIONS[name]
    position = Position((value,), (FIRST + 5,)) if at_place else None
    request = PageRequest(ordering_by(table, table[by], within=table[within]), (), 2, position, look_back=True)
    parents = parents_of(within)
    statement = page_of_parents(sources[table.name], Shape.of_parents(request), table.columns[:2])
    plan = await explain(database, statement, mode, parent_values(parents, values_of(request)))
    nodes = of_table(plan)
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}, plan
    # The page, the rows of no value behind it, and the look back.
    passes = 4 if at_place else 1
    heaps = [node for node in nodes if node["Node Type"] != "Bitmap Index Scan"]
    assert sum(map(rows_read, heaps)) <= passes * EACH[within] * len(parents)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RELATIONS)
async def test_a_count_of_each_parent_reads_its_rows(
    sources: dict[str, Source], database: asyncpg.Connection, name: str, mode: str
) -> None:
    """By the index alone, and no row of another parent."""
    table, within, index = RELATIONS[name]
    request = PageRequest(ordering_by(table, table.key[0], within=table[within]), (), 0)
    parents = parents_of(within)
    statement = counts_of_parents(sources[table.name], Shape.of_parents(request))
    plan = await explain(database, statement, mode, parent_values(parents, {}))
    nodes = of_table(plan)
    assert {node.get("Index Name") for node in nodes if node["Node Type"] != "Bitmap Heap Scan"} == {index}, plan
    (counted,) = (node for node in nodes if node["Node Type"] != "Bitmap Index Scan")
    assert rows_read(counted) == EACH[within] * len(parents)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("table", "keys", "index"),
    [
        (LINES, [(FIRST + n, n % 4 + 1) for n in range(40)], "lineitem_synced_pkey"),
        (LINES, [(FIRST, 5), (1, 1)], "lineitem_synced_pkey"),
        (CUSTOMERS, [(FIRST + n,) for n in range(0, 200, 5)], "customer_synced_pkey"),
    ],
    ids=["lines", "no lines", "customers"],
)
async def test_rows_are_found_by_their_keys(
    sources: dict[str, Source],
    database: asyncpg.Connection,
    table: Table,
    keys: list[tuple[int, ...]],
    index: str,
    mode: str,
) -> None:
    """Each by its primary key, if that has two columns too."""
    statement = rows_by_key(sources[table.name], table.columns[:2])
    nodes = of_table(await explain(database, statement, mode, key_values(keys)))
    assert {node.get("Index Name") for node in nodes if node["Node Type"] != "Bitmap Heap Scan"} == {index}
    assert sum(map(rows_read, nodes)) <= 2 * len(keys)


@pytest.mark.parametrize("mode", MODES)
async def test_names_that_start_with_a_prefix_are_a_stretch_of_their_index(
    sources: dict[str, Source], database: asyncpg.Connection, mode: str
) -> None:
    """In the order of names a page of them reads no others."""
    conditions = (Condition(CUSTOMERS["name"], Operator.STARTS_WITH, "Customer#49"),)
    request = PageRequest(ordering_by(CUSTOMERS, CUSTOMERS["name"]), conditions, 10)
    statement = page_of(sources["customers"], Shape.of(request), (CUSTOMERS["name"],))
    (node,) = of_table(await explain(database, statement, mode, values_of(request)))
    assert node["Index Name"] == "customers_by_name"
    assert rows_read(node) <= 11


@pytest.fixture(scope="module")
async def known(engines: Engines, sources: dict[str, Source]) -> dict[Table, TableStatistics]:
    """What the server knows of the tables."""
    async with engines.aggregates.connect() as connection:
        return {
            source.table: await measure(connection, source.table, SCHEMA, source.synced.name)
            for source in sources.values()
        }


def customer(*conditions: Condition) -> OfRelated:
    """Orders of a customer that the conditions match."""
    return OfRelated(CUSTOMERS, ORDERS["customer_key"], CUSTOMERS["customer_key"], conditions)


def lines(*conditions: Term) -> OfRelated:
    """Orders with a line that the conditions match."""
    return OfRelated(LINES, ORDERS["order_key"], LINES["order_key"], conditions)


def equal(table: Table, column: str, value: object) -> Condition:
    """The column has the value."""
    return Condition(table[column], Operator.EQ, value)


PART = OfRelated(PARTS, LINES["part_key"], PARTS["part_key"], (equal(PARTS, "part_key", FIRST + 5),))
# Few related rows match: how many of each table a page has to read.
SELECTIVE = {
    "the customer with a key": (customer(equal(CUSTOMERS, "customer_key", FIRST + 5)), {CUSTOMERS: 1, ORDERS: 10}),
    "customers with a name": (customer(equal(CUSTOMERS, "name", "Customer#7")), {CUSTOMERS: 20, ORDERS: 40}),
    "customers whose names start so": (
        customer(Condition(CUSTOMERS["name"], Operator.STARTS_WITH, "Customer#49")),
        {CUSTOMERS: 220, ORDERS: 440},
    ),
    "customers of a nation": (customer(equal(CUSTOMERS, "nation_key", 7)), {CUSTOMERS: 40, ORDERS: 80}),
    "lines of a part": (lines(PART), {PARTS: 1, LINES: 100, ORDERS: 100}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", ["order_key", "total_price"])
@pytest.mark.parametrize("name", SELECTIVE)
async def test_orders_of_few_related_rows_are_found_by_these(
    sources: dict[str, Source],
    known: dict[Table, TableStatistics],
    database: asyncpg.Connection,
    name: str,
    by: str,
    mode: str,
) -> None:
    """The page begins at them, by their index, and reads the orders that belong to them and no others."""
    term, most = SELECTIVE[name]
    read = await rows_of_page(sources, known, database, (term,), by, Way.SORTED, mode)
    assert read.keys() == {table.name for table in most}
    assert all(read[table.name] <= number for table, number in most.items()), read


@pytest.mark.parametrize("by", ["order_key", "total_price"])
@pytest.mark.parametrize(
    "term",
    [
        customer(equal(CUSTOMERS, "market_segment", "BUILDING")),
        lines(equal(LINES, "ship_mode", "MAIL")),
        Not((lines(equal(LINES, "ship_mode", "AIR")),)),
    ],
    ids=["a common segment", "a common line", "no rare line"],
)
async def test_orders_of_many_related_rows_are_passed_in_the_order_of_the_page(
    sources: dict[str, Source],
    known: dict[Table, TableStatistics],
    database: asyncpg.Connection,
    term: Term,
    by: str,
) -> None:
    """Each order is looked up in the other table, until the page is full."""
    read = await rows_of_page(sources, known, database, (term,), by, Way.PASSING, "force_custom_plan")
    assert read.pop("orders") <= SIZE + 1
    assert sum(read.values()) <= 4 * (SIZE + 1), read


async def rows_of_page(
    sources: dict[str, Source],
    known: dict[Table, TableStatistics],
    database: asyncpg.Connection,
    conditions: Conditions,
    by: str,
    way: Way,
    mode: str,
) -> dict[str, float]:
    """How many rows a page of orders reads of each table, if it is read in this way."""
    request = PageRequest(ordering_by(ORDERS, ORDERS[by]), conditions, SIZE)
    found = way_of(conditions, request.ordering, SIZE, known[ORDERS].beside(known.__getitem__))
    assert found.way is way
    statement = page_of(Sources(sources)["orders"], Shape.of(request, way), ORDERS.columns[:2])
    assert statement.by_values
    plan = await explain(database, statement, mode, values_of(request))
    names = {source.synced.name: name for name, source in sources.items()}
    read: dict[str, float] = {}
    for node in scans(plan):
        if "Relation Name" in node:
            assert node["Node Type"] != "Seq Scan", plan
            read[names[node["Relation Name"]]] = read.get(names[node["Relation Name"]], 0) + rows_read(node)
    return read
