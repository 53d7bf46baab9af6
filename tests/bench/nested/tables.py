"""TPC-H's tables around the orders, as syncs would create them, each with its key and indexes on its foreign keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from tests.bench import orders as table
from tests.servers.tpch import copy_rows

if TYPE_CHECKING:
    from server.local.cluster import Cluster
    from tests.bench.contenders import Setup

# TPC-H's names, and the names of the synced tables.
_NAMES: Final = {
    "customer": "customer_synced",
    "lineitem": "lineitem_synced",
    "nation": "nation_synced",
    "region": "region_synced",
    "part": "part_synced",
    "supplier": "supplier_synced",
}
# The server's setting.
TABLES: Final = (
    "customers=public.customer_synced,line_items=public.lineitem_synced,nations=public.nation_synced,"
    "regions=public.region_synced,parts=public.part_synced"
)
_CREATE: Final = """
DROP SCHEMA IF EXISTS loading_graph CASCADE;
CREATE SCHEMA loading_graph;
CREATE TABLE loading_graph.customer_synced (
    c_custkey bigint PRIMARY KEY, c_name text, c_address text, c_nationkey bigint, c_phone text,
    c_acctbal numeric(18, 2), c_mktsegment text, c_comment text
);
CREATE TABLE loading_graph.lineitem_synced (
    l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber integer, l_quantity numeric(18, 2),
    l_extendedprice numeric(18, 2), l_discount numeric(18, 2), l_tax numeric(18, 2), l_returnflag text,
    l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct text, l_shipmode text,
    l_comment text, PRIMARY KEY (l_orderkey, l_linenumber)
);
CREATE TABLE loading_graph.nation_synced (
    n_nationkey bigint PRIMARY KEY, n_name text, n_regionkey bigint, n_comment text
);
CREATE TABLE loading_graph.region_synced (r_regionkey bigint PRIMARY KEY, r_name text, r_comment text);
CREATE TABLE loading_graph.part_synced (
    p_partkey bigint PRIMARY KEY, p_name text, p_mfgr text, p_brand text, p_type text, p_size integer,
    p_container text, p_retailprice numeric(18, 2), p_comment text
);
CREATE TABLE loading_graph.supplier_synced (
    s_suppkey bigint PRIMARY KEY, s_name text, s_address text, s_nationkey bigint, s_phone text,
    s_acctbal numeric(18, 2), s_comment text
)
"""
# The columns of the foreign keys, and then those of the key. The orders have such an index already.
_INDEXES: Final = {
    "customer_synced": ("c_nationkey, c_custkey",),
    "lineitem_synced": ("l_partkey, l_orderkey, l_linenumber", "l_suppkey, l_orderkey, l_linenumber"),
    "nation_synced": ("n_regionkey, n_nationkey",),
    "supplier_synced": ("s_nationkey, s_suppkey",),
}
_SCALE_NOTE: Final = "SELECT obj_description(to_regclass('public.lineitem_synced'), 'pg_class')"


def load(cluster: Cluster, scale: float) -> tuple[int, Setup]:
    """Load the orders and the tables around them, unless they are there, and return the number of orders and the setup."""
    orders, setup = table.load(cluster, scale)
    load_around(cluster, scale)
    return orders, setup


def load_around(cluster: Cluster, scale: float) -> None:
    """Load the tables around the orders, unless they are there."""
    if not is_loaded(cluster, scale):
        sys.stderr.write("Loading the tables around the orders\n")
        _load_around(cluster, scale)


def is_loaded(cluster: Cluster, scale: float) -> bool:
    """Whether the tables around the orders are there at this scale."""
    return cluster.run_sql(_SCALE_NOTE) == f"{scale:g}"


def _load_around(cluster: Cluster, scale: float) -> None:
    cluster.run_sql(_CREATE)
    for source, name in _NAMES.items():
        copy_rows(cluster, source, scale, f"loading_graph.{name}")
        for columns in _INDEXES.get(name, ()):
            cluster.run_sql(f"CREATE INDEX ON loading_graph.{name} ({columns})")
        cluster.run_sql(f"VACUUM (ANALYZE) loading_graph.{name}")
    put = [
        f"DROP TABLE IF EXISTS public.{name}; ALTER TABLE loading_graph.{name} SET SCHEMA public;"
        for name in _NAMES.values()
    ]
    # Sent together, the statements are one transaction.
    cluster.run_sql(f"{''.join(put)} DROP SCHEMA loading_graph; COMMENT ON TABLE public.lineitem_synced IS '{scale:g}'")
