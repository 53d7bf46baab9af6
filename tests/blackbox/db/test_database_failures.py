"""Tests with a PostgreSQL that is absent, killed, cut off or blocked, under load: clients get errors at once.

`make faults` repeats the kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from server.local.cluster import Cluster
from tests.blackbox.load import READ, Fate, Load, quantile, send
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, answers, free_port, running_server, until
from tests.servers.tpch import load_orders
from tests.support.calibration import MEASURES, hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.process import Server

pytestmark = pytest.mark.faults

KILLS = 5 if MEASURES else 2
_SCALE = 0.001
_OURS = "application_name LIKE 'lakebase-orders-graphql%' AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL that may be killed, on a fixed port."""
    cluster = Cluster(tmp_path_factory.mktemp("killed") / "cluster")
    try:
        cluster.start()
        load_orders(cluster, _SCALE)
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="module")
def killed(own: Cluster) -> Iterator[Server]:
    """The server in front of it. Where times are measured, it has the default settings."""
    with running_server(own.url, patient=not MEASURES) as server:
        yield server


async def on(cluster: Cluster, statement: str) -> list[Any]:
    """Run a statement as a superuser, and return its rows."""
    connection = await asyncpg.connect(cluster.url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def one(url: str, body: dict[str, Any]) -> Any:
    """Send one request and return its fate."""
    async with httpx.AsyncClient(base_url=url, verify=NO_TLS) as client:
        return await send(client, body)


def refused_since(load: Load, moment: float) -> list[Fate]:
    """The requests sent since this moment that were refused as a whole."""
    return [fate for fate in load.since(moment) if fate.status != 200]


async def refusals(load: Load, moment: float, count: int) -> None:
    """Wait until this many of the requests sent since this moment are refused."""
    await until(lambda: len(refused_since(load, moment)) >= count)


async def test_a_killed_postgresql_is_reported_at_once_and_used_again(own: Cluster, killed: Server) -> None:
    """The server answers 503 with Retry-After within 300 ms, and uses PostgreSQL again a second after its return."""
    port = own.port
    load = Load(killed.url, readers=6, writers=0)
    async with load.running():
        for _ in range(KILLS):
            await load.answered(30)
            os.kill(own.process_id(), signal.SIGKILL)
            killed_at = time.monotonic()
            await refusals(load, killed_at, 50)
            down_until = time.monotonic()
            await asyncio.to_thread(own.start, port)
            back_at = time.monotonic()
            await load.answered(1)
            hold("used again after its return", time.monotonic() - back_at, computing_seconds=1)
            refused = [fate for fate in refused_since(load, killed_at) if fate.sent_at < down_until]
            assert refused
            assert {(fate.status, fate.retry_after) for fate in refused} == {(503, "1")}
            assert {fate.reason for fate in refused} <= {"DATABASE_UNAVAILABLE", "POOL_EXHAUSTED"}
            slowest = quantile([fate.seconds for fate in refused], 0.99)
            hold("p99 of refusals while it is down", slowest, computing_seconds=0.05, waiting_seconds=0.25)
    assert answers(f"{killed.url}/livez")
    assert killed.process.poll() is None


async def test_all_backends_ended_at_once_are_not_noticed_by_readers(own: Cluster, killed: Server) -> None:
    """The server repeats reads on a new connection. It detects dead connections by their sockets, without a ping."""
    load = Load(killed.url, readers=8, writers=0)
    async with load.running():
        for _ in range(5 * KILLS):
            await load.answered(20)
            await on(own, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_OURS}")  # a constant
        await load.answered(20)
    assert not load.bad, load.bad[:3]


async def test_a_database_that_is_absent_at_the_start_is_used_as_soon_as_it_is_there(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The server starts, reports the problem, and becomes ready without a restart."""
    cluster = Cluster(tmp_path_factory.mktemp("late") / "cluster")
    port = free_port()
    try:
        cluster.start(port)
        load_orders(cluster, _SCALE)
        cluster.stop()
        with running_server(cluster.url, ready=False) as server:
            assert answers(f"{server.url}/livez")
            assert not answers(f"{server.url}/readyz")
            fate = await one(server.url, {"query": READ})
            assert (fate.status, fate.reason, fate.retry_after) == (503, "DATABASE_UNAVAILABLE", "1")
            await asyncio.to_thread(cluster.start, port)
            await until(lambda: answers(f"{server.url}/readyz"))
            assert (await one(server.url, {"query": READ})).good
    finally:
        cluster.destroy()


@contextlib.asynccontextmanager
async def locked(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """Lock the orders table inside the block.

    Gives another connection to look with: within a transaction, pg_stat_activity does not change.
    """
    locker, observer = await asyncpg.connect(cluster.url), await asyncpg.connect(cluster.url)
    transaction = locker.transaction()
    await transaction.start()
    await locker.execute("LOCK TABLE orders_synced IN ACCESS EXCLUSIVE MODE")
    try:
        yield observer
    finally:
        await transaction.rollback()
        await locker.close()
        await observer.close()


async def wait_until_locked(observer: asyncpg.Connection, *, locked_out: bool) -> float:
    """Wait until a statement of a request waits for the lock, or until none does. Return the seconds it took."""
    # In the background, the measurement of the table asks for its size, which waits for the lock too.
    requested = f"{_OURS} AND query NOT LIKE '%pg_relation_size%'"
    query = f"SELECT FROM pg_stat_activity WHERE {requested} AND wait_event_type = 'Lock'"
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while bool(await observer.fetch(query)) is not locked_out:  # noqa: ASYNC110 # polls another process
            await asyncio.sleep(0.005)  # between two looks at the statement
    return time.monotonic() - began


async def test_an_exhausted_pool_refuses_at_once_and_blocks_nothing_else(
    own: Cluster,
) -> None:
    """With all orders locked: 503 after a quarter of a second. /livez and refusals need no connection.

    A caller whose statements are slow holds two connections, or up to eight if it got them before that was known.
    """
    limits = httpx.Limits(max_connections=100)
    with running_server(own.url, altered={"server.db.engine._PAGE_WAIT_SECONDS": 0.25}) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, limits=limits) as client:
            async with locked(own):
                crowd = [asyncio.create_task(send(client, {"query": READ})) for _ in range(20)]
                await until(lambda: sum(task.done() for task in crowd) >= 12)
                bad = await send(client, {"query": "{ nothing }"})
                assert bad.reason == "DOCUMENT_INVALID"
                assert (await client.get("/livez")).status_code == 200
            fates = await asyncio.gather(*crowd)
        exhausted = [fate for fate in fates if not fate.good]
        assert 12 <= len(exhausted) <= 18
        assert {(fate.status, fate.reason, fate.retry_after) for fate in exhausted} == {(503, "POOL_EXHAUSTED", "1")}
        assert (await one(server.url, {"query": READ})).good
    hold("a bad request with the pool exhausted", bad.seconds, computing_seconds=0.2)
    slowest = quantile([fate.seconds for fate in exhausted], 0.99)
    hold("p99 of refusals of the pool", slowest, computing_seconds=0.1, waiting_seconds=0.3)


@pytest.mark.parametrize(
    "query",
    [
        '{ orders(first: 1, filter: {clerk: {eq: "x"}}) { nodes { orderKey } } }',
        "{ order(orderKey: 1) { orderKey } }",
        "{ orderCount { count } }",
        '{ orders(filter: {clerk: {eq: "y"}}) { totalCount } }',
    ],
)
async def test_no_statement_outlives_its_client(own: Cluster, killed: Server, query: str) -> None:
    """When a client leaves, the server cancels its statement, on every transport, before LOCK_TIMEOUT ends it."""
    await until(lambda: answers(f"{killed.url}/readyz"))
    async with locked(own) as observer, httpx.AsyncClient(base_url=killed.url, verify=NO_TLS) as client:
        request = asyncio.create_task(client.post("/api/graphql", json={"query": query}))
        await wait_until_locked(observer, locked_out=True)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        seconds = await wait_until_locked(observer, locked_out=False)
        hold("cancelling a statement whose caller has gone", seconds, computing_seconds=0.15)


async def test_pipelined_requests_do_not_outlive_their_client(own: Cluster, killed: Server) -> None:
    """The request in flight is cancelled, the others are never started, and none of it is logged as a fault."""
    await until(lambda: answers(f"{killed.url}/readyz"))
    begun = len(killed.log())
    body = json.dumps({"query": READ})
    head = f"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    named = [f"X-Request-Id: several-{number}\r\n" for number in range(3)]
    url = urlsplit(killed.url)
    async with locked(own) as observer:
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write("".join(f"{head}{name}\r\n{body}" for name in named).encode())
        await wait_until_locked(observer, locked_out=True)
        writer.transport.abort()
        seconds = await wait_until_locked(observer, locked_out=False)
        hold("cancelling the first of several", seconds, computing_seconds=0.15)
    assert (await one(killed.url, {"query": READ})).good
    await until(lambda: "several-0" in killed.log())
    assert "CLIENT_GONE" in next(line for line in killed.log().splitlines() if "several-0" in line)
    assert "several-1" not in killed.log()
    assert '"level":"error"' not in killed.log()[begun:]


async def test_a_query_that_takes_too_long_ends_with_its_statements(own: Cluster) -> None:
    """The client gets REQUEST_TIMEOUT, and no statement of the query is left running."""
    with running_server(own.url, REQUEST_TIMEOUT="0.2") as server:
        for query in (READ, "{ order(orderKey: 1) { orderKey } }"):
            async with locked(own) as observer:
                fate = await one(server.url, {"query": query})
                assert (fate.status, fate.reason) == (504, "REQUEST_TIMEOUT"), fate
                seconds = await wait_until_locked(observer, locked_out=False)
            hold("REQUEST_TIMEOUT", fate.seconds, computing_seconds=0.25, waiting_seconds=0.2)
            hold("cancelling what has timed out", seconds, computing_seconds=0.1)
