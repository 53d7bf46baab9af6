"""TPC-H's tables around the orders, as syncs would create them, each with its key and indexes on its foreign keys."""

from __future__ import annotations

import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from server.local.installation import ClusterError, binaries
from server.local.platform.tables.sources import GeneratorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster

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
    "regions=public.region_synced,parts=public.part_synced,suppliers=public.supplier_synced"
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
);
"""
# The columns of the foreign keys and of the sorts, and then those of the key. The orders have such an index already.
_INDEXES: Final = {
    "customer_synced": ("c_nationkey, c_custkey", 'c_name COLLATE "C", c_custkey', "c_acctbal, c_custkey"),
    "lineitem_synced": ("l_partkey, l_orderkey, l_linenumber", "l_suppkey, l_orderkey, l_linenumber"),
    "nation_synced": ("n_regionkey, n_nationkey",),
    "supplier_synced": ("s_nationkey, s_suppkey",),
}
_GENERATE: Final = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
_SCALE_NOTE: Final = "SELECT obj_description(to_regclass('public.lineitem_synced'), 'pg_class')"


def load_graph(cluster: Cluster, scale: float) -> None:
    """Load the tables around the orders of this scale, unless they are there. An interrupted load leaves the old ones.

    Raises:
        GeneratorError: the generator failed.
        ClusterError: PostgreSQL failed.
    """
    if is_loaded(cluster, scale):
        return
    with tempfile.TemporaryDirectory() as directory:
        # All tables at once: the generator takes a second to start.
        _run(
            GeneratorError, _GENERATE, "csv", "-s", str(scale), "--tables", ",".join(_NAMES), "--output-dir", directory
        )
        script = Path(directory) / "load.sql"
        script.write_text("\n".join(_statements(Path(directory), scale)))
        _run(ClusterError, binaries() / "psql", cluster.url, "-v", "ON_ERROR_STOP=1", "-qf", script)


def _statements(directory: Path, scale: float) -> Iterator[str]:
    """Psql's statements: the new tables are filled in a schema of their own, and then put in the places of the old."""
    yield _CREATE
    for source, name in _NAMES.items():
        yield f"\\copy loading_graph.{name} FROM '{directory / source}.csv' (FORMAT csv, HEADER)"
        for columns in _INDEXES.get(name, ()):
            yield f"CREATE INDEX ON loading_graph.{name} ({columns});"
        yield f"VACUUM (ANALYZE) loading_graph.{name};"
    yield "BEGIN;"
    for name in _NAMES.values():
        yield f"DROP TABLE IF EXISTS public.{name}; ALTER TABLE loading_graph.{name} SET SCHEMA public;"
    yield f"DROP SCHEMA loading_graph; COMMENT ON TABLE public.lineitem_synced IS '{scale:g}';"
    yield "COMMIT;"


def is_loaded(cluster: Cluster, scale: float) -> bool:
    """Whether the tables around the orders are there at this scale."""
    return cluster.run_sql(_SCALE_NOTE) == f"{scale:g}"


def _run(error: type[Exception], *command: object) -> None:
    # A session of its own, so that Ctrl-C in the terminal reaches only the loading program.
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, start_new_session=True, check=False
    )
    if done.returncode != 0:
        raise error(f"{command[0]} failed: {done.stderr}")
