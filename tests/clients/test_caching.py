"""Tests of queries by GET with a real browser's cache, which must not hide a user's own changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node
from tests.clients.conftest import APP_SCHEMA
from tests.servers.process import running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

_SEEN = ["OPEN"] * 3 + ["FULFILLED"] * 3 + ["OPEN"] * 3


@pytest.fixture(scope="module")
def reusing(orders_url: str) -> Iterator[Server]:
    """A server whose responses may be reused for longer than the page asks for."""
    with running_server(orders_url, APP_SCHEMA=APP_SCHEMA, CACHE_SECONDS="600") as server:
        yield server


@pytest.fixture(scope="module")
def results(shop: Server, reusing: Server) -> list[list[dict[str, Any]]]:
    """The page's responses before and after its own changes, from each of the two servers."""
    answers: list[list[dict[str, Any]]] = node.run("caching.mjs", node.tool("chromium"), shop.url, reusing.url)
    return answers


def test_a_page_sees_its_own_change_whatever_its_cache_keeps(results: list[list[dict[str, Any]]]) -> None:
    """The page sees its change at once: with the default settings, and if responses may be reused without asking."""
    assert [[answer["status"] for answer in answers] for answers in results] == [_SEEN, _SEEN]


def test_a_cache_revalidates_as_the_headers_say(shop: Server, results: list[list[dict[str, Any]]]) -> None:
    """By default the browser asks each time and gets a 304; else once per change. A reused response keeps its id."""
    by_asking, by_itself = ([answer["id"] for answer in answers] for answers in results)
    assert len({*by_asking}) == 9
    # The server writes a line after it has sent the response.
    wait_for(lambda: shop.log().count('"status":304') >= 3, what=shop.log)
    assert len({*by_itself}) == 3
