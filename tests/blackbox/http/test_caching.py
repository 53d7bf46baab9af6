"""Caching over HTTP: a query by GET has a tag, an unchanged response is a 304, and every change is seen."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

GRAPHQL = "/api/graphql"
PAGE = "{ orders(first: 200) { nodes { id orderKey status comment } } }"
SET = "mutation ($key: BigInt!, $status: OrderStatus!) { setOrderStatus(input: {orderKey: $key, status: $status}) { change { cursor } } }"


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server whose status changes come only from these tests."""
    with running_server(orders_url, APP_SCHEMA="caching") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of it that accepts gzip."""
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def other_process(orders_url: str) -> Iterator[httpx.Client]:
    """A client of another process on the same database."""
    with running_server(orders_url, APP_SCHEMA="caching") as server, httpx.Client(base_url=server.url) as client:
        yield client


def get(client: httpx.Client, query: str, **headers: str) -> httpx.Response:
    """The response to a query by GET. In a header's name, `_` stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(GRAPHQL, params={"query": query}, headers={"accept": "application/json", **named})


def change(client: httpx.Client, status: str, key: int = 1) -> None:
    """Set an order's status."""
    answer: dict[str, Any] = client.post(
        GRAPHQL, json={"query": SET, "variables": {"key": key, "status": status}}
    ).json()
    assert "errors" not in answer


def settled(client: httpx.Client, query: str, **headers: str) -> httpx.Response:
    """The response from the second time on, when the document has a plan."""
    get(client, query, **headers)
    return get(client, query, **headers)


def test_an_unchanged_response_is_a_304_until_it_changes(client: httpx.Client) -> None:
    """The 304 has no body, and the headers that the kept response needs. After any client's change the response is new."""
    change(client, "OPEN")
    first = settled(client, PAGE)
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "accept, accept-encoding, authorization, cookie, x-consistency-token"
    same = get(client, PAGE, if_none_match=first.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")
    kept = ("etag", "cache-control", "vary")
    assert [same.headers[name] for name in kept] == [first.headers[name] for name in kept]
    assert "content-length" not in same.headers
    with httpx.Client(base_url=str(client.base_url)) as somebody_else:
        change(somebody_else, "FULFILLED")
    changed = get(client, PAGE, if_none_match=first.headers["etag"])
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.json()["data"]["orders"]["nodes"][0]["status"] == "FULFILLED"


def test_each_encoding_and_media_type_has_its_own_tag(client: httpx.Client) -> None:
    """A strong tag stands for bytes. The connection is kept after a 304."""
    new = "application/graphql-response+json"
    asked = [{}, {"accept_encoding": "identity"}, {"accept": new}]
    answers = [settled(client, PAGE, **headers) for headers in asked]
    assert len({answer.headers["etag"] for answer in answers}) == 3
    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", None, "gzip"]
    assert answers[0].json() == answers[1].json() == answers[2].json()
    for headers, answer in zip(asked, answers, strict=True):
        for other in answers:
            status = 304 if other is answer else 200
            assert get(client, PAGE, if_none_match=other.headers["etag"], **headers).status_code == status


def test_a_response_with_errors_is_never_cached(client: httpx.Client) -> None:
    """By GET and by POST it has no tag and `no-store`, and it is never a 304."""
    partly = "{ orders(first: 3) { nodes { id } } none: orders(first: -1) { nodes { id } } }"
    for query in (partly, "{ nope }", "{"):
        response = get(client, query, if_none_match="*")
        assert response.json()["errors"]
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers
    assert client.post(GRAPHQL, json={"query": partly}).headers["cache-control"] == "no-store"
    mutation = get(client, SET, if_none_match="*")
    assert (mutation.status_code, mutation.headers["cache-control"]) == (405, "no-store")


def test_an_answer_by_post_has_no_tag(client: httpx.Client) -> None:
    """No cache keeps a response to POST unless a header allows it."""
    response = client.post(GRAPHQL, json={"query": PAGE}, headers={"if-none-match": "*"})
    assert response.status_code == 200
    assert {"etag", "cache-control"}.isdisjoint(response.headers)


def test_a_client_that_makes_a_change_does_not_reuse_its_cached_responses(orders_url: str) -> None:
    """A change sets a new cookie, even without a replica. Cached responses belong to the old one, because of `vary`."""
    with (
        running_server(
            orders_url, APP_SCHEMA="caching", CACHE_SECONDS="60", COMPRESS_FROM_BYTES="off", CONSISTENCY_SECRET="s" * 32
        ) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        response = get(client, PAGE)
        assert response.headers["cache-control"] == "private, max-age=60, must-revalidate"
        assert "content-encoding" not in response.headers
        tokens = []
        for status in ("OPEN", "FULFILLED"):
            change(client, status)
            tokens.append(client.cookies["consistency"])
        assert len(set(tokens)) == 2
        varies = get(client, PAGE).headers["vary"].split(", ")
        assert {"cookie", "x-consistency-token"} <= {*varies}


def test_the_gzipped_and_the_plain_response_have_the_same_bytes(client: httpx.Client) -> None:
    """Their tags differ only in the encoding."""
    plain, packed = settled(client, PAGE, accept_encoding="identity"), settled(client, PAGE)
    assert packed.headers["etag"] == plain.headers["etag"][:-1] + '-gzip"'
    with client.stream("GET", GRAPHQL, params={"query": PAGE}, headers={"accept": "application/json"}) as response:
        assert gzip.decompress(b"".join(response.iter_raw())) == plain.content


@pytest.mark.parametrize(
    "query",
    [
        PAGE,
        "{ orders(first: 0) { nodes { id } edges { cursor } pageInfo { endCursor hasNextPage } totalCount } }",
        "{ orders(last: 30) { edges { cursor node { id totalPrice orderDate statusUpdatedAt } } pageInfo { startCursor } } }",
        "{ order(orderKey: 1) { clerk shipPriority } none: order(orderKey: 9) { id } __typename }",
        '{ node(id: "T3JkZXI6MQ==") { id ... on Order { status } } nodes(ids: ["T3JkZXI6MQ==", "T3JkZXI6Mg=="]) { id } }',
        "{ ordersPage(pageSize: 20) { nodes { id } totalPages } }",
        "{ orders(first: 20) { nodes { id statusChanges { nodes { version } } } } }",
    ],
    ids=["orders", "empty", "edges", "order", "nodes", "ordersPage", "statusChanges"],
)
def test_an_answer_has_one_tag(client: httpx.Client, other_process: httpx.Client, query: str) -> None:
    """The first answer of a process, later answers, and answers to a hash have the same bytes, gzipped or not."""
    digest = hashlib.sha256(query.encode()).hexdigest()
    by_hash = {"extensions": json.dumps({"persistedQuery": {"version": 1, "sha256Hash": digest}})}
    for encoding in ("identity", "gzip"):
        responses = [
            one.get(GRAPHQL, params=parameters, headers={"accept-encoding": encoding})
            for one in (client, other_process)
            for parameters in ({"query": query}, {"query": query}, {"query": query, **by_hash}, by_hash)
        ]
        assert "errors" not in responses[0].json()
        assert len({response.content for response in responses}) == 1
        assert len({response.headers["etag"] for response in responses}) == 1
