"""Helpers of the local platform's tests: abandoned requests, stopped processes, short-lived credentials."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx

from tests.servers.process import NO_TLS, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.platform import LocalPlatform

# Lifetimes of credentials to try, in seconds: the first that is not too short for this machine counts.
LIFETIMES: Final = (0.5, 2, 8, 32, 120)


async def give_up(platform: LocalPlatform, path: str, body: Any, *, when: Callable[[], bool]) -> None:
    """Send a POST as the operator, and disconnect before the reply as soon as the condition holds."""
    headers = {"authorization": f"Bearer {platform.token}"}
    async with httpx.AsyncClient(verify=NO_TLS, headers=headers) as client:
        sending = asyncio.create_task(client.post(f"{platform.host}{path}", json=body))
        await until(when)
        assert not sending.done()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


def came(platform: LocalPlatform, path: str) -> Callable[[], bool]:
    """A condition: the platform has read one more POST to this path than now."""
    before = platform.counters()["requests"].get(f"POST {path}", 0)
    return lambda: platform.counters()["requests"].get(f"POST {path}", 0) > before


@contextlib.contextmanager
def standing_still(process: int) -> Iterator[None]:
    """Stop a process with SIGSTOP inside the block. Afterwards it catches up."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def postmaster(platform: LocalPlatform, name: str) -> int:
    """The process id of an instance's only PostgreSQL."""
    (instance,) = (one for one in platform.inventory()["instances"] if one["name"] == name)
    (process,) = instance["processes"].values()
    return int(process)


async def logged_in(platform: LocalPlatform, host: str | None, token: str, end: datetime) -> Any:
    """Connect with a credential that expires at `end`; None if the machine was too slow and it had expired.

    Raises:
        asyncpg.InvalidAuthorizationSpecificationError: it was refused before it expired.
    """
    try:
        return await platform.connect(host, token)
    except asyncpg.InvalidAuthorizationSpecificationError:
        if datetime.now(UTC) < end:
            raise
        return None
