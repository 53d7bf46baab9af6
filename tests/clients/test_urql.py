"""Tests of the server with urql: graphcache's normalised cache, and its pagination after Relay's specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients import node

if TYPE_CHECKING:
    from tests.clients.conftest import Walk
    from tests.servers.process import Server


def test_connections_below_an_object_are_paged_to_their_ends(server: Server, walk: Walk) -> None:
    """Each object has its own list in the cache, and one request loads each page."""
    assert node.run("urql.mjs", server.graphql, walk.argument) == {
        "orders": walk.orders,
        "lines": walk.lines,
        "requests": walk.pages_of_orders + walk.pages_of_lines,
    }
