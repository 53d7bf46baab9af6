"""Refusals that say nothing about the connections of the write pool: they open no new ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from schema.context import Context
    from server.db.engine import Engines
    from tests.server.conftest import Execute, OpenStore

TABLE: Final = "public.refused_orders"
APP_SCHEMA: Final = "refused_changes"
ROUNDS: Final = 100
SET_ONE: Final = """
mutation($key: BigInt!) {
  setOrderStatus(input: {orderKey: $key, status: PARTIAL}) { change { version } userErrors { code } }
}
"""


@pytest.fixture
async def context(execute: Execute, open_store: OpenStore, database: asyncpg.Connection) -> AsyncIterator[Context]:
    """An order for each round, and a store with our own tables."""
    await database.execute(
        f"CREATE TABLE {TABLE} (LIKE public.orders_synced INCLUDING INDEXES); "
        f"INSERT INTO {TABLE} SELECT n, 1, 'O', 9.99, '1995-06-17', '5-LOW', 'Clerk#1', 0, '' "
        f"FROM generate_series(1, {ROUNDS}) n"
    )
    _, context = open_store(TABLE, app_schema=APP_SCHEMA)
    await execute('mutation { clearOrderStatus(input: {orderKey: "1"}) { replayed } }', context=context)
    yield context
    await database.execute(f"DROP TABLE {TABLE}; DROP SCHEMA {APP_SCHEMA} CASCADE")


@pytest.fixture
def opened(engines: Engines) -> Iterator[list[None]]:
    """Grows with each connection that the write pool opens."""
    found: list[None] = []
    engines.writes.opened = lambda: found.append(None)
    yield found
    engines.writes.opened = lambda: None


async def at_once(execute: Execute, context: Context, key: int) -> list[dict[str, Any]]:
    """Four changes of one order, sent at once."""
    return await asyncio.gather(*(execute(SET_ONE, context=context, key=str(key)) for _ in range(4)))


async def test_callers_that_forestall_each_other_open_no_connection(
    execute: Execute, context: Context, opened: list[None]
) -> None:
    """In each round four callers change an order that has no row yet. The first sets it, the others find it set."""
    await at_once(execute, context, 1)
    opened.clear()
    for key in range(2, ROUNDS + 1):
        answers = await at_once(execute, context, key)
        assert any(answer["data"]["setOrderStatus"]["change"] for answer in answers)
        assert not any(answer.get("errors") for answer in answers)
    assert not opened


async def test_changes_while_a_sync_has_the_table_empty_open_no_connection(
    execute: Execute, context: Context, opened: list[None], database: asyncpg.Connection
) -> None:
    """They are refused, and the connections stay for when it is filled."""
    await at_once(execute, context, 1)
    await database.execute(f"DELETE FROM {TABLE}")
    opened.clear()
    for key in range(2, ROUNDS + 1):
        answers = await at_once(execute, context, key)
        assert {answer["errors"][0]["extensions"]["reason"] for answer in answers} == {"ORDERS_UNAVAILABLE"}
    assert not opened
