"""Any exception becomes INTERNAL with an error id, on every transport. The log has the rest, bounded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.http.error_boundary import ErrorBoundary
from tests.servers import faulty
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Message, Receive, Scope, Send

    from tests.servers.process import Server

PAGE = "{ orders(first: 1) { nodes { orderKey } } }"
ORDER = "{ order(orderKey: 1) { clerk } }"
DEEP = f"{{ order(orderKey: {faulty.DEEP}) {{ clerk }} }}"
SUBSCRIPTION = "subscription %s { orderStatusChanged { version } }"
EVENTS = {"accept": "text/event-stream"}
UNSAID = ("canary", "SELECT", "42P01", "/srv", "Traceback", "FaultError", "ValueError", "Internal Server Error")


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server that fails where a request asks it to."""
    with running_server(orders_url, module="tests.servers.faulty") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server.url, verify=NO_TLS) as client:
        yield client


def masked(server: Server, text: str) -> dict[str, Any]:
    """Check that the only error has nothing but an id, and that the log has the id with the traceback."""
    assert not [word for word in UNSAID if word in text], text
    (error,) = json.loads(text)["errors"]
    assert (
        error["extensions"].items()
        >= {
            "code": "INTERNAL_SERVER_ERROR",
            "reason": "INTERNAL",
            "retryable": False,
        }.items()
    )
    error_id: str = error["extensions"]["errorId"]
    assert error_id in error["message"]

    def faults() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in server.log().splitlines()]
        return [line for line in lines if line["event"] == "fault" and line["error_id"] == error_id]

    wait_for(lambda: bool(faults()), what=lambda: f"{error_id} in\n{server.log()[-4000:]}")
    assert "Traceback" in faults()[0]["exception"]
    assert len(faults()[0]["exception"]) < 6_100
    found: dict[str, Any] = error
    return found


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"query": PAGE}},
        {"json": {"query": ORDER}},
        {"json": {"query": DEEP}},
        {"json": {"query": f"{{ {faulty.UNWRITABLE}: __typename }}"}},
        {"json": {"query": f"query {faulty.IN_EXTENSION} {PAGE}"}},
        {"json": {"query": f"query {faulty.IN_FAST_PATH} {PAGE}"}},
        {"json": {"query": PAGE}, "headers": {faulty.HEADER: "yes"}},
        {"method": "GET", "params": {"query": ORDER}},
        {"method": "GET", "headers": {faulty.HEADER: "yes", "accept": "text/html"}},
        {"url": "/api/graphql/stream", "json": {"query": PAGE}, "headers": {**EVENTS, faulty.HEADER: "yes"}},
        {"method": "GET", "url": "/static/graphiql.js"},
        {"method": "GET", "url": "/api/metrics"},
        {"method": "GET", "url": "/in-log"},
        {"json": {"query": PAGE}, "headers": {"accept": "application/graphql-response+json"}},
    ],
    ids=str,
)
def test_over_http_it_is_a_500_in_json(server: Server, client: httpx.Client, request_: dict[str, Any]) -> None:
    """Whether a resolver fails, anything before, around or after it, or another path."""
    if request_.get("url") == "/in-log":
        # The response is sent before the request is logged. Neither the connection nor the process is harmed.
        assert client.get("/in-log").json()["errors"][0]["extensions"]["reason"] == "PATH_UNKNOWN"
        return
    response = client.request(**{"method": "POST", "url": "/api/graphql", **request_})
    assert response.status_code == 500, response.text
    assert response.headers["cache-control"] == "no-store"
    wanted = request_.get("headers", {}).get("accept", "")
    assert response.headers["content-type"].split(";")[0] == (
        wanted if wanted.startswith("application/") else "application/json"
    )
    error = masked(server, response.text)
    assert error["extensions"]["errorId"] == response.headers["x-request-id"]


def events(response: httpx.Response) -> list[tuple[str, str]]:
    """The named events of a stream, and their data."""
    found, name = [], ""
    for line in response.text.splitlines():
        if line.startswith("event: "):
            name = line[7:]
        if line.startswith("data:") and name:
            found.append((name, line[5:].strip()))
    return found


@pytest.mark.parametrize("operation", [faulty.AFTER_ONE, faulty.IN_PRESENTATION, faulty.IN_EXTENSION])
def test_within_a_stream_it_is_an_event_and_the_end(server: Server, client: httpx.Client, operation: str) -> None:
    """The client gets an error event, not a cut connection."""
    query = f"query {operation} {{ __typename }}"
    response = client.post("/api/graphql/stream", json={"query": query}, headers=EVENTS)
    messages = events(response)
    assert [name for name, _ in messages] == ["next"] * (len(messages) - 1) + ["complete"]
    masked(server, messages[-2][1])


@pytest.fixture
def socket(server: Server) -> Iterator[ClientConnection]:
    """An acknowledged connection."""
    with connect(server.graphql.replace("http", "ws", 1), subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send('{"type": "connection_init"}')
        assert json.loads(socket.recv(PATIENCE_SECONDS)) == {"type": "connection_ack"}
        yield socket


def subscribe(socket: ClientConnection, query: str) -> list[dict[str, Any]]:
    """The messages of an operation until its end."""
    socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
    messages = [json.loads(socket.recv(PATIENCE_SECONDS))]
    while messages[-1]["type"] == "next":
        messages.append(json.loads(socket.recv(PATIENCE_SECONDS)))
    return messages


@pytest.mark.parametrize("operation", [faulty.AFTER_ONE, faulty.IN_PRESENTATION, faulty.IN_EXTENSION])
def test_within_an_operation_of_a_socket_it_ends_only_that_operation(
    server: Server, socket: ClientConnection, operation: str
) -> None:
    """It ends with an `error`. Its id is free, and the next operation on the same socket is answered."""
    messages = subscribe(socket, f"query {operation} {{ __typename }}")
    assert messages[-1]["type"] == "error"
    masked(server, json.dumps({"errors": messages[-1]["payload"]}))
    answer = subscribe(socket, ORDER)
    assert [message["type"] for message in answer] == ["next", "complete"]
    masked(server, json.dumps(answer[0]["payload"]))
    assert subscribe(socket, "{ __typename }")[0]["payload"] == {"data": {"__typename": "Query"}}


def test_outside_of_its_operations_a_socket_is_closed(server: Server, socket: ClientConnection) -> None:
    """The code is 1011, and the reason has only the error id."""
    socket.send("fault")
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENCE_SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    reason = closed.value.rcvd.reason
    assert not [word for word in UNSAID if word in reason]
    assert "error id" in reason
    error_id = reason.split("error id ")[1].split(" ")[0]
    wait_for(lambda: error_id in server.log(), what=lambda: f"{error_id} in the log")


def test_before_a_socket_is_accepted_it_is_a_500_in_json(server: Server) -> None:
    """The handshake is answered like any HTTP request."""
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(server.graphql.replace("http", "ws", 1), additional_headers={faulty.HEADER: "yes"}),
    ):
        pass
    assert refused.value.response.status_code == 500
    masked(server, refused.value.response.body.decode())


def test_no_library_writes_its_own_lines_into_the_log(server: Server, client: httpx.Client) -> None:
    """Neither uvicorn, asyncio nor Strawberry logs anything, and no line is longer than a few kilobytes."""
    client.post("/api/graphql", json={"query": DEEP})
    log = server.log()
    for words in ("never retrieved", "Exception in ASGI application", "strawberry.execution", "during handling of"):
        assert words not in log, words
    assert max(map(len, log.splitlines())) < 10_000


async def run(*messages: Message, error: BaseException) -> list[Message]:
    """The messages sent when an application sends these and then fails."""
    sent: list[Message] = []

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise error

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await ErrorBoundary(application)({"type": "http", "headers": [], "method": "GET"}, receive, send)
    return sent


async def test_an_answer_that_has_begun_is_left_incomplete() -> None:
    """Nothing is added to it, so no client takes it for complete. uvicorn closes the connection."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    body: Message = {"type": "http.response.body", "body": b"{", "more_body": True}
    assert await run(start, body, error=faulty.FaultError(faulty.SAID)) == [start, body]


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")])
async def test_exceptions_that_python_itself_raises_are_masked(error: Exception) -> None:
    """The process goes on."""
    start, body = await run(error=error)
    assert start["status"] == 500
    assert json.loads(body["body"])["errors"][0]["extensions"]["reason"] == "INTERNAL"
