"""Tests of the server with Apollo Client: its normalising cache and its Relay-style pagination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.clients.conftest import Listing


@pytest.fixture(scope="module")
def apollo(listing: Listing) -> Any:
    """The orders that Apollo Client found."""
    return node.run("apollo.mjs", *listing.arguments)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_connection_is_paged_to_its_end(apollo: Any, listing: Listing, direction: str) -> None:
    """Apollo's merged pages have every order of the list once, in order, with one request for each page."""
    found = apollo[direction]
    assert found["orders"] == [{**order, "__typename": "Order"} for order in listing.orders]
    assert (found["requests"], found["normalised"]) == (listing.pages, len(listing.orders))
