"""The tables around the orders for in-process tests: TPC-H's own, and a few rows of them with all that may be odd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.settings import Settings
from tests.conftest import SCALE
from tests.servers.tpch_graph import load_graph

if TYPE_CHECKING:
    import asyncpg

    from schema.context import Context
    from server.local.cluster import Cluster
    from tests.server.conftest import OpenStore

# The settings' names of TPC-H's tables.
_NAMES: Final = {
    "customer": "customers",
    "lineitem": "line_items",
    "supplier": "suppliers",
    "nation": "nations",
    "region": "regions",
    "part": "parts",
}
# Few enough that a document reads all of them. TPC-H's customers with keys divisible by three have no orders.
_ODD: Final = r"""
DROP SCHEMA IF EXISTS odd CASCADE;
CREATE SCHEMA odd;
CREATE TABLE odd.region AS SELECT * FROM public.region_synced WHERE r_regionkey < 4;
CREATE TABLE odd.nation AS SELECT * FROM public.nation_synced WHERE n_nationkey <> 7;
CREATE TABLE odd.orders (LIKE public.orders_synced INCLUDING INDEXES);
INSERT INTO odd.orders SELECT * FROM public.orders_synced ORDER BY o_orderkey LIMIT 40;
CREATE TABLE odd.lineitem (LIKE public.lineitem_synced INCLUDING INDEXES);
INSERT INTO odd.lineitem SELECT * FROM public.lineitem_synced WHERE l_orderkey < 200;
CREATE TABLE odd.customer (LIKE public.customer_synced INCLUDING INDEXES);
INSERT INTO odd.customer SELECT * FROM public.customer_synced WHERE c_custkey % 5 <> 1;
CREATE TABLE odd.part (LIKE public.part_synced INCLUDING INDEXES);
INSERT INTO odd.part SELECT * FROM public.part_synced WHERE p_partkey % 7 <> 1;
CREATE TABLE odd.supplier (LIKE public.supplier_synced INCLUDING INDEXES);
INSERT INTO odd.supplier SELECT * FROM public.supplier_synced WHERE s_suppkey % 5 <> 1;
ALTER TABLE odd.customer ALTER c_name TYPE char(60), ALTER c_mktsegment TYPE char(12);
ALTER TABLE odd.lineitem ALTER l_returnflag TYPE char(3), ALTER l_linenumber TYPE smallint, ALTER l_tax TYPE numeric;
ALTER TABLE odd.orders ALTER o_orderstatus TYPE char(2), ALTER o_custkey DROP NOT NULL;
DELETE FROM odd.orders WHERE o_orderkey IN (4, 32);
UPDATE odd.orders SET o_custkey = NULL WHERE o_orderkey = 5;
UPDATE odd.orders SET o_custkey = 4 WHERE o_orderkey IN (1, 2, 3, 6);
UPDATE odd.orders SET o_totalprice = NULL WHERE o_orderkey IN (2, 6);
UPDATE odd.customer SET c_name = E'"\\ \t\x01 <\u00fc\u20ac\U0001F600>?~' WHERE c_custkey = 4;
UPDATE odd.customer SET c_name = NULL WHERE c_custkey IN (2, 5);
UPDATE odd.customer SET c_nationkey = 8 WHERE c_custkey IN (4, 7, 12);
UPDATE odd.customer SET c_nationkey = 7 WHERE c_custkey IN (8, 13);
UPDATE odd.customer SET c_acctbal = NULL WHERE c_custkey IN (3, 9);
UPDATE odd.customer SET c_mktsegment = 'SPACE' WHERE c_custkey = 10;
UPDATE odd.lineitem SET l_tax = 'NaN' WHERE (l_orderkey, l_linenumber) = (1, 2);
UPDATE odd.lineitem SET l_shipdate = 'infinity' WHERE (l_orderkey, l_linenumber) = (1, 3);
UPDATE odd.lineitem SET l_partkey = NULL WHERE (l_orderkey, l_linenumber) = (1, 4);
UPDATE odd.lineitem SET l_shipmode = 'SLED' WHERE (l_orderkey, l_linenumber) = (2, 1);
ANALYZE odd.orders, odd.customer, odd.lineitem, odd.part, odd.supplier, odd.nation, odd.region;
"""


@dataclass(frozen=True, slots=True)
class GraphTables:
    """The tables of a graph: those in the database by their names in settings, and the schema with merged statuses."""

    orders: str
    tables: dict[str, str]
    app_schema: str

    def open(self, open_store: OpenStore, **options: Any) -> Context:
        """A context with a store of these tables."""
        tables = options.pop("tables", self.tables)
        return open_store(self.orders, tables=tables, app_schema=self.app_schema, **options)[1]


@pytest.fixture(scope="session")
async def graph(cluster: Cluster, database: asyncpg.Connection, orders_url: str) -> GraphTables:
    """TPC-H's tables with the indexes that the server builds. Every tenth order has a status set through the API."""
    load_graph(cluster, SCALE)
    await _set_statuses(database, orders_url, "graph_changes", "public.orders_synced")
    tables = {name: f"public.{source}_synced" for source, name in _NAMES.items()}
    return GraphTables("public.orders_synced", tables, "graph_changes")


@pytest.fixture(scope="session")
async def odd_graph(graph: GraphTables, database: asyncpg.Connection, orders_url: str) -> GraphTables:
    """A few rows of TPC-H with orphans on either side, nulls, char(n), and values that the schema's types refuse."""
    assert graph.tables
    await database.execute(_ODD)
    await _set_statuses(database, orders_url, "odd_changes", "odd.orders")
    return GraphTables("odd.orders", {name: f"odd.{source}" for source, name in _NAMES.items()}, "odd_changes")


async def _set_statuses(database: asyncpg.Connection, url: str, app_schema: str, orders: str) -> None:
    await Migrations(create_migration_engine(Settings(database_url=url), UrlDatabase(url)), app_schema).upgrade()
    await database.execute(
        f"INSERT INTO {app_schema}.order_status SELECT o_orderkey, 'P', 1, o_orderstatus, 'test', now() FROM {orders} "
        f"WHERE o_orderkey % 10 = 1 ON CONFLICT DO NOTHING; ANALYZE {app_schema}.order_status"
    )
