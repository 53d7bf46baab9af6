"""GraphQL over WebSocket follows graphql-transport-ws to the letter, and no operation harms another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.servers.process import PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

PROTOCOL = Subprotocol("graphql-transport-ws")
INIT = {"type": "connection_init"}
ORDER = {"query": "{ order(orderKey: 1) { orderKey } }"}
FEED = {"query": "subscription { orderStatusChanged { orderKey } }"}


@pytest.fixture
def address(server: Server) -> str:
    """The address of the server's WebSocket."""
    return server.graphql.replace("http", "ws", 1)


@pytest.fixture
def socket(address: str) -> Iterator[ClientConnection]:
    """A connection that has been acknowledged."""
    with connect(address, subprotocols=[PROTOCOL]) as connection:
        send(connection, INIT)
        assert receive(connection) == {"type": "connection_ack"}
        yield connection


def send(connection: ClientConnection, *messages: object) -> None:
    """Send messages: text as it is, anything else as JSON."""
    for message in messages:
        connection.send(message if isinstance(message, str | bytes) else json.dumps(message))


def receive(connection: ClientConnection) -> dict[str, Any]:
    """The next message, which must come in a text frame."""
    text = connection.recv(timeout=PATIENCE_SECONDS)
    assert isinstance(text, str)
    message = json.loads(text)
    assert isinstance(message, dict)
    return message


def closed_with(connection: ClientConnection) -> int:
    """The code with which the server closes the connection, after any other messages."""
    try:
        while True:
            connection.recv(timeout=PATIENCE_SECONDS)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def test_an_operation_is_answered_and_completed(socket: ClientConnection) -> None:
    """A query and a mutation get one `next` and one `complete`."""
    send(socket, {"id": "q", "type": "subscribe", "payload": ORDER})
    assert receive(socket) == {"id": "q", "type": "next", "payload": {"data": {"order": {"orderKey": "1"}}}}
    assert receive(socket) == {"id": "q", "type": "complete"}
    missing = "mutation { clearOrderStatus(input: {orderKey: 99999999}) { userErrors { code } } }"
    send(socket, {"id": "q", "type": "subscribe", "payload": {"query": missing}})
    data = {"clearOrderStatus": {"userErrors": [{"code": "ORDER_NOT_FOUND"}]}}
    assert receive(socket) == {"id": "q", "type": "next", "payload": {"data": data}}
    assert receive(socket) == {"id": "q", "type": "complete"}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"query": "{ order("}, "SYNTAX"),
        ({"query": "{ nothing }"}, "DOCUMENT_INVALID"),
        ({"query": "query A { __typename } query B { __typename }"}, "OPERATION_UNDETERMINED"),
        ({"query": "query A { __typename }", "operationName": "B"}, "OPERATION_UNDETERMINED"),
        ({"query": "query($k: BigInt!) { order(orderKey: $k) { id } }", "variables": {"k": []}}, "VARIABLES_INVALID"),
        ({"query": 'subscription { orderStatusChanged(after: "x") { id } }'}, "CURSOR_INVALID"),
        ({"query": ""}, "PARAMETER_INVALID"),
    ],
)
def test_a_bad_operation_ends_alone(socket: ClientConnection, payload: dict[str, Any], reason: str) -> None:
    """Its error has the reason, and other operations on the connection go on."""
    send(socket, {"id": "feed", "type": "subscribe", "payload": FEED})
    send(socket, {"id": "bad", "type": "subscribe", "payload": payload})
    error = receive(socket)
    assert (error["id"], error["type"]) == ("bad", "error")
    assert [one["extensions"]["reason"] for one in error["payload"]] == [reason]
    # The id is free again, and the socket is open.
    send(socket, {"id": "bad", "type": "subscribe", "payload": ORDER})
    assert [receive(socket)["type"] for _ in range(2)] == ["next", "complete"]


@pytest.mark.parametrize("init", [INIT, INIT | {"payload": None}, INIT | {"payload": {}}, INIT | {"payload": {"a": 1}}])
def test_an_init_may_come_with_a_payload_or_without(address: str, init: dict[str, Any]) -> None:
    """A payload of null is no payload."""
    with connect(address, subprotocols=[PROTOCOL]) as connection:
        send(connection, init)
        assert receive(connection) == {"type": "connection_ack"}


def test_a_ping_is_answered_before_and_after_the_init(address: str) -> None:
    """The ping may have a payload."""
    with connect(address, subprotocols=[PROTOCOL]) as connection:
        for message in ({"type": "ping"}, {"type": "ping", "payload": {"a": 1}}, {"type": "ping", "payload": None}):
            send(connection, {"type": "pong"}, message)
            assert receive(connection) == {"type": "pong"}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["{"], 4400),
        (["[1]"], 4400),
        (['"hi"'], 4400),
        (["null"], 4400),
        ([b"\x00"], 4400),
        ([{"type": 1}], 4400),
        ([{"type": "hello"}], 4400),
        ([{"type": "ping", "payload": []}], 4400),
        ([INIT | {"payload": "x"}], 4400),
        ([INIT, {"type": "subscribe", "payload": ORDER}], 4400),
        ([INIT, {"type": "subscribe", "id": "", "payload": ORDER}], 4400),
        ([INIT, {"type": "subscribe", "id": "1"}], 4400),
        ([INIT, {"type": "subscribe", "id": "1", "payload": {"query": 1}}], 4400),
        ([INIT, {"type": "subscribe", "id": "1", "payload": ORDER | {"variables": []}}], 4400),
        ([INIT, {"type": "subscribe", "id": "1", "payload": ORDER | {"operationName": 1}}], 4400),
        ([INIT, {"type": "subscribe", "id": "1", "payload": ORDER | {"extensions": "x"}}], 4400),
        ([INIT, {"type": "complete", "id": 1}], 4400),
        ([{"type": "subscribe", "id": "1", "payload": ORDER}], 4401),
        ([INIT, *[{"type": "subscribe", "id": "1", "payload": FEED}] * 2], 4409),
        ([INIT, *[{"type": "subscribe", "id": "é" * 200, "payload": FEED}] * 2], 4409),
        ([INIT, INIT], 4429),
    ],
)
def test_what_the_protocol_forbids_closes_the_socket(address: str, messages: list[Any], code: int) -> None:
    """The close has the code that the protocol defines for it."""
    with connect(address, subprotocols=[PROTOCOL]) as connection:
        send(connection, *messages)
        assert closed_with(connection) == code


def test_a_silent_client_is_disconnected(orders_url: str) -> None:
    """The connection is closed after three seconds without a `connection_init`."""
    with (
        running_server(orders_url, altered={"server.wire.connections.INIT_SECONDS": 0.2}) as hasty,
        connect(hasty.graphql.replace("http", "ws", 1), subprotocols=[PROTOCOL]) as connection,
    ):
        assert closed_with(connection) == 4408


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("graphql-ws")]])
def test_another_protocol_is_refused(address: str, subprotocols: list[Subprotocol] | None) -> None:
    """This includes the old protocol of subscriptions-transport-ws."""
    with connect(address, subprotocols=subprotocols) as connection:
        assert closed_with(connection) == 4406


def test_a_completed_subscription_sends_nothing_more(socket: ClientConnection) -> None:
    """Its id may be used again at once."""
    for _ in range(3):
        send(socket, {"id": "1", "type": "subscribe", "payload": FEED}, {"id": "1", "type": "complete"})
    send(socket, {"id": "never used", "type": "complete"})
    send(socket, {"id": "1", "type": "subscribe", "payload": ORDER})
    assert [(message["id"], message["type"]) for message in (receive(socket), receive(socket))] == [
        ("1", "next"),
        ("1", "complete"),
    ]


def test_a_message_that_is_too_long_closes_the_socket(socket: ClientConnection) -> None:
    """The code is 1009: message too big."""
    send(socket, {"id": "1", "type": "subscribe", "payload": {"query": "#" * (2 << 20)}})
    assert closed_with(socket) == 1009


def test_an_operation_leaves_a_line_in_the_log(server: Server, socket: ClientConnection) -> None:
    """Like a request's line, it has the name, the outcome and the statements."""
    query = "query OverTheSocket { order(orderKey: 1) { orderKey } }"
    send(socket, {"id": "1", "type": "subscribe", "payload": {"query": query}})
    assert [receive(socket)["type"] for _ in range(2)] == ["next", "complete"]
    wait_for(lambda: '"OverTheSocket"' in server.log(), what=lambda: "the line in the log")
    (line,) = [json.loads(line) for line in server.log().splitlines() if '"OverTheSocket"' in line]
    assert (line["transport"], line["outcome"], line["events"], line["statements"]) == (PROTOCOL, "ok", 1, 1)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_page_of_another_origin_may_not_connect(address: str, headers: dict[str, str], status: int) -> None:
    """The upgrade is refused."""
    with pytest.raises(InvalidStatus) as refused, connect(address, subprotocols=[PROTOCOL], additional_headers=headers):
        pass
    assert refused.value.response.status_code == status


def test_a_page_of_an_allowed_origin_may(orders_url: str) -> None:
    """ALLOWED_ORIGINS names the origin."""
    allowed = "http://shop.example:3000"
    with running_server(orders_url, ALLOWED_ORIGINS=allowed, APP_SCHEMA="origins") as server:
        address = server.graphql.replace("http", "ws", 1)
        with connect(address, subprotocols=[PROTOCOL], additional_headers={"Origin": allowed}) as connection:
            send(connection, INIT)
            assert receive(connection) == {"type": "connection_ack"}


def test_a_name_that_is_not_loopback_may_not_connect(server: Server) -> None:
    """A page whose own name points at 127.0.0.1 (DNS rebinding) would connect like that."""
    handshake = {
        "Host": "evil.example",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
    assert httpx.get(server.graphql, headers=handshake).status_code == 403
