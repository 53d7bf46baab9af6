"""Metrics of the real process: which callers may scrape them, and what they say of the requests."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import websockets

from tests.servers.process import NO_TLS, running_server, wait_for
from tests.support.exposition import value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

TOKEN = "metrics-token-0123456789"  # noqa: S105 # a test's
PATH = "/api/metrics"


@pytest.fixture(scope="module")
def watched(orders_url: str) -> Iterator[Server]:
    """A server with a metrics token, whose callers are not admins."""
    with running_server(orders_url, LOCAL_ROLES="writer", METRICS_TOKEN=TOKEN) as server:
        yield server


def scrape(server: Server, token: str | None = TOKEN, **headers: str) -> httpx.Response:
    """The response to a scrape."""
    given = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{server.url}{PATH}", headers={**given, **headers}, verify=NO_TLS)


def ask(server: Server, document: str) -> dict[str, Any]:
    """The response to a document."""
    answer: dict[str, Any] = httpx.post(server.graphql, json={"query": document}, verify=NO_TLS).json()
    return answer


def test_an_admin_may_scrape(server: Server) -> None:
    """The role is enough, without a token. No cache may keep the response."""
    response = scrape(server, None)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "orders_api_ready" in response.text


@pytest.mark.parametrize("token", [None, "wrong", f"{TOKEN}x", TOKEN[:-1], "\u00fc" * 20])
def test_other_callers_may_not_scrape(watched: Server, token: str | None) -> None:
    """They are refused with a GraphQL error."""
    given = httpx.Headers({"authorization": f"Bearer {token}"} if token else {}, encoding="utf-8")
    response = httpx.get(f"{watched.url}{PATH}", headers=given, verify=NO_TLS)
    assert response.status_code == 403
    assert response.json()["errors"][0]["extensions"]["reason"] == "ROLE_MISSING"
    assert response.headers["cache-control"] == "no-store"


def test_the_metrics_token_is_good_for_nothing_else(watched: Server) -> None:
    """It makes nobody an admin, and it allows only GET."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    body = {"query": "{ databaseInstances(first: 5) { nodes { name } } }"}
    refused = httpx.post(watched.graphql, json=body, headers=headers, verify=NO_TLS).json()
    assert refused["errors"][0]["extensions"]["reason"] == "ROLE_MISSING"
    response = httpx.post(f"{watched.url}{PATH}", headers=headers, verify=NO_TLS)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_the_format_is_the_requested_one(watched: Server) -> None:
    """Prometheus prefers OpenMetrics, and gets it."""
    response = scrape(watched, accept="application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")


def test_requests_and_statements_are_counted(watched: Server) -> None:
    """They are counted by transport, name and outcome. Health checks and scrapes are not."""
    ask(watched, "query Counted { orders(first: 5) { nodes { orderKey } } }")
    ask(watched, "{ orders(first: 5) { nodes { orderKey } } }")
    ask(watched, "query Bad { nothing }")
    httpx.get(f"{watched.url}/nowhere", verify=NO_TLS)
    httpx.get(f"{watched.url}/livez", verify=NO_TLS)
    text = scrape(watched).text
    for operation, outcome in (
        ("Counted", "ok"),
        ("anonymous", "ok"),
        ("other", "DOCUMENT_INVALID"),
        ("-", "PATH_UNKNOWN"),
    ):
        labels = {"transport": "http", "operation": operation}
        assert value(text, "orders_api_requests_total", outcome=outcome, **labels) >= 1, operation
        assert value(text, "orders_api_request_duration_seconds_count", **labels) >= 1, operation
    assert value(text, "orders_api_statement_rows_total") >= 10
    assert value(text, "orders_api_statement_duration_seconds_count") >= 2
    assert value(text, "orders_api_requests_total", operation="-") == 1
    assert value(text, "orders_api_ready", part="orders") == 1
    assert value(text, "process_resident_memory_bytes") > 10_000_000


async def test_subscriptions_are_counted_while_they_are_open(watched: Server) -> None:
    """On a WebSocket and as server-sent events. At its end each counts as a request, but not as a latency."""
    document = "subscription Listening { orderStatusChanged { cursor } }"

    text = ""

    async def open_now(websocket: int, sse: int) -> None:
        def reached() -> bool:
            nonlocal text
            text = scrape(watched).text
            found = [value(text, "orders_api_subscriptions", transport=name) for name in ("websocket", "sse")]
            return found == [websocket, sse] and value(text, "orders_api_feed_subscribers") == websocket + sse

        await asyncio.to_thread(wait_for, reached, what=lambda: text)

    url = watched.graphql.replace("http", "ws", 1)
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send('{"type": "connection_init"}')
        await socket.recv()
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": document}}))
        await open_now(1, 0)
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            stream = f"{watched.graphql}/stream"
            async with client.stream("POST", stream, json={"query": document}, headers={"accept": "text/event-stream"}):
                await open_now(1, 1)
        await open_now(1, 0)
        await socket.send('{"id": "1", "type": "complete"}')
        await open_now(0, 0)
    text = scrape(watched).text
    assert value(text, "orders_api_requests_total", transport="sse", operation="Listening") == 1
    assert value(text, "orders_api_requests_total", transport="websocket") == 1
    assert value(text, "orders_api_request_duration_seconds_count", transport="sse") == 0
    assert value(text, "orders_api_request_duration_seconds_count", transport="websocket") == 0


def test_scrapes_leave_no_line_in_the_log_unless_they_are_refused(watched: Server) -> None:
    """They come every few seconds and would drown other lines."""
    scrape(watched)
    scrape(watched, None)
    statuses = [json.loads(line)["status"] for line in watched.log().splitlines() if f'"path":"{PATH}"' in line]
    assert 200 not in statuses
    assert 403 in statuses
