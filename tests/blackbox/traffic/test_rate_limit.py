"""Tests of the rate limit of the real server: on every transport, a caller's requests share one bucket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from tests.servers.process import Server

# The refill is too slow to matter during a test, except in the last one, which waits for it.
BURST = 10_000
DEARER = "{ orders(first: 1000) { edges { cursor node { id orderKey customerKey status totalPrice orderDate clerk comment } } } }"
# From dear to cheap.
SPENDING = ["{ orders(first: 500) { nodes { orderKey } } }", "{ orders(first: 40) { nodes { orderKey } } }"]
CHEAP = "{ order(orderKey: 1) { orderKey } }"
WRONG = "{ nothing }"
FEED = "subscription { orderStatusChanged { version } }"
EVENTS = {"accept": "text/event-stream"}
STREAM = "/api/graphql/stream"


@pytest.fixture
def server(orders_url: str) -> Iterator[Server]:
    """A server whose callers have few points, and regain hardly any."""
    with running_server(orders_url, RATE_LIMIT="0.0001", RATE_BURST=str(BURST), APP_SCHEMA="rate_limit") as server:
        yield server


def spend_all(server: Server) -> None:
    """Send requests until no points are left."""
    for document in (*SPENDING, CHEAP):
        wait_for(lambda text=document: ask(server, text).status_code == 429, what=lambda: "the points to be spent")  # type: ignore[misc] # a default


def ask(server: Server, document: str, **options: Any) -> httpx.Response:
    """Post a document."""
    return httpx.post(server.graphql, json={"query": document}, verify=NO_TLS, **options)


def refusal(answer: dict[str, Any]) -> dict[str, Any]:
    """The extensions of a response's only error."""
    (error,) = answer["errors"]
    assert "data" not in answer
    extensions: dict[str, Any] = error["extensions"]
    return extensions


def test_a_caller_who_has_spent_its_points_is_refused_on_every_transport(server: Server) -> None:
    """The refusal gives the reason and the time to retry, in a header, or in the error on transports without one."""
    spend_all(server)
    for response in (ask(server, CHEAP), httpx.get(server.graphql, params={"query": CHEAP}, verify=NO_TLS)):
        extensions = refusal(response.json())
        assert (response.status_code, extensions["code"], extensions["reason"]) == (429, "RATE_LIMITED", "RATE_LIMITED")
        assert int(response.headers["retry-after"]) == extensions["retryAfter"] > 1
        assert extensions["retryable"]
    posted = httpx.post(f"{server.url}{STREAM}", json={"query": FEED}, headers=EVENTS).text
    assert [refusal(answer)["reason"] for answer in nexts(posted)] == ["RATE_LIMITED"]
    got = httpx.get(f"{server.url}{STREAM}", params={"query": FEED}, headers=EVENTS).text
    (extensions,) = [refusal(answer) for answer in nexts(got)]
    # A browser reconnects by itself, but not before the caller has the points.
    assert f"retry: {extensions['retryAfter'] * 1000}" in got
    assert "complete" not in got
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send('{"type": "connection_init"}')
        socket.recv(timeout=PATIENCE_SECONDS)
        for id_, document in (("query", CHEAP), ("feed", FEED)):
            socket.send(json.dumps({"id": id_, "type": "subscribe", "payload": {"query": document}}))
            message = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
            assert (message["id"], message["type"]) == (id_, "error")
            assert refusal({"errors": message["payload"]})["reason"] == "RATE_LIMITED"
    counted = httpx.get(f"{server.url}/api/metrics").text
    for transport in ("http", "sse", "websocket"):
        assert any(
            'outcome="RATE_LIMITED"' in line and f'transport="{transport}"' in line for line in counted.splitlines()
        )


def nexts(text: str) -> list[dict[str, Any]]:
    """The results of a stream that has ended."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def test_an_operation_that_can_never_be_paid_gets_no_retry_time(server: Server) -> None:
    """The refusal has no time to retry, and takes no points."""
    for _ in range(3):
        response = ask(server, DEARER)
        extensions = refusal(response.json())
        assert (response.status_code, extensions["reason"], extensions["retryable"]) == (429, "RATE_LIMITED", False)
        assert "retry-after" not in response.headers
        assert "RATE_BURST" in response.json()["errors"][0]["message"]
    assert ask(server, CHEAP).status_code == 200


def test_mistakes_cost_too(server: Server) -> None:
    """A caller that sends only invalid documents runs out of points. Then the server does not parse the next one."""
    answered = 0
    while (reason := ask(server, WRONG).json()["errors"][0]["extensions"]["reason"]) != "RATE_LIMITED":
        assert reason == "DOCUMENT_INVALID"
        answered += 1
    assert 0 < answered < BURST / 6
    assert ask(server, CHEAP).status_code == 429


# How a document is asked for on each transport, by a user.
Ask = Callable[["Server", str, dict[str, str]], dict[str, Any]]


def posted(server: Server, text: str, user: dict[str, str]) -> dict[str, Any]:
    """The answer to a POST."""
    return dict(ask(server, text, headers=user).json())


def got(server: Server, text: str, user: dict[str, str]) -> dict[str, Any]:
    """The answer to a GET."""
    return dict(httpx.get(server.graphql, params={"query": text}, headers=user, verify=NO_TLS).json())


def streamed(server: Server, text: str, user: dict[str, str]) -> dict[str, Any]:
    """The first event of a stream."""
    body = {"query": text}
    response = httpx.post(f"{server.url}{STREAM}", json=body, headers={**EVENTS, **user}, verify=NO_TLS)
    return nexts(response.text)[0]


def sent(server: Server, text: str, user: dict[str, str]) -> dict[str, Any]:
    """The answer on a WebSocket."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], additional_headers=user) as socket:
        socket.send('{"type": "connection_init"}')
        socket.recv(timeout=PATIENCE_SECONDS)
        socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": text}}))
        message = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
        return {"errors": message["payload"]} if message["type"] == "error" else dict(message["payload"])


@pytest.fixture(scope="module")
def many_users(orders_url: str) -> Iterator[Server]:
    """A server with a bucket of 2,000 points for each user, who regain hardly any."""
    with running_server(
        orders_url,
        AUTH_MODE="databricks-app",
        DATABRICKS_APP_NAME="orders",
        READER_USERS="*",
        RATE_LIMIT="0.0001",
        RATE_BURST="2000",
        APP_SCHEMA="rate_limit",
    ) as server:
        yield server


@pytest.mark.parametrize("ask_by", [posted, got, streamed, sent], ids=["post", "get", "sse", "websocket"])
@pytest.mark.parametrize(
    "text",
    [
        f"{{ __typename }} # {'x' * 5_000}",
        "{ __typename }",
        "{ nothing }",
        f"{{ orders(filter: {{{' '.join(f'x{n}: 1' for n in range(300))}}}) {{ totalCount }} }}",
    ],
    ids=["long", "small", "wrong", "mistakes"],
)
def test_a_flood_of_new_documents_is_limited(
    many_users: Server, ask_by: Ask, text: str, request: pytest.FixtureRequest
) -> None:
    """Each is paid for by its length and by the time that it took, whether it is valid or not, on every transport."""
    user = {"x-forwarded-email": f"{request.node.callspec.id}@example.com"}
    answered = 0
    while reason_of(ask_by(many_users, f"{text} # {answered}", user)) != "RATE_LIMITED":
        answered += 1
        # Fewer than if each cost a point or two.
        assert answered < 400
    assert answered


def reason_of(answer: dict[str, Any]) -> str | None:
    """The reason of the first error."""
    reason: str | None = answer["errors"][0]["extensions"]["reason"] if "errors" in answer else None
    return reason


def test_requests_without_a_document_that_is_found_cost_too(server: Server) -> None:
    """A wrong hash, a wrong body and a wrong type of content: a caller who sends nothing else is limited."""

    def wrong(number: int) -> httpx.Response:
        if number % 3 == 0:
            extension = {"persistedQuery": {"version": 1, "sha256Hash": f"{number:064x}"}}
            return httpx.post(server.graphql, json={"extensions": extension}, verify=NO_TLS)
        content_type = "text/plain" if number % 3 == 1 else "application/json"
        return httpx.post(server.graphql, content=b"{", headers={"content-type": content_type}, verify=NO_TLS)

    spend_most(server)
    reasons: list[str | None] = []
    while not reasons or reasons[-1] != "RATE_LIMITED":
        reasons.append(reason_of(wrong(len(reasons)).json()))
        assert len(reasons) < BURST / 5
    assert {"PERSISTED_QUERY_NOT_FOUND", "CONTENT_TYPE_UNSUPPORTED", "BODY_INVALID"} < set(reasons)


def spend_most(server: Server) -> None:
    """Leave a few hundred points."""
    wait_for(lambda: ask(server, SPENDING[0]).status_code == 429, what=lambda: "the points to be spent")


@pytest.mark.faults
def test_points_come_back(orders_url: str) -> None:
    """They are back when the refusal said so, and not long after."""
    # On a busy machine a request may take a second. The points that come back in it must cost less than the request.
    with running_server(orders_url, RATE_LIMIT="2", RATE_BURST="12", APP_SCHEMA="rate_limit") as server:
        while (refused := ask(server, CHEAP)).status_code != 429:
            pass
        began = time.monotonic()
        wait_for(lambda: ask(server, CHEAP).status_code == 200, what=lambda: "points to come")
        told_seconds = int(refused.headers["retry-after"])
        hold("points that come back", time.monotonic() - began, computing_seconds=1, waiting_seconds=told_seconds)
