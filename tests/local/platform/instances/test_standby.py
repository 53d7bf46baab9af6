"""The local platform's hot standby: tests can pause its replay, and the platform restarts it when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from databricks.sdk.service.database import DatabaseInstanceState

from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from databricks.sdk.service.database import DatabaseInstance

    from tests.servers.platform import LocalPlatform


@pytest.fixture(scope="module")
def replicated(platform: LocalPlatform) -> DatabaseInstance:
    """An instance with a readable secondary."""
    return platform.create_instance("with-standby", node_count=2, enable_readable_secondaries=True)


def in_inventory(platform: LocalPlatform, instance: DatabaseInstance) -> dict[str, Any]:
    """The instance in the inventory."""
    return next(one for one in platform.inventory()["instances"] if one["name"] == instance.name)


async def replayed(standby: Any, lsn: str) -> bool:
    """Whether the standby has replayed up to this position."""
    return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn))


async def reached(standby: Any, lsn: str) -> None:
    """Wait until the standby has replayed up to this position."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await replayed(standby, lsn):  # noqa: ASYNC110 # the other end is a database
            await asyncio.sleep(0.02)  # between two looks


async def test_a_replay_that_is_paused_stands_still_until_it_goes_on(
    platform: LocalPlatform, replicated: DatabaseInstance
) -> None:
    """While it is paused the standby answers without newer commits. Resumed, it shows them."""
    primary = await platform.connect(replicated.read_write_dns)
    standby = await platform.connect(replicated.read_only_dns)
    await primary.execute("SET synchronous_commit = on")
    await primary.execute("CREATE SCHEMA paused; CREATE TABLE paused.told AS SELECT 1 AS x")
    await reached(standby, await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text"))
    platform.pause_replay("with-standby")
    await primary.execute("INSERT INTO paused.told VALUES (2)")
    # The standby receives the record, but does not replay it.
    lsn = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await standby.fetchval("SELECT pg_last_wal_receive_lsn() >= $1::text::pg_lsn", lsn):  # noqa: ASYNC110 # the same
            await asyncio.sleep(0.02)  # between two looks
    assert not await replayed(standby, lsn)
    assert await standby.fetchval("SELECT count(*) FROM paused.told") == 1
    platform.pause_replay("with-standby", paused=False)
    await reached(standby, lsn)
    assert await standby.fetchval("SELECT count(*) FROM paused.told") == 2
    for connection in (primary, standby):
        await connection.close()


def test_a_replay_is_paused_only_on_a_running_standby(platform: LocalPlatform, shared: DatabaseInstance) -> None:
    """It is refused without a standby, and without the operator's token."""
    with pytest.raises(AssertionError, match="INVALID_STATE"):
        platform.pause_replay(str(shared.name))
    with pytest.raises(AssertionError, match="NOT_FOUND"):
        platform.pause_replay("nobody")
    path = f"{platform.host}/local/instances/{shared.name}/replay"
    assert httpx.post(path, json={"paused": True}).status_code == 401


async def test_a_standby_that_dies_is_brought_back_and_the_primary_goes_on(
    platform: LocalPlatform, replicated: DatabaseInstance
) -> None:
    """The instance stays AVAILABLE and its primary keeps its process and sessions. The standby replays again."""
    primary = await platform.connect(replicated.read_write_dns)
    standby = await platform.connect(replicated.read_only_dns)
    before = in_inventory(platform, replicated)["processes"]
    os.kill(before[replicated.read_only_dns], signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not standby.is_closed():  # noqa: ASYNC110 # the other end is a database
            await asyncio.sleep(0.02)  # between two looks
    states = set()

    def back() -> bool:
        now = in_inventory(platform, replicated)
        states.add(now["state"])
        return now["processes"].get(replicated.read_only_dns) not in (None, before[replicated.read_only_dns])

    wait_for(back, what=platform.log)
    assert states == {DatabaseInstanceState.AVAILABLE.value}
    assert (
        in_inventory(platform, replicated)["processes"][replicated.read_write_dns] == before[replicated.read_write_dns]
    )
    await primary.execute("CREATE SCHEMA later")
    lsn = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                standby = await platform.connect(replicated.read_only_dns)
            except (asyncpg.CannotConnectNowError, OSError):
                await asyncio.sleep(0.02)  # between two looks
            else:
                break
    await reached(standby, lsn)
    for connection in (primary, standby):
        await connection.close()
