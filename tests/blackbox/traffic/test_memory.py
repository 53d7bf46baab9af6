"""Tests of the memory limit: a process that holds too much refuses new work, goes on with the old, and recovers."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.blackbox.raw_connection import Wire, request
from tests.blackbox.raw_sockets import TEXT, RawSocket, frame, raw_socket, text
from tests.blackbox.traffic.test_admission import ORDER, blocked, reasons
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, answers, running_server, wait_for
from tests.support.exposition import value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

    from tests.servers.process import Server

SCHEMA = "memory"
MEGABYTE = 1 << 20
LIMIT_MEGABYTES = 300
FEED = {"query": "subscription { orderStatusChanged { orderKey } }"}
CHANGE = {"query": "mutation { setOrderStatus(input: {orderKey: 7, status: PARTIAL}) { userErrors { code } } }"}
STREAM = {"accept": "text/event-stream"}
PROTOCOL: Any = ["graphql-transport-ws"]
HOARDING = "tests.servers.hoarding"
CHECKS = "server.traffic.memory._CHECK_SECONDS"
# Without a load it holds less than half of the limit.
TOO_MUCH, NOTHING = "250", "0"


class Hoard:
    """The file that says how many megabytes a server is to hold."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.holds(NOTHING)

    def holds(self, megabytes: str) -> None:
        """Let the server hold them."""
        self.file.write_text(megabytes)


@pytest.fixture
def hoard(tmp_path: Path) -> Hoard:
    """A hoard that is empty."""
    return Hoard(tmp_path / "hoard")


def refuses(server: Server) -> bool:
    """Whether the server refuses new work."""
    return httpx.get(f"{server.graphql}?query={{__typename}}", verify=NO_TLS).status_code == 503


async def subscribed(socket: ClientConnection, id_: str, payload: dict[str, Any]) -> None:
    """Send the message that starts an operation."""
    await socket.send(json.dumps({"id": id_, "type": "subscribe", "payload": payload}))


def events(server: Server) -> list[str]:
    """The events about memory in the log."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    return [line["event"] for line in lines if "held_mb" in line]


async def test_a_process_that_holds_too_much_refuses_new_work_until_it_holds_less(
    orders_url: str, hoard: Hoard
) -> None:
    """On every transport, and on sockets that are open already. What is running is answered, and so are probes."""
    with running_server(
        orders_url,
        module=HOARDING,
        altered={CHECKS: 0.05, "server.traffic.memory._REFUSAL_SECONDS": 600},
        APP_SCHEMA=SCHEMA,
        HOARD=str(hoard.file),
        MEMORY_LIMIT=str(LIMIT_MEGABYTES),
    ) as server:
        url = f"{server.url.replace('http', 'ws', 1)}/api/graphql"
        holder = await asyncpg.connect(orders_url)
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as client,
            connect(url, subprotocols=PROTOCOL) as socket,
        ):
            # This makes the server create its tables.
            assert (await client.post("/api/graphql", json=CHANGE)).status_code == 200
            await socket.send('{"type": "connection_init"}')
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute(f"LOCK TABLE {SCHEMA}.order_status IN ACCESS EXCLUSIVE MODE")
            running = asyncio.create_task(client.post("/api/graphql", json=ORDER))
            await subscribed(socket, "running", ORDER)
            await blocked(holder, 2)

            hoard.holds(TOO_MUCH)
            while (answer := await client.get("/api/graphql?query={__typename}")).status_code == 200:
                pass
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert reasons(answer) == ["OVERLOADED"]
            for path in ("/api/graphql", "/api/graphql/stream"):
                assert reasons(await client.post(path, json=FEED, headers=STREAM)) == ["OVERLOADED"]
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, subprotocols=PROTOCOL)
            assert refused.value.response.status_code == 503
            for id_, payload in (("query", ORDER), ("feed", FEED)):
                await subscribed(socket, id_, payload)
                message = json.loads(await socket.recv())
                assert (message["id"], message["type"]) == (id_, "error")
                assert message["payload"][0]["extensions"]["reason"] == "OVERLOADED"
            assert (await client.get("/livez")).status_code == 200
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
            assert ready.json()["memory"] == "short: new work is refused"
            metrics = (await client.get("/api/metrics")).text
            assert value(metrics, "orders_api_memory_limit_bytes") == LIMIT_MEGABYTES << 20
            assert value(metrics, "orders_api_resident_memory_bytes") > 0.9 * (LIMIT_MEGABYTES << 20)
            assert value(metrics, "orders_api_memory_shortages_total") == 1

            await transaction.rollback()
            assert (await running).status_code == 200
            assert json.loads(await socket.recv())["id"] == "running"
            hoard.holds(NOTHING)
            while (answer := await client.post("/api/graphql", json=ORDER)).status_code != 200:
                assert reasons(answer) == ["OVERLOADED"]
            while "memory normal again" not in events(server):  # noqa: ASYNC110 # another process's
                await asyncio.sleep(0.01)  # between two looks
        await holder.close()
        assert events(server) == [
            "memory high: the caches are let go",
            "short of memory: new work is refused",
            "new work is taken again",
            "memory normal again",
        ]


def test_a_process_out_of_memory_for_good_asks_for_its_restart(orders_url: str, hoard: Hoard) -> None:
    """By `/livez`. It does not end by itself: nobody might start another."""
    altered = {CHECKS: 0.05, "server.traffic.memory._STUCK_SECONDS": 0.1}
    settings: dict[str, Any] = {"HOARD": str(hoard.file), "MEMORY_LIMIT": str(LIMIT_MEGABYTES)}
    with running_server(orders_url, module=HOARDING, altered=altered, APP_SCHEMA=SCHEMA, **settings) as server:
        hoard.holds(TOO_MUCH)
        wait_for(lambda: not answers(f"{server.url}/livez"), what=server.log)
        assert refuses(server)
        hoard.holds(NOTHING)
        wait_for(lambda: answers(f"{server.url}/livez"), what=server.log)
        wait_for(lambda: answers(f"{server.url}/readyz"), what=server.log)
        assert not refuses(server)


def test_a_worker_out_of_memory_for_good_is_replaced(orders_url: str, hoard: Hoard) -> None:
    """It ends as at a signal, and the supervisor starts another."""
    altered = {CHECKS: 0.05, "server.traffic.memory._STUCK_SECONDS": 0.1}
    settings: dict[str, Any] = {"HOARD": str(hoard.file), "MEMORY_LIMIT": str(LIMIT_MEGABYTES), "WORKERS": "2"}
    with running_server(orders_url, module=HOARDING, altered=altered, APP_SCHEMA=SCHEMA, **settings) as server:
        wait_for(lambda: server.log().count("worker serving") == 2, what=server.log)
        hoard.holds(TOO_MUCH)
        wait_for(lambda: server.log().count("worker ends") >= 2, what=server.log)
        hoard.holds(NOTHING)
        wait_for(lambda: server.log().count("worker serving") >= 4, what=server.log)
        assert not refuses(server)
        assert "stop cut short" not in server.log()


def test_requests_are_refused_before_their_body_however_their_url_is_written(orders_url: str, hoard: Hoard) -> None:
    """A refusal is cheap, so it is for each request of GraphQL."""
    settings: dict[str, Any] = {"HOARD": str(hoard.file), "MEMORY_LIMIT": str(LIMIT_MEGABYTES)}
    with running_server(orders_url, module=HOARDING, APP_SCHEMA=SCHEMA, **settings) as server:
        hoard.holds(TOO_MUCH)
        wait_for(lambda: refuses(server), what=server.log)
        for url in (
            "/api/graphql",
            "/api/%67raphql",
            "http://localhost/api/graphql",
            "/api/graphql/?x",
            "/%61pi/graphql/stream",
        ):
            with Wire(server) as wire:
                wire.send(f"POST {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode())
                assert wire.refused() == (503, "OVERLOADED"), url


def test_a_client_that_reads_no_refusals_gets_no_more_of_them(orders_url: str, hoard: Hoard) -> None:
    """While new work is refused. Otherwise what the server writes would fill the memory that is short."""
    settings: dict[str, Any] = {"HOARD": str(hoard.file), "MEMORY_LIMIT": str(LIMIT_MEGABYTES)}
    with running_server(orders_url, module=HOARDING, APP_SCHEMA=SCHEMA, **settings) as server:
        hoard.holds(TOO_MUCH)
        wait_for(lambda: refuses(server), what=server.log)
        with Wire(server, receives=4096) as wire:
            # Their answers have 40 MB. Some of them fit into the kernel's buffers.
            wire.send(b"GET /api/graphql HTTP/1.1\r\nHost: a\r\n\r\n" * 120_000)
            wire.send(b"GET /api/graphql HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert wire.rest() < 20 << 20


def unfinished(server: Server, size: int, *headers: str) -> Wire:
    """A connection that has sent a body of this size without its last byte."""
    wire = Wire(server)
    head = ("POST /api/graphql HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers)
    wire.send("\r\n".join((*head, f"Content-Length: {size}", "", "")).encode())
    with suppress(OSError):
        wire.send(bytes(size - 1))
    return wire


@pytest.fixture(scope="module")
def bounded(orders_url: str) -> Iterator[Server]:
    """A server for several callers that holds eight megabytes of what has not arrived."""
    altered = {"server.wire.unfinished._MOST_BYTES": 8 * MEGABYTE}
    settings: dict[str, Any] = {"AUTH_MODE": "databricks-app", "DATABRICKS_APP_NAME": "orders", "READER_USERS": "*"}
    with running_server(orders_url, altered=altered, APP_SCHEMA=SCHEMA, **settings) as server:
        yield server


def test_bodies_that_have_not_arrived_are_bounded_together(bounded: Server) -> None:
    """The caller that sends most is refused, and another one is not, although its body is longer."""
    with ExitStack() as stack:
        ben = stack.enter_context(unfinished(bounded, 2 * MEGABYTE, "X-Forwarded-Email: ben"))
        wires = [stack.enter_context(unfinished(bounded, MEGABYTE, "X-Forwarded-Email: ann")) for _ in range(20)]

        def refused() -> int:
            return sum(wire.has_come(seconds=0) for wire in wires)

        wait_for(lambda: refused() >= 20 - 6, what=lambda: f"the others to be refused, not only {refused()}")
        for wire in (ben, *wires):
            with suppress(OSError):
                wire.send(b"0")
        assert ben.refused() == (400, "BODY_INVALID")
        found = {wire.refused() for wire in wires}
        assert found == {(503, "OVERLOADED"), (400, "BODY_INVALID")}


def test_messages_that_have_not_arrived_are_bounded_together(bounded: Server) -> None:
    """The sockets of the caller that sends most are closed, and the client may try again."""
    payload = {"query": "{ __typename }", "variables": {"x": "x" * MEGABYTE}}
    message = text({"id": "1", "type": "subscribe", "payload": payload})
    with ExitStack() as stack:
        ben, *others = [
            stack.enter_context(raw_socket(bounded.url, headers=f"X-Forwarded-Email: {name}\r\n"))
            for name in ("ben", *["ann"] * 20)
        ]
        for one in (ben, *others):
            with suppress(OSError):
                one.send(message[:-1])

        def closed() -> list[RawSocket]:
            return [one for one in others if one.has_come()]

        wait_for(lambda: len(closed()) >= 20 - 8, what=lambda: f"the others to be closed, not only {len(closed())}")
        assert {one.closed_with() for one in closed()} == {1013}
        ben.send(message[-1:])
        assert json.loads(ben.read().payload)["id"] == "1"


async def test_requests_that_wait_for_the_one_before_are_bounded_together(orders_url: str) -> None:
    """A client may pipeline requests behind one that takes long. That one is answered, whatever comes of the others."""
    holder = await asyncpg.connect(orders_url)
    altered = {"server.wire.unfinished._MOST_BYTES": 1}
    body = b'{"query": "%s"}' % (b" " * 15_000)
    head = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    behind = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    try:
        with (
            running_server(orders_url, altered=altered, APP_SCHEMA=SCHEMA, BODY_BYTES="20000") as server,
            ExitStack() as stack,
        ):
            async with holder.transaction():
                await holder.execute("LOCK TABLE orders_synced IN ACCESS EXCLUSIVE MODE")
                wires = [stack.enter_context(Wire(server)) for _ in range(10)]
                for wire in wires:
                    wire.send(request(1), behind, behind)
                await blocked(holder, 1)
                with Wire(server) as last:
                    last.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert last.answer()[0] == "HTTP/1.1 200 OK"
            assert {wire.answer()[0] for wire in wires} == {"HTTP/1.1 200 OK"}
            statuses = [wire.answer()[0][9:12] for wire in wires]
            assert statuses.count("503") >= 10 - 2
    finally:
        await holder.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["bodies", "messages"])
def test_the_limit_holds_whatever_has_not_arrived(orders_url: str, kind: str) -> None:
    """With the server's own limits: 300 clients announce two megabytes before the first sends them."""
    with (
        running_server(orders_url, patient=False, APP_SCHEMA=SCHEMA, MEMORY_LIMIT="256") as server,
        ExitStack() as stack,
    ):
        if kind == "bodies":
            wires: list[Wire | RawSocket] = [stack.enter_context(Wire(server)) for _ in range(300)]
            head = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            first, rest = head + b"Content-Length: 2097152\r\n\r\n", bytes(2_097_151)
        else:
            wires = [stack.enter_context(raw_socket(server.url)) for _ in range(300)]
            whole = frame(TEXT, bytes(2_000_000))
            first, rest = whole[:14], whole[14:-1]
        for wire in wires:
            wire.send(first)
        most = 0.0
        for number, wire in enumerate(wires):
            with suppress(OSError):
                wire.send(rest)
            if number % 20 == 0:
                metrics = httpx.get(f"{server.url}/api/metrics", verify=NO_TLS).text
                most = max(most, value(metrics, "orders_api_resident_memory_bytes"))
        assert most < 256 * MEGABYTE, f"{most / MEGABYTE:.0f} MB"
