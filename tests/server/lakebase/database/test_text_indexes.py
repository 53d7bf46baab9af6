"""Indexes of trigrams: built with their extension where PostgreSQL offers it, and refused where it does not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from schema.orders.types import ORDERS
from schema.ports.values import Condition, Operator, PageRequest
from schema.ports.ways import Way
from schema.tables.registry import REGISTERED
from server.lakebase.database.indexes import TableIndexes
from server.lakebase.database.inspection import Postgres, TableLocation
from server.lakebase.database.trigrams import CREATE_EXTENSION, NoTrigramsError
from server.local.cluster import Cluster
from server.settings import Settings
from server.tables.catalog.synced_table import Definition, SyncedTable
from server.tables.measuring.sql_statistics import measure
from server.tables.sql.conditions import values_of
from server.tables.sql.pages import page_of
from server.tables.sql.shape import Shape
from tests.server.conftest import engines_of, patient_settings
from tests.server.plans import explain, scans
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# The embedded PostgreSQL lacks the extension. A distribution's own has it.
_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_TABLE = TableLocation("orders-pg", "orders", "public", "orders_synced")
_CUSTOMERS = TableLocation("orders-pg", "orders", "public", "customer_synced")
_CREATE = """
    DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public;
    DROP EXTENSION IF EXISTS pg_trgm;
    CREATE TABLE orders_synced (
        o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, o_totalprice numeric, o_orderdate date,
        o_orderpriority text, o_clerk char(15), o_shippriority integer, o_comment varchar(79)
    );
    CREATE TABLE customer_synced (
        c_custkey bigint PRIMARY KEY, c_name text, c_address text, c_nationkey bigint, c_phone text, c_acctbal numeric,
        c_mktsegment text, c_comment text
    );
    INSERT INTO orders_synced (o_orderkey, o_clerk) SELECT k, format('Clerk#%s', k) FROM generate_series(1, 2000) k;
"""


class Login:
    """Connects to one server, whatever the instance's name is."""

    def __init__(self, url: str, user: str | None = None) -> None:
        self._url, self._user = url, user

    async def connect(self, _instance: str, _database: str, **options: Any) -> asyncpg.Connection:
        """A connection, as the user if there is one."""
        connection = await asyncpg.connect(self._url, **options)
        if self._user:
            await connection.execute(f"SET ROLE {self._user}")
        return connection


def indexes(url: str, user: str | None = None) -> TableIndexes:
    """The indexes of a database's orders and customers."""
    instances: Any = Login(url, user)
    served = (ORDERS, REGISTERED["customers"].table)
    return TableIndexes(Postgres(instances, Settings(database_url=url)), served, timeout=60)


async def report(_progress: float, _message: str) -> None:
    """Take a report of progress."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server of the distribution's PostgreSQL."""
    if not _INSTALLED:
        missing = "no PostgreSQL with pg_trgm is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)  # the other tests are worth running on a laptop; in CI the line above has failed this one
    cluster = Cluster(tmp_path_factory.mktemp("trigrams") / "cluster", options={"fsync": "off"})
    cluster._bin = _INSTALLED[-1]  # noqa: SLF001 # only these tests need another PostgreSQL
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
async def connection(installed: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """A connection to its database with empty tables, and without the extension."""
    connection = await asyncpg.connect(installed.url)
    await connection.execute(_CREATE)
    yield connection
    await connection.close()


async def test_texts_are_indexed_once_with_the_extension(installed: Cluster, connection: asyncpg.Connection) -> None:
    """Whatever type of text they have. What `contains` compares finds its rows by them."""
    tables = indexes(installed.url)
    assert "trigrams" not in " ".join(await tables.missing(_TABLE))
    await tables.build(_TABLE, report)
    missing = await tables.missing(_TABLE, text=True)
    assert missing[:2] == ["the extension pg_trgm", "trigrams of lower(o_clerk)"]
    assert await tables.build(_TABLE, report, text=True) == []
    assert await tables.missing(_TABLE, text=True) == []
    built = {one.name for one in await tables.found(_TABLE)}
    assert "orders_synced_text_of_clerk" in built
    assert await tables.build(_TABLE, report, text=True) == []
    assert {one.name for one in await tables.found(_TABLE)} == built
    # The table is small.
    await connection.execute("ANALYZE orders_synced; SET enable_seqscan = off")
    conditions = (Condition(ORDERS["clerk"], Operator.CONTAINS_IN_ANY_CASE, "RK#19"),)
    request = PageRequest(ordering_by(ORDERS, ORDERS["order_key"]), conditions, 50)
    async with engines_of(patient_settings(installed.url)) as engines, engines.pages.connect() as reading:
        orders = await SyncedTable(Definition(ORDERS, "public.orders_synced")).resolve(reading)
    statement = page_of(orders, Shape.of(request, Way.SORTED), ORDERS.columns[:1])
    plan = await explain(connection, statement, "force_custom_plan", values_of(request))
    assert "orders_synced_text_of_clerk" in {node.get("Index Name") for node in scans(plan)}
    assert plan["Actual Rows"] == 51


async def test_a_sync_keeps_the_indexes_of_texts(installed: Cluster, connection: asyncpg.Connection) -> None:
    """The statements that are kept build them again on the next table of the name."""
    tables = indexes(installed.url)
    await tables.build(_TABLE, report, text=True)
    instances: Any = Login(installed.url)
    postgres = Postgres(instances, Settings(database_url=installed.url))
    kept = await postgres.grants_and_indexes(_TABLE)
    await connection.execute("CREATE TABLE next (LIKE orders_synced); DROP TABLE orders_synced")
    await connection.execute(
        "ALTER TABLE next RENAME TO orders_synced; ALTER TABLE orders_synced ADD PRIMARY KEY (o_orderkey)"
    )
    await postgres.run_each(_TABLE, kept.indexes, seconds=60)
    assert await tables.missing(_TABLE, text=True) == []


async def test_indexes_of_other_kinds_do_not_count(installed: Cluster, connection: asyncpg.Connection) -> None:
    """A partial one, one of the text as it is written, and one of another kind find nothing for `contains`."""
    await connection.execute(
        "CREATE EXTENSION pg_trgm; CREATE INDEX ON customer_synced USING gin (lower(c_name) gin_trgm_ops) "
        "WHERE c_custkey > 7; CREATE INDEX ON customer_synced USING gin (c_name gin_trgm_ops); "
        "CREATE INDEX ON customer_synced (lower(c_name)); "
        "CREATE INDEX ON customer_synced USING gin (upper(c_name) gin_trgm_ops)"
    )
    assert "trigrams of lower(c_name)" in await indexes(installed.url).missing(_CUSTOMERS, text=True)


async def test_tables_side_by_side_create_the_extension_once(
    installed: Cluster, connection: asyncpg.Connection
) -> None:
    """Each finds it there, or makes it."""
    tables = indexes(installed.url)
    both = (tables.build(one, report, text=True) for one in (_TABLE, _CUSTOMERS))
    assert await asyncio.gather(*both) == [[], []]
    assert await connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == 1
    assert await tables.missing(_CUSTOMERS, text=True) == []


async def test_what_the_role_may_not_create_is_left_to_the_owner(
    installed: Cluster, connection: asyncpg.Connection
) -> None:
    """The statements are those that the owner of the database has to run. All other indexes are built."""
    await connection.execute(
        "DROP ROLE IF EXISTS builder; CREATE ROLE builder; GRANT USAGE, CREATE ON SCHEMA public TO builder; "
        "ALTER TABLE orders_synced OWNER TO builder"
    )
    tables = indexes(installed.url, "builder")
    refused = await tables.build(_TABLE, report, text=True)
    assert refused[0] == CREATE_EXTENSION
    assert all("gin_trgm_ops" in statement for statement in refused[1:])
    assert await tables.missing(_TABLE) == []
    for statement in refused:
        await connection.execute(statement)
    assert await tables.missing(_TABLE, text=True) == []


async def test_prices_know_which_texts_are_indexed(installed: Cluster, connection: asyncpg.Connection) -> None:
    """Those of a plain table. A view's columns may have other names."""
    await indexes(installed.url).build(_TABLE, report, text=True)
    await connection.execute("CREATE VIEW orders_view AS SELECT * FROM orders_synced")
    async with engines_of(patient_settings(installed.url)) as engines, engines.aggregates.connect() as reading:
        known = await measure(reading, ORDERS, "public", "orders_synced")
        assert ORDERS["clerk"] in known.texts
        assert ORDERS["order_priority"] not in known.texts
        assert not (await measure(reading, ORDERS, "public", "orders_view")).texts


async def test_where_the_extension_is_not_offered_texts_are_not_indexed(orders_url: str) -> None:
    """The error says so, before anything is built. A table without texts lacks nothing."""
    with pytest.raises(NoTrigramsError, match="does not offer the extension pg_trgm"):
        await indexes(orders_url).missing(_TABLE, text=True)
    with pytest.raises(NoTrigramsError):
        await indexes(orders_url).build(_TABLE, report, text=True)
    await indexes(orders_url).missing(_TABLE)
