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
from server.db.pool import Pool
from server.db.wake_up import WakeUp
from server.observability.request_record import RequestRecord, current_record
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from server.local.cluster import Cluster

SIZE = 2


class Logins:
    """Logs in to a PostgreSQL. Each login waits until it is allowed, and fails if there is an error to raise."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.begun = 0
        self.allowed = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> asyncpg.Connection:
        """Open a connection."""
        self.begun += 1
        await self.allowed.wait()
        if self.error is not None:
            raise self.error
        return await asyncpg.connect(self.url)


@contextlib.asynccontextmanager
async def pool_of(connect: Callable[[], Any], *, acquisition: float = PATIENCE_SECONDS) -> AsyncIterator[Pool]:
    """A pool of two connections."""
    wake_up = WakeUp(sleeps=False, patience=0)
    pool = Pool("test", connect, wake_up, size=SIZE, acquisition=acquisition, recycle=PATIENCE_SECONDS)
    try:
        yield pool
    finally:
        await pool.dispose()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 # the pool has no event for it
            await asyncio.sleep(0.001)


async def ask(pool: Pool) -> int:
    """Use a connection, and return its backend's process id."""
    async with pool.checkout() as raw:
        driver: Any = raw.driver_connection
        return int(await driver.fetchval("SELECT pg_backend_pid()"))


async def pass_by(pool: Pool) -> None:
    """Check out a connection and give it back."""
    async with pool.checkout():
        pass


async def leave(asking: asyncio.Task[Any]) -> None:
    """Go away while waiting."""
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


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
