"""Owns the changing of some orders beforehand, so that there are statuses to merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from tests.bench.load import connected
from tests.bench.measuring import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.process import Server

CHANGED: Final = 10_000
_AT_ONCE: Final = 1_000
_CHANGE: Final = """
mutation Change($changes: [OrderStatusChangeInput!]!) {
  setOrderStatuses(input: {changes: $changes, mode: ATOMIC}) { results { change { id } } userErrors { message } }
}
"""


async def change_orders(server: Server, keys: Sequence[int]) -> None:
    """Set the status of these orders, none of which has been changed yet.

    Raises:
        BenchError: one of them was not.
    """
    async with connected(server.graphql, 1) as (client,):
        for start in range(0, len(keys), _AT_ONCE):
            # An order may have one of them already, and then has the other in the end.
            for status in ("PARTIAL", "OPEN"):
                changes = [{"orderKey": str(key), "status": status} for key in keys[start : start + _AT_ONCE]]
                body = orjson.dumps({"query": _CHANGE, "variables": {"changes": changes}})
                if (await client.post(body))["setOrderStatuses"]["userErrors"]:
                    raise BenchError("Some orders could not be changed.")
