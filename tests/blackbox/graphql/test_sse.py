"""GraphQL over server-sent events: what is streamed, to which clients, and in which form."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.process import running_server
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

EVENTS = {"accept": "text/event-stream"}
FEED = "subscription { orderStatusChanged { version } }"
HEAD = "{ orderStatusChanges(first: 0) { headCursor } }"


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server with a history of its own."""
    with running_server(orders_url, APP_SCHEMA="stream") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server.url) as client:
        yield client


def ask(client: httpx.Client, query: str, **variables: object) -> dict[str, Any]:
    """The data of an operation by POST."""
    answer = client.post("/api/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer
    data = answer["data"]
    assert isinstance(data, dict)
    return data


def change(client: httpx.Client, key: int, status: str) -> str:
    """Set a status, and return the cursor of the change."""
    mutation = "mutation($k: BigInt!, $s: OrderStatus!) { setOrderStatus(input: {orderKey: $k, status: $s}) { change { cursor } } }"
    return str(ask(client, mutation, k=key, s=status)["setOrderStatus"]["change"]["cursor"])


def events(response: httpx.Response) -> Iterator[dict[str, str]]:
    """The events of a stream as their fields, without comments."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(":")
        if not line:
            yield event
            event = {}
        elif name:
            event[name] = value.removeprefix(" ")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_query_is_one_event_and_the_end(client: httpx.Client, method: str) -> None:
    """The protocol sends any operation like that. `complete` has data, because browsers drop an event without data."""
    query = {"query": "{ order(orderKey: 1) { orderKey } }"}
    body: dict[str, Any] = {"params": query} if method == "GET" else {"json": query}
    with client.stream(method, "/api/graphql/stream", headers=EVENTS, **body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        found = [event for event in events(response) if "event" in event]
    assert [event["event"] for event in found] == ["next", "complete"]
    assert json.loads(found[0]["data"]) == {"data": {"order": {"orderKey": "1"}}}
    assert found[1]["data"] == ""


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("{ order(", "SYNTAX"),
        ("{ nothing }", "DOCUMENT_INVALID"),
        ('subscription { orderStatusChanged(after: "x") { version } }', "CURSOR_INVALID"),
        ("subscription { orderStatusChanged(orderKeys: [1.5]) { version } }", "DOCUMENT_INVALID"),
    ],
)
def test_what_is_wrong_with_an_operation_is_an_event(client: httpx.Client, query: str, reason: str) -> None:
    """The protocol's clients read nothing else."""
    with client.stream("POST", "/api/graphql/stream", headers=EVENTS, json={"query": query}) as response:
        found = list(events(response))
    assert [event["event"] for event in found] == ["next", "complete"]
    assert [error["extensions"]["reason"] for error in json.loads(found[0]["data"])["errors"]] == [reason]


@pytest.mark.parametrize(
    ("method", "options", "status", "reason"),
    [
        ("PUT", {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", {"json": {"query": 1}}, 400, "PARAMETER_INVALID"),
        ("POST", {"json": {}}, 400, "PARAMETER_INVALID"),
        ("POST", {"content": b"{", "headers": {"content-type": "application/json"}}, 400, "BODY_INVALID"),
        ("POST", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", {"json": {"query": FEED}, "headers": {"accept": "application/json"}}, 406, "NOT_ACCEPTABLE"),
        ("GET", {}, 400, "PARAMETER_INVALID"),
        ("GET", {"params": {"query": FEED}, "headers": {"origin": "http://evil.example"}}, 403, "ORIGIN_FORBIDDEN"),
        ("GET", {"params": {"query": FEED}, "headers": {"origin": "null"}}, 403, "ORIGIN_FORBIDDEN"),
        ("GET", {"params": {"query": FEED}, "headers": {"host": "evil.example"}}, 403, "HOST_FORBIDDEN"),
    ],
)
def test_a_malformed_request_gets_an_error_status(
    client: httpx.Client, method: str, options: dict[str, Any], status: int, reason: str
) -> None:
    """The refusal is JSON, and no stream is opened."""
    options = {**options, "headers": EVENTS | options.get("headers", {})}
    answer = client.request(method, "/api/graphql/stream", **options)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["extensions"]["reason"] == reason


def test_a_mutation_is_not_run_by_get(client: httpx.Client) -> None:
    """Following a link must not change anything."""
    head = ask(client, HEAD)
    mutation = "mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL}) { replayed } }"
    with client.stream("GET", "/api/graphql/stream", headers=EVENTS, params={"query": mutation}) as response:
        (refusal,) = [event for event in events(response) if event.get("event") == "next"]
    assert json.loads(refusal["data"])["errors"][0]["extensions"]["reason"] == "METHOD_NOT_ALLOWED"
    assert ask(client, HEAD) == head


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_event_has_its_cursor_as_id(client: httpx.Client, method: str) -> None:
    """The operation need not select the cursor."""
    body: dict[str, Any] = {"params": {"query": FEED}} if method == "GET" else {"json": {"query": FEED}}
    after = ask(client, HEAD)["orderStatusChanges"]["headCursor"]
    cursors = [change(client, 1, status) for status in ("PARTIAL", "FULFILLED", "OPEN")]
    headers = EVENTS | {"last-event-id": after}
    with client.stream(method, "/api/graphql/stream", headers=headers, **body) as response:
        sent = (event for event in events(response) if event.get("event") == "next")
        assert [next(sent)["id"] for _ in cursors] == cursors


def test_a_browser_knows_at_once_where_to_resume(client: httpx.Client) -> None:
    """It receives an id before the first change, so that it misses nothing if it is cut off before that change."""
    head = ask(client, HEAD)["orderStatusChanges"]["headCursor"]
    with client.stream("GET", "/api/graphql/stream", headers=EVENTS, params={"query": FEED}) as response:
        sent = events(response)
        assert [next(sent), next(sent)] == [{"retry": "1500"}, {"id": head}]


def test_the_last_event_id_wins(client: httpx.Client) -> None:
    """A browser that reconnects sends the cursor in its URL, and the id of its last event, which is newer."""
    first, second, third = (change(client, 2, status) for status in ("PARTIAL", "FULFILLED", "OPEN"))
    query = "subscription($a: String) { orderStatusChanged(after: $a) { cursor } }"
    body = {"query": query, "variables": {"a": first}}
    for headers, expected in ((EVENTS, second), (EVENTS | {"last-event-id": second}, third)):
        with client.stream("POST", "/api/graphql/stream", headers=headers, json=body) as response:
            event_ = next(event for event in events(response) if event.get("event") == "next")
        assert event_["id"] == expected


def test_a_silent_stream_is_kept_alive(orders_url: str) -> None:
    """Every hop receives comments while there are no events."""
    quick = {"server.graphql.sse._KEEP_ALIVE_SECONDS": 0.1}
    with running_server(orders_url, altered=quick, APP_SCHEMA="stream") as server:
        body = {"query": FEED}
        with httpx.stream("POST", f"{server.graphql}/stream", headers=EVENTS, json=body) as response:
            lines = [line for line, _ in zip(response.iter_lines(), range(4), strict=False) if line]
        assert lines
        assert all(line.startswith(":") for line in lines)


@pytest.mark.long
def test_a_silent_stream_is_kept_alive_every_fifteen_seconds(client: httpx.Client) -> None:
    """Proxies close streams that are silent for longer."""
    began = time.monotonic()
    with client.stream("POST", "/api/graphql/stream", headers=EVENTS, json={"query": FEED}) as response:
        assert next(response.iter_lines()).startswith(":")
        hold("silence of a stream", time.monotonic() - began, computing_seconds=3, waiting_seconds=12)


def test_an_allowed_origin_may_listen_and_read(orders_url: str) -> None:
    """A browser gives a page the answer only if a header allows it."""
    origin = "https://shop.example"
    with running_server(orders_url, ALLOWED_ORIGINS=origin, APP_SCHEMA="stream") as server:
        for path, query in (("/api/graphql/stream", FEED), ("/api/graphql", HEAD)):
            headers = {"origin": origin, "accept": "text/event-stream, application/json"}
            with httpx.stream("GET", f"{server.url}{path}", headers=headers, params={"query": query}) as response:
                assert response.status_code == 200
                assert response.headers["access-control-allow-origin"] == origin
        preflight = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        assert httpx.options(f"{server.url}/api/graphql", headers=preflight).status_code == 200
        assert (
            httpx.options(
                f"{server.url}/api/graphql", headers=preflight | {"origin": "https://evil.example"}
            ).status_code
            == 400
        )
