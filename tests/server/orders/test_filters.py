"""Filters of orders against plain SQL: any tree of any conditions, with nulls, odd texts and changed statuses."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schema.plans.replay import Failures
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.settings import Settings
from tests.support.examples import examples

if TYPE_CHECKING:
    import asyncpg
    import strawberry

    from schema import DocumentCache
    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore

TABLE: Final = "public.filtered_orders"
TEXTS: Final = ["", "a", "A", "ab%", "100%", "10_", "a\\b", "\\", "%", "_", "Straße", "STRASSE", "é", "É", "Zoë x", "'"]
MOMENTS: Final = [datetime(2026, 1, day, 12, 30, 15, 123_456, tzinfo=UTC) for day in (1, 2, 3)]
DAYS: Final = [date(1992, 1, 1), date(1995, 6, 17), date(1998, 8, 2)]
PRICES: Final = [Decimal("-1.50"), Decimal(0), Decimal("9.99")]
ENUMS: Final = {"OPEN": "O", "FULFILLED": "F", "PARTIAL": "P", "URGENT": "1-URGENT", "LOW": "5-LOW"}
_CREATE: Final = f"""
DROP SCHEMA IF EXISTS filters CASCADE;
DROP TABLE IF EXISTS {TABLE};
CREATE TABLE {TABLE} (
    o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus {{text}}, o_totalprice numeric(18, 2),
    o_orderdate date, o_orderpriority text, o_clerk {{text}}, o_shippriority integer, o_comment text
);
CREATE INDEX ON {TABLE} (o_orderdate, o_orderkey);
"""
# The orders as they are shown, in plain SQL.
MERGED: Final = f"""
SELECT s.o_orderkey AS "orderKey", o_custkey AS "customerKey", coalesce(c.status, o_orderstatus::text) AS status,
       o_totalprice AS "totalPrice", o_orderdate AS "orderDate", o_orderpriority AS "orderPriority",
       o_clerk::text AS clerk, o_shippriority AS "shipPriority", o_comment AS comment,
       o_orderstatus::text AS "syncedStatus", coalesce(version, 0) AS "statusVersion", updated_at AS "statusUpdatedAt",
       updated_by AS "statusUpdatedBy",
       c.status IS NOT NULL AND c.synced_status IS DISTINCT FROM o_orderstatus::text AS "statusSuperseded"
FROM {TABLE} s LEFT JOIN filters.order_status c ON c.o_orderkey = s.o_orderkey
"""
PAGE: Final = """
query($filter: OrderFilter, $by: OrderOrder) {
  orders(first: 1000, filter: $filter, orderBy: $by) { nodes { orderKey } totalCount }
}
"""
ALL: Final = """
query($filter: OrderFilter, $by: OrderOrder) {
  ordersPage(pageSize: 1000, filter: $filter, orderBy: $by) { nodes { orderKey } }
  orderCount(filter: $filter) { count }
  orderStats(filter: $filter) { count }
}
"""
COMPARED: Final = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def sent(value: Any) -> Any:
    """A value as JSON."""
    return value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, Decimal) else value


def stored(value: Any) -> Any:
    """A value as it is stored."""
    return ENUMS.get(value, value) if isinstance(value, str) else value


def kinds() -> dict[str, tuple[st.SearchStrategy[Any], str, tuple[str, ...]]]:
    """Of each field: its values, its type in SQL, and its operators."""
    equal, ordered = ("eq", "ne", "in", "notIn"), ("gt", "gte", "lt", "lte")
    key, text = st.integers(-1, 30) | st.just(2**63 - 1), st.sampled_from(TEXTS)
    texts = (*equal, *ordered, "contains", "startsWith")
    status = st.sampled_from(["OPEN", "FULFILLED", "PARTIAL"])
    return {
        "orderKey": (key, "bigint", (*equal, *ordered)),
        "customerKey": (st.integers(1, 3), "bigint", (*equal, *ordered)),
        "status": (status, "text", equal),
        "totalPrice": (st.sampled_from(PRICES), "numeric", (*equal, *ordered)),
        "orderDate": (st.sampled_from(DAYS), "date", (*equal, *ordered)),
        "orderPriority": (st.sampled_from(["URGENT", "LOW"]), "text", equal),
        "clerk": (text, "text", texts),
        "comment": (text, "text", texts),
        "shipPriority": (st.integers(-1, 1), "integer", (*equal, *ordered)),
        "syncedStatus": (status, "text", (*equal, "isNull")),
        "statusVersion": (st.integers(0, 3), "integer", (*equal, *ordered)),
        "statusUpdatedAt": (st.sampled_from(MOMENTS), "timestamptz", (*ordered, "isNull")),
        "statusUpdatedBy": (text, "text", (*texts, "isNull")),
        "statusSuperseded": (st.booleans(), "boolean", ("eq",)),
    }


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[dict[str, Any], str, list[Any]]:
    """An input of one field, and the same in SQL with its parameters."""
    name = draw(st.sampled_from([*kinds()]))
    values, type_, operators = kinds()[name]
    given_: dict[str, Any] = {}
    clauses, parameters = ["true"], []
    any_case = True
    if type_ == "text" and "contains" in operators and draw(st.booleans()):
        given_["caseSensitive"] = not (any_case := draw(st.booleans()))
    for operator in draw(st.lists(st.sampled_from(operators), max_size=2, unique=True)):
        if operator in {"in", "notIn"}:
            value: Any = draw(st.lists(values, max_size=3))
        else:
            value = draw(st.booleans() if operator == "isNull" else values)
        given_[operator] = [sent(one) for one in value] if isinstance(value, list) else sent(value)
        clause = in_sql(f'"{name}"', operator, type_, value, any_case=any_case)
        clauses.append(clause)
        if "?" in clause:
            parameters.append([stored(one) for one in value] if isinstance(value, list) else stored(value))
    return {name: given_}, " AND ".join(clauses), parameters


def in_sql(column: str, operator: str, type_: str, value: Any, *, any_case: bool) -> str:
    """A comparison in SQL, without patterns."""
    if operator == "isNull":
        return f"{column} IS {'' if value else 'NOT '}NULL"
    if operator == "in":
        return f"{column} IN (SELECT unnest(?::{type_}[]))"
    if operator == "notIn":
        return f"{column} IS NOT NULL AND {column} NOT IN (SELECT unnest(?::{type_}[]))"
    if operator in COMPARED:
        collated = f'{column} COLLATE "C"' if type_ == "text" else column
        return f"{collated} {COMPARED[operator]} ?::{type_}"
    text, part = (f"lower({column})", "lower(?::text)") if any_case else (column, "?::text")
    return f"strpos({text}, {part}) {'= 1' if operator == 'startsWith' else '> 0'}"


Tree = tuple[dict[str, Any], str, list[Any]]


def joined(trees: list[Tree], word: str, otherwise: str) -> tuple[str, list[Any]]:
    """The conditions of several inputs in SQL. Each is true or false."""
    clauses = [f"coalesce(({sql}), false)" for _, sql, _ in trees]
    return f" {word} ".join(clauses) or otherwise, [one for _, _, parameters in trees for one in parameters]


@st.composite
def combined(draw: st.DrawFn, below: st.SearchStrategy[Tree]) -> Tree:
    """Some comparisons beside `and`, `or` and `not`."""
    fields = draw(st.lists(comparisons(), max_size=2, unique_by=lambda one: next(iter(one[0]))))
    given_: dict[str, Any] = {}
    for one, _, _ in fields:
        given_ |= one
    sql, parameters = joined(fields, "AND", "true")
    for name, word, otherwise in (("and", "AND", "true"), ("or", "OR", "false")):
        if draw(st.booleans()):
            trees = draw(st.lists(below, max_size=2))
            given_[name] = [one for one, _, _ in trees]
            clause, more = joined(trees, word, otherwise)
            sql, parameters = f"{sql} AND ({clause})", parameters + more
    if draw(st.booleans()):
        tree, clause, more = draw(below)
        given_["not"] = tree
        sql, parameters = f"{sql} AND NOT coalesce(({clause}), false)", parameters + more
    return given_, sql, parameters


# Half of them are shallow, with combinations at the top.
FILTERS: Final = st.lists(
    combined(comparisons()) | st.recursive(comparisons(), combined, max_leaves=6), min_size=8, max_size=8
)
ROWS: Final = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.none() | st.integers(1, 3),
        st.none() | st.sampled_from(["O", "F", "P"]),
        st.none() | st.sampled_from(PRICES),
        st.none() | st.sampled_from(DAYS),
        st.none() | st.sampled_from(["1-URGENT", "5-LOW"]),
        st.none() | st.sampled_from(TEXTS),
        st.none() | st.integers(0, 1),
        st.none() | st.sampled_from(TEXTS),
    ),
    min_size=5,
    max_size=20,
    unique_by=lambda row: row[0],
)
CHANGES: Final = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.none() | st.sampled_from(["O", "F", "P"]),
        st.integers(0, 3),
        st.none() | st.sampled_from(["O", "F", "P"]),
        st.sampled_from(TEXTS),
        st.sampled_from(MOMENTS),
    ),
    max_size=15,
    unique_by=lambda row: row[0],
)


EXAMPLES: Final = settings(
    max_examples=examples(15, many=300),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


@pytest.fixture(scope="module", params=["text", "char(12)"])
async def filtered(request: pytest.FixtureRequest, database: asyncpg.Connection, orders_url: str) -> asyncpg.Connection:
    """The table without orders, its texts once text and once char(n), and an overlay without changes."""
    await database.execute(_CREATE.format(text=request.param))
    settings_ = Settings(database_url=orders_url)
    await Migrations(create_migration_engine(settings_, UrlDatabase(orders_url)), "filters").upgrade()
    return database


@pytest.fixture
def context(open_store: OpenStore) -> Context:
    """A context on the table and its overlay."""
    return open_store(TABLE, app_schema="filters")[1]


async def expected(database: asyncpg.Connection, tree: Tree, by: str) -> list[str]:
    """The keys that plain SQL finds."""
    _, sql, parameters = tree
    first, *rest = sql.split("?")
    numbered = first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
    found = await database.fetch(f"SELECT * FROM ({MERGED}) o WHERE {numbered} ORDER BY {by}", *parameters)
    return [str(row["orderKey"]) for row in found]


async def on_the_fast_path(
    planned: tuple[DocumentCache, strawberry.Schema], context: Context, **variables: Any
) -> dict[str, Any]:
    """The page as its plan answers it."""
    documents, schema = planned
    known = documents.get(PAGE)
    if known is None:
        await schema.execute(PAGE, variable_values=variables, context_value=context)
        known = documents.get(PAGE)
    assert known
    plan = known.plans[None]
    assert plan
    pieces = await plan.write(context, variables, Failures())
    assert pieces
    answer: dict[str, Any] = json.loads("".join(pieces))
    return answer["orders"]  # type: ignore[no-any-return] # JSON


@EXAMPLES
@given(rows=ROWS, changes=CHANGES, trees=FILTERS)
async def test_a_filter_finds_what_plain_sql_finds(
    execute: Execute,
    filtered: asyncpg.Connection,
    context: Context,
    planned_schema: tuple[DocumentCache, strawberry.Schema],
    rows: list[tuple[Any, ...]],
    changes: list[tuple[Any, ...]],
    trees: list[Tree],
) -> None:
    """On both paths and in two orders; in pages, numbered pages, counts and statistics."""
    await filtered.execute(f"TRUNCATE {TABLE}, filters.order_status")
    await filtered.executemany(f"INSERT INTO {TABLE} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", rows)
    await filtered.executemany(
        "INSERT INTO filters.order_status (o_orderkey, status, version, synced_status, updated_by, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        changes,
    )
    for tree in trees:
        by_key = await expected(filtered, tree, '"orderKey"')
        page = {"nodes": [{"orderKey": key} for key in by_key], "totalCount": len(by_key)}
        assert await on_the_fast_path(planned_schema, context, filter=tree[0], by={}) == page
    by_date = await expected(filtered, tree, '"orderDate" DESC, "orderKey" DESC')
    for by, keys in (({}, by_key), ({"field": "ORDER_DATE", "direction": "DESC"}, by_date)):
        page = {"nodes": [{"orderKey": key} for key in keys], "totalCount": len(keys)}
        answer = await execute(PAGE, context=context, filter=tree[0], by=by)
        assert answer == {"data": {"orders": page}}
        assert await on_the_fast_path(planned_schema, context, filter=tree[0], by=by) == page
        answer = await execute(ALL, context=context, filter=tree[0], by=by)
        assert answer["data"]["ordersPage"]["nodes"] == page["nodes"]
    assert answer["data"]["orderCount"]["count"] == len(by_key)
    assert answer["data"]["orderStats"]["count"] == len(by_key)
