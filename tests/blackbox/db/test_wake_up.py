"""Tests of a sleeping database: the first request wakes it once, all wait for it, and an idle server lets it sleep."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.blackbox.load import READ, Load, send
from tests.servers.operator import HASTE, INSTANCE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import NO_TLS, answers, until
from tests.support.calibration import allowed, hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.platform import LocalPlatform

pytestmark = pytest.mark.faults

WAKE_SECONDS = 0.3
LONG_WAKE_SECONDS = 1.0
NEVER_SECONDS = 3600.0
PATIENCE = 0.4
# Many times the number of operations in flight.
CROWD = 100


@contextlib.contextmanager
def waking_after(seconds: float, *, on: Path | None = None) -> Iterator[LocalPlatform]:
    """A platform whose instances take some seconds to wake, on this directory or one of its own."""
    options = {**AT_ONCE, "wake_delay": seconds}
    with contextlib.ExitStack() as stack:
        directory = on or stack.enter_context(platform_directory())
        yield stack.enter_context(running_platform(directory, **options))


# While no platform runs, between two platforms, the server would look only every 30 seconds.
LOOKS_OFTEN = {
    **HASTE,
    "server.tables.reading.readiness._LAST_ABSENT_RETRY_SECONDS": 1.0,
    "server.lakebase.platform.sdk_client._RETRY_SECONDS": 1,
}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose instances take a moment to wake, so that several requests come in it."""
    with waking_after(WAKE_SECONDS) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """A server that serves the platform's orders."""
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(scope="module")
def slow() -> Iterator[LocalPlatform]:
    """A platform with orders, whose instances take a second to wake."""
    with waking_after(LONG_WAKE_SECONDS) as platform:
        with operated(platform) as operator:
            operator.provisioned()
        yield platform


async def crowd(url: str, count: int) -> list[tuple[float, int, str | None]]:
    """Send requests at once. Return the seconds, the status and the reason of each response."""
    async with httpx.AsyncClient(base_url=url, verify=NO_TLS, limits=httpx.Limits(max_connections=count)) as client:
        fates = await asyncio.gather(*(send(client, {"query": READ}) for _ in range(count)))
    return [(fate.seconds, fate.status, fate.reason) for fate in fates]


async def woken_by(platform: LocalPlatform, operator: Operator, count: int) -> float:
    """Send requests to a sleeping database: all succeed, with a single wake-up. Return the first one's seconds."""
    assert operator.ask(READ)
    wakes = platform.counters()["wakes"][INSTANCE]
    platform.suspend(INSTANCE)
    assert answers(f"{operator.server.url}/readyz")
    responses = await crowd(operator.server.url, count)
    assert {(status, reason) for _, status, reason in responses} == {(200, None)}, responses
    assert platform.counters()["wakes"][INSTANCE] == wakes + 1
    return min(seconds for seconds, _, _ in responses)


@pytest.mark.parametrize("count", [1, CROWD])
async def test_the_first_request_wakes_it_once_and_all_are_answered(
    platform: LocalPlatform, operator: Operator, count: int
) -> None:
    """No request is refused during the wake-up."""
    await woken_by(platform, operator, count)


@pytest.mark.long
@pytest.mark.parametrize("count", [1, CROWD])
async def test_the_first_is_answered_within_the_wake_and_a_second(slow: LocalPlatform, count: int) -> None:
    """This holds for a server with the default timeouts."""
    with operated(slow, patient=False) as operator:
        await until(lambda: answers(f"{operator.server.url}/readyz"))
        first = await woken_by(slow, operator, count)
    hold(f"the first of {count} requests that wake it", first, computing_seconds=1, waiting_seconds=LONG_WAKE_SECONDS)


async def test_a_crowd_of_changes_and_counts_wakes_it_too(platform: LocalPlatform, operator: Operator) -> None:
    """Each kind of work has a pool of its own, and all of them wait for the same wake-up."""
    wakes = platform.counters()["wakes"][INSTANCE]
    platform.suspend(INSTANCE)
    load = Load(operator.server.url, readers=9, writers=8)
    async with load.running():
        await load.answered(60)
    assert not load.bad, load.bad[:3]
    assert platform.counters()["wakes"][INSTANCE] == wakes + 1


async def test_a_database_that_does_not_wake_is_given_up_and_tried_again_later() -> None:
    """After WAKE_TIMEOUT requests get a retryable 503. The server notices by itself when the database is awake."""
    with platform_directory() as directory, contextlib.ExitStack() as stack:
        with waking_after(NEVER_SECONDS, on=directory) as platform:
            with operated(platform) as first:
                first.provisioned()
            operator = stack.enter_context(operated(platform, altered=LOOKS_OFTEN, WAKE_TIMEOUT=str(PATIENCE)))
            await until(lambda: answers(f"{operator.server.url}/readyz"))
            platform.suspend(INSTANCE)
            fates = await crowd(operator.server.url, 1) + await crowd(operator.server.url, 1)
            assert [fate[1:] for fate in fates] == [(503, "DATABASE_UNAVAILABLE")] * 2
        # Now there is a platform that wakes it.
        with waking_after(0, on=directory):
            await until(lambda: answers(f"{operator.server.url}/readyz"))
            assert (await crowd(operator.server.url, 1))[0][1] == 200
            stack.close()


@pytest.mark.long
async def test_after_a_failed_wake_up_the_next_request_does_not_wait(slow: LocalPlatform) -> None:
    """The first request is refused after WAKE_TIMEOUT, the next at once, until the database is awake."""
    with operated(slow, patient=False, WAKE_TIMEOUT=str(PATIENCE)) as operator:
        await until(lambda: answers(f"{operator.server.url}/readyz"))
        slow.suspend(INSTANCE)
        (first,) = await crowd(operator.server.url, 1)
        began = time.monotonic()
        (second,) = await crowd(operator.server.url, 1)
        assert (first[1:], second[1:]) == ((503, "DATABASE_UNAVAILABLE"), (503, "DATABASE_UNAVAILABLE"))
        assert PATIENCE <= first[0] < allowed(0.6, waiting_seconds=PATIENCE)
        assert second[0] < allowed(0.3)
        # The attempts have woken it, and the server notices without a request.
        await until(lambda: answers(f"{operator.server.url}/readyz"))
        hold("found awake", time.monotonic() - began, computing_seconds=3, waiting_seconds=LONG_WAKE_SECONDS)
        assert (await crowd(operator.server.url, 1))[0][1] == 200
