"""Compression over HTTP: large responses are gzipped if the client accepts it, and decode to the same bytes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.process import NO_TLS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

GRAPHQL = "/api/graphql"
STREAM = "/api/graphql/stream"
PAGE = "query Page($first: Int) { orders(first: $first) { nodes { id orderKey totalPrice comment } } }"


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server of large pages."""
    with running_server(orders_url, PAGE_SIZE_MAX="10000", LIMIT_COST="100000") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of it that sends no Accept-Encoding by itself."""
    with httpx.Client(base_url=server.url) as client:
        del client.headers["accept-encoding"]
        yield client


def raw(client: httpx.Client, query: str, encoding: str | None, **variables: Any) -> tuple[httpx.Response, bytes]:
    """A response, and its body before it is decoded."""
    headers = {} if encoding is None else {"accept-encoding": encoding}
    body = {"query": query, "variables": variables}
    with client.stream("POST", GRAPHQL, json=body, headers=headers) as response:
        return response, b"".join(response.iter_raw())


@pytest.mark.parametrize("first", [100, 1000, 8000])
def test_a_large_page_is_gzipped(client: httpx.Client, first: int) -> None:
    """If the client accepts it, with a length and `vary`. Decoded, it is the response that other clients get."""
    # The ordinary path, which answers a document's first request, spaces the JSON differently.
    raw(client, PAGE, None, first=1)
    plain, expected = raw(client, PAGE, None, first=first)
    assert "content-encoding" not in plain.headers
    assert int(plain.headers["content-length"]) == len(expected)
    for accept in ("gzip", "gzip, deflate, br, zstd"):
        response, body = raw(client, PAGE, accept, first=first)
        assert (response.status_code, response.headers["content-encoding"]) == (200, "gzip")
        assert int(response.headers["content-length"]) == len(body) < len(expected) / 2
        assert gzip.decompress(body) == expected
        assert response.headers["vary"] == plain.headers["vary"] == "accept, accept-encoding"
        assert response.headers["content-type"] == plain.headers["content-type"]


def test_an_ordinary_client_does_not_notice(server: Server) -> None:
    """The client decodes the response by itself, on the ordinary path and on the fast path."""
    # A new document takes the ordinary path first, and then the fast path.
    body = {"query": f"# decoded\n{PAGE}", "variables": {"first": 300}}
    for _ in range(2):
        response = httpx.post(server.graphql, json=body, verify=NO_TLS)
        assert response.headers["content-encoding"] == "gzip"
        assert len(response.json()["data"]["orders"]["nodes"]) == 300


@pytest.mark.parametrize("accept", [None, "", "identity", "br", "gzip;q=0", "gzip;q=0.5, identity"])
def test_a_client_that_does_not_accept_gzip_gets_none(client: httpx.Client, accept: str | None) -> None:
    """However large the page is."""
    response, body = raw(client, PAGE, accept, first=100)
    assert "content-encoding" not in response.headers
    assert body.startswith(b'{"data":')


def test_a_small_response_is_not_compressed(client: httpx.Client) -> None:
    """Compressing it would take longer than sending it. If the client accepts only gzip, it is gzipped all the same."""
    response, body = raw(client, PAGE, "gzip", first=3)
    assert "content-encoding" not in response.headers
    response, compressed = raw(client, PAGE, "gzip, identity;q=0", first=3)
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed) == body


@pytest.mark.parametrize("accept", ["identity;q=0", "br, *;q=0"])
def test_a_response_in_no_accepted_encoding_is_not_computed(client: httpx.Client, accept: str) -> None:
    """406, in an encoding that the client can read."""
    response = client.post(GRAPHQL, json={"query": PAGE}, headers={"accept-encoding": accept})
    assert response.status_code == 406
    assert response.json()["errors"][0]["extensions"]["reason"] == "NOT_ACCEPTABLE"


def test_events_are_never_compressed(client: httpx.Client) -> None:
    """Not even a large event: it is sent at once, and never waits in a buffer."""
    headers = {"accept": "text/event-stream", "accept-encoding": "gzip"}
    body = {"query": PAGE, "variables": {"first": 1000}}
    with client.stream("POST", STREAM, json=body, headers=headers) as response:
        text = b"".join(response.iter_raw())
    assert "content-encoding" not in response.headers
    assert text.startswith(b"event: next\ndata: {")
    assert len(text) > 50_000


def test_metrics_are_compressed_for_a_scraper(client: httpx.Client) -> None:
    """Prometheus accepts gzip, and there are hundreds of series."""
    plain = client.get("/api/metrics")
    assert "content-encoding" not in plain.headers
    response = client.get("/api/metrics", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert "orders_api_requests_total" in response.text
    assert int(response.headers["content-length"]) < int(plain.headers["content-length"]) / 3
