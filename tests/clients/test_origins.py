"""Owns the test of which pages may listen, in a real browser, which says truly where a page comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node

if TYPE_CHECKING:
    from tests.process import Server

_ANSWER = {"data": {"__typename": "Query"}}


@pytest.fixture(scope="module")
def asked(shop: Server, server: Server) -> dict[str, Any]:
    """What a page of either server got: from its own, and from the other one."""
    pairs = {
        "own": (server, server),
        "allowed": (server, shop),
        "foreign": (shop, server),
    }
    urls = [server.url for pair in pairs.values() for server in pair]
    return dict(zip(pairs, node.run("origins.mjs", node.tool("chromium"), *urls), strict=True))


@pytest.mark.parametrize("origin", ["own", "allowed"])
def test_our_own_pages_may_listen_and_those_of_allowed_origins(asked: dict[str, Any], origin: str) -> None:
    """By EventSource and by WebSocket; of other origins those that ALLOWED_ORIGINS names."""
    assert asked[origin] == {"eventSource": _ANSWER, "webSocket": _ANSWER}


def test_pages_of_other_origins_may_not_listen(asked: dict[str, Any]) -> None:
    """Both ways a page of another origin gets a 403, and its EventSource does not try again."""
    assert asked["foreign"] == {"eventSource": 403, "webSocket": 403}
