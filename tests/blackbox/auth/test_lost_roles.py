"""Tests of roles that are taken away while a connection is open: the real process, with the groups of a directory."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.servers.directory import ANN, Directory, running_directory
from tests.servers.process import PATIENCE_SECONDS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

BOB = "bob@example.com"
FEED = "subscription { orderStatusChanged { orderKey } }"
SINCE = 'subscription { orderStatusChanged(after: "%s") { orderKey } }'
HEAD = "{ orderStatusChanges(first: 1) { headCursor } }"
CHANGE = "mutation { setOrderStatus(input: {orderKey: 3, status: OPEN}) { change { orderKey } } }"
CHANGE_BACK = CHANGE.replace("OPEN", "PARTIAL")
ORDER = "{ order(orderKey: 1) { orderKey } }"
ROLES = {"READER_GROUPS": "everybody", "WRITER_GROUPS": "order-desk"}


@pytest.fixture(scope="module")
def directory() -> Iterator[Directory]:
    """A workspace whose groups the tests change."""
    with running_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def _groups(directory: Directory) -> None:
    """Ann and Bob may read and write."""
    directory.groups = {ANN: ["everybody", "order-desk"], BOB: ["everybody", "order-desk"]}


@pytest.fixture(scope="module")
def server(orders_url: str, directory: Directory) -> Iterator[Server]:
    """A server that asks for groups each time, and for those of an open connection every second."""
    altered = {
        "server.auth.databricks._GROUPS_SECONDS": 0,
        "server.auth.databricks._PATIENCE_SECONDS": PATIENCE_SECONDS,
        "server.graphql.gateway._ROLES_SECONDS": 1,
    }
    settings = directory.settings(APP_SCHEMA="lost_roles", **ROLES)
    with running_server(orders_url, altered=altered, **settings) as server:
        yield server
        assert "Traceback" not in server.log()


def of(user: str) -> dict[str, str]:
    """The header by which the proxy names a user."""
    return {"x-forwarded-email": user}


def ask(server: Server, user: str, query: str) -> Any:
    """A user's answer."""
    return httpx.post(server.graphql, json={"query": query}, headers=of(user)).json()


@contextlib.contextmanager
def socket_of(server: Server, user: str) -> Iterator[ClientConnection]:
    """An acknowledged WebSocket of a user."""
    url = server.graphql.replace("http", "ws", 1)
    protocols = [Subprotocol("graphql-transport-ws")]
    with connect(url, subprotocols=protocols, additional_headers=of(user)) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        assert received(socket)["type"] == "connection_ack"
        yield socket


def received(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
    return message


def operate(socket: ClientConnection, query: str, id_: str) -> None:
    """Send an operation."""
    socket.send(json.dumps({"type": "subscribe", "id": id_, "payload": {"query": query}}))


# A second: as many as a socket may send for long.
PINGS = 10


def pinged_until_closed(socket: ClientConnection) -> tuple[int, str]:
    """The code and reason with which a WebSocket is closed whose client keeps sending pings."""

    def ping() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            socket.send(json.dumps({"type": "ping"}))
            assert received(socket)["type"] in {"pong", "error"}
            # More pings than it may send would close it too.
            with contextlib.suppress(TimeoutError):
                assert json.loads(socket.recv(timeout=1 / PINGS))["type"] == "error"

    with pytest.raises(ConnectionClosed) as closed:
        ping()
    assert closed.value.rcvd
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_a_socket_ends_with_its_callers_role(server: Server, directory: Directory) -> None:
    """Pings do not keep it open, and no event is needed. Another caller's stays open."""
    with socket_of(server, ANN) as idle, socket_of(server, ANN) as subscribed, socket_of(server, BOB) as other:
        operate(subscribed, FEED, "1")
        directory.groups[ANN] = ["everybody"]
        for socket in (idle, subscribed):
            code, reason = pinged_until_closed(socket)
            assert code == 4403
            assert "`writer`" in reason
        operate(other, CHANGE, "1")
        assert "errors" not in received(other)["payload"]
    with socket_of(server, ANN) as again:
        operate(again, ORDER, "1")
        assert received(again)["payload"] == {"data": {"order": {"orderKey": "1"}}}


def test_no_event_is_sent_to_a_caller_that_may_not_see_it(server: Server, directory: Directory) -> None:
    """Not even the first one after the role was taken away, long before the connection would be asked about."""
    ask(server, BOB, CHANGE_BACK)
    cursor = ask(server, BOB, HEAD)["data"]["orderStatusChanges"]["headCursor"]
    ask(server, BOB, CHANGE)
    feed, headers = SINCE % cursor, {**of(ANN), "accept": "text/event-stream"}
    with (
        socket_of(server, ANN) as socket,
        httpx.stream("POST", f"{server.graphql}/stream", json={"query": feed}, headers=headers) as stream,
    ):
        operate(socket, feed, "1")
        assert received(socket)["type"] == "next"
        pieces = stream.iter_text()
        text = ""
        while '"data"' not in text:
            text += next(pieces)
        directory.groups[ANN] = []
        ask(server, BOB, CHANGE_BACK)
        text += "".join(pieces)
        assert text.count('"data"') == 1
        assert '"reason":"ROLE_MISSING"' in text
        # On a slow machine the connection is asked about first, and closed.
        with contextlib.suppress(ConnectionClosed):
            refused = received(socket)
            assert refused["type"] == "error"
            assert refused["payload"][0]["extensions"]["reason"] == "ROLE_MISSING"


def test_an_operation_on_an_open_socket_has_the_roles_of_its_time(server: Server, directory: Directory) -> None:
    """Those that were given since the socket was opened too."""
    directory.groups[ANN] = ["everybody"]
    with socket_of(server, ANN) as socket:
        operate(socket, CHANGE, "1")
        assert received(socket)["payload"]["errors"][0]["extensions"]["reason"] == "ROLE_MISSING"
        assert received(socket)["type"] == "complete"
        directory.groups[ANN] = ["everybody", "order-desk"]
        operate(socket, CHANGE, "2")
        assert "errors" not in received(socket)["payload"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_event_stream_ends_with_its_callers_role(server: Server, directory: Directory, method: str) -> None:
    """With an error that tells a browser not to reconnect."""
    body: dict[str, Any] = {"params": {"query": FEED}} if method == "GET" else {"json": {"query": FEED}}
    headers = {**of(ANN), "accept": "text/event-stream"}
    with httpx.stream(method, f"{server.graphql}/stream", headers=headers, **body) as stream:
        assert stream.status_code == 200
        directory.groups[ANN] = []
        text = stream.read().decode()
    assert '"reason":"ROLE_MISSING"' in text
    assert "event: complete" in text
    assert '"data"' not in text


def test_while_the_platform_is_down_open_connections_go_on_like_new_requests(
    server: Server, directory: Directory
) -> None:
    """With the last groups known."""
    with socket_of(server, ANN) as socket:
        directory.status = 500
        try:
            asked = len(directory.asked)
            operate(socket, ORDER, "1")
            assert received(socket)["payload"] == {"data": {"order": {"orderKey": "1"}}}
            assert ask(server, ANN, ORDER)["data"]["order"]
            assert len(directory.asked) > asked
        finally:
            directory.status = 200
