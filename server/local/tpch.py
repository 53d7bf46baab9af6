"""Owns the loading of TPC-H orders into PostgreSQL, at a scale factor, all or nothing."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from server.local.cluster import Cluster

ORDERS_AT_SCALE_1 = 1_500_000
TABLE = "public.orders_synced"
_CHUNK_BYTES = 1 << 20

# As the platform makes a synced table: the types of the lakehouse's columns, nothing required but the key.
_CREATE = """
DROP SCHEMA IF EXISTS loading CASCADE;
CREATE SCHEMA loading;
CREATE TABLE loading.orders_synced (
    o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, o_totalprice numeric(18, 2),
    o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority integer, o_comment text
)
"""
_PUT_IN_PLACE = """
DROP TABLE IF EXISTS public.orders_synced;
ALTER TABLE loading.orders_synced SET SCHEMA public;
DROP SCHEMA loading;
"""
# One index for each order that is offered, and one for the customer, all ending in the key.
_INDEXES = {
    "orders_by_date": "o_orderdate, o_orderkey",
    "orders_by_price": "o_totalprice, o_orderkey",
    "orders_by_customer": "o_custkey, o_orderkey",
}


class LoadError(Exception):
    """The data could not be made; the message ends with what the generator said."""


def load_orders(cluster: Cluster, scale: float, progress: Callable[[int], None]) -> int:
    """Fill the orders table at this scale, unless it is filled so already.

    An interrupted load leaves the old table, or none, and is begun again next time.

    Args:
        cluster: a running PostgreSQL.
        scale: TPC-H's scale factor; 1 is 1,500,000 orders.
        progress: told the number of orders read so far, now and then.

    Returns:
        How many orders there are.

    Raises:
        LoadError: the generator failed.
        ClusterError: PostgreSQL did.
    """
    loaded = _loaded(cluster)
    if loaded is not None and loaded["scale"] == scale:
        return int(loaded["orders"])
    cluster.run_sql(_CREATE)
    with contextlib.closing(_generate(scale, progress)) as chunks:
        cluster.copy_in("COPY loading.orders_synced FROM STDIN (FORMAT csv, HEADER)", chunks)
    for name, columns in _INDEXES.items():
        cluster.run_sql(f"CREATE INDEX {name} ON loading.orders_synced ({columns})")
    # Sets the visibility map too, without which no index-only scan is one.
    cluster.run_sql("VACUUM (ANALYZE) loading.orders_synced")
    orders = int(cluster.run_sql("SELECT count(*) FROM loading.orders_synced"))
    note = json.dumps({"scale": scale, "orders": orders})
    # Several statements at once are one transaction.
    cluster.run_sql(f"{_PUT_IN_PLACE} COMMENT ON TABLE {TABLE} IS '{note}'")
    return orders


def generator_command(table: str, scale: float) -> list[str]:
    """The program that writes a table of TPC-H (orders, customer, lineitem) as CSV with a header, and its arguments."""
    program = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    return [str(program), "csv", "-s", str(scale), "--tables", table, "--stdout"]


def _loaded(cluster: Cluster) -> dict[str, float] | None:
    note = cluster.run_sql(f"SELECT obj_description(to_regclass('{TABLE}'), 'pg_class')")
    return json.loads(note) if note else None


def _generate(scale: float, progress: Callable[[int], None]) -> Generator[bytes, None, None]:
    """The orders as CSV with a header. Closed early, it ends the generator."""
    command = generator_command("orders", scale)
    # In a session of its own: Ctrl-C in the terminal is for us.
    with subprocess.Popen(  # noqa: S603 # the wheel's own program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as generator:
        try:
            if generator.stdout is None or generator.stderr is None:
                raise LoadError("the generator was started without its pipes")
            lines = 0
            while chunk := generator.stdout.read(_CHUNK_BYTES):
                yield chunk
                lines += chunk.count(b"\n")
                progress(lines - 1)
            said = generator.stderr.read().decode()
            if generator.wait() != 0:
                raise LoadError(f"tpchgen-cli failed: {said}")
        finally:
            generator.kill()
