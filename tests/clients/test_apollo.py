"""Tests of the server with Apollo Client: its normalising cache and its Relay-style pagination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.clients.conftest import Listing, Walk


@pytest.fixture(scope="module")
def apollo(listing: Listing, walk: Walk) -> Any:
    """What Apollo Client found."""
    return node.run("apollo.mjs", *listing.arguments, walk.argument)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_connection_is_paged_to_its_end(apollo: Any, listing: Listing, direction: str) -> None:
    """Apollo's merged pages have every order of the list once, in order, with one request for each page."""
    found = apollo[direction]
    assert found["orders"] == [{**order, "__typename": "Order"} for order in listing.orders]
    assert (found["requests"], found["normalised"]) == (listing.pages, len(listing.orders))


def test_connections_below_an_object_are_paged_to_their_ends(apollo: Any, walk: Walk) -> None:
    """Each object has its own list in the cache. The first pages of all line items come with the orders."""
    assert apollo["nested"] == {
        "orders": walk.orders,
        "lines": walk.lines,
        "requests": walk.pages_of_orders + walk.pages_of_lines - 1,
    }
