"""The changes made beside a client, by plain requests, and the feed's head before them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from tests.servers.process import Server

# The synced statuses of orders 4 to 7 are O, F, F and O. Whichever order comes first, each status is a real change.
_ORDERS = (4, 5, 6, 7)
_STATUSES = ("PARTIAL", "OPEN", "FULFILLED")
_HEAD = "{ orderStatusChanges(first: 0) { headCursor } }"
_SET = """
mutation ($orderKey: BigInt!, $status: OrderStatus!) {
  setOrderStatus(input: {orderKey: $orderKey, status: $status}) { change { cursor orderKey status version } }
}
"""


class Changes:
    """Makes changes through one server, whichever server a client listens to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._next = ((order, status) for status in itertools.cycle(_STATUSES) for order in _ORDERS)

    def head(self) -> str:
        """The cursor of the feed's head."""
        cursor: str = self._ask(_HEAD)["orderStatusChanges"]["headCursor"]
        return cursor

    def make(self, count: int) -> list[dict[str, Any]]:
        """Make a number of changes in turn, and return the events that the feed has to publish."""
        return [
            self._ask(_SET, orderKey=str(order), status=status)["setOrderStatus"]["change"]
            for order, status in itertools.islice(self._next, count)
        ]

    def _ask(self, query: str, **variables: str) -> dict[str, Any]:
        answer = httpx.post(self._server.graphql, json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data
