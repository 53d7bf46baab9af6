"""Tests of the server with Relay: its compiler, its network layer and its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.clients.conftest import Listing, Walk


@pytest.fixture(scope="module")
def relay(listing: Listing, walk: Walk) -> Any:
    """The contents of Relay's store."""
    return node.run("relay.mjs", *listing.arguments, walk.argument)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_connection_is_paged_to_its_end(relay: Any, listing: Listing, direction: str) -> None:
    """Relay's store gets every order of the list once, in order, with one request for each page."""
    assert relay[direction] == {"orders": listing.orders, "requests": listing.pages}


def test_an_order_is_fetched_again_by_its_id(relay: Any, listing: Listing) -> None:
    """Relay refetches one order through `node`, which repairs a copy in the store that the test has changed."""
    assert relay["refetched"] == {
        "stored": {**listing.orders[-1], "totalPrice": "stale"},
        "fetched": listing.orders[-1],
    }


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_connections_below_an_object_are_paged_to_their_ends(relay: Any, walk: Walk, direction: str) -> None:
    """Relay refetches each by the id of its parent. The first pages of all line items come with the orders."""
    assert relay["nested"][direction] == {
        "orders": walk.orders,
        "lines": walk.lines,
        "requests": walk.pages_of_orders + walk.pages_of_lines - 1,
    }
