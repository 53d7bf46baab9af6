"""Groups of orders against plain SQL: keys, orders, filters, and statuses that change meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from schema.graph import TABLES
from schema.orders.types import ORDERS
from schema.ports.groups import GroupKey, GroupRequest, GroupSort
from schema.ports.values import Condition, Operator
from server.db.app_tables import change_tables
from server.orders.orders_table import OrdersTable
from server.orders.sql_groups import groups_statement
from server.tables.catalog.served import Sources
from server.tables.catalog.synced_table import Definition, SyncedTable
from tests.server.conftest import engines_of, patient_settings
from tests.server.plans import explain, rows_read, scans
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    import asyncpg

    from schema.context import Context
    from server.db.engine import Engines
    from server.orders.sql_merged import Orders
    from tests.server.conftest import Execute, OpenStore
    from tests.server.graph_tables import GraphTables

SELECTED: Final = """
    groups {
      status priority clerk customerKey marketSegment nation { name } orderYear orderMonth orderDay
      count totalPrice { sum average minimum maximum }
    }
    truncated
"""
SET: Final = "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { results { userErrors { code } } } }"
# Customers of the odd graph: some of these orders have none, or one without a nation or with an unknown segment.
FILL: Final = """
DROP SCHEMA IF EXISTS grouped CASCADE;
DROP SCHEMA IF EXISTS grouped_changes CASCADE;
CREATE SCHEMA grouped;
CREATE TABLE grouped.orders (LIKE public.orders_synced INCLUDING INDEXES);
INSERT INTO grouped.orders SELECT * FROM public.orders_synced WHERE o_custkey < 200;
UPDATE grouped.orders SET o_custkey = o_custkey % 20;
UPDATE grouped.orders SET o_clerk = 'Clerk ' || chr(65 + (o_orderkey % 7)::int) || chr(97 + (o_orderkey % 3)::int);
UPDATE grouped.orders SET o_custkey = NULL WHERE o_orderkey % 23 = 0;
UPDATE grouped.orders SET o_clerk = NULL WHERE o_orderkey % 19 = 0;
UPDATE grouped.orders SET o_totalprice = NULL WHERE o_orderkey % 5 = 0 OR o_custkey = 4;
UPDATE grouped.orders SET o_orderpriority = CASE WHEN o_orderkey % 2 = 0 THEN '9-SOME DAY' END WHERE o_orderkey % 13 = 0;
UPDATE grouped.orders SET o_orderstatus = CASE WHEN o_orderkey % 2 = 0 THEN 'X' END WHERE o_orderkey % 11 = 0;
UPDATE grouped.orders SET o_orderdate = date '1996-01-30' + (o_orderkey % 4)::int WHERE o_orderkey % 3 = 0;
UPDATE grouped.orders SET o_orderdate = (ARRAY[
    'infinity', '-infinity', '0044-03-15 BC', '10000-01-01', '9999-12-31', '0001-01-01', NULL, '4714-11-24 BC'
]::date[])[1 + o_orderkey % 8] WHERE o_orderkey % 17 = 0;
ANALYZE grouped.orders;
"""
# All that groups may be made of, as the schema should name it; without a join an order has no customer.
ROWS: Final = """
(
    SELECT o.*, coalesce(s.status, o.o_orderstatus) AS status, c.c_mktsegment AS segment, n.n_nationkey, n.n_name,
      CASE WHEN o_orderdate BETWEEN '0001-01-01' AND '9999-12-31' THEN o_orderdate END AS day
    FROM grouped.orders o
    LEFT JOIN grouped_changes.order_status s USING (o_orderkey)
    LEFT JOIN odd.customer c ON c.c_custkey = o.o_custkey
    LEFT JOIN odd.nation n ON n.n_nationkey = c.c_nationkey
) AS rows
"""


@dataclass(frozen=True)
class Key:
    """A key in SQL: what to group by, what the schema shows for it, and what to sort by; and its field."""

    field: str
    by: str
    shown: str
    sort: str


# Statuses that are not in the schema are one group, with those that are missing.
KNOWN: Final = "CASE WHEN status IN ('O', 'F', 'P') THEN status END"
KEYS: Final = {
    "STATUS": Key(
        "status",
        KNOWN,
        f"CASE {KNOWN} WHEN 'O' THEN 'OPEN' WHEN 'F' THEN 'FULFILLED' WHEN 'P' THEN 'PARTIAL' END",
        f"CASE {KNOWN} WHEN 'O' THEN 1 WHEN 'F' THEN 2 WHEN 'P' THEN 3 END",
    ),
    "PRIORITY": Key(
        "priority",
        "o_orderpriority",
        "CASE WHEN o_orderpriority < '6' THEN replace(substr(o_orderpriority, 3), ' ', '_') END",
        'o_orderpriority COLLATE "C"',
    ),
    "CLERK": Key("clerk", "o_clerk", "o_clerk", 'o_clerk COLLATE "C"'),
    "CUSTOMER": Key("customerKey", "o_custkey", "o_custkey::text", "o_custkey"),
    "MARKET_SEGMENT": Key(
        "marketSegment",
        "segment",
        "CASE WHEN segment <> 'SPACE' THEN rtrim(segment::text) END",
        "CASE WHEN segment <> 'SPACE' THEN segment END COLLATE \"C\", segment",
    ),
    "NATION": Key("nation", "n_nationkey, n_name", "n_name", "n_nationkey"),
    "ORDER_YEAR": Key("orderYear", "extract(year FROM day)", "extract(year FROM day)::text", "extract(year FROM day)"),
    "ORDER_MONTH": Key(
        "orderMonth",
        "to_char(day, 'YYYY-MM')",
        "to_char(day, 'YYYY-MM') || '-01'",
        "to_char(day, 'YYYY-MM')",
    ),
    "ORDER_DAY": Key("orderDay", "day, o_orderdate", "day::text", "o_orderdate"),
}
# Conditions on fields as clients write them, and in SQL.
CONDITIONS: Final = {
    "orderDate": (
        ('gte: "1995-01-01", lt: "1996-02-01"', "o_orderdate >= '1995-01-01' AND o_orderdate < '1996-02-01'"),
        ('gt: "1996-01-31"', "o_orderdate > '1996-01-31'"),
    ),
    "status": (("in: [OPEN, PARTIAL]", "status IN ('O', 'P')"), ("eq: FULFILLED", "status = 'F'")),
    "customerKey": (("in: [1, 2, 3, 4, 5]", "o_custkey BETWEEN 1 AND 5"), ("eq: 7", "o_custkey = 7")),
    "totalPrice": (('gte: "150000"', "o_totalprice >= 150000"),),
    "orderPriority": (("eq: URGENT", "o_orderpriority = '1-URGENT'"),),
    "not": (
        ("status: {eq: OPEN}", "status IS DISTINCT FROM 'O'"),
        (
            'or: [{status: {eq: PARTIAL}}, {clerk: {startsWith: "clerk a"}}]',
            "NOT coalesce(status = 'P' OR o_clerk LIKE 'Clerk A%', false)",
        ),
    ),
    "customer": (
        ("marketSegment: {eq: BUILDING}", "segment = 'BUILDING'"),
        ("customerKey: {gte: 5}", "o_custkey IN (SELECT c_custkey FROM odd.customer WHERE c_custkey >= 5)"),
    ),
    "orderKey": (("in: []", "false"), ("gte: 1000", "o_orderkey >= 1000")),
}


@pytest.fixture
async def context(odd_graph: GraphTables, open_store: OpenStore, database: asyncpg.Connection) -> Context:
    """A context with orders of every odd kind, and customers and nations of which some are missing."""
    await database.execute(FILL)
    return open_store("grouped.orders", tables=odd_graph.tables, app_schema="grouped_changes")[1]


async def change_some(execute: Execute, context: Context, random: Random, keys: list[int]) -> None:
    """Set the statuses of some orders through the API."""
    changes = [
        {"orderKey": key, "status": random.choice(["OPEN", "FULFILLED", "PARTIAL"])} for key in random.sample(keys, 40)
    ]
    answer = await execute(SET, context=context, i={"changes": changes})
    assert not [one for one in answer["data"]["setOrderStatuses"]["results"] if one["userErrors"]]


async def groups_in_sql(database: asyncpg.Connection, by: list[str], where: str, least: int) -> list[dict[str, Any]]:
    """The groups by plain SQL, with the rank of each of their keys."""
    shown = ", ".join(f"{KEYS[one].shown} AS {KEYS[one].field}" for one in by)
    ranks = ", ".join(f"dense_rank() OVER (ORDER BY {KEYS[one].sort}) AS rank_{n}" for n, one in enumerate(by))
    rows = await database.fetch(
        f"SELECT {shown}, {ranks}, count(*) AS count, sum(o_totalprice)::text AS sum, "
        "round(avg(o_totalprice), 4)::text AS average, min(o_totalprice)::text AS minimum, "
        f"max(o_totalprice)::text AS maximum FROM {ROWS} WHERE {where} "
        f"GROUP BY {', '.join(KEYS[one].by for one in by)} HAVING count(*) >= {least}"
    )
    return [{**row, "ranks": tuple(row[f"rank_{n}"] for n in range(len(by)))} for row in rows]


def in_order(groups: list[dict[str, Any]], field: str, *, descending: bool) -> list[dict[str, Any]]:
    """The groups in an order. Those that are equal in it are in the order of their keys."""
    groups = sorted(groups, key=lambda group: group["ranks"], reverse=descending and field == "KEYS")
    if field == "COUNT":
        groups.sort(key=lambda group: group["count"], reverse=descending)
    elif field == "TOTAL_PRICE":
        groups.sort(key=lambda group: float(group["sum"] or 0), reverse=descending)
        groups.sort(key=lambda group: group["sum"] is None)
    return groups


def as_answered(group: dict[str, Any], by: list[str]) -> dict[str, Any]:
    """A group of plain SQL as the API shows it."""
    keys = {KEYS[one].field: group[KEYS[one].field.lower()] for one in by}
    if keys.get("nation"):
        keys["nation"] = {"name": keys["nation"]}
    if keys.get("orderYear"):
        keys["orderYear"] = int(keys["orderYear"])
    prices = {name: group[name] for name in ("sum", "average", "minimum", "maximum")}
    nothing = {key.field: None for key in KEYS.values()}
    return {**nothing, **keys, "count": group["count"], "totalPrice": prices}


@dataclass(frozen=True)
class Asked:
    """A random request for groups: as a document, and what plain SQL needs to know of it."""

    document: str
    by: list[str]
    where: str
    least: int
    field: str
    descending: bool
    first: int


def anything(random: Random) -> Asked:
    """A random request. Each argument that has a default is left out at times."""
    by = random.sample(list(KEYS), random.choice((1, 1, 2)))
    chosen = dict(random.sample(list(CONDITIONS.items()), random.choice((0, 0, 1, 1, 2, 3))))
    conditions = [random.choice(of_field) for of_field in chosen.values()]
    least, first = random.choice((0, 0, 0, 1, 2, 5)), random.choice((0, 1, 2, 3, 7, 100, 1000))
    field, descending = random.choice(("KEYS", "COUNT", "TOTAL_PRICE")), random.random() < 0.5
    filters = [f"{name}: {{{graphql}}}" for name, (graphql, _) in zip(chosen, conditions, strict=True)]
    arguments = {
        f"by: [{', '.join(by)}]": True,
        f"filter: {{{', '.join(filters)}}}": filters,
        f"having: {{count: {{gte: {least}}}}}": least,
        f"orderBy: {{field: {field}, direction: {'DESC' if descending else 'ASC'}}}": descending or field != "KEYS",
        f"first: {first}": first != 100,
    }
    document = f"{{ orderGroups({', '.join(one for one, given in arguments.items() if given)}) {{ {SELECTED} }} }}"
    where = " AND ".join(sql for _, sql in conditions) or "true"
    return Asked(document, by, where, least, field, descending, first)


@pytest.mark.parametrize("seed", range(3))
async def test_groups_are_those_of_plain_sql(
    execute: Execute, context: Context, database: asyncpg.Connection, seed: int
) -> None:
    """By any keys, with any filter, in any order, to any number, while statuses change; orphans and nulls included."""
    random = Random(seed)  # noqa: S311 # not for secrets
    keys = [row[0] for row in await database.fetch("SELECT o_orderkey FROM grouped.orders")]
    seen: set[str] = set()
    for number in range(50):
        if number % 10 == 0:
            await change_some(execute, context, random, keys)
        asked = anything(random)
        answer = await execute(asked.document, context=context)
        found = await groups_in_sql(database, asked.by, asked.where, asked.least)
        groups = in_order(found, asked.field, descending=asked.descending)
        shown = [as_answered(group, asked.by) for group in groups[: asked.first]]
        expected = {"groups": shown, "truncated": len(groups) > asked.first}
        assert answer.get("data") == {"orderGroups": expected}, asked.document
        # A date that the schema's type cannot have is an error of this value.
        for error in answer.get("errors", ()):
            assert (error["path"][-1], error["extensions"]["reason"]) == ("orderDay", "DATA_INVALID")
        seen |= {*asked.by, asked.field} if shown else set()
    assert seen == {*KEYS, "KEYS", "COUNT", "TOTAL_PRICE"}


async def test_one_statement_reads_all_groups_and_one_their_nations(
    execute: Execute, context: Context, statements: list[str]
) -> None:
    """However many groups there are. Prices are computed only where they are selected."""
    await execute("{ orderGroups(by: [NATION, ORDER_YEAR]) { groups { nation { name } count } } }", context=context)
    assert len(statements) == 2
    assert "sum(" not in statements[0]
    assert "nation" in statements[1]
    statements.clear()
    fragment = "fragment Sum on OrderGroup { totalPrice { sum } }"
    await execute(f"{{ orderGroups(by: [CLERK]) {{ groups {{ ...Sum }} }} }} {fragment}", context=context)
    (only,) = statements
    assert "sum(" in only
    assert "JOIN" not in only
    # The databases of the tests have this collation in any case.
    assert 'ORDER BY grouped.orders.o_clerk COLLATE "C"' in only


async def test_a_single_value_is_a_list_of_one(execute: Execute) -> None:
    """As everywhere in GraphQL. An empty `having`, and one of a single order, leave nothing out."""
    answer = await execute(
        """query($by: [OrderGroupBy!]!) {
          a: orderGroups(by: STATUS) { groups { status count } }
          b: orderGroups(by: $by, having: {}, orderBy: {}) { groups { status count } }
          c: orderGroups(by: [STATUS], having: {count: {gte: 1}}, orderBy: null) { groups { status count } }
          d: orderGroups(by: [STATUS], having: {count: {gte: null}}, first: null) { groups { status count } }
        }""",
        by="STATUS",
    )
    data = answer["data"]
    assert [group["status"] for group in data["a"]["groups"]] == ["OPEN", "FULFILLED", "PARTIAL"]
    assert data["a"] == data["b"] == data["c"] == data["d"]


REFUSED: Final = {
    "by: []": ("VALUE_INVALID", "`by` is empty"),
    "by: [STATUS, STATUS]": ("VALUE_INVALID", "`by` names STATUS twice"),
    "by: [STATUS, CLERK, PRIORITY]": ("TOO_MANY_VALUES", "`by` has 3 values"),
    "by: [STATUS], first: 1001": ("PAGE_SIZE_INVALID", "`first` is 1001"),
    "by: [STATUS], first: -1": ("PAGE_SIZE_INVALID", "`first` is -1"),
    "by: [STATUS], having: {count: {gte: -1}}": ("VALUE_INVALID", "`having.count.gte` is -1"),
    'by: [STATUS], filter: {clerk: {eq: "\\u0000"}}': ("VALUE_INVALID", "NUL byte"),
}


@pytest.mark.parametrize("arguments", REFUSED)
async def test_arguments_without_sense_are_refused_and_siblings_answered(
    execute: Execute, statements: list[str], arguments: str
) -> None:
    """With a code, the name of the argument, and the path of the field. No statement is sent for it."""
    answer = await execute(
        f"{{ bad: orderGroups({arguments}) {{ groups {{ count }} }} order(orderKey: 1) {{ orderKey }} }}"
    )
    reason, message = REFUSED[arguments]
    (error,) = answer["errors"]
    assert (error["path"], error["extensions"]["reason"]) == (["bad"], reason)
    assert message in error["message"]
    assert answer["data"] == {"bad": None, "order": {"orderKey": "1"}}
    assert len(statements) == 1


async def test_a_missing_table_costs_its_own_groups(execute: Execute, open_store: OpenStore) -> None:
    """Orders can still be grouped by what is their own."""
    tables = {"customers": "public.nowhere", "nations": "public.nowhere"}
    _, context = open_store(tables=tables)
    answer = await execute(
        """{
          a: orderGroups(by: [NATION]) { groups { count } }
          b: orderGroups(by: [MARKET_SEGMENT, STATUS]) { groups { count } }
          c: orderGroups(by: [CUSTOMER], first: 1) { groups { count } }
        }""",
        context=context,
    )
    assert sorted((*error["path"], error["extensions"]["reason"]) for error in answer["errors"]) == [
        ("a", "TABLE_UNAVAILABLE"),
        ("b", "TABLE_UNAVAILABLE"),
    ]
    assert answer["data"]["c"]["groups"][0]["count"] > 0
    answer = await execute("{ orderGroups(by: [CUSTOMER]) { groups { count } } }", table="public.nowhere")
    assert answer["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"


async def test_groups_of_all_orders_are_computed_once_for_all_who_ask(
    open_store: OpenStore, statements: list[str]
) -> None:
    """Requests for the same groups share a statement until it expires. Groups of some orders are read anew."""
    request = GroupRequest((GroupKey.STATUS,), (), 0, GroupSort.KEYS, descending=False, size=10, prices=True)
    groups = open_store(aggregate_ttl=3600)[1].groups
    found = await asyncio.gather(*(groups.groups(request) for _ in range(50)))
    assert len({one.as_of for one in found}) == len(statements) == 1
    other = GroupRequest((GroupKey.CLERK,), (), 0, GroupSort.KEYS, descending=False, size=10, prices=True)
    assert (await groups.groups(other)).more
    assert len(statements) == 2
    some = (Condition(ORDERS["order_key"], Operator.LT, 100),)
    for _ in range(2):
        await groups.groups(GroupRequest((GroupKey.STATUS,), some, 0, GroupSort.KEYS, False, 10, True))
    assert len(statements) == 4
    groups = open_store(aggregate_ttl=0.05)[1].groups
    first = await groups.groups(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await groups.groups(request)).as_of == first.as_of:  # noqa: ASYNC110 # no event tells when it expires
            await asyncio.sleep(0.01)


async def test_groups_have_the_time_of_a_count(execute: Execute, open_store: OpenStore, orders_url: str) -> None:
    """The statement timeout of counts ends them, and pages are not held up."""
    async with engines_of(patient_settings(orders_url, aggregate_statement_timeout=0.001)) as engines:
        _, context = open_store(engines=engines)
        answer = await execute(
            "{ orderGroups(by: [CLERK, ORDER_DAY]) { groups { count } } orders(first: 1) { nodes { orderKey } } }",
            context=context,
        )
    (error,) = answer["errors"]
    assert (error["path"], error["extensions"]["reason"]) == (["orderGroups"], "STATEMENT_TIMEOUT")
    assert answer["data"]["orders"]["nodes"]


@pytest.fixture
async def tables(graph: GraphTables, engines: Engines) -> tuple[Orders, Sources]:
    """The orders, and the tables beside them."""
    async with engines.pages.connect() as connection:
        orders = await OrdersTable(graph.orders, change_tables(graph.app_schema)).resolve(connection)
        others = {
            name: await SyncedTable(Definition(TABLES[name], graph.tables[name])).resolve(connection)
            for name in ("customers", "nations")
        }
    return orders, Sources(others)


RANGE: Final = (
    Condition(ORDERS["order_date"], Operator.GTE, "1996-01-01"),
    Condition(ORDERS["order_date"], Operator.LT, "1996-02-01"),
)


@pytest.mark.parametrize(
    ("by", "conditions", "index", "most"),
    [
        ((GroupKey.ORDER_DAY,), RANGE, "orders_by_date", 300),
        ((GroupKey.ORDER_MONTH, GroupKey.STATUS), RANGE, "orders_by_date", 300),
        ((GroupKey.NATION, GroupKey.STATUS), RANGE, "orders_by_date", 300),
        ((GroupKey.STATUS,), (Condition(ORDERS["customer_key"], Operator.EQ, 1),), "orders_by_customer", 50),
        # The first groups of all are the beginning of an index.
        ((GroupKey.CUSTOMER,), (), "orders_by_customer", 300),
    ],
    ids=["days", "a month by status", "nations", "a customer", "customers"],
)
async def test_groups_read_the_orders_of_a_narrow_filter(
    tables: tuple[Orders, Sources],
    database: asyncpg.Connection,
    by: tuple[GroupKey, ...],
    conditions: tuple[Condition, ...],
    index: str,
    most: int,
) -> None:
    """By its index, and no others: a month of seven years is a hundredth of all."""
    request = GroupRequest(by, conditions, 0, GroupSort.KEYS, descending=False, size=10, prices=True)
    plan = await explain(database, groups_statement(*tables, request), "force_custom_plan")
    nodes = [node for node in scans(plan) if "orders_" in node.get("Index Name", node.get("Relation Name", ""))]
    assert index in {node.get("Index Name") for node in nodes}, plan
    assert max(map(rows_read, nodes)) <= most, plan


@pytest.mark.parametrize("by", [GroupKey.CUSTOMER, GroupKey.ORDER_DAY])
async def test_all_groups_are_made_in_one_pass_of_the_table(
    tables: tuple[Orders, Sources], database: asyncpg.Connection, by: GroupKey
) -> None:
    """If all have to be made. Along an index of the key the orders would be read in random order."""
    for least, sort in ((0, GroupSort.COUNT), (0, GroupSort.TOTAL_PRICE), (2, GroupSort.KEYS)):
        request = GroupRequest((by,), (), least, sort, descending=True, size=10, prices=True)
        # An index would be preferred.
        await database.execute("SET enable_hashagg = off")
        try:
            plan = await explain(database, groups_statement(*tables, request), "force_custom_plan")
        finally:
            await database.execute("RESET enable_hashagg")
        assert {node["Node Type"] for node in scans(plan)} == {"Seq Scan"}, plan
