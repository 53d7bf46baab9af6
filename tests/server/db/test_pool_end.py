"""The end of the pool: requests are refused, logins are completed or given up, and no connection is left open."""

from __future__ import annotations

import asyncio
import functools
import gc
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import asyncpg
import pytest

from schema.errors import Reason, UnavailableError
from server.db.wake_up import WakeUp
from tests.server.db.logins import SIZE, Logins, ask, leave, pass_by, pool_of, until
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from server.local.cluster import Cluster


async def test_the_end_of_the_pool_refuses_the_callers_that_wait_and_those_that_come_later(cluster: Cluster) -> None:
    """One waits for a login, another comes after the end. Neither begins a login."""
    logins = Logins(cluster.url)
    async with pool_of(logins) as pool:
        asking = asyncio.create_task(ask(pool))
        await until(lambda: logins.begun == 1)
        disposing = asyncio.create_task(pool.dispose())
        for ended in (asking, asyncio.create_task(ask(pool))):
            with pytest.raises(UnavailableError) as refused:
                await asyncio.wait_for(ended, PATIENCE_SECONDS)
            assert refused.value.reason is Reason.SERVER_STOPPING
        logins.allowed.set()
        await disposing
        assert logins.begun == 1
        assert (pool.used, pool.idle, pool.waiting) == (0, 0, 0)


async def test_a_connection_that_comes_back_after_the_end_of_the_pool_is_closed_and_not_replaced(
    cluster: Cluster,
) -> None:
    """Although a request waited for it, which is told that the server stops."""
    logins = Logins(cluster.url)
    logins.allowed.set()
    async with pool_of(logins) as pool:
        raws = [await pool.take() for _ in range(SIZE)]
        waiting = asyncio.create_task(pool.take())
        await until(lambda: pool.waiting == 1)
        await pool.dispose()
        for raw in raws:
            pool.give_back(raw)
        (told,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(told, UnavailableError)
        await until(lambda: all(raw.driver_connection.is_closed() for raw in raws))
        assert logins.begun == SIZE
        assert (pool.used, pool.idle, pool.waiting) == (0, 0, 0)


@pytest.mark.parametrize(("database", "longest"), [("silent", 0.05), ("asleep", 2 * PATIENCE_SECONDS)])
async def test_the_end_of_the_pool_does_not_wait_for_a_login_that_never_ends(database: str, longest: float) -> None:
    """It waits for a silent peer for as long as it would for any login, and not at all for a wake-up."""
    wake_up = WakeUp(sleeps=True, patience=2 * PATIENCE_SECONDS)

    async def attempt() -> asyncpg.Connection:
        if database == "asleep":
            raise ConnectionRefusedError
        return await asyncio.Future()

    with patch("server.db.pool._LOGIN_SECONDS", longest):
        async with pool_of(lambda: wake_up.connect(attempt), wake_up=wake_up) as pool:
            asking = asyncio.create_task(ask(pool))
            await until(lambda: pool.waiting == 1 and wake_up.under_way == (database == "asleep"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await pool.dispose()
            (told,) = await asyncio.gather(asking, return_exceptions=True)
            assert isinstance(told, UnavailableError)


def test_the_end_of_the_pool_at_any_moment_of_a_login_leaves_nothing_behind(cluster: Cluster) -> None:
    """Neither an exception that is never retrieved nor a connection. On asyncio's event loop, which would log it."""
    application = "end of the pool"

    async def main() -> None:
        never_retrieved: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: never_retrieved.append(context))
        settings = {"application_name": application}
        for turns in range(30):
            connect = functools.partial(asyncpg.connect, cluster.url, server_settings=settings)
            async with pool_of(connect) as pool:
                asking = asyncio.create_task(pass_by(pool))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await leave(asking)
            gc.collect()
        gc.collect()
        assert not never_retrieved
        observer = await asyncpg.connect(cluster.url)
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await observer.fetchval(query, application):
                pass
        await observer.close()

    asyncio.run(main())
