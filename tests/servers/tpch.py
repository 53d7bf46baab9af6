"""TPC-H orders for tests that need no platform: loaded into a PostgreSQL at a scale factor, all or nothing."""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

from server.local.installation import ClusterError, binaries
from server.local.platform.tables.sources import GeneratorError, generator_command

if TYPE_CHECKING:
    from server.local.cluster import Cluster

ORDERS_AT_SCALE_1: Final = 1_500_000
TABLE: Final = "public.orders_synced"

# The table that a sync would create: the types of the lakehouse's columns, with no constraint but the key.
_CREATE: Final = """
DROP SCHEMA IF EXISTS loading CASCADE;
CREATE SCHEMA loading;
CREATE TABLE loading.orders_synced (
    o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, o_totalprice numeric(18, 2),
    o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority integer, o_comment text
)
"""
_COPY: Final = "COPY loading.orders_synced FROM STDIN (FORMAT csv, HEADER)"
# One index for each sort order of the API, and one for the customer, all ending in the key.
_INDEXES: Final = {
    "orders_by_date": "o_orderdate, o_orderkey",
    "orders_by_price": "o_totalprice, o_orderkey",
    "orders_by_customer": "o_custkey, o_orderkey",
}
_PUT_IN_PLACE: Final = """
DROP TABLE IF EXISTS public.orders_synced;
ALTER TABLE loading.orders_synced SET SCHEMA public;
DROP SCHEMA loading;
"""


def load_orders(cluster: Cluster, scale: float) -> int:
    """Fill the orders table of a running PostgreSQL at this scale, unless it holds these orders already.

    An interrupted load leaves the old table, or none.

    Returns:
        The number of orders.

    Raises:
        GeneratorError: the generator failed.
        ClusterError: PostgreSQL failed.
    """
    loaded = _loaded(cluster)
    if loaded is not None and loaded["scale"] == scale:
        return int(loaded["orders"])
    cluster.run_sql(_CREATE)
    _copy_orders(cluster, scale)
    for name, columns in _INDEXES.items():
        cluster.run_sql(f"CREATE INDEX {name} ON loading.orders_synced ({columns})")
    # VACUUM sets the visibility map, without which an index-only scan still visits the table.
    cluster.run_sql("VACUUM (ANALYZE) loading.orders_synced")
    orders = int(cluster.run_sql("SELECT count(*) FROM loading.orders_synced"))
    note = json.dumps({"scale": scale, "orders": orders})
    # Sent together, the statements are one transaction.
    cluster.run_sql(f"{_PUT_IN_PLACE} COMMENT ON TABLE {TABLE} IS '{note}'")
    return orders


def _loaded(cluster: Cluster) -> dict[str, float] | None:
    note = cluster.run_sql(f"SELECT obj_description(to_regclass('{TABLE}'), 'pg_class')")
    return json.loads(note) if note else None


def _copy_orders(cluster: Cluster, scale: float) -> None:
    copy = [str(binaries() / "psql"), cluster.url, "-v", "ON_ERROR_STOP=1", "-qc", _COPY]
    with (
        tempfile.TemporaryFile("w+") as generator_errors,
        tempfile.TemporaryFile("w+") as copy_errors,
        # Sessions of their own, so that Ctrl-C in the terminal reaches only the loading program.
        subprocess.Popen(
            generator_command("orders", scale), stdout=subprocess.PIPE, stderr=generator_errors, start_new_session=True
        ) as generator,
        subprocess.Popen(
            copy, stdin=generator.stdout, stdout=copy_errors, stderr=subprocess.STDOUT, start_new_session=True
        ) as copying,
    ):
        try:
            assert generator.stdout
            # psql has the pipe now. Unless this process closes its end, the generator does not notice when psql ends.
            generator.stdout.close()
            copying.wait()
            generator.wait()
        finally:
            copying.kill()
            generator.kill()
        copy_errors.seek(0)
        generator_errors.seek(0)
        if copying.returncode != 0:
            raise ClusterError(f"{_COPY} failed: {copy_errors.read()}")
        if generator.returncode != 0:
            raise GeneratorError(f"tpchgen-cli failed: {generator_errors.read()}")
