"""Pages of a table, and of the rows of parents, are found in the way that their prices assume."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from schema.graph import TABLES
from schema.ports.values import PageRequest
from schema.ports.ways import way_of
from server.db.engine import RANDOM_PAGE_COST
from server.tables.catalog.synced_table import Definition, SyncedTable
from server.tables.measuring.measurement import Measurement
from server.tables.sql.rows import page_of_parents
from server.tables.sql.shape import Shape
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from schema.context import Context
    from schema.ports.statistics import TableStatistics
    from server.db.engine import Engines
    from tests.server.conftest import Execute, OpenStore

CUSTOMERS: Final = TABLES["customers"]
SERVED: Final = {"customers": "ways.customer", "nations": "ways.nation"}
ROWS: Final = 5_000
# Of 25 nations, and of five segments, which have no index.
_CREATE: Final = f"""
DROP SCHEMA IF EXISTS ways CASCADE;
CREATE SCHEMA ways;
CREATE TABLE ways.nation AS SELECT n::bigint AS n_nationkey, 'N' || n AS n_name, 0::bigint AS n_regionkey FROM generate_series(0, 24) n;
CREATE TABLE ways.customer AS
SELECT n::bigint AS c_custkey, 'Customer#' || lpad((n * 7919 % {ROWS})::text, 9, '0') AS c_name, '' AS c_address,
       (n % 25)::bigint AS c_nationkey, '' AS c_phone, (n * 31 % 1000)::numeric(18, 2) AS c_acctbal,
       (ARRAY['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'HOUSEHOLD', 'MACHINERY'])[1 + n % 5] AS c_mktsegment, '' AS c_comment
FROM generate_series(1, {ROWS}) n;
ALTER TABLE ways.nation ADD PRIMARY KEY (n_nationkey);
ALTER TABLE ways.customer ADD PRIMARY KEY (c_custkey);
CREATE INDEX by_nation ON ways.customer (c_nationkey, c_custkey);
CREATE INDEX by_name ON ways.customer (c_name COLLATE "C", c_custkey);
CREATE INDEX by_balance ON ways.customer (c_acctbal, c_custkey);
ANALYZE ways.nation, ways.customer
"""
# What makes PostgreSQL sort a text by an expression that no index has, and a number.
SORTS_TEXT, SORTS_NUMBER = "|| ''", "+ 0"


@pytest.fixture
async def context(database: asyncpg.Connection, open_store: OpenStore, execute: Execute) -> Context:
    """A context whose tables have been measured."""
    await database.execute(_CREATE)
    context = open_store(tables=SERVED)[1]
    await execute("{ customers(first: 1) { nodes { id } } nations { name } }", context=context)
    measurements = [task for task in asyncio.all_tasks() if task.get_name().startswith("statistics of ")]
    await asyncio.gather(*measurements)
    return context


async def test_each_served_table_is_measured_by_itself(context: Context) -> None:
    """When it is looked up. Of a table that is not served, nothing is known."""
    assert context.statistics(CUSTOMERS).rows == pytest.approx(ROWS, rel=0.05)
    assert context.statistics(TABLES["nations"]).rows == 25
    assert context.statistics(TABLES["parts"]).rows == 0


@pytest.mark.parametrize(
    ("arguments", "sorts"),
    [
        ("orderBy: {field: NAME}", False),
        ("filter: {marketSegment: {eq: BUILDING}}, orderBy: {field: NAME}", False),
        ("filter: {marketSegment: {in: []}}, orderBy: {field: NAME}", True),
        ('filter: {name: {startsWith: "x"}}, orderBy: {field: ACCOUNT_BALANCE}', True),
    ],
)
async def test_a_page_of_any_table_is_found_in_the_way_of_its_price(
    context: Context,
    execute: Execute,
    statements: list[str],
    arguments: str,
    sorts: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """A common segment is passed in the page's order. What may match nothing is read and sorted."""
    answer = await execute(f"{{ customers(first: 3, {arguments}) {{ nodes {{ name }} }} }}", context=context)
    assert "errors" not in answer
    (statement,) = statements
    assert (SORTS_TEXT in statement or SORTS_NUMBER in statement) is sorts


@pytest.mark.parametrize(
    ("field", "by", "expression"),
    [("NAME", 'c_name COLLATE "C"', SORTS_TEXT), ("ACCOUNT_BALANCE", "c_acctbal", SORTS_NUMBER)],
)
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_the_rows_of_a_parent_are_sorted_in_another_order_than_the_key(
    context: Context,
    execute: Execute,
    database: asyncpg.Connection,
    statements: list[str],
    field: str,
    by: str,
    expression: str,
    direction: str,
) -> None:
    """Past their index on the parent: that of the order would lead through the rows of all parents."""
    page = f"customers(first: 3, orderBy: {{field: {field}, direction: {direction}}}) {{ nodes {{ name }} pageInfo {{ endCursor }} }}"
    answer = await execute(f"{{ nations {{ nationKey {page} }} }}", context=context)
    assert expression in statements[-1]
    for nation in answer["data"]["nations"][::8]:
        expected = await database.fetch(
            f"SELECT c_name FROM ways.customer WHERE c_nationkey = $1 ORDER BY {by} {direction}, c_custkey {direction} LIMIT 3",
            nation["nationKey"],
        )
        assert [node["name"] for node in nation["customers"]["nodes"]] == [row["c_name"] for row in expected]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", ["customer_key", "name", "account_balance"])
async def test_the_plan_of_a_nested_page_reads_no_rows_of_other_parents(
    context: Context, engines: Engines, database: asyncpg.Connection, name: str, mode: str
) -> None:
    """By key as many as the page has, and one more; in another order those of the parent."""
    ordering = ordering_by(CUSTOMERS, CUSTOMERS[name], within=CUSTOMERS["nation_key"])
    shape = Shape.of_parents(PageRequest(ordering, (), 3))
    assert shape.way is way_of((), ordering, 3, context.statistics(CUSTOMERS)).way
    async with engines.pages.connect() as connection:
        source = await SyncedTable(Definition(CUSTOMERS, "ways.customer")).resolve(connection)
    statement = page_of_parents(source, shape, (CUSTOMERS["name"],)).text
    await database.execute(f"SET plan_cache_mode = {mode}; SET random_page_cost = {RANDOM_PAGE_COST}")
    await database.execute(f"PREPARE page AS {statement}")
    try:
        plan = await database.fetchval("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page(ARRAY[1, 2, 3])")
    finally:
        await database.execute("DEALLOCATE page; RESET plan_cache_mode; RESET random_page_cost")
    (scan,) = (node for node in _nodes(json.loads(plan)[0]["Plan"]) if node.get("Relation Name") == "customer")
    assert scan["Actual Loops"] == 3
    assert scan["Actual Rows"] == (4 if ordering.by_key else ROWS / 25)
    assert scan.get("Rows Removed by Filter", 0) == 0


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


async def test_the_index_of_a_sorted_text_has_the_order_of_code_points(
    engines: Engines, database: asyncpg.Connection
) -> None:
    """One in the order of the database's language serves no page. Other texts are only compared, in their own order."""
    await database.execute(f"{_CREATE}; DROP INDEX ways.by_name")
    await database.execute("CREATE INDEX ON ways.customer (c_name, c_custkey)")
    await database.execute("CREATE INDEX ON ways.customer (c_mktsegment, c_custkey)")
    known = await _measured(engines)
    assert not known.has_index(CUSTOMERS["name"])
    assert known.has_index(CUSTOMERS["market_segment"], CUSTOMERS["customer_key"])
    assert known.has_index(CUSTOMERS["nation_key"], CUSTOMERS["customer_key"])
    await database.execute('CREATE INDEX by_name ON ways.customer (c_name COLLATE "C", c_custkey)')
    known = await _measured(engines)
    assert known.has_index(CUSTOMERS["name"], CUSTOMERS["customer_key"])
    assert known.spread(CUSTOMERS["nation_key"]).of_any == pytest.approx(1 / 25)
    assert known.spread(CUSTOMERS["name"]).of_texts(lambda name: name.startswith("Customer#00000")) > 0.9
    assert known.spread(CUSTOMERS["name"]).of_texts(lambda name: name.startswith("x")) < 0.02


async def test_the_index_of_a_name_finds_it(
    context: Context, execute: Execute, database: asyncpg.Connection, statements: list[str]
) -> None:
    """Equal names too: by their code points, as it has them."""
    name = "Customer#000000007"
    answer = await execute(
        f'{{ customers(filter: {{name: {{eq: "{name}"}}}}) {{ nodes {{ name }} }} }}', context=context
    )
    assert [node["name"] for node in answer["data"]["customers"]["nodes"]] == [name]
    (statement,) = statements
    await database.execute(f"PREPARE named AS {statement}")
    try:
        assert "by_name" in await database.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE named('{name}')")
    finally:
        await database.execute("DEALLOCATE named")


async def _measured(engines: Engines) -> TableStatistics:
    measurement = Measurement(engines.aggregates, CUSTOMERS, "ways.customer")
    measurement.renew()
    await measurement.settled()
    return measurement.statistics()
