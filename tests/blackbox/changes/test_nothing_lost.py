"""Tests that nothing is lost: writers with a ledger, while the synced table is replaced, or a process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import uuid
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import asyncpg
import httpx
import psutil
import pytest

from server.local.cluster import Cluster
from tests.blackbox.ledger import WRITERS, Answer, Intent, Ledger, Outcome, audit, send, writing
from tests.servers.process import free_port, running_server, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers.process import Server

pytestmark = pytest.mark.faults

# `make faults` sets a higher number.
KILLS = int(os.environ.get("FAULT_KILLS", "2"))
STOPS = 10
_OPEN_TRANSACTIONS: Final = (
    "SELECT string_agg(state, ';') FROM pg_stat_activity "
    "WHERE xact_start IS NOT NULL AND application_name LIKE 'lakebase-orders-graphql%'"
)
_SOURCE = """
CREATE TABLE source AS
SELECT g AS o_orderkey, 1::bigint AS o_custkey, 1.5::numeric AS o_totalprice, DATE '1996-01-02' AS o_orderdate,
       '5-LOW' AS o_orderpriority, 'Clerk#1' AS o_clerk, 0 AS o_shippriority, '' AS o_comment
FROM generate_series(1::bigint, 1000) g
"""
_DROP = "DROP TABLE orders_synced"
_EMPTY = "DELETE FROM orders_synced"
_TRUNCATE = "TRUNCATE orders_synced"
_CREATE = (
    "CREATE TABLE orders_synced (o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_totalprice numeric, "
    "o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority int, o_comment text, o_orderstatus text)"
)
_FILL = "INSERT INTO orders_synced SELECT *, '{status}' FROM source"
_SOURCE_STATUSES: Final = ("OPEN", "FULFILLED", "PARTIAL")


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL that keeps what it acknowledges, with a synced table.

    The tests kill PostgreSQL, not the machine. They show that it recovers, not what a power failure leaves.
    """
    cluster = Cluster(tmp_path_factory.mktemp("durable") / "cluster")
    try:
        cluster.start()
        for guarantee in ("fsync", "synchronous_commit", "full_page_writes"):
            assert cluster.run_sql(f"SHOW {guarantee}") == "on"
        cluster.run_sql("; ".join((_SOURCE, _CREATE, _FILL.format(status="O"))))
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    yield ledger
    ledger.close()


async def hear(ledger: Ledger, what: Outcome | str, times: int = WRITERS) -> None:
    """Wait for this many more attempts with this outcome or reason."""

    def so_far() -> int:
        return ledger.outcomes[what] if isinstance(what, Outcome) else ledger.reasons[what]

    goal = so_far() + times
    await until(lambda: so_far() >= goal)


async def test_a_synced_table_that_is_replaced_under_the_writers_loses_nothing(
    durable: Cluster, ledger: Ledger
) -> None:
    """The synced table is dropped, emptied and refilled in every way, with other statuses each time.

    Meanwhile writers are told to retry, never that the order does not exist. Afterwards every acknowledged change is
    there once and no refused one is, and reads return the statuses set here.
    """
    connection = await asyncpg.connect(durable.url)
    with running_server(durable.url, APP_SCHEMA="resync", LOCK_TIMEOUT="0.5") as server:
        async with writing(server.url, ledger):
            await hear(ledger, Outcome.APPLIED, 2 * WRITERS)
            for source_status in _SOURCE_STATUSES:
                fill = _FILL.format(status=source_status[0])
                # In steps: the table is missing, and then empty, for long enough that every writer meets both.
                for step in (_DROP, _CREATE):
                    await connection.execute(step)
                    await hear(ledger, "ORDERS_UNAVAILABLE")
                await connection.execute(fill)
                await hear(ledger, Outcome.APPLIED, WRITERS)
                for empty in (_EMPTY, _TRUNCATE):
                    await connection.execute(empty)
                    await hear(ledger, "ORDERS_UNAVAILABLE")
                    await connection.execute(fill)
                    await hear(ledger, Outcome.APPLIED, WRITERS)
                # In one transaction.
                for empty in (f"{_DROP}; {_CREATE}", _EMPTY, _TRUNCATE):
                    await connection.execute(f"BEGIN; {empty}; {fill}; COMMIT")
                    await hear(ledger, Outcome.APPLIED, WRITERS)
            # In a long transaction.
            await connection.execute(f"BEGIN; {_DROP}; {_CREATE}; {fill}")
            await hear(ledger, "ORDERS_UNAVAILABLE", 1)
            await connection.execute("COMMIT")
            await hear(ledger, Outcome.APPLIED, WRITERS)
        await connection.close()
        assert ledger.reasons.keys() <= {"ORDERS_UNAVAILABLE", "ORDER_BUSY", "POOL_EXHAUSTED", "STATUS_CONFLICT"}
        last = await audit(ledger, durable.url, "resync")
        query = "query ($keys: [BigInt!]!) { orders(filter: {orderKey: {in: $keys}}) { nodes { orderKey status statusVersion syncedStatus } } }"
        async with httpx.AsyncClient() as client:
            said = await client.post(server.graphql, json={"query": query, "variables": {"keys": list(last)}})
        assert {
            int(node["orderKey"]): (node["status"], node["statusVersion"], node["syncedStatus"])
            for node in said.json()["data"]["orders"]["nodes"]
        } == {order: (*state, source_status) for order, state in last.items()}


async def test_a_server_that_is_killed_loses_nothing(durable: Cluster, ledger: Ledger) -> None:
    """`kill -9` during writes, repeatedly: a write in flight is applied once or not at all, as its key tells."""
    port = free_port()
    with contextlib.ExitStack() as stack:

        def start() -> Server:
            return stack.enter_context(running_server(durable.url, port=port, APP_SCHEMA="server_killed"))

        server = start()
        async with writing(server.url, ledger):
            for _ in range(KILLS):
                await hear(ledger, Outcome.APPLIED, 5 * WRITERS)
                # At least one writer was waiting for a response.
                await asyncio.gather(hear(ledger, Outcome.UNKNOWN, 1), asyncio.to_thread(server.kill))
                server = await asyncio.to_thread(start)
            await hear(ledger, Outcome.APPLIED, 5 * WRITERS)
        await audit(ledger, durable.url, "server_killed")


def crash(cluster: Cluster) -> None:
    """`kill -9` the postmaster and all its children, so that none can clean up."""
    postmaster = psutil.Process(cluster.process_id())
    postmaster.suspend()
    processes = [*postmaster.children(recursive=True), postmaster]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)


async def test_a_postgresql_that_is_killed_loses_nothing(durable: Cluster, ledger: Ledger) -> None:
    """`kill -9` of all its processes during writes, and crash recovery, repeatedly, under the same server."""
    with running_server(durable.url, APP_SCHEMA="postgresql_killed") as server:
        async with writing(server.url, ledger):
            for _ in range(KILLS):
                await hear(ledger, Outcome.APPLIED, 5 * WRITERS)
                await asyncio.to_thread(crash, durable)
                await hear(ledger, "DATABASE_UNAVAILABLE")
                await asyncio.to_thread(durable.start, durable.port)
            await hear(ledger, Outcome.APPLIED, 5 * WRITERS)
        assert ledger.reasons.keys() <= {"DATABASE_UNAVAILABLE", "OUTCOME_UNKNOWN", "POOL_EXHAUSTED", "STATUS_CONFLICT"}
        await audit(ledger, durable.url, "postgresql_killed")


async def test_a_server_that_stands_still_holds_no_lock(durable: Cluster, ledger: Ledger) -> None:
    """One of two servers is stopped in the midst of its writes, repeatedly. PostgreSQL completes each of them without it.

    So a writer of another order, by the other server, does not wait for the stopped one.
    """
    start = functools.partial(running_server, durable.url, APP_SCHEMA="standing_still")
    with start() as stopped, start() as running:
        async with writing(stopped.url, ledger), httpx.AsyncClient(base_url=running.url) as other:
            for turn in range(STOPS):
                await hear(ledger, Outcome.APPLIED)
                psutil.Process(stopped.process.pid).suspend()
                try:
                    # The states of the transactions that are open; until there are none.
                    states = []
                    while state := durable.run_sql(_OPEN_TRANSACTIONS):
                        states.append(state)
                    assert "idle in transaction" not in ";".join(states)
                    assert await send(other, new_intent(501 + turn)) == Answer(Outcome.APPLIED, version=1)
                finally:
                    psutil.Process(stopped.process.pid).resume()


class Fault(Enum):
    """What happens to a message to PostgreSQL, its reply, and the connection."""

    LOST = "it does not arrive, and the connection is cut"
    REPLY_LOST = "it arrives, and the connection is cut before the reply"
    REPLY_NEVER_COMES = "it arrives, and the connection falls silent"


class Wire:
    """A TCP proxy in front of PostgreSQL, with a fault for one message. `port` is the proxy's."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._message = b""
        self._fault = Fault.LOST
        self.connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        # All clients have disconnected by now.
        if self.connections:
            await asyncio.wait(self.connections)

    def break_at(self, message: bytes, fault: Fault) -> None:
        """Apply the fault to the next message that contains these bytes, on any connection."""
        self._message, self._fault = message, fault

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        faults: list[Fault] = []
        ways = [
            asyncio.create_task(self._forward(reader, to_writer, faults)),
            asyncio.create_task(self._back(to_reader, writer, faults)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, to_writer):
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: list[Fault]) -> None:
        while data := await reader.read(1 << 16):
            if self._message and self._message in data:
                self._message = b""
                faults.append(self._fault)
                if self._fault is Fault.LOST:
                    return
            writer.write(data)

    @staticmethod
    async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: list[Fault]) -> None:
        while data := await reader.read(1 << 16):
            if Fault.REPLY_LOST in faults:
                return
            if not faults:
                writer.write(data)


class Rig(NamedTuple):
    """A server behind a proxy, a client of it, and its database."""

    wire: Wire
    client: httpx.AsyncClient
    database_url: str

    async def applied(self, intent: Intent) -> int:
        """How many changes were made for an intent."""
        statement = "SELECT count(*) FROM wired.order_status_change WHERE note = $1"
        # Another test may have killed PostgreSQL since the last call.
        database = await asyncpg.connect(self.database_url)
        try:
            return int(await database.fetchval(statement, intent.key))
        finally:
            await database.close()

    async def end_connections(self) -> None:
        """End the server's sessions, as a restart of PostgreSQL does, and wait until the proxy has closed them too."""
        database = await asyncpg.connect(self.database_url)
        try:
            ended = (
                "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE application_name LIKE $1"
            )
            assert await database.fetchval(ended, "lakebase-orders-graphql%")
            await until(lambda: not self.wire.connections)
        finally:
            await database.close()


@pytest.fixture(scope="module")
async def rig(durable: Cluster) -> AsyncIterator[Rig]:
    """One rig for all faults. The server gives up a silent database after 3 s, and a statement after 2 s."""
    async with Wire(durable.port) as wire:
        url = durable.url.replace(f":{durable.port}/", f":{wire.port}/")
        running = running_server(url, APP_SCHEMA="wired", STATEMENT_TIMEOUT="2")
        # The server starts and stops through the proxy, so the event loop must not wait for it.
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with httpx.AsyncClient(base_url=server.url) as client:
                yield Rig(wire, client, durable.url)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


def new_intent(order: int) -> Intent:
    """A change to an order, with a status that is neither set nor synced."""
    return Intent(str(uuid.uuid4()), order, "FULFILLED")


def in_the_change(intent: Intent) -> bytes:
    """Bytes of the message that makes a change: its note."""
    return intent.key.encode()


@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.REPLY_NEVER_COMES])
async def test_after_a_lost_reply_the_outcome_is_unknown_and_the_key_tells_it(rig: Rig, fault: Fault) -> None:
    """The change is made, and the server does not guess. A repetition with its key tells and makes no second one."""
    intent = new_intent(101 + len(fault.value))
    rig.wire.break_at(in_the_change(intent), fault)
    assert await send(rig.client, intent) == Answer(Outcome.UNKNOWN, "OUTCOME_UNKNOWN", retryable=True)
    assert await rig.applied(intent) == 1
    for _ in range(2):
        assert await send(rig.client, intent) == Answer(Outcome.APPLIED, version=1, replayed=True)
    assert await rig.applied(intent) == 1


async def test_after_a_lost_reply_a_change_without_a_key_must_not_be_repeated(rig: Rig) -> None:
    """The change may have been made, and was: `retryable` is false, and the server has not repeated it by itself."""
    intent = new_intent(103)
    rig.wire.break_at(in_the_change(intent), Fault.REPLY_LOST)
    assert await send(rig.client, intent, with_key=False) == Answer(Outcome.UNKNOWN, "OUTCOME_UNKNOWN", retryable=False)
    assert await rig.applied(intent) == 1


@pytest.mark.parametrize("with_key", [True, False])
async def test_a_lost_statement_is_not_reported_as_applied(rig: Rig, *, with_key: bool) -> None:
    """To the server this looks the same, but nothing was written. Repeated with its key, the change is made once."""
    intent = new_intent(104 + with_key)
    rig.wire.break_at(in_the_change(intent), Fault.LOST)
    answer = await send(rig.client, intent, with_key=with_key)
    assert answer == Answer(Outcome.UNKNOWN, "OUTCOME_UNKNOWN", retryable=with_key)
    assert await rig.applied(intent) == 0
    assert await send(rig.client, intent, with_key=with_key) == Answer(Outcome.APPLIED, version=1)
    assert await rig.applied(intent) == 1


@pytest.mark.parametrize("with_key", [True, False])
async def test_a_connection_that_was_closed_before_the_change_is_not_noticed(rig: Rig, *, with_key: bool) -> None:
    """Nothing was sent on it, so the server uses another one. The change is made once, with or without a key."""
    assert (await send(rig.client, new_intent(300 + with_key))).outcome is Outcome.APPLIED
    await rig.end_connections()
    intent = new_intent(200 + with_key)
    assert await send(rig.client, intent, with_key=with_key) == Answer(Outcome.APPLIED, version=1)
    assert await rig.applied(intent) == 1
