"""Owns what is known of the orders that are asked for: which there are, and what each read of one has to give."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import asyncpg

_COLUMNS: Final = "o_orderkey, o_custkey, o_totalprice, o_orderdate::text"


@dataclass(frozen=True, slots=True)
class KnownOrders:
    """The orders of a table that does not change. `writable` are those whose statuses a scenario changes."""

    keys: list[int]
    rows: dict[int, tuple[int, Decimal, str]]
    writable: list[int]

    def are(self, nodes: list[dict[str, Any] | None], keys: list[int]) -> bool:
        """Whether an answer's orders are just these."""
        found = [
            node
            and (int(node["orderKey"]), int(node["customerKey"]), Decimal(node["totalPrice"]), str(node["orderDate"]))
            for node in nodes
        ]
        return found == [(key, *self.rows[key]) for key in keys]


async def known_orders(database: str, *, writable: int, table: str = "orders_synced") -> KnownOrders:
    """All orders of a table, by SQL."""
    connection = await asyncpg.connect(database)
    try:
        found = await connection.fetch(f"SELECT {_COLUMNS} FROM {table} ORDER BY o_orderkey")
    finally:
        await connection.close()
    keys = [row[0] for row in found]
    return KnownOrders(keys, {row[0]: (row[1], row[2], row[3]) for row in found}, keys[:writable])
