"""Tests of the memory limit: a process that holds too much refuses new work, goes on with the old, and recovers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.blackbox.raw_connection import Wire
from tests.blackbox.traffic.test_admission import ORDER, blocked, reasons
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server
from tests.support.exposition import value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.asyncio.client import ClientConnection

    from tests.servers.process import Server

SCHEMA = "memory"
LIMIT_MEGABYTES = 300
BODY_BYTES = 48 << 20
FEED = {"query": "subscription { orderStatusChanged { orderKey } }"}
CHANGE = {"query": "mutation { setOrderStatus(input: {orderKey: 7, status: PARTIAL}) { userErrors { code } } }"}
STREAM = {"accept": "text/event-stream"}
PROTOCOL: Any = ["graphql-transport-ws"]
HEAD = (
    "POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {BODY_BYTES}\r\n\r\n"
)


def holding(server: Server) -> Iterator[Wire]:
    """Clients that each send a long body without its last byte, which the server holds until it comes."""
    while True:
        wire = Wire(server)
        wire.send(HEAD.encode(), bytes(BODY_BYTES - 1))
        yield wire


async def subscribed(socket: ClientConnection, id_: str, payload: dict[str, Any]) -> None:
    """Send the message that starts an operation."""
    await socket.send(json.dumps({"id": id_, "type": "subscribe", "payload": payload}))


def events(server: Server) -> list[str]:
    """The events about memory in the log."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    return [line["event"] for line in lines if "held_mb" in line]


async def test_a_process_that_holds_too_much_refuses_new_work_until_it_holds_less(orders_url: str) -> None:
    """On every transport, and on sockets that are open already. What is running is answered, and so are probes."""
    with running_server(
        orders_url,
        APP_SCHEMA=SCHEMA,
        MEMORY_LIMIT=str(LIMIT_MEGABYTES),
        BODY_BYTES=str(BODY_BYTES),
        altered={"server.traffic.memory._CHECK_SECONDS": 0.05, "server.traffic.memory._STUCK_SECONDS": 600},
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

            clients = holding(server)
            wires = []
            while (answer := await client.get("/api/graphql?query={__typename}")).status_code == 200:
                # Those who send to a process that is short of memory are refused, and read no further.
                wires.append(next(clients))
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
            metrics = (await client.get("/api/metrics")).text
            assert value(metrics, "orders_api_memory_limit_bytes") == LIMIT_MEGABYTES << 20
            assert value(metrics, "orders_api_resident_memory_bytes") > 0.9 * (LIMIT_MEGABYTES << 20)
            assert value(metrics, "orders_api_memory_shortages_total") == 1

            await transaction.rollback()
            assert (await running).status_code == 200
            assert json.loads(await socket.recv())["id"] == "running"
            for wire in wires:
                wire.close()
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
