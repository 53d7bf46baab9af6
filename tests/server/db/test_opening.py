"""The pool opens connections itself: a slow login serves whoever waits when it succeeds, and its failure is told once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from schema.deadline import postpone, request_deadline
from schema.errors import Reason, UnavailableError
from server.observability.request_record import RequestRecord, current_record
from tests.server.db.logins import SIZE, Logins, ask, leave, pass_by, pool_of, until
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from server.db.pool import Pool
    from server.local.cluster import Cluster


async def test_a_login_that_outlasts_its_callers_serves_the_next(cluster: Cluster) -> None:
    """Callers whose patience is shorter than a login come one after another. The first login serves the last of them."""
    logins = Logins(cluster.url)
    async with pool_of(logins) as pool:
        for _ in range(20):
            asking = asyncio.create_task(ask(pool))
            await until(lambda: pool.waiting == 1 and logins.begun > 0)
            await leave(asking)
        last = asyncio.create_task(ask(pool))
        await until(lambda: pool.waiting == 1)
        logins.allowed.set()
        assert await last
        assert logins.begun == 1
        assert (pool.used, pool.idle, pool.waiting) == (0, 1, 0)


async def test_a_login_without_a_caller_ends_in_the_pool(cluster: Cluster) -> None:
    """The next caller finds its connection."""
    logins = Logins(cluster.url)
    async with pool_of(logins) as pool:
        asking = asyncio.create_task(ask(pool))
        await until(lambda: logins.begun == 1)
        await leave(asking)
        logins.allowed.set()
        await until(lambda: pool.idle == 1)
        assert await ask(pool)
        assert logins.begun == 1


async def test_a_caller_that_leaves_at_any_moment_of_a_login_leaves_no_exception_behind(cluster: Cluster) -> None:
    """It leaves after one turn of the event loop, after two, and so on. Nothing is logged as never retrieved."""
    never_retrieved: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: never_retrieved.append(context))
    for turns in range(20):
        async with pool_of(functools.partial(asyncpg.connect, cluster.url)) as pool:
            asking = asyncio.create_task(pass_by(pool))
            for _ in range(turns):
                await asyncio.sleep(0)
            await leave(asking)
            assert await ask(pool)
        gc.collect()
    assert not never_retrieved


async def test_each_failed_login_is_told_to_a_caller_until_none_waits(cluster: Cluster) -> None:
    """A database that refuses: nobody waits for as long as a connection in use may take."""
    logins = Logins(cluster.url)
    logins.error = ConnectionRefusedError()
    async with pool_of(logins) as pool:
        asking = [asyncio.create_task(ask(pool)) for _ in range(5 * SIZE)]
        await until(lambda: pool.waiting == len(asking))
        logins.allowed.set()
        async with asyncio.timeout(PATIENCE_SECONDS / 2):
            found = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(error) for error in found} == {ConnectionRefusedError}
        assert logins.begun == len(asking)
        assert (pool.used, pool.idle, pool.waiting) == (0, 0, 0)


async def test_a_caller_waits_for_its_own_login_and_is_refused_another_ones_in_time(cluster: Cluster) -> None:
    """The wait for a connection that others use is short. A login may take longer than that."""
    logins = Logins(cluster.url)
    async with pool_of(logins, acquisition=0.05) as pool:
        asking = [asyncio.create_task(ask(pool)) for _ in range(SIZE + 1)]
        # The last one is refused, long after which the others still wait.
        with pytest.raises(UnavailableError) as refused:
            await asking[-1]
        assert refused.value.reason is Reason.POOL_EXHAUSTED
        assert pool.waiting == SIZE
        logins.allowed.set()
        assert len(set(await asyncio.gather(*asking[:SIZE]))) <= SIZE


async def test_a_wake_up_postpones_the_deadline_of_each_caller_that_waits_for_it(cluster: Cluster) -> None:
    """Of the one for whom the login began, and of one that comes later."""
    logins = Logins(cluster.url)

    async def waking() -> asyncpg.Connection:
        postpone(PATIENCE_SECONDS)
        return await logins()

    async def query(pool: Pool, seconds: float) -> int:
        async with request_deadline(seconds):
            return await ask(pool)

    async with pool_of(waking, acquisition=0.05) as pool:
        asking = [asyncio.create_task(query(pool, 0.1))]
        await until(lambda: logins.begun == 1)
        asking += [asyncio.create_task(query(pool, 0.1)) for _ in range(2 * SIZE)]
        over = asyncio.get_running_loop().time() + 0.2
        await until(lambda: asyncio.get_running_loop().time() > over)
        assert pool.waiting == len(asking)
        logins.allowed.set()
        assert len(await asyncio.gather(*asking)) == len(asking)


async def test_a_connection_belongs_to_no_request(cluster: Cluster) -> None:
    """It is opened outside of the context of the request that asked for it."""
    records: list[RequestRecord | None] = []

    async def connect() -> asyncpg.Connection:
        records.append(current_record.get())
        return await asyncpg.connect(cluster.url)

    current_record.set(RequestRecord("request"))
    async with pool_of(connect) as pool:
        assert await ask(pool)
    assert records == [None]


async def test_a_failed_login_is_not_told_to_a_caller_that_came_after_it_began(cluster: Cluster) -> None:
    """What it met may be over: its own caller leaves, another one comes, and the login fails. The other gets a new one."""
    old = asyncio.Event()
    begun: list[None] = []

    async def connect() -> asyncpg.Connection:
        begun.append(None)
        if len(begun) == 1:
            await old.wait()
            raise TimeoutError
        return await asyncpg.connect(cluster.url)

    async with pool_of(connect) as pool:
        first = asyncio.create_task(ask(pool))
        await until(lambda: len(begun) == 1)
        await leave(first)
        # The event loop's clock may stand still for a millisecond.
        now = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > now)
        second = asyncio.create_task(ask(pool))
        await until(lambda: pool.waiting == 1)
        old.set()
        assert await second
        assert len(begun) == 2


async def test_a_caller_that_waits_after_a_wake_up_is_refused_as_without_one(cluster: Cluster) -> None:
    """Its wait is short again as soon as the database is awake, although the wake-up had allowed it a long one."""
    logins = Logins(cluster.url)

    async def waking() -> asyncpg.Connection:
        postpone(2 * PATIENCE_SECONDS)
        return await logins()

    async with pool_of(waking, acquisition=0.05) as pool, contextlib.AsyncExitStack() as held:
        holding = [asyncio.create_task(held.enter_async_context(pool.checkout())) for _ in range(SIZE)]
        asking = asyncio.create_task(ask(pool))
        await until(lambda: logins.begun == SIZE and pool.waiting == SIZE + 1)
        # All that wait are looked at once, and may go on to wait.
        over = asyncio.get_running_loop().time() + 0.1
        await until(lambda: asyncio.get_running_loop().time() > over)
        logins.allowed.set()
        await asyncio.gather(*holding)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(UnavailableError) as refused:
                await asking
        assert refused.value.reason is Reason.POOL_EXHAUSTED


async def test_a_login_that_fails_during_a_wake_up_ends_no_ones_patience(cluster: Cluster) -> None:
    """Another login still waits for the database, and with it more callers than there are logins."""
    allowed, dropped = asyncio.Event(), asyncio.Event()
    begun: list[None] = []

    async def waking() -> asyncpg.Connection:
        begun.append(None)
        if len(begun) == SIZE:
            await dropped.wait()
            raise ConnectionResetError
        if len(begun) == 1:
            postpone(PATIENCE_SECONDS)
        await allowed.wait()
        return await asyncpg.connect(cluster.url)

    async with pool_of(waking, acquisition=0.05) as pool:
        asking = [asyncio.create_task(ask(pool)) for _ in range(2 * SIZE)]
        await until(lambda: len(begun) == SIZE)
        dropped.set()
        with pytest.raises(ConnectionResetError):
            await asking.pop(0)
        asking.append(asyncio.create_task(ask(pool)))
        over = asyncio.get_running_loop().time() + 0.1
        await until(lambda: asyncio.get_running_loop().time() > over)
        assert pool.waiting == len(asking)
        allowed.set()
        assert len(await asyncio.gather(*asking)) == len(asking)


async def test_a_login_that_is_cancelled_from_inside_is_told_to_its_caller(cluster: Cluster) -> None:
    """As any other failure. The next caller gets a login of its own."""
    logins = Logins(cluster.url)

    async def connect() -> asyncpg.Connection:
        if not logins.begun:
            logins.begun += 1
            raise asyncio.CancelledError
        return await logins()

    logins.allowed.set()
    async with pool_of(connect) as pool, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError) as told:
            await ask(pool)
        assert told.value.reason is Reason.DATABASE_UNAVAILABLE
        assert await ask(pool)


async def test_a_connection_is_discarded_even_if_its_login_was_under_way(cluster: Cluster) -> None:
    """The database that it reached may be the one that is gone. The caller gets another connection."""
    logged_in, allowed = asyncio.Event(), asyncio.Event()
    pids: list[int] = []

    async def connect() -> asyncpg.Connection:
        connection = await asyncpg.connect(cluster.url)
        pids.append(connection.get_server_pid())
        logged_in.set()
        await allowed.wait()
        return connection

    async with pool_of(connect) as pool:
        asking = asyncio.create_task(ask(pool))
        await logged_in.wait()
        pool.discard()
        allowed.set()
        assert await asking == pids[1]
        assert len(pids) == 2
