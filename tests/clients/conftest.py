"""Fixtures for the clients: lists to page through, and servers whose statuses may be changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.clients.changes import Changes
from tests.servers.process import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

# No other test sees the clients' changes.
APP_SCHEMA = "changes_of_clients"

_PAGE_SIZE = 30
# TPC-H uses 8 of every 32 keys, so these are 200 orders.
_FILTER = {"orderKey": {"lte": 800}}
_ORDERINGS = {
    "by key": {"field": "ORDER_KEY"},
    "latest first": {"field": "ORDER_DATE", "direction": "DESC"},
}
_ALL_AT_ONCE = """
query ($filter: OrderFilter, $orderBy: OrderOrder) {
  orders(first: 1000, filter: $filter, orderBy: $orderBy) {
    totalCount
    nodes { id orderKey status totalPrice orderDate }
  }
}
"""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of orders: what the client has to page through, and the orders that it has to find."""

    arguments: tuple[str, ...]
    orders: list[dict[str, Any]]

    @property
    def pages(self) -> int:
        """How many requests paging takes."""
        return -(-len(self.orders) // _PAGE_SIZE)


@pytest.fixture(scope="session", params=_ORDERINGS.values(), ids=[*_ORDERINGS])
def listing(server: Server, request: pytest.FixtureRequest) -> Listing:
    """A list of several pages. Its orders come from a single request without any client."""
    variables = {"filter": _FILTER, "orderBy": request.param}
    answer = httpx.post(server.graphql, json={"query": _ALL_AT_ONCE, "variables": variables}).json()
    found = answer["data"]["orders"]
    assert found["totalCount"] == len(found["nodes"]) == len({order["id"] for order in found["nodes"]}) == 200
    return Listing((server.graphql, str(_PAGE_SIZE), json.dumps(variables)), found["nodes"])


@pytest.fixture(scope="session")
def shop(server: Server, orders_url: str) -> Iterator[Server]:
    """A server whose statuses may be changed. It serves the pages of `server` too."""
    with running_server(orders_url, APP_SCHEMA=APP_SCHEMA, ALLOWED_ORIGINS=server.url) as shop:
        yield shop


@pytest.fixture(scope="session")
def changes(shop: Server) -> Changes:
    """Makes changes in the shop."""
    return Changes(shop)
