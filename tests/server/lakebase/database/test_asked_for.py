"""What was asked of the platform: who knows it later, and for which resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from server.db.database import DatabaseAbsentError
from server.lakebase.database.asked_for import AskedForStore
from server.lakebase.database.own_tables import OwnTables
from tests.server.lakebase.conftest import SCHEMA

if TYPE_CHECKING:
    import asyncpg

TABLE = ("synced table", "orders.public.orders_synced")
SPEC = {"source": "samples.tpch.orders", "primary_key": ["o_orderkey"], "timeseries_key": None, "branch": "production"}


@pytest.fixture(autouse=True)
async def _nothing_asked(arguments: tuple[Any, ...], database: asyncpg.Connection) -> None:
    """Nothing was asked for yet."""
    assert arguments
    await database.execute(f"DELETE FROM {SCHEMA}.asked_for")


class NoDatabase(OwnTables):
    """The tables of a database that is not there yet."""

    absent = True

    async def rows(self, *arguments: Any) -> Any:
        """Fail until the database is there."""
        if self.absent:
            raise DatabaseAbsentError("There is no database yet.")
        return await super().rows(*arguments)


async def test_what_was_asked_for_is_known_to_every_process(arguments: tuple[Any, ...]) -> None:
    """Of the resource that is there since, and not of a later one of the same name."""
    await AskedForStore(OwnTables(*arguments)).note(*TABLE, SPEC)
    other, third = (AskedForStore(OwnTables(*arguments)) for _ in range(2))
    assert await other.of(*TABLE, "uid-1") == SPEC
    assert await third.of(*TABLE, "uid-2") is None
    assert await other.of(*TABLE, "uid-2") is None
    assert await third.of(*TABLE, "uid-1") == SPEC
    assert await third.of("catalog", TABLE[1], "uid-1") is None


async def test_what_is_asked_for_again_replaces_what_was_asked_before(arguments: tuple[Any, ...]) -> None:
    """Also for a process that knew it."""
    one, other = (AskedForStore(OwnTables(*arguments)) for _ in range(2))
    await one.note(*TABLE, SPEC)
    assert await other.of(*TABLE, "uid-1") == SPEC
    await one.note(*TABLE, {**SPEC, "source": "samples.tpch.customer"})
    again = await other.of(*TABLE, "uid-2")
    assert again is not None
    assert again["source"] == "samples.tpch.customer"


async def test_a_copy_of_the_database_does_not_know_it(
    arguments: tuple[Any, ...], database: asyncpg.Connection
) -> None:
    """The row is of another home there."""
    await AskedForStore(OwnTables(*arguments)).note(*TABLE, SPEC)
    await database.execute(f"UPDATE {SCHEMA}.asked_for SET home = 'another'")
    assert await AskedForStore(OwnTables(*arguments)).of(*TABLE, "uid-1") is None


async def test_what_was_asked_for_without_a_database_is_written_once_there_is_one(arguments: tuple[Any, ...]) -> None:
    """As while everything is being provisioned."""
    tables = NoDatabase(*arguments)
    store = AskedForStore(tables)
    await store.note("catalog", "orders", {"create_database": True})
    await store.note(*TABLE, SPEC)
    assert await store.of(*TABLE, "uid-1") == SPEC
    tables.absent = False
    assert await store.of(*TABLE, "uid-1") == SPEC
    other = AskedForStore(OwnTables(*arguments))
    assert await other.of(*TABLE, "uid-1") == SPEC
    assert await other.of("catalog", "orders", None) == {"create_database": True}
