"""Owns the promises of a pool: whoever waits gets what another gives back, in time or a refusal, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from server.database import served_database
from server.db.engine import create_engines
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.settings import Settings
from server.traffic.admission import Admission
from tests.calibration import hold
from tests.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.db.pool import Pool
    from server.local.cluster import Cluster

SIZE = 3
SEED = 7


@contextlib.asynccontextmanager
async def pool_of(
    cluster: Cluster, *, pool_timeout: float = PATIENCE_SECONDS, pool_recycle: float = PATIENCE_SECONDS
) -> AsyncIterator[Pool]:
    """A pool of three, in which one waits for a connection for so long, and a connection lives for so long."""
    settings = Settings(database_url=SecretStr(cluster.url), pool_size=SIZE, statement_timeout=PATIENCE_SECONDS)
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
    """A pool of three, in which everybody has time."""
    async with pool_of(cluster) as pool:
        yield pool


@contextlib.asynccontextmanager
async def all_out(pool: Pool) -> AsyncIterator[None]:
    """Within, every connection of the pool is in use."""
    async with contextlib.AsyncExitStack() as held:
        for _ in range(SIZE):
            await held.enter_async_context(pool.checkout())
        yield


async def ask(pool: Pool, seconds: float = 0.0) -> int:
    """Use a connection for so long, and say which one it was."""
    async with pool.checkout() as raw:
        driver = raw.driver_connection
        assert driver is not None
        number: int = await driver.fetchval("SELECT pg_backend_pid() FROM pg_sleep($1)", seconds)
        return number


async def test_what_is_given_back_goes_to_who_waits(pool: Pool) -> None:
    """Far more at once than there are connections; all of them are served, by no more connections than that."""
    found = await asyncio.gather(*(ask(pool) for _ in range(200)))
    assert len(set(found)) <= SIZE
    assert (pool.used, pool.waiting) == (0, 0)


async def test_what_lies_ready_is_found_by_whoever_asks(pool: Pool) -> None:
    """Right after a burst as wide as the pool, in which all of it was in use: those who speak SQLAlchemy too."""
    found = await asyncio.gather(*(ask(pool, 0.01) for _ in range(SIZE)))
    assert len(set(found)) == SIZE
    async with pool.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one() in found


async def refused_after(pool: Pool) -> float:
    """How long it takes until one is refused a connection; the clock is read before."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(PoolTimeoutError):
        await ask(pool)
    return asyncio.get_running_loop().time() - began


async def test_who_waits_too_long_is_told_so(cluster: Cluster) -> None:
    """In its time, although nothing is given back; and whoever comes later is served."""
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
async def test_the_time_that_a_place_was_waited_for_is_taken_from_the_wait_for_a_connection(
    cluster: Cluster, pool_timeout: float, longest: float, least: float
) -> None:
    """Who has waited for an hour of one is refused at once, who has waited for an hour of two after the pool's time."""
    place = await Admission(1, wait_seconds=longest).enter()
    place.waited_seconds = 3600
    async with (
        pool_of(cluster, pool_timeout=pool_timeout) as pool,
        all_out(pool),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert await refused_after(pool) >= least
    place.leave()


@pytest.mark.long
@pytest.mark.parametrize(("longest", "wait"), [(None, 0.3), (0.3, 0.3), (5.0, 0.5)])
async def test_who_is_refused_is_told_so_in_the_time_that_is_promised(
    cluster: Cluster, longest: float | None, wait: float
) -> None:
    """However many lines there are, an answer that says no comes after the longest of the times that are promised."""
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
                    place = await admission.enter()
                    await refused_after(pool)
                    place.leave()
                took.append(loop.time() - began)
    assert min(took) >= wait - 0.05
    hold(
        f"refused a connection, after a wait of at most {longest} s for a place",
        statistics.median(took),
        computing_seconds=0.19,
        waiting_seconds=wait,
    )


async def test_nothing_is_lost_of_a_crowd_in_which_everything_happens(cluster: Cluster) -> None:
    """Some are cancelled while they wait or ask, some end with an error or with their connection; it goes on."""
    # So short a life that connections are replaced meanwhile.
    async with pool_of(cluster, pool_recycle=0.1) as pool:
        await crowd(pool)


async def crowd(pool: Pool) -> None:
    """Have everything happen, five times."""
    chance = random.Random(SEED)  # noqa: S311 # it is to be the same each time

    async def one() -> None:
        match chance.randrange(4):
            case 0:
                await ask(pool, chance.random() / 100)
            case 1:
                asking = asyncio.create_task(ask(pool, chance.random() / 100))
                await asyncio.sleep(chance.random() / 20)  # so long it is let
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
        assert 0 < pool.idle <= SIZE
