"""Tests of what one WebSocket can make the server do: how long, how much, and without harm to other clients."""

from __future__ import annotations

import statistics
import struct
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.blackbox.raw_sockets import BINARY, CONTINUATION, PING, PONG, TEXT, RawSocket, frame, raw_socket, text
from tests.servers.process import running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

pytestmark = pytest.mark.faults

FEED = {"query": "subscription { orderStatusChanged { orderKey } }"}
ORDER = {"query": "{ order(orderKey: 1) { orderKey } }"}
SOCKETS = "server.graphql.websocket_connection"
IDLE_SECONDS = 1.0
MOST = 3
BODY_BYTES = 2 << 20


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server with low limits for sockets."""
    with running_server(
        orders_url, APP_SCHEMA="socket_limits", altered={f"{SOCKETS}._OPERATIONS_AT_ONCE": MOST}
    ) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(orders_url: str) -> Iterator[Server]:
    """A server that soon closes idle sockets."""
    with running_server(
        orders_url, APP_SCHEMA="socket_limits", altered={f"{SOCKETS}._IDLE_SECONDS": IDLE_SECONDS}
    ) as server:
        yield server


def subscribe(id_: str, payload: dict[str, Any] = FEED) -> bytes:
    """The message that starts an operation."""
    return text({"id": id_, "type": "subscribe", "payload": payload})


def message_of(socket: RawSocket) -> dict[str, Any]:
    """The next message."""
    found = socket.read()
    assert found.opcode == TEXT
    message: dict[str, Any] = httpx.Response(200, content=found.payload).json()
    return message


@pytest.mark.parametrize("sent", [b"", text({"type": "ping"}) * 3], ids=["silent", "pings"])
def test_a_socket_without_an_init_is_closed(orders_url: str, sent: bytes) -> None:
    """After three seconds, even if the client sends pings meanwhile. The server waits for no close from it."""
    altered = {"server.wire.connections.INIT_SECONDS": 0.3}
    with (
        running_server(orders_url, APP_SCHEMA="socket_limits", altered=altered) as server,
        raw_socket(server.url, init=False) as socket,
    ):
        began = time.monotonic()
        socket.send(sent)
        assert socket.closed_with() == 4408
        assert socket.ended()
        hold("a socket without its init", time.monotonic() - began, computing_seconds=1.0, waiting_seconds=0.3)


def test_an_idle_socket_is_closed(hasty: Server) -> None:
    """The close code lets clients reconnect when they have something to ask."""
    with raw_socket(hasty.url) as socket:
        assert socket.closed_with() == 1001


def test_a_socket_in_use_is_not_closed(hasty: Server) -> None:
    """A client's pings keep its socket open for longer than an idle one lives, and so does a subscription."""
    with raw_socket(hasty.url) as socket:
        began = time.monotonic()
        while time.monotonic() - began < 1.2 * IDLE_SECONDS:
            socket.send(text({"type": "ping"}))
            assert message_of(socket) == {"type": "pong"}
            time.sleep(IDLE_SECONDS / 20)  # between two pings of a client
        socket.send(subscribe("1"))
        time.sleep(1.2 * IDLE_SECONDS)  # longer than a socket may be idle
        socket.send(text({"type": "ping"}))
        assert message_of(socket) == {"type": "pong"}
        socket.send(text({"type": "complete", "id": "1"}))
        assert socket.closed_with() == 1001


def test_a_message_that_does_not_come_to_its_end_closes_the_socket(orders_url: str) -> None:
    """Its part would be kept for as long as the socket is open, which a subscription keeps it."""
    begun = [
        frame(TEXT, b"{}")[:1],
        frame(TEXT, b" " * 5_000)[:-1],
        frame(TEXT, b"{", fin=False),
        frame(TEXT, b"{", fin=False) + frame(PING) + frame(CONTINUATION, b"}")[:3],
        text({"type": "ping"}) + frame(PING)[:-1],
    ]
    altered = {"server.wire.websocket_frames._MESSAGE_SECONDS": 0.3}
    with ExitStack() as stack:
        server = stack.enter_context(running_server(orders_url, APP_SCHEMA="socket_limits", altered=altered))
        sockets = [stack.enter_context(raw_socket(server.url)) for _ in range(len(begun) + 1)]
        for socket, part in zip(sockets, [*begun, b""], strict=True):
            socket.send(subscribe("1") + part)
        assert [socket.closed_with() for socket in sockets[:-1]] == [1008] * len(begun)
        # What is between two messages may take any time.
        sockets[-1].send(text({"type": "ping"}))
        assert message_of(sockets[-1]) == {"type": "pong"}


def test_the_operations_of_one_socket_are_limited(server: Server) -> None:
    """One more is refused by itself. As soon as an operation completes there is room again."""
    with raw_socket(server.url) as socket:
        socket.send(b"".join(subscribe(str(number)) for number in range(MOST)) + subscribe("more"))
        refused = message_of(socket)
        assert (refused["id"], refused["type"]) == ("more", "error")
        assert refused["payload"][0]["extensions"]["reason"] == "TOO_MANY_OPERATIONS"
        socket.send((text({"id": "0", "type": "complete"}) + subscribe("0")) * 50)
        socket.send(text({"id": "0", "type": "complete"}) + subscribe("0", ORDER))
        assert [message_of(socket)["type"] for _ in range(2)] == ["next", "complete"]


_HALF = b" " * (BODY_BYTES // 2)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("too long", frame(TEXT, b" " * (BODY_BYTES + 1)), 1009),
        (
            "too long in fragments",
            frame(TEXT, _HALF, fin=False) + frame(CONTINUATION, _HALF, fin=False) + frame(CONTINUATION, b" "),
            1009,
        ),
        ("fragments without end", frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 3_000, 1009),
        ("not masked", frame(TEXT, b'{"type": "ping"}', masked=False), 1002),
        ("not UTF-8", frame(TEXT, b'{"type": "\xff"}'), 1007),
        ("not UTF-8 in fragments", frame(TEXT, b'"\xc3', fin=False) + frame(CONTINUATION, b'"'), 1007),
        ("a reserved opcode", frame(3), 1002),
        ("a reserved bit", frame(TEXT, b"{}", reserved=1), 1002),
        ("a fragmented ping", frame(PING, fin=False), 1002),
        ("a long ping", frame(PING, b"x" * 126), 1002),
        ("a continuation of nothing", frame(CONTINUATION, b"{}"), 1002),
        ("a message within another", frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
        ("binary", frame(BINARY, b'{"type": "ping"}'), 4400),
        ("a close of one byte", frame(8, b"\x03"), 1002),
        ("a close with a code that is none", frame(8, struct.pack("!H", 1004)), 1002),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_that_break_the_rules_close_the_socket(server: Server, name: str, data: bytes, code: int) -> None:
    """The server closes with the protocol's code and logs no traceback."""
    logged = len(server.log())
    with raw_socket(server.url) as socket:
        with suppress(ConnectionError):
            socket.send(data)
        assert socket.closed_with() == code, name
    assert "Traceback" not in server.log()[logged:]


@pytest.mark.parametrize(
    "flood",
    [
        text({"type": "ping"}) * 100_000,
        (subscribe("1") + text({"type": "complete", "id": "1"})) * 10_000,
        subscribe("1", {"query": "{ nothing }"}) * 5_000,
        frame(PING) * 200_000,
        frame(PONG) * 200_000,
    ],
    ids=["pings", "subscriptions begun and ended", "bad operations", "pings of the protocol", "pongs of the protocol"],
)
def test_a_flood_of_small_messages_harms_nobody_else(server: Server, flood: bytes) -> None:
    """Other clients are answered meanwhile, and memory does not grow although the responses are not read."""
    with httpx.Client(base_url=server.url) as other:
        other.get("/livez")
        before = _resident_bytes(server)
        with raw_socket(server.url, seconds=1) as socket:
            sending = threading.Thread(target=_send, args=(socket, flood))
            sending.start()
            waits = []
            for _ in range(20):
                began = time.perf_counter()
                other.get("/livez")
                waits.append(time.perf_counter() - began)
            sending.join()
        # About the time for one batch. The whole flood at once would take a second.
        hold("median of others during a flood", statistics.median(waits), computing_seconds=0.1)
        assert _resident_bytes(server) - before < 16 << 20


def _send(socket: RawSocket, data: bytes) -> None:
    # The server stops reading, because this client does not read.
    with suppress(OSError):
        socket.send(data)


def _resident_bytes(server: Server) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def test_a_socket_that_has_gone_leaves_nothing(server: Server) -> None:
    """No subscription or subscriber remains, however abruptly the socket was closed."""
    with raw_socket(server.url) as socket:
        socket.send(subscribe("1") + subscribe("2"))
        wait_for(lambda: _subscriptions(server) == 2, what=lambda: "two subscriptions")
    wait_for(lambda: _subscriptions(server) == 0, what=lambda: "none")


def _subscriptions(server: Server) -> float:
    lines = httpx.get(f"{server.url}/api/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("orders_api_subscriptions{"))
