"""Owns the loading of TPC-H orders into PostgreSQL, at a scale factor, all or nothing."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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


async def load_orders(url: str, scale: float, progress: Callable[[int], None]) -> int:
    """Fill the orders table at this scale, unless it is filled so already.

    An interrupted load leaves the old table, or none, and is begun again next time.

    Args:
        url: the database.
        scale: TPC-H's scale factor; 1 is 1,500,000 orders.
        progress: told the number of orders read so far, now and then.

    Returns:
        How many orders there are.

    Raises:
        LoadError: the generator failed.
    """
    connection = await asyncpg.connect(url)
    try:
        loaded = await _loaded(connection)
        if loaded is not None and loaded["scale"] == scale:
            return int(loaded["orders"])
        await connection.execute(_CREATE)
        await connection.copy_to_table(
            "orders_synced",
            schema_name="loading",
            source=_generate(scale, progress),
            format="csv",
            header=True,
        )
        for name, columns in _INDEXES.items():
            await connection.execute(f"CREATE INDEX {name} ON loading.orders_synced ({columns})")
        # Sets the visibility map too, without which no index-only scan is one.
        await connection.execute("VACUUM (ANALYZE) loading.orders_synced")
        orders = int(await connection.fetchval("SELECT count(*) FROM loading.orders_synced"))
        note = json.dumps({"scale": scale, "orders": orders})
        async with connection.transaction():
            await connection.execute(_PUT_IN_PLACE)
            await connection.execute(f"COMMENT ON TABLE {TABLE} IS '{note}'")
        return orders
    finally:
        await connection.close()


async def _loaded(connection: asyncpg.Connection) -> dict[str, float] | None:
    note = await connection.fetchval("SELECT obj_description(to_regclass($1), 'pg_class')", TABLE)
    return json.loads(note) if note else None


async def _generate(scale: float, progress: Callable[[int], None]) -> AsyncIterator[bytes]:
    generator = await asyncio.create_subprocess_exec(
        Path(sysconfig.get_path("scripts")) / "tpchgen-cli",
        *("csv", "-s", str(scale), "--tables", "orders", "--stdout"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = generator.stdout, generator.stderr
    if output is None or errors is None:
        raise LoadError("the generator was started without its pipes")
    try:
        rows = 0
        while chunk := await output.read(_CHUNK_BYTES):
            yield chunk
            rows += chunk.count(b"\n")
            progress(rows)
        said = (await errors.read()).decode()
        if await generator.wait() != 0:
            raise LoadError(f"tpchgen-cli failed: {said}")
    finally:
        if generator.returncode is None:
            generator.kill()
            await generator.wait()
