"""Owns the test of queries by GET with a real browser's cache, which must not undo what its user has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node
from tests.clients.conftest import APP_SCHEMA
from tests.process import running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process import Server

_SEEN = ["OPEN"] * 3 + ["FULFILLED"] * 3 + ["OPEN"] * 3


@pytest.fixture(scope="module")
def reusing(orders_url: str) -> Iterator[Server]:
    """A server whose answers may be used again for longer than the page asks."""
    with running_server(orders_url, APP_SCHEMA=APP_SCHEMA, CACHE_SECONDS="600") as server:
        yield server


@pytest.fixture(scope="module")
def asked(shop: Server, reusing: Server) -> list[list[dict[str, Any]]]:
    """What a page was answered before and after changes of its own, by each of the two."""
    answers: list[list[dict[str, Any]]] = node.run("caching.mjs", node.tool("chromium"), shop.url, reusing.url)
    return answers


def test_a_page_sees_its_own_change_whatever_its_cache_keeps(asked: list[list[dict[str, Any]]]) -> None:
    """At once, by default and where answers may be used again without asking."""
    assert [[answer["status"] for answer in answers] for answers in asked] == [_SEEN, _SEEN]


def test_a_cache_asks_again_or_does_not_as_it_is_told(shop: Server, asked: list[list[dict[str, Any]]]) -> None:
    """By default each time, and the answer is a 304; else once for each change. What it used last has the same id."""
    by_asking, by_itself = ([answer["id"] for answer in answers] for answers in asked)
    assert len({*by_asking}) == 9
    # A line is written when its answer is on its way.
    wait_for(lambda: shop.log().count('"status":304') >= 3, what=shop.log)
    assert len({*by_itself}) == 3
