"""Tests of the feed: every change once and in order, although connections are cut, killed, restarted, held or slow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg
import pytest

from schema.relay.cursors import decode_change_cursor, encode_change_cursor
from tests.blackbox.feed_clients import (
    STATUSES,
    Change,
    RefusedError,
    Subscriber,
    Writers,
    ask,
    change,
    change_many,
    following,
    head,
    over_sse,
    over_websocket,
    pages,
)
from tests.servers.process import PATIENCE_SECONDS, free_port, running_server
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from server.local.cluster import Cluster
    from tests.blackbox.feed_clients import Follow
    from tests.servers.process import Server

pytestmark = pytest.mark.faults

# `make faults` sets 60. It determines how often connections are killed before and after the restart, and the number of
# changes.
SECONDS = float(os.environ.get("FAULT_SECONDS", "0"))
KILLS: Final = 2 + round(SECONDS / 2)
CHANGES: Final = 30 + round(10 * SECONDS)
ORDERS: Final = 1000
# The writers never change these: an order, several orders, and an order that only another user changes.
QUIET: Final = 51
QUIETS: Final = range(61, 71)
SOMEONE_ELSES: Final = ORDERS + 1
# How long the feed may take to publish a change.
_PROMPT_SECONDS: Final = 1.0
_BUFFER: Final = 20
_TABLE: Final = "orders_app.order_status_change"
_FEED_CONNECTIONS: Final = "application_name = 'lakebase-orders-graphql feed' AND datname = current_database()"
_LOADED: Final = "orders(first: 200) { nodes { orderKey statusVersion } }"
_HEAD: Final = "orderStatusChanges(first: 0) { headCursor }"

on_each_transport = pytest.mark.parametrize(
    "follow", [pytest.param(over_sse, id="SSE"), pytest.param(over_websocket, id="WebSocket")]
)


class Stage(NamedTuple):
    """A database for the feed, a second one beside it, and a connection for inspection."""

    url: str
    other_url: str
    database: asyncpg.Connection

    async def truth(self, after: str) -> list[Change]:
        """The changes after a cursor, in the order of their ids."""
        rows = await self.database.fetch(
            f"SELECT o_orderkey, version FROM {_TABLE} WHERE id > $1 ORDER BY id", decode_change_cursor(after).id
        )
        return [Change(*row) for row in rows]

    async def listening(self) -> int:
        """On how many connections the servers listen."""
        return int(await self.database.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {_FEED_CONNECTIONS}"))

    async def silence(self) -> None:
        """Wait until the servers listen on none."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.listening():  # noqa: ASYNC110 # polls other processes
                await asyncio.sleep(0.02)  # between two looks

    async def kill_listening(self, times: int) -> None:
        """Terminate all listening connections, this many times, each time as soon as there are some."""
        killed = 0
        async with asyncio.timeout(PATIENCE_SECONDS + SECONDS):
            while killed < times:
                await asyncio.sleep(0.3)  # between two kills
                killed += bool(
                    await self.database.fetchval(
                        f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {_FEED_CONNECTIONS}"
                    )
                )


@pytest.fixture(scope="module")
async def stage(cluster: Cluster) -> AsyncIterator[Stage]:
    """Orders in a database on which only the servers under test listen."""
    for name in ("feed", "unrelated"):
        cluster.run_sql(f"CREATE DATABASE {name}")
    url, other_url = (f"{cluster.url.rpartition('/')[0]}/{name}" for name in ("feed", "unrelated"))
    database = await asyncpg.connect(url)
    await database.execute(
        f"""
        CREATE TABLE orders_synced AS
        SELECT g AS o_orderkey, 1::bigint AS o_custkey, 'O' AS o_orderstatus, 1.5::numeric AS o_totalprice,
               DATE '1996-01-02' AS o_orderdate, '5-LOW' AS o_orderpriority, 'Clerk#1' AS o_clerk,
               0 AS o_shippriority, '' AS o_comment
        FROM generate_series(1::bigint, {ORDERS}) g;
        ALTER TABLE orders_synced ADD PRIMARY KEY (o_orderkey);
        """
    )
    yield Stage(url, other_url, database)
    await database.close()


@pytest.fixture(scope="module")
def steady(stage: Stage) -> Iterator[Server]:
    """A server that lives throughout. A change without a NOTIFY is found only after 30 seconds."""
    with running_server(stage.url) as server:
        yield server


@pytest.fixture(scope="module")
def strict(stage: Stage) -> Iterator[Server]:
    """A server that polls for changes often, and buffers few of them for a slow subscriber."""
    altered = {"server.process.lifespan._FEED_BUFFER": _BUFFER, "server.process.lifespan._FEED_CATCH_UP_SECONDS": 0.2}
    with running_server(stage.url, altered=altered) as server:
        yield server


@contextlib.asynccontextmanager
async def serving(url: str, port: int) -> AsyncIterator[Server]:
    """The real server. Starting and stopping it does not block the test's event loop."""
    running = running_server(url, port=port)
    server = await asyncio.to_thread(running.__enter__)
    try:
        yield server
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@contextlib.asynccontextmanager
async def unrelated_transactions(stage: Stage) -> AsyncIterator[None]:
    """Two transactions that have written and stay open inside the block: in this database, and in another one."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await asyncpg.connect(url) for url in (stage.url, stage.other_url)]
        for connection in connections:
            stack.push_async_callback(connection.close)
            await connection.execute("BEGIN; CREATE TABLE unrelated ()")
        yield
        oldest = await stage.database.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        for connection in connections:
            assert oldest <= await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text::bigint")


@contextlib.asynccontextmanager
async def without_notify(stage: Stage) -> AsyncIterator[None]:
    """Changes made inside the block send no NOTIFY."""
    await stage.database.execute(f"ALTER TABLE {_TABLE} DISABLE TRIGGER announce_change")
    try:
        yield
    finally:
        await stage.database.execute(f"ALTER TABLE {_TABLE} ENABLE TRIGGER announce_change")


async def heard_all(stage: Stage, *subscribers: Subscriber) -> None:
    """Wait until each subscriber has all the changes that it should get, and check that each came once, in order."""
    for subscriber in subscribers:
        keys = subscriber.keys
        expected = [made for made in await stage.truth(subscriber.after) if keys is None or made.order in keys]
        await subscriber.hear(len(expected))
        assert subscriber.heard == expected


async def test_a_subscriber_that_resumes_hears_every_change_once_and_in_order(stage: Stage, steady: Server) -> None:
    """20 writers use two servers. One of them restarts, and listening connections are killed repeatedly."""
    port = free_port()
    start, few = await head(steady.url), list(range(1, 8))
    writers = Writers(f"http://127.0.0.1:{port}", steady.url, count=20)
    async with serving(stage.url, port) as server:
        cut_off = [
            Subscriber(follow, server.url, start, keys) for follow in (over_sse, over_websocket) for keys in (None, few)
        ]
        subscribers = [*cut_off, Subscriber(over_sse, steady.url, start)]
        async with following(*subscribers) as group:
            writers.start(group)
            await stage.kill_listening(KILLS)
            server.process.terminate()
            await asyncio.to_thread(server.process.wait)
            async with serving(stage.url, port):
                await stage.kill_listening(KILLS)
                await writers.stop()
                await heard_all(stage, *subscribers)
    assert all(subscriber.cut_off for subscriber in cut_off)
    assert set(subscribers[0].heard) == writers.acknowledged.keys()


async def test_no_transaction_of_others_delays_a_change(stage: Stage, steady: Server) -> None:
    """Each change arrives within a second of its acknowledgement, while other transactions are held open throughout.

    Their age does not matter. The feed waits for no snapshot: that would mean waiting for every transaction that began
    before the change.
    """
    start = await head(steady.url)
    subscribers = [Subscriber(follow, steady.url, start) for follow in (over_sse, over_websocket)]
    writers = Writers(steady.url, count=2)
    async with unrelated_transactions(stage), following(*subscribers) as group:
        writers.start(group)
        await writers.write(CHANGES)
        await writers.stop()
        await heard_all(stage, *subscribers)
    for subscriber in subscribers:
        assert subscriber.times.keys() == writers.acknowledged.keys()
        delays = [heard - writers.acknowledged[made] for made, heard in subscriber.times.items()]
        hold("a change beside others' transactions", max(delays), computing_seconds=_PROMPT_SECONDS)


async def test_a_server_listens_only_while_it_has_subscribers(stage: Stage, steady: Server, strict: Server) -> None:
    """All of a server's subscribers share one connection, from the first until the last has gone, and again later."""
    for _ in range(2):
        await stage.silence()
        start = await head(steady.url)
        last, late, *others = [Subscriber(follow, strict.url, start) for follow in (over_sse, over_websocket) * 2]
        async with following(last):
            async with following(*others):
                await change(steady.url, QUIET, "PARTIAL", "FULFILLED")
                await heard_all(stage, last, *others)
                assert await stage.listening() == 1
            await change(steady.url, QUIET, "PARTIAL", "FULFILLED")
            async with following(late):
                await heard_all(stage, last, late)
                assert await stage.listening() == 1
    await stage.silence()


async def test_a_change_without_a_notification_is_found_by_polling(
    stage: Stage, steady: Server, strict: Server
) -> None:
    """A server that has not polled yet publishes the change with the next notification, even after many others."""
    start = await head(steady.url)
    looks, waits = Subscriber(over_sse, strict.url, start), Subscriber(over_sse, steady.url, start)
    async with following(looks, waits):
        told = await change(steady.url, QUIET, "PARTIAL", "FULFILLED")
        await heard_all(stage, looks, waits)
        async with without_notify(stage):
            await change(steady.url, QUIET, "PARTIAL", "FULFILLED")
            acknowledged = time.monotonic()
            await heard_all(stage, looks)
            seconds = time.monotonic() - acknowledged
            hold("a change without a notification", seconds, computing_seconds=_PROMPT_SECONDS)
            assert waits.heard[: len(told)] == told
            assert len(await change_many(steady.url, range(101, 901), "PARTIAL")) > 600
        await change(steady.url, QUIET, "OPEN")
        await heard_all(stage, looks, waits)


@on_each_transport
async def test_a_subscriber_that_does_not_read_delays_nobody_and_can_resume(
    stage: Stage, strict: Server, follow: Follow
) -> None:
    """It is told to resume from its cursor and gets all the rest. Meanwhile the other one gets each change in time."""
    start = await head(strict.url)
    # The slow subscriber's events soon exceed all buffers between it and the server.
    slow, fast = Subscriber(follow, strict.url, start, notes=10), Subscriber(follow, strict.url, start)
    await change_many(strict.url, QUIETS, "FULFILLED")
    async with following(slow, fast):
        await heard_all(stage, slow, fast)
        slow.reads.clear()
        slowest = 0.0
        for turn in range(40):
            await change_many(strict.url, QUIETS, STATUSES[turn % 2], note="\N{PACKAGE}" * 1000)
            acknowledged = time.monotonic()
            await heard_all(stage, fast)
            slowest = max(slowest, time.monotonic() - acknowledged)
        hold("a change beside a subscriber that does not read", slowest, computing_seconds=_PROMPT_SECONDS)
        assert len(slow.heard) < len(fast.heard)
        slow.reads.set()
        await heard_all(stage, slow)
    assert (slow.refusals, fast.cut_off) == (["SUBSCRIBER_TOO_SLOW"], 0)


@on_each_transport
async def test_a_cursor_beyond_the_head_is_refused(steady: Server, follow: Follow) -> None:
    """The cursor belongs to another history. Waiting for the feed to reach it would lose all changes until then."""
    place = decode_change_cursor(await head(steady.url))
    ahead = encode_change_cursor(replace(place, id=place.id + 1))
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(follow(steady.url, ahead, None, 0)) as events:
        with pytest.raises(RefusedError) as refused:
            await anext(events)
    assert (refused.value.reason, refused.value.retryable) == ("CURSOR_INVALID", False)


@pytest.mark.parametrize("fields", [f"{_LOADED} {_HEAD}", f"{_HEAD} {_LOADED}"], ids=["head-last", "head-first"])
async def test_no_change_is_missed_between_a_query_and_a_subscription(
    stage: Stage, steady: Server, fields: str
) -> None:
    """After the head that came with the orders, the feed has every change that these orders do not include.

    This holds whichever field comes first. The test repeats it while writers write.
    """
    start, writers = await head(steady.url), Writers(steady.url, count=4)
    async with asyncio.TaskGroup() as group:
        writers.start(group)
        for _ in range(12):
            await writers.write(1)
            loaded = await ask(steady.url, f"{{ {fields} }}")
            versions = {int(node["orderKey"]): node["statusVersion"] for node in loaded["orders"]["nodes"]}
            subscriber = Subscriber(over_websocket, steady.url, loaded["orderStatusChanges"]["headCursor"])
            async with following(subscriber):
                *_, mark = await change(steady.url, QUIET, "PARTIAL", "FULFILLED")
                await subscriber.hear_of(mark)
            made, heard = (
                [later for later in changes[: changes.index(mark)] if later.version > versions[later.order]]
                for changes in (await stage.truth(start), subscriber.heard)
            )
            assert heard == made
        await writers.stop()


async def test_the_history_has_the_changes_that_subscribers_got(stage: Stage, steady: Server) -> None:
    """The history has the same changes, with the same cursors, in the same order: all of them, or a filtered part."""
    start, few = await head(steady.url), list(range(1, 5))
    every, of_few, of_someone = (Subscriber(over_sse, steady.url, start, keys) for keys in (None, few, [SOMEONE_ELSES]))
    writers = Writers(steady.url, count=4)
    async with following(every, of_few, of_someone) as group:
        writers.start(group)
        for version in range(1, 9):
            await writers.write(10)
            await stage.database.execute(
                f"INSERT INTO {_TABLE} (o_orderkey, status, cleared, version, changed_by, changed_at) "
                f"VALUES ({SOMEONE_ELSES}, 'F', false, {version}, 'someone', now())"
            )
        await writers.stop()
        await heard_all(stage, every, of_few, of_someone)
    by_local = [event for event in every.events if event.change.order != SOMEONE_ELSES]
    async with asyncio.timeout(PATIENCE_SECONDS):
        for size in (4, 1000):
            assert await pages(steady.url, start, size) == every.events
            assert await pages(steady.url, start, size, orderKeys=few) == of_few.events
            assert await pages(steady.url, start, size, changedBy="someone") == of_someone.events
            assert await pages(steady.url, start, size, changedBy="local") == by_local
            both = {"orderKeys": [*few, SOMEONE_ELSES], "changedBy": "local"}
            assert await pages(steady.url, start, size, **both) == of_few.events


async def test_a_subscriber_far_behind_catches_up_during_writes(stage: Stage, steady: Server, strict: Server) -> None:
    """Each change comes once and in order, whether it was made long ago or meanwhile.

    This holds too if the server itself is behind, and is notified of changes that it has already read.
    """
    start = await head(steady.url)
    listens = Subscriber(over_sse, steady.url, start, [QUIET])
    far_behind = [
        Subscriber(over_sse, steady.url, start),
        Subscriber(over_websocket, steady.url, start, list(range(1, 500))),
        Subscriber(over_websocket, strict.url, start),
    ]
    writers = Writers(steady.url, count=2)
    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(following(listens))
        await change(steady.url, QUIET, "PARTIAL", "OPEN")
        await heard_all(stage, listens)
        async with without_notify(stage):
            # The first status may already be set by another test, and is then no change.
            for status in ("PARTIAL", "FULFILLED", "OPEN"):
                await change_many(steady.url, range(1, ORDERS + 1), status)
            behind = len(await stage.truth(start))
            assert behind > 1500
            writers.start(group)
            await stack.enter_async_context(following(*far_behind))
            await far_behind[0].hear(behind)
        await writers.write(50)
        await writers.stop()
        await heard_all(stage, listens, *far_behind)


@on_each_transport
async def test_a_history_that_loses_its_tail_ends_its_subscriptions(
    stage: Stage, strict: Server, follow: Follow
) -> None:
    """As after a failover to a standby that lacks the last change. The client has to load its data again."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        aclosing(follow(strict.url, await head(strict.url), None, 0)) as events,
    ):
        made = await change(strict.url, QUIET, "PARTIAL", "FULFILLED", "OPEN")
        assert [(await anext(events)).change for _ in made] == made
        await stage.database.execute(
            f"SET session_replication_role = replica; DELETE FROM {_TABLE} WHERE id = (SELECT max(id) FROM {_TABLE}); "
            "RESET session_replication_role"
        )
        with pytest.raises(RefusedError) as refused:
            await anext(events)
    assert (refused.value.reason, refused.value.retryable) == ("CURSOR_INVALID", False)
