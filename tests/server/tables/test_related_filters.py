"""Filters by related rows against plain SQL: any tree of them, with rows that lead nowhere and changed statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schema.ports.ways import Way
from schema.tables.conditions import MAX_RELATED
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.settings import Settings
from server.tables.catalog.served import ServedTables, TableBesideOthers
from server.tables.sql.shape import Shape
from tests.server.tables.conftest import UNUSUAL, USUAL
from tests.servers.graph_tables import orders_of, served
from tests.support.examples import examples

if TYPE_CHECKING:
    import asyncpg

    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore

# A filter, and the same in SQL.
Tree = tuple[dict[str, Any], str]
CHANGES: Final = "related_changes"
ORDERS: Final = "query($filter: OrderFilter) { orders(first: 1000, filter: $filter) { nodes { orderKey } totalCount } }"
SORTED: Final = """
query($filter: OrderFilter, $orderBy: [OrderOrder!]) {
  orders(first: 1000, filter: $filter, orderBy: $orderBy) { nodes { orderKey } totalCount }
}
"""
CUSTOMERS: Final = """
query($filter: CustomerFilter) { customers(first: 1000, filter: $filter) { nodes { customerKey } totalCount } }
"""
NESTED: Final = """
query($filter: OrderFilter) {
  customers(first: 40) { nodes { customerKey orders(first: 40, filter: $filter) { nodes { orderKey } totalCount } } }
}
"""


@dataclass(frozen=True)
class Rows:
    """The rows of a table in SQL, comparisons of them, and relations: column, whether to many, table and its column."""

    sql: str
    leaves: tuple[Tree, ...]
    relations: dict[str, tuple[str, bool, str, str]]


TABLES: Final = {
    "orders": Rows(
        "(SELECT o.*, coalesce(c.status, o_orderstatus::text) AS status, coalesce(c.version, 0) AS version "
        "FROM {schema}.orders_synced o "
        f"LEFT JOIN {CHANGES}.order_status c USING (o_orderkey)) orders",
        (
            ({"status": {"eq": "OPEN"}}, "status = 'O'"),
            ({"status": {"ne": "PARTIAL"}}, "status <> 'P'"),
            ({"totalPrice": {"gte": "9.00"}}, "o_totalprice >= 9"),
            ({"orderKey": {"in": ["1", "3", "5", "33"]}}, "o_orderkey IN (1, 3, 5, 33)"),
            ({"customerKey": {"eq": "1"}}, "o_custkey = 1"),
            ({"statusVersion": {"gte": 1}}, "version > 0"),
        ),
        {
            "customer": ("o_custkey", False, "customers", "c_custkey"),
            "lineItems": ("o_orderkey", True, "line_items", "l_orderkey"),
        },
    ),
    "customers": Rows(
        "{schema}.customer_synced",
        (
            ({"name": {"startsWith": "customer#"}}, "lower(c_name::text) LIKE 'customer#%'"),
            ({"name": {"eq": "Same"}}, "c_name = 'Same'"),
            ({"nationKey": {"in": [0, 1]}}, "c_nationkey IN (0, 1)"),
            ({"accountBalance": {"lt": "50"}}, "c_acctbal < 50"),
            ({"marketSegment": {"eq": "BUILDING"}}, "c_mktsegment = 'BUILDING'"),
        ),
        {
            "nation": ("c_nationkey", False, "nations", "n_nationkey"),
            "orders": ("c_custkey", True, "orders", "o_custkey"),
        },
    ),
    "line_items": Rows(
        "{schema}.lineitem_synced",
        (
            ({"lineNumber": {"eq": 2}}, "l_linenumber = 2"),
            ({"quantity": {"gt": "10"}}, "l_quantity > 10"),
            ({"shipMode": {"ne": "TRUCK"}}, "l_shipmode <> 'TRUCK'"),
            ({"comment": {"contains": "NE 7"}}, "strpos(lower(l_comment::text), 'ne 7') > 0"),
        ),
        {
            "order": ("l_orderkey", False, "orders", "o_orderkey"),
            "part": ("l_partkey", False, "parts", "p_partkey"),
        },
    ),
    "parts": Rows(
        "{schema}.part_synced",
        (({"size": {"eq": 1}}, "p_size = 1"), ({"name": {"contains": "bl"}}, "strpos(lower(p_name::text), 'bl') > 0")),
        {"lineItems": ("p_partkey", True, "line_items", "l_partkey")},
    ),
    "nations": Rows(
        "{schema}.nation_synced",
        (({"name": {"eq": "ALGERIA"}}, "n_name = 'ALGERIA'"), ({"nationKey": {"lt": 3}}, "n_nationkey < 3")),
        {
            "region": ("n_regionkey", False, "regions", "r_regionkey"),
            "customers": ("n_nationkey", True, "customers", "c_nationkey"),
        },
    ),
    "regions": Rows(
        "{schema}.region_synced",
        (({"name": {"eq": "AMERICA"}}, "r_name = 'AMERICA'"),),
        {"nations": ("r_regionkey", True, "nations", "n_regionkey")},
    ),
}


def true(sql: str) -> str:
    """SQL that is never null."""
    return f"coalesce(({sql}), false)"


def filters(table: str) -> st.SearchStrategy[Tree]:
    """A filter of a table, with as many conditions on related rows as are allowed."""
    return trees(table).filter(lambda tree: tree[1].count("IN (SELECT") <= MAX_RELATED)


@st.composite
def trees(draw: st.DrawFn, table: str, depth: int = 4, relations: int = 3) -> Tree:
    """A filter of a table with conditions on its rows and on related rows."""
    rows = TABLES[table]
    given_: dict[str, Any] = {}
    clauses = ["true"]
    for filter_, sql in draw(
        st.lists(st.sampled_from(rows.leaves), max_size=2, unique_by=lambda leaf: next(iter(leaf[0])))
    ):
        given_ |= filter_
        clauses.append(sql)
    if relations:
        for name in draw(st.lists(st.sampled_from([*rows.relations]), max_size=1 + (depth > 3), unique=True)):
            here, many, target, there = rows.relations[name]
            words = draw(st.lists(st.sampled_from(["some", "none"]), max_size=2, unique=True)) if many else [""]
            parts = {}
            for word in words:
                part, sql = draw(trees(target, depth - 1, relations - 1))
                parts[word] = part
                found = f"SELECT {there} FROM {TABLES[target].sql} WHERE {there} IS NOT NULL AND {true(sql)}"
                clauses.append(f"{'NOT ' if word == 'none' else ''}{true(f'{here} IN ({found})')}")
            given_[name] = parts if many else parts[""]
    if depth > 1 and draw(st.booleans()):
        word = draw(st.sampled_from(["and", "or", "not"]))
        if word == "not":
            part, sql = draw(trees(table, depth - 2, relations))
            given_["not"] = part
            clauses.append(f"NOT {true(sql)}")
        else:
            drawn = draw(st.lists(trees(table, depth - 2, relations), max_size=2))
            given_[word] = [part for part, _ in drawn]
            clauses.append(f" {word} ".join(true(sql) for _, sql in drawn) or str(word == "and").lower())
    return given_, " AND ".join(f"({clause})" for clause in clauses)


@pytest.fixture(scope="module")
async def changes(database: asyncpg.Connection, orders_url: str) -> str:
    """The schema of an overlay in which some orders have another status, and one order that is not there."""
    await database.execute(f"DROP SCHEMA IF EXISTS {CHANGES} CASCADE")
    engine = create_migration_engine(Settings(database_url=orders_url), UrlDatabase(orders_url))
    await Migrations(engine, CHANGES).upgrade()
    for key, status in ((2, "P"), (4, "F"), (33, "P"), (40, "O"), (77, "O")):
        await database.execute(
            f"INSERT INTO {CHANGES}.order_status (o_orderkey, status, version, synced_status, updated_by, updated_at) "
            "VALUES ($1, $2, 1, 'O', 'ada', now())",
            key,
            status,
        )
    return CHANGES


@pytest.fixture(params=[USUAL, UNUSUAL])
def graph_context(
    request: pytest.FixtureRequest, graphs: tuple[str, ...], changes: str, open_store: OpenStore
) -> tuple[str, Context]:
    """The schema of a graph, and the context of operations on it with changed statuses."""
    assert request.param in graphs
    return request.param, open_store(orders_of(request.param), tables=served(request.param), app_schema=changes)[1]


EXAMPLES: Final = settings(
    max_examples=examples(12, many=300),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
    print_blob=True,
    deadline=None,
)


async def expected(database: asyncpg.Connection, schema: str, table: str, key: str, sql: str) -> list[str]:
    """The keys of the rows that plain SQL finds."""
    found = await database.fetch(f"SELECT {key} FROM {TABLES[table].sql} WHERE {sql} ORDER BY 1".format(schema=schema))
    return [str(row[0]) for row in found]


@EXAMPLES
@given(tree=filters("orders"))
async def test_orders_are_found_as_plain_sql_finds_them(
    answer_either_way: Execute, database: asyncpg.Connection, graph_context: tuple[str, Context], tree: Tree
) -> None:
    """By their customers and lines, and what these lead to; so are the orders of each customer."""
    (filter_, sql), (schema, context) = tree, graph_context
    keys = await expected(database, schema, "orders", "o_orderkey", sql)
    page = (await answer_either_way(ORDERS, context=context, filter=filter_))["data"]["orders"]
    assert [node["orderKey"] for node in page["nodes"]] == keys
    assert page["totalCount"] == len(keys)
    of_customers: dict[str, list[str]] = {}
    for key, customer in await database.fetch(
        f"SELECT o_orderkey, o_custkey FROM {TABLES['orders'].sql} WHERE {sql} ORDER BY 1".format(schema=schema)
    ):
        of_customers.setdefault(str(customer), []).append(str(key))
    for customer in (await answer_either_way(NESTED, context=context, filter=filter_))["data"]["customers"]["nodes"]:
        wanted = of_customers.get(customer["customerKey"], [])
        assert [node["orderKey"] for node in customer["orders"]["nodes"]] == wanted
        assert customer["orders"]["totalCount"] == len(wanted)


@EXAMPLES
@given(tree=filters("customers"))
async def test_customers_are_found_as_plain_sql_finds_them(
    answer_either_way: Execute, database: asyncpg.Connection, graph_context: tuple[str, Context], tree: Tree
) -> None:
    """By their nation and their orders, with the statuses that were set here."""
    (filter_, sql), (schema, context) = tree, graph_context
    keys = await expected(database, schema, "customers", "c_custkey", sql)
    page = (await answer_either_way(CUSTOMERS, context=context, filter=filter_))["data"]["customers"]
    assert [node["customerKey"] for node in page["nodes"]] == keys
    assert page["totalCount"] == len(keys)


@pytest.mark.parametrize(
    ("related", "sql"),
    [
        ({"lineItems": {"some": {"lineNumber": {"eq": 2}}}}, "o_orderkey IN (SELECT l_orderkey FROM {lines})"),
        ({"lineItems": {"none": {"lineNumber": {"eq": 2}}}}, "o_orderkey NOT IN (SELECT l_orderkey FROM {lines})"),
        ({"customer": {"marketSegment": {"eq": "MACHINERY"}}}, "o_custkey IN (SELECT c_custkey FROM {customers})"),
    ],
)
async def test_orders_that_were_changed_here_are_found_by_related_rows(
    answer_either_way: Execute,
    database: asyncpg.Connection,
    open_store: OpenStore,
    graphs: tuple[str, ...],
    changes: str,
    related: dict[str, Any],
    sql: str,
) -> None:
    """Also where a page begins at the changes, because of its filter or its order: each order leads to its own rows."""
    schema = graphs[0]
    store, context = open_store(orders_of(schema), tables=served(schema), app_schema=changes)
    rows = sql.format(
        lines=f"{schema}.lineitem_synced WHERE l_linenumber = 2",
        customers=f"{schema}.customer_synced WHERE c_mktsegment = 'MACHINERY'",
    )
    for way, changed, clause in (
        (Way.PASSING, {}, rows),
        (Way.SORTED, {}, rows),
        (Way.CHANGED, {"statusVersion": {"gte": 1}}, f"{rows} AND version > 0"),
    ):
        # An instance has no such attribute of its own.
        store.__dict__["shape"] = lambda request, way=way, **_skipped: Shape.of(request, way)
        keys = await expected(database, schema, "orders", "o_orderkey", clause)
        for order_by in ({}, {"field": "STATUS_UPDATED_AT"}, {"field": "TOTAL_PRICE"}):
            filter_ = {**related, **changed}
            page = (await answer_either_way(SORTED, context=context, filter=filter_, orderBy=order_by))["data"][
                "orders"
            ]
            assert sorted((node["orderKey"] for node in page["nodes"]), key=int) == keys
            assert page["totalCount"] == len(keys)


@pytest.mark.parametrize(("name", "word"), [("orders", "`orderKey`"), ("customers", "`customerKey`")])
def test_a_timeout_by_related_rows_names_the_conditions_that_an_index_backs(name: str, word: str) -> None:
    """Those of the table that is listed: they leave fewer rows to look up others for."""
    assert word in TableBesideOthers(ServedTables({}), name).named.to_narrow()
