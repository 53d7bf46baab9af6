"""Owns what several tests of the local platform need: requests that are given up, processes that stand still, short lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx

from tests.process import NO_TLS, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.platform import LocalPlatform

# In seconds, of credentials: of the first that is not too short for this machine.
LIFETIMES: Final = (0.5, 2, 8, 32, 120)


async def give_up(platform: LocalPlatform, path: str, body: Any, *, when: Callable[[], bool]) -> None:
    """Send a POST as the operator, and go away without an answer as soon as the condition holds."""
    headers = {"authorization": f"Bearer {platform.token}"}
    async with httpx.AsyncClient(verify=NO_TLS, headers=headers) as client:
        sending = asyncio.create_task(client.post(f"{platform.host}{path}", json=body))
        await until(when)
        assert not sending.done()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


def came(platform: LocalPlatform, path: str) -> Callable[[], bool]:
    """Whether the platform has read one more POST to this path than by now."""
    before = platform.counters()["requests"].get(f"POST {path}", 0)
    return lambda: platform.counters()["requests"].get(f"POST {path}", 0) > before


@contextlib.contextmanager
def standing_still(process: int) -> Iterator[None]:
    """A process does nothing inside the block, and afterwards all that it was told meanwhile."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def postmaster(platform: LocalPlatform, name: str) -> int:
    """The process id of the only PostgreSQL of an instance."""
    (instance,) = (one for one in platform.inventory()["instances"] if one["name"] == name)
    (process,) = instance["processes"].values()
    return int(process)


async def logged_in(platform: LocalPlatform, host: str | None, token: str, end: datetime) -> Any:
    """A connection by a credential that ends then; None where that was over before, since the machine is slow.

    Raises:
        asyncpg.InvalidAuthorizationSpecificationError: it was refused before its end.
    """
    try:
        return await platform.connect(host, token)
    except asyncpg.InvalidAuthorizationSpecificationError:
        if datetime.now(UTC) < end:
            raise
        return None
