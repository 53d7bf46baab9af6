"""Lookups of single orders by several requests at once: one statement, which is cancelled with its last waiter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from schema.orders.types import ORDERS
from schema.ports.templates import Form, Slot, Template
from server.observability.request_record import RequestRecord, current_record
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from schema.ports.tables import TableStore
    from tests.server.conftest import OpenStore

KEY = (Template(("key ", Slot(ORDERS["order_key"], Form.BIGINT))),)
# A statement that waits while it is being prepared has no text in pg_stat_activity yet.
WAITING = "SELECT count(*) FROM pg_locks WHERE relation = to_regclass('public.shared_lookups') AND NOT granted"


@pytest.fixture
async def store(database: asyncpg.Connection, open_store: OpenStore) -> AsyncIterator[TableStore]:
    """A store on a table that a test may lock."""
    await database.execute("CREATE TABLE public.shared_lookups AS SELECT * FROM orders_synced LIMIT 50")
    orders, context = open_store("public.shared_lookups")
    await orders.probe()
    # The probe lets the table be measured in the background. That would wait for the table's lock too, and be counted.
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "statistics of orders"))
    yield context.tables
    await database.execute("DROP TABLE public.shared_lookups")


async def until(database: asyncpg.Connection, waiting: int) -> None:
    """Wait until this number of the store's statements waits for a lock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await database.fetchval(WAITING) != waiting:  # noqa: ASYNC110 # PostgreSQL sends no event
            await asyncio.sleep(0.01)


async def look_up(store: TableStore, key: int) -> str | None:
    """The text of the order with this key."""
    found = await store.json_rows(ORDERS, [(key,)], KEY)
    assert found is not None
    return found[(key,)][0] if (key,) in found else None


async def test_those_who_ask_at_once_share_a_statement(store: TableStore, statements: list[str]) -> None:
    """The first runs its own, all others share one. Each gets its own order, or None if it does not exist."""
    assert await asyncio.gather(*(look_up(store, key) for key in (1, 2, 3, 3, -1))) == [
        'key "1"',
        'key "2"',
        'key "3"',
        'key "3"',
        None,
    ]
    assert len(statements) == 2


async def test_a_shared_statement_stands_on_every_record(store: TableStore) -> None:
    """Each request's log line counts the statement, also if another request started it."""

    async def request(key: int) -> RequestRecord:
        current_record.set(record := RequestRecord(str(key)))
        await look_up(store, key)
        return record

    records = await asyncio.gather(*(asyncio.create_task(request(key)) for key in (1, 2, -1)))
    assert [(record.statements, record.rows) for record in records] == [(1, 1), (1, 1), (1, 0)]
    assert all(record.database_seconds > 0 for record in records)


async def test_one_who_leaves_does_not_take_the_others_with_them(
    store: TableStore, database: asyncpg.Connection
) -> None:
    """When the last request leaves, the statement ends in the database."""
    for leaving in (1, 3):
        async with database.transaction():
            await database.execute("LOCK TABLE public.shared_lookups IN ACCESS EXCLUSIVE MODE")
            ahead, *together = [asyncio.create_task(look_up(store, key)) for key in (1, 2, 3, 4)]
            await until(database, 2)
            for task in together[:leaving]:
                task.cancel()
            await asyncio.gather(*together[:leaving], return_exceptions=True)
            await until(database, 1 if leaving == len(together) else 2)
        assert await ahead == 'key "1"'
        assert await asyncio.gather(*together[leaving:]) == [f'key "{key}"' for key in (2, 3, 4)[leaving:]]
