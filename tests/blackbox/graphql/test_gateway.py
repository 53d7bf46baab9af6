"""Every transport checks a request in the same order: a request with several faults is refused for the first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.blackbox.raw_connection import Wire
from tests.servers.process import PATIENCE_SECONDS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

# The reason of a refusal, what is wrong, and what is right in its place.
Step = tuple[str, dict[str, Any], dict[str, Any]]
# In the order of the checks.
HEADERS: tuple[Step, ...] = (
    ("HOST_FORBIDDEN", {"host": "evil.example"}, {}),
    ("ORIGIN_FORBIDDEN", {"origin": "https://evil.example"}, {}),
    ("NOT_ACCEPTABLE", {"accept": "image/png"}, {"accept": "application/json, text/event-stream"}),
    ("CONSISTENCY_TOKEN_INVALID", {"x-consistency-token": "x"}, {}),
)
MANY = {"values": [0] * 20_000}
OPERATION: tuple[Step, ...] = (
    ("LIMIT_EXCEEDED", {"variables": MANY}, {"variables": {}}),
    ("PERSISTED_QUERY_NOT_FOUND", {"documentId": "unknown"}, {"query": "{ __typename }"}),
    ("CONSISTENCY_TOKEN_INVALID", {"extensions": {"consistencyToken": "x"}}, {}),
)
PATHS = ("/api/graphql", "/api/graphql/stream")


def ladder(steps: tuple[Step, ...]) -> list[tuple[str | None, dict[str, Any]]]:
    """Requests with everything wrong, then with the first thing put right, and so on; each with the expected reason."""
    asked = []
    for index in range(len(steps) + 1):
        values: dict[str, Any] = {}
        for place, (_, wrong, right) in enumerate(steps):
            values |= right if place < index else wrong
        asked.append((steps[index][0] if index < len(steps) else None, values))
    return asked


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server that only accepts a loopback name as its host."""
    with running_server(orders_url) as server:
        yield server


@pytest.mark.parametrize("path", PATHS)
def test_an_http_request_is_refused_for_the_first_of_its_faults(server: Server, path: str) -> None:
    """Faults in the headers come before faults in the body."""
    for reason, headers in ladder(HEADERS):
        answer = httpx.post(server.url + path, headers=headers, content=b"{", timeout=PATIENCE_SECONDS)
        assert [error["extensions"]["reason"] for error in answer.json()["errors"]] == [
            reason or "CONTENT_TYPE_UNSUPPORTED"
        ]
    headers = ladder(HEADERS)[-1][1]
    for reason, operation in ladder(OPERATION):
        answer = httpx.post(server.url + path, headers=headers, json=operation, timeout=PATIENCE_SECONDS)
        if reason is None:
            assert answer.status_code == 200
            assert '{"__typename":"Query"}' in answer.text
        else:
            assert [error["extensions"]["reason"] for error in answer.json()["errors"]] == [reason]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("reason", "wrong"), [(reason, wrong) for reason, wrong, _ in HEADERS])
def test_a_request_with_faulty_headers_is_refused_before_its_body_arrives(
    server: Server, path: str, reason: str, wrong: dict[str, str]
) -> None:
    """The refusal comes before the client has sent any of the body."""
    headers = {"host": "localhost", "content-type": "application/json", "content-length": "100"} | wrong
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with Wire(server) as wire:
        wire.send("\r\n".join(lines).encode())
        assert wire.refused()[1] == reason


def test_a_websocket_is_refused_for_the_first_of_its_faults(server: Server) -> None:
    """The upgrade for faults in its headers, each operation for its own faults, in the order of an HTTP request."""
    address = server.graphql.replace("http", "ws", 1)
    steps = tuple(step for step in HEADERS if step[0] != "NOT_ACCEPTABLE")
    for reason, headers in ladder(steps)[:-1]:
        given = {"host": "localhost", **headers}
        lines = "\r\n".join(f"{name}: {value}" for name, value in given.items())
        with Wire(server) as wire:
            wire.send(
                f"GET /api/graphql HTTP/1.1\r\n{lines}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
                "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert wire.refused()[1] == reason
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send('{"type": "connection_init"}')
        assert json.loads(socket.recv(PATIENCE_SECONDS))["type"] == "connection_ack"
        for reason, operation in ladder(OPERATION):
            socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": operation}))
            message = json.loads(socket.recv(PATIENCE_SECONDS))
            if reason is None:
                assert message["payload"] == {"data": {"__typename": "Query"}}
            else:
                assert [error["extensions"]["reason"] for error in message["payload"]] == [reason]
