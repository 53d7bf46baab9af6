"""Owns the promises of a pool: whoever waits gets what another gives back, in time or a refusal, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from server.admission import Admission
from server.databases import served_database
from server.db.engine import create_engines
from server.lakebase.instances import Instances
from server.lakebase.loading import PlatformLoader
from server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.db.pool import Pool
    from server.local.cluster import Cluster

SIZE = 3
SEED = 7


@pytest.fixture
async def pool(cluster: Cluster) -> AsyncIterator[Pool]:
    """A pool of three."""
    settings = Settings(database_url=SecretStr(cluster.url), pool_size=SIZE, pool_timeout=0.3, pool_recycle=0.5)
    engines = create_engines(settings, served_database(settings, Instances(settings, PlatformLoader(settings))))
    try:
        yield engines.pages
    finally:
        await engines.dispose()


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
    await asyncio.gather(*(ask(pool, 0.01) for _ in range(SIZE)))
    async with asyncio.timeout(0.2), pool.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar_one() == 1


async def test_who_waits_too_long_is_told_so(pool: Pool) -> None:
    """In time, and whoever comes later is served."""
    loop = asyncio.get_running_loop()
    holding = [asyncio.create_task(ask(pool, 1.0)) for _ in range(SIZE)]
    while pool.used < SIZE:  # noqa: ASYNC110 # nobody tells of that
        await asyncio.sleep(0.01)  # until all of them are out
    began = loop.time()
    with pytest.raises(PoolTimeoutError):
        await ask(pool)
    assert 0.25 <= loop.time() - began < 0.6
    await asyncio.gather(*holding)
    assert await ask(pool)
    assert (pool.used, pool.waiting) == (0, 0)


@pytest.mark.parametrize(("longest", "least", "most"), [(0.3, 0.25, 0.49), (5.0, 0.45, 0.9)])
async def test_the_time_that_a_place_was_waited_for_is_taken_from_the_wait_for_a_connection(
    pool: Pool, longest: float, least: float, most: float
) -> None:
    """However many lines there are, an answer that says no comes after the longest of the times that are promised."""
    loop = asyncio.get_running_loop()
    admission = Admission(1, wait_seconds=longest)
    place = await admission.enter()
    holding = [asyncio.create_task(ask(pool, 1.0)) for _ in range(SIZE)]
    while pool.used < SIZE:  # noqa: ASYNC110 # nobody tells of that
        await asyncio.sleep(0.01)  # until all of them are out
    began = loop.time()
    loop.call_later(0.2, place.leave)
    second = await admission.enter()
    with pytest.raises(PoolTimeoutError):
        await ask(pool)
    assert least <= loop.time() - began < most
    second.leave()
    await asyncio.gather(*holding)


async def test_nothing_is_lost_of_a_crowd_in_which_everything_happens(pool: Pool) -> None:
    """Some are cancelled while they wait or ask, some end with an error or with their connection; it goes on."""
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
        assert len(set(await asyncio.gather(*(ask(pool) for _ in range(30))))) <= SIZE
