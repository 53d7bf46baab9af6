"""Tests of admission: bursts are answered, excess is refused before execution, and slow clients block nobody."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect

from tests.blackbox.raw_connection import Wire, request
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, answers, running_server
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

ORDER = {"query": "{ order(orderKey: 1) { orderKey status } }"}
SCHEMA = "admission"
WAIT = 0.3
WAITING = "server.traffic.admission.WAIT_SECONDS"
SHOP = "https://shop.example.com"
CHANGE = {
    "query": "mutation { setOrderStatus(input: {orderKey: 7, status: PARTIAL}) { change { version } userErrors { code } } }"
}


@pytest.fixture(scope="module")
def tight(orders_url: str) -> Iterator[Server]:
    """A server with at most two operations in flight."""
    with running_server(
        orders_url,
        APP_SCHEMA=SCHEMA,
        ALLOWED_ORIGINS=SHOP,
        MAX_REQUESTS="2",
        altered={WAITING: WAIT},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def narrow(orders_url: str) -> Iterator[Server]:
    """A server with at most two operations in flight, in which the others wait without a limit."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, MAX_REQUESTS="2") as server:
        yield server


def reasons(answer: httpx.Response) -> list[str]:
    """The reasons of a response's errors."""
    return [error["extensions"]["reason"] for error in answer.json().get("errors", [])]


def refusals(server: Server) -> list[dict[str, Any]]:
    """The log lines with the number of refusals."""
    return [json.loads(line) for line in server.log().splitlines() if '"event":"overloaded"' in line]


async def blocked(connection: asyncpg.Connection, number: int) -> None:
    """Wait until this many backends wait for a lock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < number:  # noqa: ASYNC110 # another process's
            await asyncio.sleep(0.01)  # between two looks


async def test_a_burst_is_answered(orders_url: str) -> None:
    """Two hundred requests at once on as many connections: more than may be in flight, and none is refused."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA) as server:
        for answer in await burst(server):
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.long
async def test_a_burst_is_answered_within_two_seconds(orders_url: str) -> None:
    """A request that cannot be answered within that time is refused."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, altered={WAITING: 2}, patient=False) as server:
        began = time.monotonic()
        for answer in await burst(server):
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        hold("a burst of 200", time.monotonic() - began, computing_seconds=2)


async def burst(server: Server) -> list[bytes]:
    """The responses to two hundred requests at once, on as many connections."""
    host, port = server.url.removeprefix("http://").split(":")

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        opened.release()
        await begin.wait()
        writer.write(request(1, "Connection: close"))
        answer = await reader.read()
        writer.close()
        return answer

    opened, begin = asyncio.Semaphore(0), asyncio.Event()
    asking = [asyncio.create_task(ask()) for _ in range(200)]
    for _ in asking:
        await opened.acquire()
    begin.set()
    return await asyncio.gather(*asking)


@pytest.mark.faults
async def test_excess_is_refused_before_execution(tight: Server, orders_url: str) -> None:
    """A refusal has Retry-After, and the change is never applied. Probes and metrics are always answered.

    Errors in a document are reported even without a free admission slot. A browser's preflight is answered, and its
    page can read the refusal.
    """
    holder = await asyncpg.connect(orders_url)
    client = httpx.AsyncClient(base_url=tight.url, verify=NO_TLS, headers={"origin": SHOP})
    try:
        # This makes the server create its tables.
        assert (await client.post("/api/graphql", json=CHANGE)).json()["data"]["setOrderStatus"]["userErrors"] == []
        before = await holder.fetchval(f"SELECT count(*) FROM {SCHEMA}.order_status_change")
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(f"LOCK TABLE {SCHEMA}.order_status IN ACCESS EXCLUSIVE MODE")
        held = [asyncio.create_task(client.post("/api/graphql", json=ORDER)) for _ in range(2)]

        await blocked(holder, 2)
        began = time.monotonic()
        waits = asyncio.create_task(client.post("/api/graphql", json=CHANGE))
        watched = 0
        while not waits.done():
            assert (await client.get("/livez")).status_code == 200
            watched += 1
        assert watched > 0
        hold("a refusal for want of a slot", time.monotonic() - began, computing_seconds=0.1, waiting_seconds=WAIT)
        assert reasons(await client.post("/api/graphql", json={"query": "{ nothing }"})) == ["DOCUMENT_INVALID"]
        preflight = await client.options("/api/graphql", headers={"access-control-request-method": "POST"})
        assert preflight.status_code == 200
        others = client.post("/api/graphql", json=CHANGE), client.get("/api/graphql?query={__typename}")
        refused = [await waits, *await asyncio.gather(*others)]
        for answer in refused:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.headers["access-control-allow-origin"] == SHOP
            assert reasons(answer) == ["OVERLOADED"]
        for path in ("/livez", "/readyz", "/api/metrics"):
            assert (await client.get(path)).status_code == 200
        await transaction.rollback()
        assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
        await until_answered(client)
        assert await holder.fetchval(f"SELECT count(*) FROM {SCHEMA}.order_status_change") == before
    finally:
        await client.aclose()
        await holder.close()


async def until_answered(client: httpx.AsyncClient) -> None:
    """Repeat a request while the server refuses it as overloaded."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await client.post("/api/graphql", json=ORDER)).status_code != 200:
            assert reasons(answer) == ["OVERLOADED"]


async def test_an_overloaded_process_sheds_load(orders_url: str) -> None:
    """Requests it cannot reach in time are refused unread, with Retry-After, counted, and logged once a second."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, MAX_REQUESTS="1", altered={WAITING: 0.02}) as busy:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not refusals(busy):
                for answer in await burst(busy):
                    head = answer.partition(b"\r\n\r\n")[0].lower()
                    assert answer.startswith(b"HTTP/1.1 200") or b"\r\nretry-after: 1" in head
        async with httpx.AsyncClient(base_url=busy.url, verify=NO_TLS) as client:
            assert 'outcome="OVERLOADED"' in (await client.get("/api/metrics")).text
            await until_answered(client)


async def test_a_socket_and_a_stream_wait_for_admission_too(tight: Server, orders_url: str) -> None:
    """Their queries and mutations wait for a slot. Their subscriptions hold none."""
    holder = await asyncpg.connect(orders_url)
    url = f"{tight.url.replace('http', 'ws', 1)}/api/graphql"
    try:
        async with (
            httpx.AsyncClient(base_url=tight.url, verify=NO_TLS) as client,
            connect(url, subprotocols=["graphql-transport-ws"]) as socket,  # type: ignore[list-item] # its NewType of str
        ):
            await socket.send('{"type": "connection_init"}')
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            feed = {"query": "subscription { orderStatusChanged { orderKey } }"}
            for number in range(3):
                await socket.send(json.dumps({"id": f"feed{number}", "type": "subscribe", "payload": feed}))
            await until_answered(client)
            async with holder.transaction():
                await holder.execute(f"LOCK TABLE {SCHEMA}.order_status IN ACCESS EXCLUSIVE MODE")
                for number in range(3):
                    await socket.send(json.dumps({"id": str(number), "type": "subscribe", "payload": ORDER}))
                message = json.loads(await socket.recv())
                assert (message["id"], message["type"]) == ("2", "error")
                assert message["payload"][0]["extensions"]["reason"] == "OVERLOADED"
                stream = {"accept": "text/event-stream"}
                answer = await client.post("/api/graphql/stream", json=ORDER, headers=stream)
                assert '"reason":"OVERLOADED"' in answer.text
    finally:
        await holder.close()


def test_a_slow_client_holds_no_admission_slot(narrow: Server) -> None:
    """Neither a trickling body nor an unread response holds an admission slot."""
    body = json.dumps({"query": "{ orders(first: 300) { nodes { orderKey clerk comment orderDate } } }"})
    lines = ("POST /api/graphql HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    halves = [Wire(narrow) for _ in range(4)]
    unread = [Wire(narrow, receives=4096) for _ in range(4)]
    for wire in halves:
        wire.send(head, body[:10].encode())
    for wire in unread:
        wire.send((head + body.encode()) * 50)
    for _ in range(5):
        answer = httpx.post(narrow.graphql, json=ORDER, verify=NO_TLS)
        assert answer.json()["data"]["order"]["orderKey"] == "1"
    for wire in (*halves, *unread):
        wire.close()
    assert answers(f"{narrow.url}/livez")
