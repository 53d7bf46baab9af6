"""The history in this process: queries that share a statement."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from schema.deadline import postpone, request_deadline
from schema.ports.changes import BEGINNING, FeedPlace
from server.changes.history import SqlChangeHistory
from server.db.app_tables import change_tables
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.db.engine import Engines


class Sleeping:
    """A pool whose database sleeps until `awake` is set. Waiting for it extends the query's deadline."""

    name = "pages"

    def __init__(self, engines: Engines) -> None:
        self._pages = engines.pages
        self.awake = asyncio.Event()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """A connection, once the database is awake."""
        postpone(PATIENCE_SECONDS)
        await self.awake.wait()
        async with self._pages.connect() as connection:
            yield connection


async def test_a_wake_up_extends_the_deadline_of_every_query_that_waits_for_the_head(engines: Engines) -> None:
    """Two queries share the statement. The one that did not start it would otherwise fail with REQUEST_TIMEOUT."""
    pool: Any = Sleeping(engines)
    history = SqlChangeHistory(pool, change_tables("never_made"), migrations=None)  # type: ignore[arg-type] # unused
    loop = asyncio.get_running_loop()
    over = loop.time() + 0.05

    async def head() -> FeedPlace:
        async with request_deadline(0.05):
            return await history.head()

    async with asyncio.TaskGroup() as group:
        heads = [group.create_task(head()) for _ in range(2)]
        loop.call_at(over + 0.05, pool.awake.set)
    assert [one.result() for one in heads] == [BEGINNING, BEGINNING]
