"""Tests of the duration of a subscription and the number of a caller's subscriptions, over both transports."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.servers.process import PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.servers.process import Server

FEED = {"query": "subscription { orderStatusChanged { version } }"}
EVENTS = {"accept": "text/event-stream"}
STREAM = "/api/graphql/stream"
MOST = 3


@pytest.fixture(scope="module")
def brief(orders_url: str) -> Iterator[Server]:
    """A server whose subscriptions last for a moment."""
    with running_server(orders_url, SUBSCRIPTION_TIMEOUT="0.4", APP_SCHEMA="subscription_limits") as server:
        yield server


@pytest.fixture(scope="module")
def few(orders_url: str) -> Iterator[Server]:
    """A server where a caller may have few subscriptions."""
    with running_server(orders_url, MAX_SUBSCRIPTIONS_PER_CALLER=str(MOST), APP_SCHEMA="subscription_limits") as server:
        yield server


def change(server: Server, status: str) -> str:
    """Set a status, and return the change's cursor."""
    mutation = f"mutation {{ setOrderStatus(input: {{orderKey: 7, status: {status}}}) {{ change {{ cursor }} }} }}"
    answer = httpx.post(server.graphql, json={"query": mutation}).json()
    return str(answer["data"]["setOrderStatus"]["change"]["cursor"])


def events_of(text: str) -> list[dict[str, str]]:
    """The events of a stream that has ended, each as its fields."""
    lines = [[line.partition(":") for line in event.split("\n")] for event in text.split("\n\n") if event]
    return [{name: value.strip() for name, _, value in event if name} for event in lines]


def reasons(answer: dict[str, Any]) -> list[str]:
    """The reasons of a response's errors."""
    return [error["extensions"]["reason"] for error in answer["errors"]]


@contextmanager
def connected(server: Server) -> Iterator[ClientConnection]:
    """An acknowledged WebSocket."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        connection.send('{"type": "connection_init"}')
        assert json.loads(connection.recv(timeout=PATIENCE_SECONDS))["type"] == "connection_ack"
        yield connection


def subscribed(connection: ClientConnection, id_: str) -> None:
    """Start a subscription on the socket."""
    connection.send(json.dumps({"id": id_, "type": "subscribe", "payload": FEED}))


def test_over_a_socket_it_ends_with_an_error_and_the_socket_goes_on(brief: Server) -> None:
    """The error is retryable, so that the client resumes from its cursor. A query on the socket is still answered."""
    with connected(brief) as connection:
        subscribed(connection, "1")
        message = json.loads(connection.recv(timeout=PATIENCE_SECONDS))
        assert (message["id"], message["type"]) == ("1", "error")
        assert reasons({"errors": message["payload"]}) == ["SUBSCRIPTION_ENDED"]
        assert message["payload"][0]["extensions"]["retryable"]
        assert message["payload"][0]["extensions"]["retryAfter"] == 1
        connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": "{ __typename }"}}))
        assert json.loads(connection.recv(timeout=PATIENCE_SECONDS))["type"] == "next"


def test_over_a_stream_by_post_it_ends_with_an_error_and_completes(brief: Server) -> None:
    """graphql-sse's clients expect this."""
    response = httpx.post(f"{brief.url}{STREAM}", json=FEED, headers=EVENTS).text
    found = [event for event in events_of(response) if "event" in event]
    assert [event["event"] for event in found] == ["next", "complete"]
    assert reasons(json.loads(found[0]["data"])) == ["SUBSCRIPTION_ENDED"]


def test_a_browser_comes_back_to_where_it_was(brief: Server) -> None:
    """The browser gets no `complete` event, and reconnects with the id of the last change that it got."""
    cursor = change(brief, "PARTIAL")
    cursors = []
    for status in ("FULFILLED", "OPEN", "PARTIAL"):
        wanted = change(brief, status)
        found = came_back(brief, cursor)
        assert [event["event"] for event in found] == ["next", "next"]
        assert reasons(json.loads(found[-1]["data"])) == ["SUBSCRIPTION_ENDED"]
        assert found[0]["id"] == found[1]["id"] == wanted
        cursors.append(wanted)
        cursor = found[-1]["id"]
    assert len(set(cursors)) == 3


def came_back(server: Server, cursor: str) -> list[dict[str, str]]:
    """The events that a browser gets when it reconnects with this cursor, until there is a change among them.

    On a busy machine such a short subscription may end before the change is read.
    """
    found: list[dict[str, str]] = []

    def has_heard() -> bool:
        response = httpx.get(f"{server.url}{STREAM}", params=FEED, headers=EVENTS | {"last-event-id": cursor})
        found[:] = [event for event in events_of(response.text) if event.get("event")]
        return len(found) > 1

    wait_for(has_heard, what=lambda: f"a change after {cursor}: {found}")
    return found


def test_a_callers_subscriptions_are_limited_over_all_connections(few: Server) -> None:
    """One more is refused by itself, on any connection, with the time to retry. Each one that ends makes room."""
    with connected(few) as one, connected(few) as other, httpx.Client(base_url=few.url) as client:
        subscribed(one, "1")
        subscribed(one, "2")
        wait_for(lambda: subscriptions(few) == 2, what=lambda: "two subscriptions")
        with client.stream("POST", STREAM, json=FEED, headers=EVENTS):
            wait_for(lambda: subscriptions(few) == MOST, what=lambda: "three subscriptions")
            subscribed(other, "1")
            message = json.loads(other.recv(timeout=PATIENCE_SECONDS))
            assert (message["id"], message["type"]) == ("1", "error")
            assert reasons({"errors": message["payload"]}) == ["TOO_MANY_SUBSCRIPTIONS"]
            assert (
                message["payload"][0]["extensions"]
                | {
                    "code": "RATE_LIMITED",
                    "retryable": True,
                    "retryAfter": 5,
                }
                == message["payload"][0]["extensions"]
            )
            response = client.get(STREAM, params=FEED, headers=EVENTS).text
            (refused,) = [event for event in events_of(response) if event.get("event")]
            assert (refused["event"], refused["retry"]) == ("next", "5000")
            assert reasons(json.loads(refused["data"])) == ["TOO_MANY_SUBSCRIPTIONS"]
            # A query is not a subscription.
            assert client.post("/api/graphql", json={"query": "{ __typename }"}).status_code == 200
        wait_for(lambda: subscriptions(few) == 2, what=lambda: "the stream to have ended")
        subscribed(other, "1")
        wait_for(lambda: subscriptions(few) == MOST, what=lambda: "three subscriptions again")
    wait_for(lambda: subscriptions(few) == 0, what=lambda: "all to have ended")
    with connected(few) as again:
        for number in range(MOST):
            subscribed(again, str(number))
        wait_for(lambda: subscriptions(few) == MOST, what=lambda: "as many as before")


def test_a_subscription_that_is_cut_off_is_given_back(few: Server) -> None:
    """Clients that connect and disconnect in every way leave as much room as before."""
    wait_for(lambda: subscriptions(few) == 0, what=lambda: "all others to have ended")
    for round_ in range(12):
        with connected(few) as connection:
            for number in range(MOST):
                subscribed(connection, str(number))
            if round_ % 3 == 1:
                connection.send(json.dumps({"id": "0", "type": "complete"}))
            if round_ % 3 == 2:
                # Without a close frame.
                connection.socket.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: subscriptions(few) == 0, what=lambda: "all to have ended")
    with connected(few) as connection:
        for number in range(MOST):
            subscribed(connection, str(number))
        wait_for(lambda: subscriptions(few) == MOST, what=lambda: "as many as ever")


def subscriptions(server: Server) -> float:
    """The number of open subscriptions."""
    lines = httpx.get(f"{server.url}/api/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("orders_api_subscriptions{"))
