"""A database that sleeps: woken once by whoever comes, waited for by all, and left asleep by a server at rest."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.blackbox.load import READ, Load, asked
from tests.operator import INSTANCE, Operator, operated
from tests.platform import platform_directory, running_platform
from tests.process import NO_TLS, answers, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

pytestmark = pytest.mark.faults

WAKE_SECONDS = 1.0
# Many times what is in flight at once.
CROWD = 100


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose instances take a second to wake."""
    with (
        platform_directory() as directory,
        running_platform(directory, start_delay=0, wake_delay=WAKE_SECONDS) as platform,
    ):
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """A server whose orders are there, with the settings that it has by default."""
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


async def crowd(url: str, count: int) -> list[tuple[float, int, str | None]]:
    """Ask all at once: when each was answered, in seconds, its status and what was wrong."""
    async with httpx.AsyncClient(base_url=url, verify=NO_TLS, limits=httpx.Limits(max_connections=count)) as client:
        fates = await asyncio.gather(*(asked(client, {"query": READ}) for _ in range(count)))
    return [(fate.seconds, fate.status, fate.reason) for fate in fates]


@pytest.mark.parametrize("count", [1, CROWD])
async def test_whoever_comes_wakes_it_once_and_all_are_answered(
    platform: LocalPlatform, operator: Operator, count: int
) -> None:
    """The first answer comes within the time that it takes to wake and a second; nobody is refused meanwhile."""
    assert operator.ask(READ)
    wakes = platform.counters()["wakes"][INSTANCE]
    platform.suspend(INSTANCE)
    assert answers(f"{operator.server.url}/readyz")
    told = await crowd(operator.server.url, count)
    assert {(status, reason) for _, status, reason in told} == {(200, None)}, told
    assert min(seconds for seconds, _, _ in told) <= WAKE_SECONDS + 1
    assert platform.counters()["wakes"][INSTANCE] == wakes + 1


async def test_a_crowd_of_changes_and_counts_wakes_it_too(platform: LocalPlatform, operator: Operator) -> None:
    """Each class of work has connections of its own, and all of them wait for the one wake."""
    wakes = platform.counters()["wakes"][INSTANCE]
    platform.suspend(INSTANCE)
    load = Load(operator.server.url, readers=9, writers=8)
    async with load.running():
        await load.answered(60)
    assert not load.bad, load.bad[:3]
    assert platform.counters()["wakes"][INSTANCE] == wakes + 1


async def test_one_that_does_not_wake_is_given_up_and_asked_again_later(platform: LocalPlatform) -> None:
    """After WAKE_TIMEOUT there is a 503 that says to try again; what comes at once afterwards is told so at once."""
    with operated(platform, WAKE_TIMEOUT="0.4") as operator:
        await until(lambda: answers(f"{operator.server.url}/readyz"))
        platform.suspend(INSTANCE)
        (first,) = await crowd(operator.server.url, 1)
        began = time.monotonic()
        (second,) = await crowd(operator.server.url, 1)
        assert (first[1:], second[1:]) == ((503, "DATABASE_UNAVAILABLE"), (503, "DATABASE_UNAVAILABLE"))
        assert 0.4 <= first[0] < 1
        assert second[0] < 0.3
        # Woken by the attempts, it is found awake without anybody asking.
        await until(lambda: answers(f"{operator.server.url}/readyz"), seconds=WAKE_SECONDS + 3)
        assert time.monotonic() - began < WAKE_SECONDS + 3
        assert (await crowd(operator.server.url, 1))[0][1] == 200
