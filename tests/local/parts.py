"""Helpers of the local platform's tests: operations, abandoned requests, stopped processes, short-lived credentials."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.service.postgres import Branch, BranchSpec, Operation

from tests.servers.process import NO_TLS, until, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.platform import LocalPlatform

# A branch that does not expire, as it is now.
FOREVER: Final = BranchSpec(no_expiry=True)
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


def ended(platform: LocalPlatform, begun: Any) -> Operation:
    """An operation of the Postgres API when it is done. The SDK's own way looks once a second."""
    postgres = platform.workspace().postgres
    seen: list[Operation] = []

    def is_done() -> bool:
        seen.append(postgres.get_operation(begun.name()))
        return bool(seen[-1].done)

    wait_for(is_done, what=lambda: f"{begun.name()} to be done: {platform.log()}")
    return seen[-1]


def done(platform: LocalPlatform, begun: Any) -> dict[str, Any]:
    """The response of an operation that succeeds."""
    operation = ended(platform, begun)
    assert operation.error is None, operation.error
    return operation.response or {}


def failure(platform: LocalPlatform, begun: Any) -> tuple[str, str]:
    """The code and the message of an operation that fails."""
    error = ended(platform, begun).error
    assert error is not None
    assert error.error_code is not None
    return error.error_code.value, str(error.message)


def branched(platform: LocalPlatform, project: str, name: str, spec: BranchSpec = FOREVER) -> str:
    """Create a branch, and return its resource name."""
    done(platform, platform.workspace().postgres.create_branch(project, Branch(spec=spec), name))
    return f"{project}/branches/{name}"


async def connected(platform: LocalPlatform, branch: str, endpoint: str = "primary", **options: Any) -> Any:
    """Connect to an endpoint of a branch."""
    status = platform.workspace().postgres.get_endpoint(f"{branch}/endpoints/{endpoint}").status
    assert status is not None
    assert status.hosts is not None
    return await platform.connect(status.hosts.host, **options)


async def asked(platform: LocalPlatform, branch: str, query: str, endpoint: str = "primary") -> Any:
    """The first value of a query at an endpoint of a branch."""
    connection = await connected(platform, branch, endpoint)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def mask(*paths: str) -> FieldMask:
    """An update mask."""
    return FieldMask(list(paths))  # type: ignore[no-untyped-call] # the SDK's
