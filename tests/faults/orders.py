"""The known orders: which orders exist, and what each read of one has to return."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import asyncpg

# The names of the stored statuses.
NAMES: Final = {"O": "OPEN", "F": "FULFILLED", "P": "PARTIAL"}
_COLUMNS: Final = "o_orderkey, o_custkey, o_totalprice, o_orderdate::text"


@dataclass(frozen=True, slots=True)
class KnownOrders:
    """The orders of a table that does not change. `statuses` has the orders whose statuses a scenario changes."""

    keys: list[int]
    rows: dict[int, tuple[int, Decimal, str]]
    statuses: dict[int, str]

    def are(self, nodes: list[dict[str, Any] | None], keys: list[int]) -> bool:
        """Whether the orders in a response are exactly these."""
        found = [
            node
            and (int(node["orderKey"]), int(node["customerKey"]), Decimal(node["totalPrice"]), str(node["orderDate"]))
            for node in nodes
        ]
        return found == [(key, *self.rows[key]) for key in keys]


async def known_orders(database: str, schema: str, *, writable: int) -> KnownOrders:
    """Read all orders by SQL. The first `writable` of them may be changed; for these, the current statuses are kept."""
    connection = await asyncpg.connect(database)
    try:
        found = await connection.fetch(f"SELECT {_COLUMNS}, o_orderstatus FROM orders_synced ORDER BY o_orderkey")
        changed = await connection.fetch(f"SELECT o_orderkey, status FROM {schema}.order_status")
    finally:
        await connection.close()
    rows = {row[0]: (row[1], row[2], row[3]) for row in found}
    statuses = {row[0]: NAMES[row[4]] for row in found[:writable]}
    statuses.update({key: NAMES[status] for key, status in changed if key in statuses})
    return KnownOrders(list(rows), rows, statuses)
