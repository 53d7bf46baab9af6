"""Tests of subscribers and sleep: a setting decides whether they keep the database awake. Events are never lost."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.blackbox.feed_clients import Change, Subscriber, change, following, head, over_websocket
from tests.servers.operator import DATABASE, HASTE, INSTANCE, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, answers, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.operator import Operator
    from tests.servers.platform import LocalPlatform

SUSPEND_AFTER = 1.0
# How often the feed polls, in seconds.
LOOKS_OFTEN = {**HASTE, "server.process.lifespan._FEED_CATCH_UP_SECONDS": 0.1}
SET_STATUS = """
mutation SetStatus($status: OrderStatus!, $key: UUID!) {
  setOrderStatus(input: {orderKey: 1, status: $status, idempotencyKey: $key}) { change { orderKey version } }
}
"""
# When a server last did anything in its database.
LAST_LOOK = """
SELECT max(state_change), pg_sleep(0.02) FROM pg_stat_activity, pg_stat_clear_snapshot()
WHERE application_name LIKE 'lakebase-orders-graphql%' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose instances fall asleep as soon as they are idle."""
    with (
        platform_directory() as directory,
        running_platform(directory, **AT_ONCE, suspend_after=SUSPEND_AFTER) as platform,
        operated(platform) as operator,
    ):
        operator.provisioned()
        yield platform


def asleep(platform: LocalPlatform) -> bool:
    """Whether the instance is asleep."""
    (instance,) = platform.inventory()["instances"]
    return bool(instance["suspended"] and not instance["processes"])


@contextlib.asynccontextmanager
async def kept_awake(platform: LocalPlatform) -> AsyncIterator[asyncpg.Connection]:
    """Hold a transaction open inside the block. On a slow machine the instance would fall asleep meanwhile."""
    (instance,) = platform.inventory()["instances"]
    async with asyncio.timeout(PATIENCE_SECONDS):
        connection = await in_transaction(platform, instance["read_write_dns"])
        yield connection
        await connection.close()


async def in_transaction(platform: LocalPlatform, host: str) -> asyncpg.Connection:
    """Connect to the instance and open a transaction, whether it is asleep, falling asleep or waking."""
    while True:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection: asyncpg.Connection = await platform.connect(host, database=DATABASE)
            await connection.execute("BEGIN")
            # If the instance was about to fall asleep, the connection is lost now.
            await connection.execute("SELECT pg_sleep(0.3)")
            return connection
        await asyncio.sleep(0.02)  # between two attempts


async def changed_asleep(platform: LocalPlatform, operator: Operator) -> tuple[Change, str]:
    """Change order 1 in the sleeping instance, which wakes it. Return the change and the status.

    On a slow machine something else may be waking it at that moment. Then this waits until it sleeps again.
    """
    for status in ("OPEN", "PARTIAL") * 5:
        await until(lambda: asleep(platform))
        wakes = platform.counters()["wakes"][INSTANCE]
        # It may also fall asleep again at once. A request at that moment is repeated.
        made = operator.insist(SET_STATUS, status=status, key=str(uuid.uuid4()))["setOrderStatus"]["change"]
        if platform.counters()["wakes"][INSTANCE] > wakes:
            return Change.of(made), status
    raise AssertionError("Something else keeps waking it.")


async def ready(*operators: Operator) -> None:
    """Wait until these operators' servers are ready."""
    for operator in operators:
        await until(lambda operator=operator: answers(f"{operator.server.url}/readyz"))  # type: ignore[misc] # for mypy


async def test_a_subscriber_that_may_not_keep_it_awake_lets_it_sleep_and_misses_nothing(
    platform: LocalPlatform,
) -> None:
    """The subscriber gets another process's changes as soon as this process uses the database again."""
    with (
        operated(platform, SUBSCRIBERS_KEEP_AWAKE="false", altered=LOOKS_OFTEN) as ours,
        operated(platform) as theirs,
    ):
        async with contextlib.AsyncExitStack() as stack:
            async with kept_awake(platform):
                await ready(ours, theirs)
                subscriber = Subscriber(over_websocket, ours.server.url, await head(ours.server.url))
                await stack.enter_async_context(following(subscriber))
                await change(ours.server.url, 1, "PARTIAL")
                await subscriber.hear(1)
            # It falls asleep with the subscriber still connected.
            made, status = await changed_asleep(platform, theirs)
            assert ours.insist("{ order(orderKey: 1) { status } }") == {"order": {"status": status}}
            await subscriber.hear_of(made)
        assert subscriber.cut_off == 0


async def test_a_subscriber_makes_the_server_poll(platform: LocalPlatform) -> None:
    """So the instance never counts as idle. Without a subscriber the server does not poll it, and it falls asleep."""
    with operated(platform, altered=LOOKS_OFTEN) as ours:
        async with kept_awake(platform) as witness:
            await ready(ours)
            subscriber = Subscriber(over_websocket, ours.server.url, await head(ours.server.url))
            async with following(subscriber):
                await change(ours.server.url, 2, "PARTIAL")
                await subscriber.hear(1)
                for _ in range(5):
                    last = await witness.fetchval(LAST_LOOK)
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        while await witness.fetchval(LAST_LOOK) == last:
                            pass
        await until(lambda: asleep(platform))


@pytest.mark.long
async def test_a_subscriber_keeps_it_awake_by_default(platform: LocalPlatform) -> None:
    """The server polls the database so often that it never counts as idle."""
    with operated(platform, altered=LOOKS_OFTEN) as ours:
        await ready(ours)
        subscriber = Subscriber(over_websocket, ours.server.url, await head(ours.server.url))
        async with following(subscriber):
            await change(ours.server.url, 3, "PARTIAL")
            await subscriber.hear(1)
            wakes = platform.counters()["wakes"][INSTANCE]
            with pytest.raises(TimeoutError):
                await until(lambda: asleep(platform), seconds=2.5 * SUSPEND_AFTER)
            assert platform.counters()["wakes"][INSTANCE] == wakes
        await until(lambda: asleep(platform))
