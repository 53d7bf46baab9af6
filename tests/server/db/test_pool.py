"""The connection pool: a request gets a returned connection or a refusal in time, and no connection is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import uvloop
from pydantic import SecretStr

from schema.errors import Reason, UnavailableError
from server.db.engine import create_engines
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.process.served_database import served_database
from server.settings import Settings
from server.traffic.admission import Admission
from tests.servers.process import PATIENCE_SECONDS
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from server.db.pool import Pool
    from server.local.cluster import Cluster

SIZE = 3
SEED = 7


@contextlib.asynccontextmanager
async def pool_of(
    cluster: Cluster, *, pool_timeout: float = PATIENCE_SECONDS, pool_recycle: float = PATIENCE_SECONDS
) -> AsyncIterator[Pool]:
    """A pool of three connections, with these limits for the wait and for a connection's life, in seconds."""
    # One more is brief, and none of these tests asks for it.
    settings = Settings(database_url=SecretStr(cluster.url), pool_size=SIZE + 1, statement_timeout=PATIENCE_SECONDS)
    with (
        patch("server.db.engine._PAGE_WAIT_SECONDS", pool_timeout),
        patch("server.db.engine._RECYCLE_SECONDS", pool_recycle),
    ):
        engines = create_engines(settings, served_database(settings, Instances(settings, PlatformLoader(settings))))
    try:
        yield engines.pages
    finally:
        await engines.dispose()


@pytest.fixture
async def pool(cluster: Cluster) -> AsyncIterator[Pool]:
    """A pool of three connections, with a long timeout."""
    async with pool_of(cluster) as pool:
        yield pool


@contextlib.asynccontextmanager
async def all_out(pool: Pool) -> AsyncIterator[None]:
    """Hold every connection of the pool."""
    async with contextlib.AsyncExitStack() as held:
        for _ in range(SIZE):
            await held.enter_async_context(pool.checkout())
        yield


async def ask(pool: Pool, seconds: float = 0.0) -> int:
    """Use a connection for this time, and return its backend's process id."""
    async with pool.checkout() as raw:
        driver = raw.driver_connection
        assert driver is not None
        number: int = await driver.fetchval("SELECT pg_backend_pid() FROM pg_sleep($1)", seconds)
        return number


async def test_a_returned_connection_goes_to_the_next_in_the_queue(pool: Pool) -> None:
    """Far more requests than connections are all served, without more connections."""
    found = await asyncio.gather(*(ask(pool) for _ in range(200)))
    assert len(set(found)) <= SIZE
    assert (pool.used, pool.waiting) == (0, 0)


async def test_an_idle_connection_is_used_before_a_new_one_is_opened(pool: Pool) -> None:
    """This holds right after a burst that used the whole pool, and for SQLAlchemy connections too."""
    async with all_out(pool):
        pass
    found = await ask(pool)
    async with pool.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one() == found
    assert pool.idle == SIZE


async def test_requests_are_served_in_the_order_in_which_they_came(pool: Pool) -> None:
    """Each connection that is given back goes to the one that has waited longest."""
    served: list[int] = []

    async def one(number: int) -> None:
        async with pool.checkout():
            served.append(number)

    async with asyncio.TaskGroup() as requests, all_out(pool):
        for number in range(20):
            requests.create_task(one(number))
        await queued(pool, 20)
    assert served == list(range(20))


async def test_a_connection_given_to_a_request_that_leaves_goes_to_the_next(pool: Pool) -> None:
    """The first request is cancelled after it was given the connection, and before it could run."""
    async with contextlib.AsyncExitStack() as held:
        raws = [await held.enter_async_context(pool.checkout()) for _ in range(SIZE)]
        asking = [asyncio.create_task(pool.take()) for _ in range(2)]
        await queued(pool, 2)
        held.pop_all()
        pool.give_back(raws[0])
        asking[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking[0]
        assert await asking[1] is raws[0]
    for raw in raws:
        pool.give_back(raw)
    assert (pool.used, pool.idle, pool.waiting) == (0, SIZE, 0)


async def queued(pool: Pool, count: int) -> None:
    """Wait until this many requests wait."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while pool.waiting < count:  # noqa: ASYNC110 # the pool has no event for it
            await asyncio.sleep(0)


async def refused_after(pool: Pool) -> float:
    """The seconds until a request is refused a connection, measured from before it asks."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(UnavailableError) as refused:
        await ask(pool)
    assert refused.value.reason is Reason.POOL_EXHAUSTED
    return asyncio.get_running_loop().time() - began


async def test_a_discarded_connection_is_not_used_again(pool: Pool) -> None:
    """Its database may be gone, although the connection still answers."""
    before = await ask(pool)
    assert await ask(pool) == before
    pool.discard()
    assert await ask(pool) != before


async def test_a_wait_that_takes_too_long_is_refused(cluster: Cluster) -> None:
    """The refusal comes in time although no connection is returned. Later requests are served."""
    async with pool_of(cluster, pool_timeout=0.3) as pool:
        async with all_out(pool), asyncio.timeout(PATIENCE_SECONDS):
            assert await refused_after(pool) >= 0.25
        assert await ask(pool)
        assert (pool.used, pool.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("pool_timeout", "longest", "least"),
    [
        (2 * PATIENCE_SECONDS, 3600, 0),
        (0.3, 7200, 0.25),
    ],
)
async def test_the_wait_for_an_admission_slot_counts_against_the_wait_for_a_connection(
    cluster: Cluster, pool_timeout: float, longest: float, least: float
) -> None:
    """A request that has used up its hour is refused at once. One with an hour left is refused after the pool's timeout."""
    slot = await Admission(1, wait_seconds=longest).enter()
    slot.waited_seconds = 3600
    async with (
        pool_of(cluster, pool_timeout=pool_timeout) as pool,
        all_out(pool),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert await refused_after(pool) >= least
    slot.leave()


@pytest.mark.long
@pytest.mark.parametrize(("longest", "wait"), [(None, 0.3), (0.3, 0.3), (5.0, 0.5)])
async def test_a_refusal_comes_within_the_longest_promised_wait(
    cluster: Cluster, longest: float | None, wait: float
) -> None:
    """There are two queues, and a refusal comes within the longer of their two promised waits."""
    async with pool_of(cluster, pool_timeout=0.3) as pool:
        took = []
        for _ in range(3):
            async with all_out(pool):
                loop = asyncio.get_running_loop()
                began = loop.time()
                if longest is None:
                    await refused_after(pool)
                else:
                    admission = Admission(1, wait_seconds=longest)
                    loop.call_later(0.2, (await admission.enter()).leave)
                    slot = await admission.enter()
                    await refused_after(pool)
                    slot.leave()
                took.append(loop.time() - began)
    assert min(took) >= wait - 0.05
    hold(
        f"refused a connection, after a wait of at most {longest} s for a slot",
        statistics.median(took),
        computing_seconds=0.19,
        waiting_seconds=wait,
    )


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_no_connection_is_lost_whatever_happens_to_a_crowd_of_requests(
    cluster: Cluster, run: Callable[..., None]
) -> None:
    """Some are cancelled while they wait or run, some fail, some lose their connection. The pool goes on.

    This holds on the server's event loop, uvloop, and on asyncio's.
    """

    async def main() -> None:
        # So short that connections are replaced during the test.
        async with pool_of(cluster, pool_recycle=0.1) as pool:
            await crowd(pool)

    run(main())


async def crowd(pool: Pool) -> None:
    """Send five crowds of requests that end in all of these ways."""
    chance = random.Random(SEED)  # noqa: S311 # reproducible

    async def one() -> None:
        match chance.randrange(4):
            case 0:
                await ask(pool, chance.random() / 100)
            case 1:
                asking = asyncio.create_task(ask(pool, chance.random() / 100))
                await asyncio.sleep(chance.random() / 20)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            case 2:
                async with pool.checkout() as raw:
                    assert raw.driver_connection is not None
                    await raw.driver_connection.fetchval("SELECT 1/0")
            case _:
                async with pool.checkout() as raw:
                    assert raw.driver_connection is not None
                    await raw.driver_connection.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")

    for _ in range(5):
        await asyncio.gather(*(one() for _ in range(60)), return_exceptions=True)
        assert (pool.used, pool.waiting) == (0, 0)
        await asyncio.gather(*(ask(pool) for _ in range(30)))
        assert (pool.used, pool.waiting) == (0, 0)
        assert 0 < pool.idle <= pool.size


def test_requests_that_may_hardly_wait_are_refused(cluster: Cluster) -> None:
    """Their timer is due at once. uvloop's handle of such a timer does not know its time."""

    async def crowd() -> list[object]:
        async with pool_of(cluster, pool_timeout=0.0001) as pool, all_out(pool):
            return await asyncio.gather(*(ask(pool) for _ in range(20)), return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        errors = runner.run(crowd())
    assert {getattr(error, "reason", error) for error in errors} == {Reason.POOL_EXHAUSTED}
