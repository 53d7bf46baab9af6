"""Counts, estimates, statistics and samples against plain SQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from schema.orders.types import ORDERS
from schema.ports.values import Condition, Operator, StatsGroup
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from tests.server.conftest import Execute, OpenStore

ROWS = 15_000


@pytest.fixture
async def sparse(database: asyncpg.Connection) -> AsyncIterator[str]:
    """A table without statistics, most of whose rows are deleted, unevenly."""
    await database.execute(
        """
        CREATE TABLE public.sparse (LIKE public.orders_synced) WITH (autovacuum_enabled = off);
        INSERT INTO public.sparse SELECT * FROM public.orders_synced ORDER BY o_orderkey LIMIT 12000;
        DELETE FROM public.sparse WHERE o_orderkey % 97 <> 0 AND o_orderkey < 30000;
        DELETE FROM public.sparse WHERE o_orderkey % 5 <> 0 AND o_orderkey >= 30000;
        """
    )
    yield "public.sparse"
    await database.execute("DROP TABLE public.sparse")


async def test_a_count_is_exact_with_any_filter(execute: Execute, database: asyncpg.Connection) -> None:
    """totalCount, orderCount and the pages of ordersPage agree with SQL."""
    answer = await execute(
        """
        query($filter: OrderFilter) {
          orders(filter: $filter) { totalCount } orderCount(filter: $filter) { count asOf }
          ordersPage(filter: $filter, pageSize: 7) { totalCount totalPages }
          uncounted: ordersPage(filter: $filter, includeCount: false) { totalCount totalPages }
        }
        """,
        filter={"orderPriority": {"in": ["URGENT", "LOW"]}, "orderDate": {"gte": "1995-01-01"}},
    )
    expected = await database.fetchval(
        "SELECT count(*) FROM orders_synced WHERE o_orderpriority IN ('1-URGENT', '5-LOW') AND o_orderdate >= '1995-01-01'"
    )
    assert answer["data"]["orders"]["totalCount"] == answer["data"]["orderCount"]["count"] == expected
    assert answer["data"]["ordersPage"] == {"totalCount": expected, "totalPages": -(-expected // 7)}
    assert answer["data"]["uncounted"] == {"totalCount": None, "totalPages": None}


async def test_a_count_of_everything_is_computed_once_for_all_who_ask(
    open_store: OpenStore, statements: list[str]
) -> None:
    """Fifty requests at once share one statement. After the cache's lifetime it is computed anew."""
    store, _ = open_store(aggregate_ttl=3600)
    counts = await asyncio.gather(*(store.count(()) for _ in range(50)))
    assert {count.count for count in counts} == {ROWS}
    assert await store.count(()) == counts[0]
    assert len(statements) == 1
    store, _ = open_store(aggregate_ttl=0.05)
    first = await store.count(())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await store.count(())).as_of == first.as_of:  # noqa: ASYNC110 # no event tells when it expires
            await asyncio.sleep(0.01)
    assert len(statements) == 3


async def test_an_estimate_is_near_and_costs_no_count(execute: Execute, statements: list[str]) -> None:
    """Over all orders it is within 5 percent after ANALYZE, with a filter of the right size."""
    answer = await execute(
        """{
          all: orders { totalCount(precision: ESTIMATED) }
          some: orders(filter: {totalPrice: {gte: "100000"}}) { totalCount(precision: ESTIMATED) exact: totalCount }
          none: orders(filter: {orderKey: {eq: -1}}) { totalCount(precision: ESTIMATED) }
        }"""
    )
    data = answer["data"]
    assert abs(data["all"]["totalCount"] - ROWS) < ROWS / 20
    assert abs(data["some"]["totalCount"] - data["some"]["exact"]) < data["some"]["exact"] / 10
    assert data["none"]["totalCount"] <= 1
    assert len([statement for statement in statements if "count(" in statement]) == 1


async def test_an_estimate_is_null_where_the_database_has_none(execute: Execute, sparse: str) -> None:
    """A table without statistics has no estimate: the planner's guess is not passed off as one."""
    answer = await execute("{ orders { totalCount(precision: ESTIMATED) exact: totalCount } }", table=sparse)
    assert answer["data"]["orders"]["totalCount"] is None
    assert answer["data"]["orders"]["exact"] > 0


async def test_statistics_agree_with_sql(execute: Execute, database: asyncpg.Connection) -> None:
    """Count, sum, average, minimum and maximum, in all and by group, are SQL's to the cent."""
    answer = await execute(
        """{
          orderStats(filter: {orderDate: {lt: "1995-06-17"}}) {
            count totalPrice { sum average minimum maximum } asOf
            byStatus { status count totalPrice { sum } } byPriority { priority count totalPrice { maximum } }
          }
        }"""
    )
    stats = answer["data"]["orderStats"]
    row = await database.fetchrow(
        "SELECT count(*), sum(o_totalprice), round(avg(o_totalprice), 4), min(o_totalprice), max(o_totalprice) "
        "FROM orders_synced WHERE o_orderdate < '1995-06-17'"
    )
    assert [str(value) for value in row] == [str(stats["count"]), *stats["totalPrice"].values()]
    by_status = await database.fetch(
        "SELECT o_orderstatus, count(*), sum(o_totalprice)::text FROM orders_synced WHERE o_orderdate < '1995-06-17' GROUP BY 1"
    )
    names = {"O": "OPEN", "F": "FULFILLED", "P": "PARTIAL"}
    assert {(one["status"], one["count"], one["totalPrice"]["sum"]) for one in stats["byStatus"]} == {
        (names[status], count, total) for status, count, total in by_status
    }
    priorities = [one["priority"] for one in stats["byPriority"]]
    assert priorities == ["URGENT", "HIGH", "MEDIUM", "NOT_SPECIFIED", "LOW"]
    assert sum(one["count"] for one in stats["byPriority"]) == stats["count"]


async def test_statistics_of_nothing_are_nulls(execute: Execute) -> None:
    """No orders have a count of 0 and no prices."""
    answer = await execute(
        "{ orderStats(filter: {status: {in: []}}) { count totalPrice { sum average } byStatus { count } } }"
    )
    assert answer["data"]["orderStats"] == {"count": 0, "totalPrice": {"sum": None, "average": None}, "byStatus": []}


async def test_a_group_of_unknown_values_has_no_name(open_store: OpenStore, database: asyncpg.Connection) -> None:
    """A status that the schema does not know is counted under null, after the known ones."""
    await database.execute(
        "CREATE VIEW public.odd_orders AS SELECT o_orderkey, o_custkey, CASE WHEN o_orderkey < 10 THEN 'X' ELSE o_orderstatus END "
        "AS o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority, o_comment FROM orders_synced"
    )
    try:
        store, _ = open_store("public.odd_orders")
        stats = await store.stats((Condition(ORDERS["order_key"], Operator.LT, 100),), frozenset({StatsGroup.STATUS}))
        assert {value for value, _ in stats.groups[StatsGroup.STATUS]} >= {"X", "O"}
        sample = await store.sample(3, frozenset({ORDERS["order_key"]}))
        assert len(sample.rows) == 3
    finally:
        await database.execute("DROP VIEW public.odd_orders")


async def test_a_sample_is_uniform_over_rows(open_store: OpenStore, sparse: str, statements: list[str]) -> None:
    """On a table with gaps and dead rows every order is drawn equally often, by a chi-square test."""
    store, _ = open_store(sparse)
    population = (await store.count(())).count
    drawn: Counter[Any] = Counter()
    samples, size = 100, 100
    for _ in range(samples):
        block = await store.sample(size, frozenset({ORDERS["order_key"]}))
        found = [row[0] for row in block.rows]
        assert len(set(found)) == size
        drawn.update(found)
    assert not [statement for statement in statements if "ORDER BY random()" in statement]
    # Ten groups of keys: the gaps differ between them, the chance of each order must not.
    keys = sorted(drawn)
    groups = [0] * 10
    for index, key in enumerate(keys):
        groups[index * 10 // len(keys)] += drawn[key]
    assert len(keys) > population * 0.97
    expected = samples * size / 10
    chi_square = sum((observed - expected) ** 2 / expected for observed in groups)
    # 9 degrees of freedom: a uniform sample exceeds this once in a million. Drawing pages gives over 1,000 here.
    assert chi_square < 45


async def test_a_sample_does_not_read_the_table(
    open_store: OpenStore, database: asyncpg.Connection, statements: list[str]
) -> None:
    """A hundred of 15,000 orders are found with no scan of the table."""
    store, _ = open_store()
    block = await store.sample(10, frozenset({ORDERS["order_key"], ORDERS["clerk"]}))
    assert len(block.rows) == 10
    assert all("ctid = ANY" in statement for statement in statements if "orders_synced" in statement)
    plan = await database.fetch(
        "EXPLAIN SELECT o_clerk FROM orders_synced WHERE ctid = ANY(ARRAY(SELECT '(1,1)'::tid FROM generate_series(1, 80)))"
    )
    assert any("Tid Scan" in row[0] for row in plan)


async def test_a_sample_larger_than_the_table_is_the_table(execute: Execute, database: asyncpg.Connection) -> None:
    """If there are fewer orders than requested, all of them are returned."""
    await database.execute("CREATE TABLE public.tiny AS SELECT * FROM orders_synced ORDER BY o_orderkey LIMIT 5")
    try:
        answer = await execute(
            "{ orderSample(size: 50) { orderKey } none: orderSample(size: 0) { clerk } }", table="public.tiny"
        )
        assert sorted(int(order["orderKey"]) for order in answer["data"]["orderSample"]) == [1, 2, 3, 4, 5]
        assert answer["data"]["none"] == []
    finally:
        await database.execute("DROP TABLE public.tiny")
