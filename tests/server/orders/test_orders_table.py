"""The orders table in any state: of other types, missing, without some columns, dropped and recreated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.db.app_tables import change_tables
from server.orders.orders_table import OrdersTable
from tests.server.conftest import engines_of, patient_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from server.db.engine import Engines
    from tests.server.conftest import Execute, OpenStore

TABLE = "public.changing_orders"
COPY = f"CREATE TABLE {TABLE} AS SELECT * FROM public.orders_synced WHERE o_orderkey < 100"
ONE = '{ order(orderKey: "1") { orderKey status clerk } }'


@pytest.fixture(autouse=True)
async def _no_table(database: asyncpg.Connection) -> AsyncIterator[None]:
    """Start and end without the table."""
    await database.execute(f"DROP TABLE IF EXISTS {TABLE}")
    yield
    await database.execute(f"DROP TABLE IF EXISTS {TABLE}")


async def test_a_missing_table_is_unavailable_until_it_is_there(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection
) -> None:
    """Queries get a retryable error that names the table, and orders as soon as it exists."""
    _, context = open_store(TABLE)
    answer = await execute(ONE, context=context)
    assert answer["errors"][0]["extensions"] == {
        "code": "SERVICE_UNAVAILABLE",
        "reason": "ORDERS_UNAVAILABLE",
        "retryable": True,
        "retryAfter": 1,
    }
    assert TABLE in answer["errors"][0]["message"]
    await database.execute(COPY)
    assert (await execute(ONE, context=context))["data"]["order"]["status"] == "OPEN"


async def test_a_table_that_lacks_columns_says_which(execute: Execute, database: asyncpg.Connection) -> None:
    """Every missing column and every wrong type is named at once."""
    await database.execute(COPY)
    await database.execute(f"ALTER TABLE {TABLE} DROP COLUMN o_clerk, ALTER COLUMN o_orderdate TYPE text")
    answer = await execute(ONE, table=TABLE)
    assert answer["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
    assert "o_clerk is missing" in answer["errors"][0]["message"]
    assert "o_orderdate is text (it should be date)" in answer["errors"][0]["message"]


async def test_a_table_dropped_and_recreated_under_the_server_is_found_again(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection
) -> None:
    """A sync does this, also with other column types. The server needs no restart."""
    await database.execute(COPY)
    _, context = open_store(TABLE)
    assert (await execute(ONE, context=context))["data"]["order"]["clerk"] == "Clerk#000000951"
    await database.execute(f"DROP TABLE {TABLE}")
    assert (await execute(ONE, context=context))["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
    await database.execute(
        COPY.replace(
            "*",
            "o_orderkey::int, o_custkey::int, o_orderstatus::char(1), o_totalprice::numeric, o_orderdate, o_orderpriority::char(15), o_clerk::char(40), o_shippriority::smallint, o_comment::varchar(79)",
        )
    )
    assert (await execute(ONE, context=context))["data"]["order"]["clerk"] == "Clerk#000000951"
    await database.execute(f"ALTER TABLE {TABLE} ALTER COLUMN o_orderkey TYPE bigint, ALTER COLUMN o_clerk TYPE text")
    assert (await execute(ONE, context=context))["data"]["order"]["clerk"] == "Clerk#000000951"


async def test_a_table_that_is_looked_up_again_and_is_the_same_keeps_its_statements(engines: Engines) -> None:
    """A fault may cause many lookups. If each made a new object with its own statements, they would add up."""
    table = OrdersTable("public.orders_synced", change_tables("nowhere"))
    async with engines.pages.connect() as connection:
        found = await table.resolve(connection)
        table.forget()
        assert await table.resolve(connection) is found


async def test_padded_columns_are_filtered_and_grouped_as_text(execute: Execute, database: asyncpg.Connection) -> None:
    """With char(n) columns filters match, values have no padding, and the groups of statistics have their names."""
    await database.execute(COPY)
    await database.execute(
        f"ALTER TABLE {TABLE} ALTER COLUMN o_orderstatus TYPE char(10), ALTER COLUMN o_orderpriority TYPE char(15), "
        f"ALTER COLUMN o_clerk TYPE char(40)"
    )
    answer = await execute(
        """{
          orders(first: 1, filter: {status: {eq: OPEN}, orderPriority: {in: [LOW, URGENT]}, clerk: {eq: "Clerk#000000951"}}) {
            nodes { status orderPriority clerk }
          }
          orderStats { byStatus { status } byPriority { priority } }
          sample: orderSample(size: 1) { status }
        }""",
        table=TABLE,
    )
    assert answer["data"]["orders"]["nodes"] == [{"status": "OPEN", "orderPriority": "LOW", "clerk": "Clerk#000000951"}]
    assert [one["status"] for one in answer["data"]["orderStats"]["byStatus"]] == ["OPEN", "FULFILLED", "PARTIAL"][
        : len(answer["data"]["orderStats"]["byStatus"])
    ]
    assert None not in [one["priority"] for one in answer["data"]["orderStats"]["byPriority"]]
    assert answer["data"]["sample"][0]["status"] in {"OPEN", "FULFILLED", "PARTIAL"}


async def test_a_value_outside_the_schema_nulls_its_row_alone(execute: Execute, database: asyncpg.Connection) -> None:
    """An unknown status and a missing price each null one node, with an error that repeats no value."""
    await database.execute(COPY)
    await database.execute(f"UPDATE {TABLE} SET o_orderstatus = 'secret' WHERE o_orderkey = 2")
    await database.execute(f"UPDATE {TABLE} SET o_totalprice = NULL WHERE o_orderkey = 3")
    await database.execute(f"UPDATE {TABLE} SET o_totalprice = 'NaN' WHERE o_orderkey = 4")
    answer = await execute(
        "{ orders(first: 5) { edges { node { orderKey status totalPrice } } } a: orders(first: 5) { nodes { status } } }",
        table=TABLE,
    )
    nodes = [edge["node"] for edge in answer["data"]["orders"]["edges"]]
    assert [node and node["orderKey"] for node in nodes] == ["1", None, None, None, "5"]
    assert [node is None for node in answer["data"]["a"]["nodes"]] == [False, True, False, False, False]
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"DATA_INVALID"}
    assert ["orders", "edges", 1, "node", "status"] in [error["path"] for error in answer["errors"]]
    assert "secret" not in str(answer)


async def test_values_that_python_or_the_schema_do_not_have_null_their_row_alone(
    execute: Execute, database: asyncpg.Connection
) -> None:
    """A date in the year 10000 or BC, or a price that is NaN, makes one null node each, and a walk goes on past it."""
    await database.execute(COPY)
    await database.execute(f"UPDATE {TABLE} SET o_orderdate = '10000-01-01' WHERE o_orderkey = 2")
    await database.execute(f"UPDATE {TABLE} SET o_orderdate = '0044-03-15 BC' WHERE o_orderkey = 3")
    await database.execute(f"UPDATE {TABLE} SET o_orderdate = 'infinity' WHERE o_orderkey = 4")
    await database.execute(f"UPDATE {TABLE} SET o_totalprice = 'NaN' WHERE o_orderkey = 5")
    for field in ("ORDER_DATE", "TOTAL_PRICE"):
        nodes: list[object] = []
        cursor = None
        while True:
            answer = await execute(
                """query($after: String, $field: OrderSortField) {
                  orders(first: 2, after: $after, orderBy: {field: $field}) {
                    edges { node { orderDate totalPrice } } pageInfo { hasNextPage endCursor }
                  }
                }""",
                table=TABLE,
                after=cursor,
                field=field,
            )
            page = answer["data"]["orders"]
            nodes += [edge["node"] for edge in page["edges"]]
            cursor = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert len(nodes) == await database.fetchval(f"SELECT count(*) FROM {TABLE}")
        assert nodes.count(None) == 4, field


async def test_a_column_that_begins_to_hold_nulls_loses_no_order(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection
) -> None:
    """The table is recreated without NOT NULL, and a process that knew the old one still walks it to its end."""
    await database.execute(COPY)
    await database.execute(f"ALTER TABLE {TABLE} ALTER o_totalprice SET NOT NULL")
    _, context = open_store(TABLE)
    document = """query($after: String) {
      orders(first: 20, after: $after, orderBy: {field: TOTAL_PRICE}) { nodes { orderKey } pageInfo { hasNextPage endCursor } }
    }"""
    first = (await execute(document, context=context))["data"]["orders"]
    await database.execute(f"DROP TABLE {TABLE}; {COPY}")
    await database.execute(f"UPDATE {TABLE} SET o_totalprice = NULL WHERE o_orderkey > 90")
    seen, page = [node["orderKey"] for node in first["nodes"]], first
    while page["pageInfo"]["hasNextPage"]:
        page = (await execute(document, context=context, after=page["pageInfo"]["endCursor"]))["data"]["orders"]
        seen += [node["orderKey"] for node in page["nodes"]]
    missing = await database.fetch(
        f"SELECT o_orderkey FROM {TABLE} WHERE o_totalprice IS NULL AND o_orderkey::text <> ALL($1::text[])", seen
    )
    assert missing == []


async def test_keys_beyond_the_range_of_the_column_match_nothing(
    execute: Execute, database: asyncpg.Connection
) -> None:
    """A client may ask a column of 32 bits for keys of 64."""
    await database.execute(COPY)
    await database.execute(f"ALTER TABLE {TABLE} ALTER o_custkey TYPE int, ALTER o_orderkey TYPE int")
    answer = await execute(
        """{
          a: orders(filter: {customerKey: {eq: "4294967296"}}) { totalCount }
          b: orders(filter: {customerKey: {in: ["4294967296", "-9223372036854775808"]}}) { totalCount }
          c: orders(filter: {orderKey: {lt: "9223372036854775807"}}) { totalCount }
          d: order(orderKey: "9223372036854775807") { id }
        }""",
        table=TABLE,
    )
    assert "errors" not in answer
    assert [answer["data"][name]["totalCount"] for name in "ab"] == [0, 0]
    assert answer["data"]["c"]["totalCount"] > 0


async def test_a_locked_table_is_retryable(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, orders_url: str
) -> None:
    """While a sync replaces the table, a query soon stops waiting, and its error says to try again."""
    await database.execute(COPY)
    async with engines_of(patient_settings(orders_url, lock_timeout=0.05)) as engines:
        async with database.transaction():
            await database.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            answer = await execute(ONE, context=open_store(TABLE, engines=engines)[1])
        assert answer["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
        assert answer["errors"][0]["extensions"]["retryable"]
    assert (await execute(ONE, table=TABLE))["data"]["order"]["orderKey"] == "1"
