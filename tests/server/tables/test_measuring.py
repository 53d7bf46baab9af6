"""What the database knows of a table: its size, its indexes and its values, measured when a price needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa

from schema.limits.formulas import LEAST_POINTS
from schema.orders.types import ORDERS
from schema.ports.statistics import NO_STATISTICS, place_of
from server.db.app_tables import change_tables
from server.orders.orders_table import OrdersTable
from server.tables.measuring import measurement as measurements
from server.tables.measuring import sql_statistics
from server.tables.measuring.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from schema.limits.formulas import StatisticsSource
    from server.db.engine import Engines
    from tests.server.conftest import Execute, OpenStore

NAME: Final = "measured_orders"
TABLE: Final = f"public.{NAME}"
ROWS: Final = 15_000
COPY: Final = f"CREATE TABLE {TABLE} AS SELECT * FROM public.orders_synced"
BUILT: Final = f"CREATE INDEX ON {TABLE} (o_orderdate, o_orderkey)"
NOT_USABLE: Final = (
    f"CREATE INDEX ON {TABLE} (o_totalprice) WHERE o_orderkey > 5",
    f"CREATE INDEX ON {TABLE} (lower(o_clerk))",
    f"CREATE INDEX ON {TABLE} USING hash (o_custkey)",
    f"CREATE INDEX ON {TABLE} (o_orderkey DESC, o_custkey)",
    f"CREATE INDEX ON {TABLE} (o_orderstatus)",
)


@pytest.fixture(autouse=True)
async def _no_table(database: asyncpg.Connection) -> AsyncIterator[None]:
    """Start and end without the table."""
    await database.execute(f"DROP TABLE IF EXISTS {TABLE} CASCADE")
    yield
    await database.execute(f"DROP TABLE IF EXISTS {TABLE} CASCADE")


async def measured(engines: Engines, name: str = TABLE) -> Measurement:
    """The measurement of a table, after its first one."""
    measurement = Measurement(engines.aggregates, ORDERS, name)
    measurement.renew()
    await measurement.settled()
    return measurement


def known(measurement: Measurement) -> StatisticsSource:
    """What is known of any table: what this measurement knows of its own."""
    return lambda _table: measurement.statistics()


async def test_the_size_the_indexes_and_the_values_are_known(engines: Engines) -> None:
    """Before it has been measured, nothing is."""
    measurement = Measurement(engines.aggregates, ORDERS, "public.orders_synced")
    assert measurement.statistics() is NO_STATISTICS
    await measurement.settled()
    known = measurement.statistics()
    assert known.rows == pytest.approx(ROWS, rel=0.05)
    assert known.plain
    assert known.has_index(ORDERS["order_key"])
    assert known.has_index(ORDERS["order_date"], ORDERS["order_key"])
    assert known.has_index(ORDERS["customer_key"], ORDERS["order_key"])
    assert not known.has_index(ORDERS["clerk"])
    assert not known.has_index(ORDERS["customer_key"], ORDERS["order_date"])
    dates = known.spread(ORDERS["order_date"])
    middle, last = (place_of(ORDERS["order_date"], day) or 0.0 for day in ("1995-04-17", "1998-08-02"))
    assert dates.between(middle, last) == pytest.approx(0.5, abs=0.05)
    assert dates.between(last + 1, last + 2) < 0.01
    assert known.spread(ORDERS["order_key"]).each == pytest.approx(1 / ROWS, rel=0.1)
    assert known.spread(ORDERS["total_price"]).between(0, 1e9) == pytest.approx(1.0, abs=0.01)
    statuses, priorities = known.spread(ORDERS["status"]), known.spread(ORDERS["order_priority"])
    assert statuses.share_of(["O"]) == pytest.approx(0.49, abs=0.03)
    assert statuses.share_of(["O", "F", "P"]) == pytest.approx(1.0, abs=0.01)
    assert priorities.share_of(["1-URGENT"]) == pytest.approx(0.2, abs=0.03)
    assert priorities.share_of(["9-NONE"]) == 0.0


async def test_an_index_that_cannot_serve_a_page_is_none(engines: Engines, database: asyncpg.Connection) -> None:
    """One that is partial, on an expression, of another kind, of mixed order, or on the synced status."""
    await database.execute(COPY)
    for statement in NOT_USABLE:
        await database.execute(statement)
    known = (await measured(engines)).statistics()
    assert not any(known.indexes)
    await database.execute(f"CREATE INDEX ON {TABLE} (o_orderdate DESC, o_orderkey DESC) INCLUDE (o_clerk)")
    known = (await measured(engines)).statistics()
    assert {index for index in known.indexes if index} == {(ORDERS["order_date"], ORDERS["order_key"])}


async def test_a_table_that_was_never_analysed_has_about_its_size(
    engines: Engines, database: asyncpg.Connection
) -> None:
    """By its pages, as PostgreSQL's planner assumes it."""
    await database.execute(f"{COPY}; ALTER TABLE {TABLE} SET (autovacuum_enabled = false)")
    known = (await measured(engines)).statistics()
    assert known.rows == pytest.approx(ROWS, rel=0.5)
    assert known.spread(ORDERS["order_date"]).between(0, 1) == 1.0


@pytest.mark.parametrize(
    "made",
    [
        f"{COPY}; {BUILT}; ANALYZE {TABLE}; ALTER TABLE {TABLE} RENAME TO {NAME}_below; CREATE VIEW {TABLE} AS SELECT * FROM {NAME}_below",
        f"CREATE TABLE {TABLE} (LIKE public.orders_synced) PARTITION BY RANGE (o_orderkey); CREATE TABLE {TABLE}_1 PARTITION OF {TABLE} FOR VALUES FROM (0) TO (30000); CREATE TABLE {TABLE}_2 PARTITION OF {TABLE} DEFAULT; INSERT INTO {TABLE} SELECT * FROM public.orders_synced; {BUILT}; ANALYZE {TABLE}_1, {TABLE}_2",
    ],
    ids=["view", "partitions"],
)
async def test_the_tables_below_a_view_and_partitions_count(
    engines: Engines, database: asyncpg.Connection, made: str
) -> None:
    """Their sizes together, and their indexes."""
    await database.execute(made)
    try:
        known = (await measured(engines)).statistics()
        assert known.rows == pytest.approx(ROWS, rel=0.05)
        assert not known.plain
        assert known.has_index(ORDERS["order_date"], ORDERS["order_key"])
        assert known.spread(ORDERS["order_date"]).bounds
    finally:
        if "VIEW" in made:
            await database.execute(f"DROP VIEW {TABLE}; DROP TABLE {TABLE}_below")


async def test_a_column_of_a_view_that_is_computed_has_no_index(engines: Engines, database: asyncpg.Connection) -> None:
    """Although a column of the table below has its name, and an index."""
    columns = "o_orderkey, o_custkey, o_orderstatus, o_totalprice * 1 AS o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority, o_comment"
    await database.execute(f"CREATE VIEW {TABLE} AS SELECT {columns} FROM public.orders_synced")
    try:
        known = (await measured(engines)).statistics()
    finally:
        await database.execute(f"DROP VIEW {TABLE}")
    assert known.has_index(ORDERS["order_date"], ORDERS["order_key"])
    assert not known.has_index(ORDERS["total_price"])


async def test_old_statistics_are_measured_again_in_the_background(
    engines: Engines, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if a price has asked for them. Meanwhile the old ones hold."""
    await database.execute(f"{COPY}; ANALYZE {TABLE}")
    measurement = await measured(engines)
    await database.execute(BUILT)
    assert not measurement.statistics().has_index(ORDERS["order_date"])
    await measurement.settled()
    assert not measurement.statistics().has_index(ORDERS["order_date"])
    monkeypatch.setattr(measurements, "_MEASURE_AGAIN_SECONDS", -1.0)
    assert not measurement.statistics().has_index(ORDERS["order_date"])
    await measurement.settled()
    assert measurement.statistics().has_index(ORDERS["order_date"])


async def test_a_failure_to_measure_fails_no_request(
    execute: Execute, engines: Engines, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The old statistics stay. The log has one line, however often it fails."""
    measurement = await measured(engines, "public.orders_synced")
    known = measurement.statistics()
    monkeypatch.setattr(sql_statistics, "_QUERY", sa.text("SELECT 1 / 0 FROM pg_catalog.pg_class"))
    for _ in range(3):
        measurement.renew()
        await measurement.settled()
    assert measurement.statistics() is known
    assert caplog.text.count("could not be read") == 1
    answer = await execute("{ orders(first: 1, orderBy: {field: ORDER_DATE}) { nodes { id } } }")
    assert len(answer["data"]["orders"]["nodes"]) == 1


async def test_a_table_that_was_forgotten_is_measured_again(engines: Engines, database: asyncpg.Connection) -> None:
    """When it is looked up again: the end of an operation, which may have built an index, forgets it."""
    await database.execute(f"{COPY}; ANALYZE {TABLE}")
    orders, measurement = OrdersTable(TABLE, change_tables("nowhere")), Measurement(engines.aggregates, ORDERS, TABLE)
    orders.looked_up = measurement.renew
    found = []
    for statement in ("SELECT 1", BUILT):
        await database.execute(statement)
        orders.forget()
        async with engines.pages.connect() as connection:
            await orders.resolve(connection)
        await measurement.settled()
        found.append(measurement.statistics().has_index(ORDERS["order_date"]))
    assert found == [False, True]


async def test_the_price_of_an_operation_follows_the_table(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, engines: Engines
) -> None:
    """A scan of a small table is cheap, and the same page is dear on a large one that has no index for it."""
    await database.execute(f"{COPY}; ANALYZE {TABLE}")
    document = "{ orders(first: 1, orderBy: {field: ORDER_DATE}) { nodes { id } } }"
    costs: list[int] = []
    for statement in ("", f"UPDATE pg_class SET reltuples = 15000000 WHERE oid = '{TABLE}'::regclass", BUILT):
        if statement:
            await database.execute(statement)
        measurement = await measured(engines)
        context = replace(open_store(TABLE)[1], charge=costs.append, statistics=known(measurement))
        await execute(document, context=context)
    assert costs[0] < 30
    assert costs[1] > 5_000
    assert costs[2] == LEAST_POINTS
