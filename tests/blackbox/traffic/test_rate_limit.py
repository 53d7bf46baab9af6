"""Tests of the rate limit of the real server: on every transport, a caller's requests share one bucket."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

# The refill is too slow to matter during a test, except in the last one, which waits for it.
BURST = 100
DEARER = "{ orders(first: 200) { nodes { orderKey } } }"
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
    wait_for(lambda: ask(server, CHEAP).status_code == 429, what=lambda: "the points to be spent")


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


def test_both_paths_cost_the_same(server: Server) -> None:
    """The ordinary path answers an operation the first time, the fast path after that."""
    cost = ask(server, CHEAP, headers={"x-graphql-cost": "include"}).json()["extensions"]["cost"]["requested"]
    answered = 1
    while ask(server, CHEAP).status_code == 200:
        answered += 1
    assert answered == BURST // cost


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
    found = [ask(server, WRONG).json()["errors"][0]["extensions"]["reason"] for _ in range(BURST + 2)]
    assert found == ["DOCUMENT_INVALID"] * BURST + ["RATE_LIMITED"] * 2


@pytest.mark.faults
def test_points_come_back(orders_url: str) -> None:
    """They are back when the refusal said so, and not long after."""
    # On a busy machine a request may take a second. The points that come back in it must cost less than the request.
    with running_server(orders_url, RATE_LIMIT="0.5", RATE_BURST="3", APP_SCHEMA="rate_limit") as server:
        while (refused := ask(server, CHEAP)).status_code != 429:
            pass
        began = time.monotonic()
        wait_for(lambda: ask(server, CHEAP).status_code == 200, what=lambda: "points to come")
        told_seconds = int(refused.headers["retry-after"])
        hold("points that come back", time.monotonic() - began, computing_seconds=1, waiting_seconds=told_seconds)
