"""Logins that a test lets happen, and a pool that opens its connections with them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

from server.db.pool import Pool
from server.db.wake_up import WakeUp
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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
async def pool_of(
    connect: Callable[[], Any], *, acquisition: float = PATIENCE_SECONDS, wake_up: WakeUp | None = None
) -> AsyncIterator[Pool]:
    """A pool of two connections."""
    wake_up = wake_up or WakeUp(sleeps=False, patience=0)
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
