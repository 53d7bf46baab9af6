"""Tests of which pages may subscribe, in a real browser, which sends a page's true origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.servers.process import Server

_ANSWER = {"data": {"__typename": "Query"}}


@pytest.fixture(scope="module")
def results(shop: Server, server: Server) -> dict[str, Any]:
    """What a page of either server got from its own server and from the other one."""
    pairs = {
        "own": (server, server),
        "allowed": (server, shop),
        "foreign": (shop, server),
    }
    urls = [server.url for pair in pairs.values() for server in pair]
    return dict(zip(pairs, node.run("origins.mjs", node.tool("chromium"), *urls), strict=True))


@pytest.mark.parametrize("origin", ["own", "allowed"])
def test_our_own_pages_may_listen_and_those_of_allowed_origins(results: dict[str, Any], origin: str) -> None:
    """Pages of the server's origin and of those in ALLOWED_ORIGINS may ask, by POST, EventSource and WebSocket."""
    assert results[origin] == {"post": _ANSWER, "eventSource": _ANSWER, "webSocket": _ANSWER}


def test_pages_of_other_origins_may_not_listen(results: dict[str, Any]) -> None:
    """A page of another origin gets a 403, and its EventSource does not retry. Its browser does not even send a POST."""
    assert results["foreign"] == {"post": "refused", "eventSource": 403, "webSocket": 403}
