"""Pages against a plain SQL answer: any filter, list of orders and size, with orders coming and going in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schema.orders.enums import OrderPriority, OrderStatus
from schema.ports.ways import Way
from server.tables.sql.shape import Shape
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore

pytestmark = pytest.mark.faults

TABLE, CHANGES = "public.few_orders", "few_changes"
COLUMNS = {
    "ORDER_KEY": "s.o_orderkey",
    "ORDER_DATE": "o_orderdate",
    "TOTAL_PRICE": "o_totalprice",
    "CUSTOMER_KEY": "o_custkey",
    "SHIP_PRIORITY": "o_shippriority",
    "STATUS_UPDATED_AT": "updated_at",
}
# Few values, so that most of them tie; a synced table may hold nulls in all columns but the key.
KEYS = st.integers(-3, 40) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1])
PRICES = st.none() | st.sampled_from([Decimal("-1.50"), Decimal(0), Decimal("9.99"), Decimal("1000000000.00")])
DATES = st.none() | st.sampled_from([date(1992, 1, 1), date(1995, 6, 17), date(1998, 8, 2)])
MOMENTS = st.sampled_from([datetime(2026, 1, day, 12, 30, 15, 123_450, tzinfo=UTC) for day in (1, 2, 3)])
ROWS = st.tuples(
    KEYS,
    st.none() | st.integers(1, 3),
    st.sampled_from([status.value for status in OrderStatus]),
    PRICES,
    DATES,
    st.sampled_from([priority.value for priority in OrderPriority]),
    st.sampled_from(["Clerk#1", "Clerk#2"]),
    st.none() | st.integers(-1, 1),
)
# When the orders with these keys were changed last, whether they exist or not.
CHANGED = st.dictionaries(KEYS, MOMENTS, max_size=15)
PAGE = """
query($first: Int, $after: String, $last: Int, $before: String, $filter: OrderFilter, $orderBy: [OrderOrder!]) {
  orders(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) {
    edges { cursor node { orderKey } } nodes { orderKey }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount
  }
}
"""


@dataclass(frozen=True)
class Restriction:
    """A filter, and the same thing in SQL."""

    graphql: dict[str, Any]
    sql: str
    parameters: list[object] = field(default_factory=list)


def names(members: list[Any]) -> list[str]:
    """Enum members as GraphQL names them."""
    return [member.name for member in members]


def stored(members: list[Any]) -> list[str]:
    """Enum members as they are stored."""
    return [member.value for member in members]


def same(value: Any) -> Any:
    """The value as it is."""
    return value


SOME_PRICE, SOME_DATE = PRICES.filter(lambda price: price is not None), DATES.filter(lambda day: day is not None)
# The field and operator of the filter, its values, how they are sent, and the same condition in SQL.
CONDITIONS: list[tuple[str, str, st.SearchStrategy[Any], Any, str, Any]] = [
    ("orderKey", "gt", KEYS, str, "o_orderkey > ?::bigint", same),
    ("orderKey", "gte", KEYS, same, "o_orderkey >= ?::bigint", same),
    ("orderKey", "lt", KEYS, str, "o_orderkey < ?::bigint", same),
    ("orderKey", "lte", KEYS, str, "o_orderkey <= ?::bigint", same),
    ("orderKey", "eq", KEYS, str, "o_orderkey = ?::bigint", same),
    ("orderKey", "in", st.lists(KEYS, max_size=5), same, "o_orderkey = ANY(?::bigint[])", same),
    ("customerKey", "in", st.lists(st.integers(1, 3), max_size=3), same, "o_custkey = ANY(?::bigint[])", same),
    ("totalPrice", "gte", SOME_PRICE, str, "o_totalprice >= ?", same),
    ("totalPrice", "lt", SOME_PRICE, str, "o_totalprice < ?", same),
    ("orderDate", "gt", SOME_DATE, str, "o_orderdate > ?", same),
    ("orderDate", "lte", SOME_DATE, str, "o_orderdate <= ?", same),
    (
        "status",
        "in",
        st.lists(st.sampled_from(OrderStatus), max_size=3),
        names,
        "o_orderstatus = ANY(?::text[])",
        stored,
    ),
    (
        "orderPriority",
        "in",
        st.lists(st.sampled_from(OrderPriority)),
        names,
        "o_orderpriority = ANY(?::text[])",
        stored,
    ),
    ("clerk", "eq", st.just("Clerk#1"), same, "o_clerk = ?", same),
]


@st.composite
def restrictions(draw: st.DrawFn) -> Restriction:
    """Up to three conditions, contradictory ones too."""
    graphql: dict[str, Any] = {}
    clauses: list[str] = []
    parameters: list[object] = []
    for name, operator, values, sent, clause, parameter in draw(
        st.lists(st.sampled_from(CONDITIONS), max_size=3, unique_by=lambda one: one[:2])
    ):
        value = draw(values)
        graphql.setdefault(name, {})[operator] = sent(value)
        parameters.append(parameter(value))
        clauses.append(clause.replace("?", f"${len(parameters)}"))
    return Restriction(graphql, " AND ".join(clauses) or "true", parameters)


@pytest.fixture(scope="module", params=["text", "char"])
async def few_orders(request: pytest.FixtureRequest, database: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A table of few orders, its strings once text and once char(n)."""
    status, priority, clerk = {"text": ("text", "text", "text"), "char": ("char(1)", "char(15)", "char(15)")}[
        request.param
    ]
    await database.execute(
        f"""
        CREATE TABLE {TABLE} (
            o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus {status}, o_totalprice numeric(18, 2),
            o_orderdate date, o_orderpriority {priority}, o_clerk {clerk}, o_shippriority int,
            o_comment text DEFAULT ''
        );
        CREATE INDEX ON {TABLE} (o_orderdate, o_orderkey);
        CREATE INDEX ON {TABLE} (o_totalprice, o_orderkey);
        CREATE SCHEMA {CHANGES};
        CREATE TABLE {CHANGES}.order_status (
            o_orderkey bigint PRIMARY KEY, status text, version int DEFAULT 1, synced_status text, updated_by text,
            updated_at timestamptz
        );
        """
    )
    yield database
    await database.execute(f"DROP TABLE {TABLE}; DROP SCHEMA {CHANGES} CASCADE")


@pytest.fixture
def context_of(open_store: OpenStore) -> Callable[[Way], Context]:
    """A context on the few orders, whose pages are found in this way."""
    store, context = open_store(TABLE, app_schema=CHANGES)

    def of(way: Way) -> Context:
        # An instance has no such attribute of its own.
        store.__dict__["shape"] = lambda request, **_skipped: Shape.of(request, way)
        return context

    return of


async def fill(database: asyncpg.Connection, rows: list[tuple[Any, ...]], changed: dict[int, datetime]) -> None:
    """Replace all orders by these, and all changes."""
    await database.execute(f"TRUNCATE {TABLE}, {CHANGES}.order_status")
    await insert(database, rows)
    await database.executemany(
        f"INSERT INTO {CHANGES}.order_status (o_orderkey, updated_at) VALUES ($1, $2)", [*changed.items()]
    )


async def insert(database: asyncpg.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Add the orders whose keys are not taken."""
    await database.executemany(
        f"INSERT INTO {TABLE} VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING", rows
    )


def with_ties(order_by: list[dict[str, str]]) -> list[dict[str, str]]:
    """The whole order: ties go by the key in the direction of the last field. Nothing ties in the key."""
    fields = [one["field"] for one in order_by]
    if "ORDER_KEY" in fields:
        return order_by[: fields.index("ORDER_KEY") + 1]
    direction = order_by[-1]["direction"] if order_by else "ASC"
    return [*order_by, {"field": "ORDER_KEY", "direction": direction}]


async def in_order(
    database: asyncpg.Connection, restriction: Restriction, order_by: list[dict[str, str]]
) -> list[tuple[Any, ...]]:
    """The sort values of all orders that match, with the key at the end, in order: the plain SQL answer."""
    whole = with_ties(order_by)
    by = [
        f"{COLUMNS[one['field']]} {one['direction']}" + (f" NULLS {one['nulls']}" if "nulls" in one else "")
        for one in whole
    ]
    rows = await database.fetch(
        f"SELECT {', '.join(COLUMNS[one['field']] for one in whole)} "
        f"FROM {TABLE} s LEFT JOIN {CHANGES}.order_status c USING (o_orderkey) "
        f"WHERE {restriction.sql.replace('o_orderkey', 's.o_orderkey').replace('o_orderstatus', 's.o_orderstatus')} "
        f"ORDER BY {', '.join(by)}",
        *restriction.parameters,
    )
    return [tuple(row) for row in rows]


def precedes(one: tuple[Any, ...], other: tuple[Any, ...], order_by: list[dict[str, str]]) -> bool:
    """Whether one position comes before another."""
    for key, value, another in zip(with_ties(order_by), one, other, strict=True):
        if value != another:
            descends = key["direction"] == "DESC"
            if value is None or another is None:
                return (value is None) is (key.get("nulls", "FIRST" if descends else "LAST") == "FIRST")
            return bool(value > another) is descends
    return False


ORDERS = st.lists(
    st.fixed_dictionaries(
        {"field": st.sampled_from(sorted(COLUMNS)), "direction": st.sampled_from(["ASC", "DESC"])},
        optional={"nulls": st.sampled_from(["FIRST", "LAST"])},
    ),
    max_size=3,
    unique_by=lambda one: one["field"],
)
WAYS = st.sampled_from([Way.SERVED, Way.SORTED])
EXAMPLES = settings(
    max_examples=examples(30, many=120),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


@EXAMPLES
@given(
    rows=st.lists(ROWS, max_size=25, unique_by=lambda row: row[0]),
    restriction=restrictions(),
    changed=CHANGED,
    order_by=ORDERS,
    way=WAYS,
    size=st.integers(0, 9),
    backward=st.booleans(),
    changes=st.lists(st.tuples(st.lists(ROWS, max_size=3), st.lists(KEYS, max_size=3)), max_size=8),
)
async def test_a_walk_gives_at_each_step_what_plain_sql_gives(  # noqa: PLR0913, PLR0917 # what hypothesis varies
    execute: Execute,
    few_orders: asyncpg.Connection,
    context_of: Callable[[Way], Context],
    rows: list[tuple[Any, ...]],
    changed: dict[int, datetime],
    restriction: Restriction,
    order_by: list[dict[str, str]],
    way: Way,
    size: int,
    backward: bool,  # noqa: FBT001 # hypothesis gives it by name
    changes: list[tuple[list[tuple[Any, ...]], list[int]]],
) -> None:
    """Each page has the orders that lie beyond the cursor at that moment. Both flags and the count are exact."""
    await fill(few_orders, rows, changed)
    context = context_of(way)
    position: tuple[Any, ...] | None = None
    cursor: str | None = None
    count, end = ("last", "before") if backward else ("first", "after")
    for inserted, deleted in [*changes, ([], [])]:
        variables: dict[str, Any] = {count: size, end: cursor, "filter": restriction.graphql, "orderBy": order_by}
        answer = await execute(PAGE, context=context, **variables)
        assert "errors" not in answer, answer
        page = answer["data"]["orders"]
        expected = await in_order(few_orders, restriction, order_by)
        ahead = [
            one
            for one in expected
            if position is None
            or (precedes(one, position, order_by) if backward else precedes(position, one, order_by))
        ]
        wanted = ahead[-size:] if backward and size else ahead[:size]
        keys = [str(key) for *_, key in wanted]
        assert [edge["node"]["orderKey"] for edge in page["edges"]] == keys
        assert [node["orderKey"] for node in page["nodes"]] == keys
        more, behind = len(ahead) > size, len(ahead) < len(expected)
        info = page["pageInfo"]
        assert (info["hasNextPage"], info["hasPreviousPage"]) == ((behind, more) if backward else (more, behind))
        assert page["totalCount"] == len(expected) or not restriction.parameters
        if not wanted:
            assert (info["startCursor"], info["endCursor"]) == (None, None)
        else:
            cursor = info["startCursor" if backward else "endCursor"]
            assert cursor == page["edges"][0 if backward else -1]["cursor"]
            position = wanted[0 if backward else -1]
        await insert(few_orders, inserted)
        await few_orders.execute(f"DELETE FROM {TABLE} WHERE o_orderkey = ANY($1::bigint[])", deleted)


@EXAMPLES
@given(
    rows=st.lists(ROWS, max_size=25, unique_by=lambda row: row[0]),
    restriction=restrictions(),
    changed=CHANGED,
    order_by=ORDERS,
    way=WAYS,
    size=st.integers(1, 9),
)
async def test_walking_forward_is_walking_backward_reversed(  # noqa: PLR0913, PLR0917 # what hypothesis varies
    execute: Execute,
    few_orders: asyncpg.Connection,
    context_of: Callable[[Way], Context],
    rows: list[tuple[Any, ...]],
    changed: dict[int, datetime],
    restriction: Restriction,
    order_by: list[dict[str, str]],
    way: Way,
    size: int,
) -> None:
    """Both walks see every order once, in SQL's order, and end where their flags say so."""
    await fill(few_orders, rows, changed)
    context = context_of(way)
    expected = [str(key) for *_, key in await in_order(few_orders, restriction, order_by)]

    async def walk(count: str, end: str, more: str, cursor_name: str) -> list[list[str]]:
        pages: list[list[str]] = []
        cursor = None
        while True:
            variables = {count: size, end: cursor, "filter": restriction.graphql, "orderBy": order_by}
            page = (await execute(PAGE, context=context, **variables))["data"]["orders"]
            pages.append([node["orderKey"] for node in page["nodes"]])
            cursor = page["pageInfo"][cursor_name]
            if not page["pageInfo"][more]:
                return pages

    forward = await walk("first", "after", "hasNextPage", "endCursor")
    backward = await walk("last", "before", "hasPreviousPage", "startCursor")
    assert [key for page in forward for key in page] == expected
    assert [key for page in reversed(backward) for key in page] == expected


@EXAMPLES
@given(
    rows=st.lists(ROWS, max_size=25, unique_by=lambda row: row[0]),
    restriction=restrictions(),
    changed=CHANGED,
    order_by=ORDERS,
    way=WAYS,
    page=st.integers(1, 5),
    size=st.integers(1, 9),
)
async def test_a_numbered_page_is_a_slice_of_plain_sql(  # noqa: PLR0913, PLR0917 # what hypothesis varies
    execute: Execute,
    few_orders: asyncpg.Connection,
    context_of: Callable[[Way], Context],
    rows: list[tuple[Any, ...]],
    changed: dict[int, datetime],
    restriction: Restriction,
    order_by: list[dict[str, str]],
    way: Way,
    page: int,
    size: int,
) -> None:
    """A numbered page is the slice that SQL gives, and its flags about its neighbours are exact."""
    await fill(few_orders, rows, changed)
    context = context_of(way)
    expected = [str(key) for *_, key in await in_order(few_orders, restriction, order_by)]
    answer = await execute(
        """
        query($page: Int!, $size: Int, $filter: OrderFilter, $orderBy: [OrderOrder!]) {
          ordersPage(page: $page, pageSize: $size, filter: $filter, orderBy: $orderBy) {
            nodes { orderKey } hasNextPage hasPreviousPage
          }
        }
        """,
        context=context,
        page=page,
        size=size,
        filter=restriction.graphql,
        orderBy=order_by,
    )
    start = (page - 1) * size
    assert answer["data"]["ordersPage"] == {
        "nodes": [{"orderKey": key} for key in expected[start : start + size]],
        "hasNextPage": len(expected) > start + size,
        "hasPreviousPage": page > 1,
    }
