"""Changes some orders before the measurements, so that there are statuses to merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from tests.bench.load import connected
from tests.bench.measuring import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.servers.process import Server

CHANGED: Final = 10_000
_AT_ONCE: Final = 1_000
_CHANGE: Final = """
mutation Change($changes: [OrderStatusChangeInput!]!) {
  setOrderStatuses(input: {changes: $changes, mode: ATOMIC}) { results { change { id } } userErrors { message } }
}
"""


async def change_orders(server: Server, keys: Sequence[int]) -> None:
    """Set the status of these orders. None of them may have been changed before.

    Raises:
        BenchError: an order was not changed.
    """
    async with connected(server.graphql, 1) as (client,):
        for start in range(0, len(keys), _AT_ONCE):
            # An order may already have one of these statuses. The other one is then a change.
            for status in ("PARTIAL", "OPEN"):
                changes = [{"orderKey": str(key), "status": status} for key in keys[start : start + _AT_ONCE]]
                body = orjson.dumps({"query": _CHANGE, "variables": {"changes": changes}})
                if (await client.post(body))["setOrderStatuses"]["userErrors"]:
                    raise BenchError("Some orders could not be changed.")
