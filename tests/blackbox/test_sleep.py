"""Subscribers and sleep: whether they keep the database awake is a setting, and nothing is lost either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.blackbox.feed_clients import Subscriber, change, following, head, over_websocket
from tests.operator import INSTANCE, operated
from tests.platform import platform_directory, running_platform
from tests.process import answers, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

SUSPEND_AFTER = 1.0


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose instances fall asleep as soon as they are idle."""
    with (
        platform_directory() as directory,
        running_platform(directory, start_delay=0, suspend_after=SUSPEND_AFTER) as platform,
        operated(platform) as operator,
    ):
        operator.provisioned()
        yield platform


def asleep(platform: LocalPlatform) -> bool:
    """Whether the instance sleeps."""
    (instance,) = platform.inventory()["instances"]
    return bool(instance["suspended"] and not instance["processes"])


async def test_a_subscriber_that_may_not_keep_it_awake_lets_it_sleep_and_misses_nothing(
    platform: LocalPlatform,
) -> None:
    """What another process changes meanwhile is heard as soon as this one uses the database again."""
    with (
        operated(platform, SUBSCRIBERS_KEEP_AWAKE="false", FEED_CATCH_UP="0.1") as ours,
        operated(platform) as theirs,
    ):
        await until(lambda: answers(f"{ours.server.url}/readyz") and answers(f"{theirs.server.url}/readyz"))
        subscriber = Subscriber(over_websocket, ours.server.url, await head(ours.server.url))
        async with following(subscriber):
            await change(ours.server.url, 1, "PARTIAL")
            await subscriber.hear(1)
            await until(lambda: asleep(platform))
            # And stays asleep, with the subscriber still there.
            wakes = platform.counters()["wakes"][INSTANCE]
            made = await change(theirs.server.url, 1, "OPEN")
            assert platform.counters()["wakes"][INSTANCE] == wakes + 1
            assert ours.ask("{ order(orderKey: 1) { status } }") == {"order": {"status": "OPEN"}}
            await subscriber.hear_of(made[0])
        assert subscriber.cut_off == 0


async def test_a_subscriber_keeps_it_awake_by_default(platform: LocalPlatform) -> None:
    """It is looked at so often that it never counts as idle."""
    with operated(platform, FEED_CATCH_UP="0.2") as ours:
        await until(lambda: answers(f"{ours.server.url}/readyz"))
        subscriber = Subscriber(over_websocket, ours.server.url, await head(ours.server.url))
        async with following(subscriber):
            await change(ours.server.url, 2, "PARTIAL")
            await subscriber.hear(1)
            wakes = platform.counters()["wakes"][INSTANCE]
            with pytest.raises(TimeoutError):
                await until(lambda: asleep(platform), seconds=2.5 * SUSPEND_AFTER)
            assert platform.counters()["wakes"][INSTANCE] == wakes
        await until(lambda: asleep(platform))
