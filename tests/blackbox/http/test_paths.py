"""Paths: a slash at the end changes nothing, and no response leads a client to a host that its request named."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.servers.process import PATIENCE_SECONDS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

GRAPHQL, STREAM = "/api/graphql", "/api/graphql/stream"
PATHS = (GRAPHQL, STREAM, "/api/metrics", "/livez", "/readyz", "/static", "/static/graphiql.css", "/nothing")
QUERY = {"query": "{ __typename }"}
ANSWER = {"data": {"__typename": "Query"}}
EVENTS = {"accept": "text/event-stream"}
ANN = {"x-forwarded-email": "ann@example.com"}
EVIL = "evil.example"


@pytest.fixture(scope="module")
def proxied(orders_url: str) -> Iterator[Server]:
    """A server behind a proxy. With AUTH_MODE=local the `Host` alone would be refused."""
    with running_server(
        orders_url, AUTH_MODE="databricks-app", DATABRICKS_APP_NAME="orders", ADMIN_USERS="ann@example.com"
    ) as server:
        yield server


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "target",
    [
        "/",
        *(path + end for path in PATHS for end in ("/", "//", "/?query=%7B__typename%7D")),
        *(f"{scheme}://{EVIL}{path}" for scheme in ("http", "https") for path in ("/", "/livez/", f"{GRAPHQL}/")),
        *(f"//{EVIL}{path}" for path in ("", "/", "/..", "/livez/", f"{GRAPHQL}/")),
        *(f"/{EVIL}/../livez/", f"/\\{EVIL}/", f"/%2f{EVIL}/", f"/static/..//{EVIL}/", f"{GRAPHQL}/@{EVIL}/"),
    ],
)
def test_no_response_leads_to_the_host_of_its_request(proxied: Server, method: str, target: str) -> None:
    """A request may name any host in `Host`, in its target or in a proxy's headers. Only `/` redirects."""
    forwarded = f"X-Forwarded-Host: {EVIL}\r\nX-Forwarded-Proto: https\r\n"
    request = f"{method} {target} HTTP/1.1\r\nHost: {EVIL}\r\n{forwarded}Connection: close\r\nContent-Length: 0\r\n\r\n"
    head = _head(proxied, request)
    assert EVIL not in head
    redirects = [line for line in head.lower().splitlines() if line.startswith("location:")]
    assert redirects in ([], [f"location: {GRAPHQL}"])
    # A target whose path is `/` too.
    assert not redirects or target.removesuffix("/") in {"", f"http://{EVIL}", f"https://{EVIL}"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("end", ["/", "///"])
def test_a_slash_at_the_end_changes_nothing(proxied: Server, path: str, end: str) -> None:
    """The response has the same status and media type, and is no redirect."""
    with httpx.Client(base_url=proxied.url, headers=ANN) as client:
        with_end, without = (client.get(path + more, params=QUERY) for more in (end, ""))
    assert with_end.status_code == without.status_code
    assert with_end.headers.get("content-type") == without.headers.get("content-type")
    assert not with_end.is_redirect


def test_every_transport_serves_an_address_that_ends_in_a_slash(server: Server) -> None:
    """GET, POST, server-sent events by both, and WebSockets."""
    with httpx.Client(base_url=server.url) as client:
        assert client.get(f"{GRAPHQL}/", params=QUERY).json() == ANSWER
        assert client.post(f"{GRAPHQL}/", json=QUERY).json() == ANSWER
        sent: list[tuple[str, dict[str, Any]]] = [("GET", {"params": QUERY}), ("POST", {"json": QUERY})]
        for method, options in sent:
            events = client.request(method, f"{STREAM}/", headers=EVENTS, **options)
            assert f"data: {json.dumps(ANSWER, separators=(',', ':'))}" in events.text
    address = f"{server.graphql.replace('http', 'ws', 1)}/"
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        for message in ({"type": "connection_init"}, {"id": "1", "type": "subscribe", "payload": QUERY}):
            connection.send(json.dumps(message))
        received = [json.loads(connection.recv(timeout=PATIENCE_SECONDS)) for _ in range(2)]
    assert [message.get("payload") for message in received] == [None, ANSWER]


def _head(server: Server, request: str) -> str:
    """The head of the response to a raw request."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request.encode("latin-1"))
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert received.startswith(b"HTTP/1.1 "), received
    return received.partition(b"\r\n\r\n")[0].decode("latin-1")
