"""The feed in this process: how it learns of a change. Its promises to subscribers: tests/blackbox/changes/test_feed.py."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from schema.ports.changes import BEGINNING
from server.changes.feed import PostgresFeed
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.server.conftest import Execute, OpenStore

SET = "mutation($s: OrderStatus!) { setOrderStatus(input: {orderKey: 1, status: $s}) { change { version } userErrors { code } } }"


async def test_postgresql_tells_it_of_a_change(open_store: OpenStore, execute: Execute) -> None:
    """Although the feed itself looks only once an hour, each change arrives before the next is made."""
    _, context = open_store(app_schema="feed_told", feed_catch_up=3600)

    async def change(status: str) -> int:
        answer = await execute(SET, context=context, s=status)
        version: int = answer["data"]["setOrderStatus"]["change"]["version"]
        return version

    await change("PARTIAL")
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(context.feed.changes(BEGINNING, None)) as changes:
        assert (await anext(changes)).version == 1
        for turn in range(10):
            version = await change(("OPEN", "PARTIAL")[turn % 2])
            assert (await anext(changes)).version == version
    assert isinstance(context.feed, PostgresFeed)
    await context.feed.close()
