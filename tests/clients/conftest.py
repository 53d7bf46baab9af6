"""Fixtures for the clients: lists to page through, and servers whose statuses may be changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.clients.changes import Changes
from tests.conftest import SCALE
from tests.servers.process import Server, running_server
from tests.servers.tpch_graph import TABLES, load_graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster

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
_ORDERS_SIZE = 4
_LINES_SIZE = 2
_CUSTOMER_AT_ONCE = """
{
  customer(customerKey: 1) {
    id
    customerKey
    orders(first: 100) {
      nodes { id orderKey lineItems { nodes { __typename id lineNumber quantity part { __typename id name } } } }
    }
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


@dataclass(frozen=True, slots=True)
class Walk:
    """The connections below a customer: what the client has to page through, and what it has to find.

    Attributes:
        argument: the customer, one of its orders, and the page sizes, as JSON.
        orders: the ids of the customer's orders.
        lines: the line items of that order.
        pages_of_orders: how many requests paging through the orders takes.
        pages_of_lines: how many requests paging through the line items takes.
    """

    argument: str
    orders: list[str]
    lines: list[dict[str, Any]]
    pages_of_orders: int
    pages_of_lines: int


@pytest.fixture(scope="session")
def server(cluster: Cluster, orders_url: str) -> Iterator[Server]:
    """The real server process in front of the orders and the tables around them."""
    load_graph(cluster, SCALE)
    with running_server(orders_url, TABLES=TABLES) as server:
        yield server


@pytest.fixture(scope="session")
def walk(server: Server) -> Walk:
    """The orders of a customer, and the lines of one of them, from a single request without any client."""
    answer = httpx.post(server.graphql, json={"query": _CUSTOMER_AT_ONCE}).json()
    customer = answer["data"]["customer"]
    orders = customer["orders"]["nodes"]
    order = max(orders, key=lambda order: len(order["lineItems"]["nodes"]))
    lines = order["lineItems"]["nodes"]
    assert len(orders) > 2 * _ORDERS_SIZE
    assert len(lines) > 2 * _LINES_SIZE
    argument = {
        "customer": customer["id"],
        "customerKey": customer["customerKey"],
        "order": order["id"],
        "orderKey": order["orderKey"],
        "orders": _ORDERS_SIZE,
        "lines": _LINES_SIZE,
    }
    pages = (-(-len(orders) // _ORDERS_SIZE), -(-len(lines) // _LINES_SIZE))
    return Walk(json.dumps(argument), [order["id"] for order in orders], lines, *pages)


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
    with running_server(orders_url, APP_SCHEMA=APP_SCHEMA, ALLOWED_ORIGINS=server.url, TABLES=TABLES) as shop:
        yield shop


@pytest.fixture(scope="session")
def changes(shop: Server) -> Changes:
    """Makes changes in the shop."""
    return Changes(shop)
