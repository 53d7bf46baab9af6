"""What one message or body may bring: how long it is, how many values it holds, and what the server keeps of it."""

from __future__ import annotations

import json
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from schema.limits.structure import MOST_STRUCTURE
from server.graphql.documents.manifest import sha256_of
from server.wire.websocket_frames import SHORT_BYTES
from tests.blackbox.raw_sockets import CONTINUATION, TEXT, RawSocket, frame, raw_socket, text
from tests.servers.process import running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.process import Server

PROTOCOL = Subprotocol("graphql-transport-ws")
INIT = {"type": "connection_init"}
FEED = "subscription { orderStatusChanged { orderKey } }"
ORDER = {"query": "{ order(orderKey: 1) { orderKey } }"}
# As many lists as a request may have, in 40 KB. They take 1.1 MB once they are parsed.
LISTS: list[Any] = [[]] * (MOST_STRUCTURE // 2 - 100)
SUBSCRIPTIONS, AT_ONCE = 60, 10
KEPT_BYTES = 16 << 20


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server of this module's own: its memory is measured."""
    with running_server(orders_url, APP_SCHEMA="messages") as server:
        yield server


def subscribe(payload: dict[str, Any], id_: str = "1") -> bytes:
    """The message that starts an operation."""
    return text({"id": id_, "type": "subscribe", "payload": payload})


def message_of(socket: RawSocket) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(socket.read().payload)
    return message


def padded(message: dict[str, Any], size: int) -> bytes:
    """A message of this many bytes."""
    raw = json.dumps(message).encode()
    return raw + b" " * (size - len(raw))


def resident_bytes(server: Server) -> int:
    """The memory of the server."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def wait_for_subscriptions(server: Server, count: int) -> None:
    """Wait until this many subscriptions are open."""

    def are_open() -> bool:
        lines = httpx.get(f"{server.url}/api/metrics").text.splitlines()
        return count == sum(float(line.split()[1]) for line in lines if line.startswith("orders_api_subscriptions{"))

    wait_for(are_open, what=lambda: f"{count} subscriptions")


_HALF = b" " * (SHORT_BYTES // 2 + 1)


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, padded(INIT, SHORT_BYTES + 1)),
        frame(TEXT, padded({"type": "ping"}, SHORT_BYTES + 1)),
        frame(TEXT, _HALF, fin=False) + frame(CONTINUATION, _HALF),
        # Refused by its length, before the rest arrives.
        frame(TEXT, b"[" * (2 << 20))[: SHORT_BYTES + 1],
    ],
    ids=["an init", "a ping", "in fragments", "two megabytes"],
)
def test_a_client_that_is_not_acknowledged_sends_short_messages(server: Server, data: bytes) -> None:
    """A longer one closes the socket before it is parsed."""
    with raw_socket(server.url, init=False) as socket:
        with suppress(ConnectionError):
            socket.send(data)
        assert socket.closed_with() == 1009


def test_an_init_may_hold_the_longest_token(server: Server) -> None:
    """Here nobody reads it."""
    init = {**INIT, "payload": {"authorization": f"Bearer {'x' * 8_192}"}}
    with raw_socket(server.url, init=False) as socket:
        socket.send(frame(TEXT, padded(init, SHORT_BYTES)))
        assert message_of(socket)["type"] == "connection_ack"


@pytest.mark.parametrize(
    "message", [{"type": "ping"}, {"type": "pong"}, {"type": "complete", "id": "1"}, {"type": "x"}, INIT]
)
def test_later_only_a_subscribe_may_be_long(server: Server, message: dict[str, Any]) -> None:
    """Any other message closes the socket if it is longer. So does its long payload."""
    with raw_socket(server.url) as socket:
        socket.send(frame(TEXT, padded({"type": "ping"}, SHORT_BYTES)))
        assert message_of(socket) == {"type": "pong"}
        socket.send(subscribe({**ORDER, "query": f"{ORDER['query']} # {'x' * 60_000}"}))
        assert [message_of(socket)["type"] for _ in range(2)] == ["next", "complete"]
        socket.send(text({**message, "payload": {"a": "x" * SHORT_BYTES}}))
        assert socket.closed_with() == 4400


def test_no_message_is_compressed(server: Server) -> None:
    """The server agrees to no extension, whatever the client offers."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[PROTOCOL], compression="deflate") as connection:
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers
    compressor = zlib.compressobj(wbits=-12)
    bomb = compressor.compress(b"[" * (2 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    with raw_socket(server.url, deflate=True, init=False) as socket:
        socket.send(frame(TEXT, bomb[:-4], reserved=4))
        assert socket.closed_with() == 1002


@pytest.mark.parametrize("type_", ["ping", "pong", "complete"])
@pytest.mark.parametrize("size", [50, SHORT_BYTES])
def test_a_socket_may_send_some_messages_that_begin_nothing(server: Server, type_: str, size: int) -> None:
    """Far more than any client does. Then it is closed, and the client may connect again."""
    message = frame(TEXT, padded({"type": type_, "id": "1"}, size))
    most = 1_000 // (1 + size // 1_024)
    with raw_socket(server.url) as socket:
        socket.send(message * (most // 2) + subscribe(ORDER))
        while (answer := message_of(socket)) == {"type": "pong"}:
            pass
        assert answer["type"] == "next"
        with suppress(ConnectionError):
            socket.send(message * 2 * most)
        assert socket.closed_with() == 1013


def test_each_operation_may_be_completed(server: Server) -> None:
    """However many there were: these are counted by what they cost."""
    with raw_socket(server.url) as socket:
        for _ in range(30):
            for number in range(50):
                socket.send(subscribe({"query": FEED}, str(number)) + text({"id": str(number), "type": "complete"}))
        socket.send(subscribe(ORDER))
        assert message_of(socket)["type"] == "next"


BURST = 200


@pytest.fixture
def limited(orders_url: str) -> Iterator[Server]:
    """A server whose callers have some points, and get no more."""
    with running_server(orders_url, RATE_LIMIT="0.0001", RATE_BURST=str(BURST), APP_SCHEMA="messages") as limited:
        yield limited


def test_a_message_is_paid_for_before_it_is_parsed(limited: Server) -> None:
    """By its bytes. So one that is no JSON is paid for too."""
    with raw_socket(limited.url) as socket:
        socket.send(frame(TEXT, "é".encode() * (BURST * 4_096 // 2 - 10_000)))
        assert socket.closed_with() == 4400
    answer = httpx.post(limited.graphql, json=ORDER).json()
    assert answer["errors"][0]["extensions"]["reason"] == "RATE_LIMITED"


def test_a_message_that_cannot_be_paid_for_is_refused(limited: Server) -> None:
    """Its operation gets the error, and the socket stays open. A very long one is not even parsed."""
    with raw_socket(limited.url) as socket:
        socket.send(subscribe({**ORDER, "a": "x" * (BURST + 1) * 4_096}))
        refused = message_of(socket)
        assert (refused["id"], refused["type"]) == ("1", "error")
        assert refused["payload"][0]["extensions"]["reason"] == "RATE_LIMITED"
        socket.send(text({"type": "ping"}))
        assert message_of(socket) == {"type": "pong"}
        socket.send(frame(TEXT, b"x" * (BURST + 1) * 4_096))
        assert socket.closed_with() == 1013


def test_a_long_ping_is_paid_for(limited: Server) -> None:
    """A point for each kilobyte."""
    with raw_socket(limited.url) as socket:
        for _ in range(BURST // 10 + 1):
            socket.send(frame(TEXT, padded({"type": "ping"}, SHORT_BYTES)))
            assert message_of(socket) == {"type": "pong"}
    answer = httpx.post(limited.graphql, json=ORDER).json()
    assert answer["errors"][0]["extensions"]["reason"] == "RATE_LIMITED"


@pytest.mark.parametrize(("characters", "code"), [(256, None), (257, 4400), (300_000, 4400)])
@pytest.mark.parametrize("type_", ["subscribe", "complete"])
def test_the_id_of_an_operation_is_short(server: Server, characters: int, code: int | None, type_: str) -> None:
    """Every event repeats it."""
    with raw_socket(server.url) as socket:
        socket.send(text({"id": "é" * characters, "type": type_, "payload": ORDER}))
        if code is None:
            socket.send(text({"type": "ping"}))
            answers = [message_of(socket) for _ in range(3 if type_ == "subscribe" else 1)]
            assert {"type": "pong"} in answers
        else:
            assert socket.closed_with() == code


# Parts of requests that no request needs, and that take many times their size in memory.
MANY: dict[str, Callable[[], dict[str, Any]]] = {
    "lists in the extensions": lambda: {**ORDER, "extensions": {"a": [[]] * MOST_STRUCTURE}},
    "lists in the variables": lambda: {**ORDER, "variables": {"a": [[]] * MOST_STRUCTURE}},
    "lists in a parameter that nobody knows": lambda: {**ORDER, "a": [[]] * MOST_STRUCTURE},
    "objects": lambda: {**ORDER, "a": [{}] * MOST_STRUCTURE},
    "fields": lambda: {**ORDER, "a": {str(number): 1 for number in range(MOST_STRUCTURE + 1)}},
    "numbers": lambda: {**ORDER, "a": [1] * (MOST_STRUCTURE + 1)},
    "strings": lambda: {**ORDER, "a": [""] * (MOST_STRUCTURE + 1)},
    "a batch": lambda: {**ORDER, "a": [ORDER] * MOST_STRUCTURE},
}


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("path", ["/api/graphql", "/api/graphql/stream"])
def test_the_values_of_a_body_are_counted_before_it_is_parsed(server: Server, name: str, path: str) -> None:
    """A refusal says how many there are, and how many may be. Nothing is run."""
    headers = {"accept": "application/graphql-response+json, text/event-stream"}
    answer = httpx.post(f"{server.url}{path}", json=MANY[name](), headers=headers)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["reason"]) == (400, "LIMIT_EXCEEDED")
    assert (error["extensions"]["limit"], error["extensions"]["allowed"]) == ("structure", MOST_STRUCTURE)
    assert error["extensions"]["requested"] > MOST_STRUCTURE


@pytest.mark.parametrize("name", MANY)
def test_the_values_of_a_message_are_counted_before_it_is_parsed(server: Server, name: str) -> None:
    """The close says why."""
    with raw_socket(server.url) as socket:
        socket.send(subscribe(MANY[name]()))
        closed = socket.read()
        assert closed.code == 4400
        assert closed.payload[2:].startswith(b"The message has ")
        assert closed.payload.endswith(b"and at most 21,000 are read.")


@pytest.mark.parametrize("transport", ["http", "websocket"])
def test_the_longest_list_of_changes_is_read(server: Server, transport: str) -> None:
    """With notes of nothing but commas, brackets and escapes. The orders do not exist, so nothing is written."""
    notes = [(character * 1_000)[:1_000] for character in (",", "[", '"', "\\", "\\,", "é{")]
    changes = [
        {"orderKey": str(9_000_000 + number), "status": "OPEN", "expectedStatus": None, "note": notes[number % 6]}
        for number in range(1_000)
    ]
    document = (
        "mutation ($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { results { userErrors { code } } } }"
    )
    payload = {"query": document, "variables": {"i": {"changes": changes}}}
    if transport == "http":
        data = httpx.post(server.graphql, json=payload).json()["data"]
    else:
        with raw_socket(server.url) as socket:
            socket.send(subscribe(payload))
            data = message_of(socket)["payload"]["data"]
    codes = {error["code"] for result in data["setOrderStatuses"]["results"] for error in result["userErrors"]}
    assert codes == {"ORDER_NOT_FOUND"}


@pytest.mark.parametrize(
    "payload",
    [
        {"extensions": {"a": LISTS}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256_of(FEED), "b": LISTS}, "cost": [[]]}},
        {"variables": {"a": LISTS[:9_900]}},
        {"a": LISTS},
        {"variables": {f"a{number}": "x" * 900 for number in range(300)}},
    ],
    ids=["extensions", "an extension that is known", "variables", "a parameter", "variables of long texts"],
)
def test_a_subscription_keeps_nothing_of_its_request(server: Server, payload: dict[str, Any]) -> None:
    """Neither what the server does not know, nor the variables that the document does not declare."""
    with ExitStack() as stack:
        socket = stack.enter_context(raw_socket(server.url))
        socket.send(subscribe({"query": FEED}, "first"))
        wait_for_subscriptions(server, 1)
        before = resident_bytes(server)
        message = json.dumps({"query": FEED, **payload})
        for begun in range(1, 1 + SUBSCRIPTIONS, AT_ONCE):
            for number in range(begun, begun + AT_ONCE):
                socket.send(frame(TEXT, f'{{"id": "{number}", "type": "subscribe", "payload": {message}}}'.encode()))
            # Those that have not started yet keep their request.
            wait_for_subscriptions(server, begun + AT_ONCE)
        assert resident_bytes(server) - before < KEPT_BYTES
    wait_for_subscriptions(server, 0)


HELD = "subscription ($a: String) { orderStatusChanged { order { statusChanges(after: $a) { nodes { id } } } } }"


@pytest.mark.parametrize(
    "payload_of",
    [
        lambda number: {"query": HELD, "variables": {"a": "\N{ROCKET}" * 65_000 + str(number)}},
        lambda number: {"query": FEED.replace("orderKey", f"a{number}: orderKey # {'x' * 65_000}\n")},
    ],
    ids=["variables", "texts"],
)
def test_the_subscriptions_of_a_caller_keep_a_few_megabytes(
    server: Server, payload_of: Callable[[int], dict[str, Any]]
) -> None:
    """What their events depend on is kept. Of callers that send too much, the next subscription is refused."""
    with raw_socket(server.url) as socket:
        before = resident_bytes(server)
        for number in range(100):
            message = {"id": str(number), "type": "subscribe", "payload": payload_of(number)}
            socket.send(frame(TEXT, json.dumps(message, ensure_ascii=False).encode()))
        refused = message_of(socket)
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["reason"] == "TOO_MANY_SUBSCRIPTIONS"
        assert resident_bytes(server) - before < 4 * KEPT_BYTES
        socket.send(subscribe({"query": FEED.replace("orderKey", "order { orderKey }")}, "short"))
        wait_for_subscriptions(server, int(refused["id"]) + 1)
    wait_for_subscriptions(server, 0)


def test_a_stream_keeps_nothing_of_its_request(server: Server) -> None:
    """As over a WebSocket."""
    with httpx.Client(base_url=server.url, limits=httpx.Limits()) as client, ExitStack() as stack:
        before = resident_bytes(server)
        for _ in range(SUBSCRIPTIONS):
            body = {"query": FEED, "extensions": {"a": LISTS[:5_000]}, "variables": {"a": LISTS[:5_000]}}
            headers = {"accept": "text/event-stream"}
            stack.enter_context(client.stream("POST", "/api/graphql/stream", json=body, headers=headers))
        wait_for_subscriptions(server, SUBSCRIPTIONS)
        assert resident_bytes(server) - before < KEPT_BYTES
    wait_for_subscriptions(server, 0)


def test_a_socket_keeps_nothing_of_what_its_headers_list(server: Server) -> None:
    """Hundreds of cookies or protocols take many times their length once they are taken apart."""
    listed = [f"{number:x}" for number in range(1_000)]
    headers = f"Cookie: {'; '.join(f'{name}=1' for name in listed)}\r\nSec-WebSocket-Protocol: {','.join(listed)}\r\n"
    with ExitStack() as stack:
        stack.enter_context(raw_socket(server.url, headers=headers, init=False))
        before = resident_bytes(server)
        for _ in range(4 * SUBSCRIPTIONS):
            stack.enter_context(raw_socket(server.url, headers=headers, init=False))
        assert resident_bytes(server) - before < KEPT_BYTES
