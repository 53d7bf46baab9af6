"""Tests of limits and cost: refusals have the numbers, and callers can ask for the cost, on every transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.servers.process import PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

LIMIT = 300
PAGE = "query Page($first: Int) { orders(first: $first) { nodes { id } } }"
ASKS = {"x-graphql-cost": "Include"}
TOO_MANY = {"first": LIMIT}
COST_TOLD = {"requested": LIMIT + 2, "limit": LIMIT}
COST_REFUSED = {
    "code": "GRAPHQL_VALIDATION_FAILED",
    "reason": "COST_EXCEEDED",
    "retryable": False,
    "limit": "cost",
    "requested": LIMIT + 2,
    "allowed": LIMIT,
}
DEEP = "{ orders { edges { node { statusChanges { nodes { order { id } } } } } } }"


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server with low limits."""
    with running_server(
        orders_url,
        LIMIT_COST=str(LIMIT),
        LIMIT_DEPTH="6",
        LIMIT_CHARACTERS="2000",
        ALLOWED_ORIGINS="https://shop.example",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server.url) as client:
        yield client


def post(client: httpx.Client, query: str, headers: dict[str, str] | None = None, **variables: Any) -> httpx.Response:
    """The response to a POST."""
    accepts = {"accept": "application/graphql-response+json"}
    return client.post("/api/graphql", json={"query": query, "variables": variables}, headers=accepts | (headers or {}))


def test_an_operation_that_costs_too_much_is_refused_on_both_paths(client: httpx.Client) -> None:
    """The cost depends on the request's own variables, even if the document's plan has answered other ones."""
    refused = post(client, f"# ordinary\n{PAGE}", first=LIMIT)
    assert [post(client, PAGE, first=LIMIT - 2).status_code for _ in range(3)] == [200] * 3
    for response in (refused, post(client, PAGE, first=LIMIT)):
        (error,) = response.json()["errors"]
        assert (response.status_code, error["extensions"]) == (400, COST_REFUSED)
        assert "data" not in response.json()
        assert "extensions" not in response.json()


def test_a_scan_is_priced_by_the_table_on_every_path(client: httpx.Client) -> None:
    """15,000 orders are looked through for each page. The refusal says what would help, also over the fast path."""
    one = 'orders(first: 1, filter: {clerk: {eq: "nobody"}}) { nodes { id } }'

    def cost() -> int:
        told = post(client, f"{{ {one} }}", ASKS).json()
        assert told["data"]["orders"]["nodes"] == []
        requested: int = told["extensions"]["cost"]["requested"]
        return requested

    # The table is measured in the background.
    wait_for(lambda: cost() > LIMIT / 20, what=lambda: "the table to be measured")
    assert LIMIT / 20 < cost() < LIMIT
    refused = post(client, f"{{ {' '.join(f'a{n}: {one}' for n in range(20))} }}")
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["reason"]) == (400, "COST_EXCEEDED")
    assert "No index serves the condition on `clerk`" in error["message"]
    far = post(client, "{ ordersPage(page: 14000, pageSize: 1) { nodes { orderKey comment } } }", ASKS).json()
    assert far["extensions"]["cost"]["requested"] > 25


def test_typename_costs_like_a_field(client: httpx.Client) -> None:
    """Thirty aliases of it are thirty values of each order."""
    aliases = " ".join(f"a{n}: __typename" for n in range(30))
    refused = post(client, f"{{ orders(first: 10) {{ nodes {{ {aliases} }} }} }}")
    assert refused.json()["errors"][0]["extensions"]["requested"] == 302


def test_the_cost_is_reported_to_callers_who_ask_on_both_paths(client: httpx.Client) -> None:
    """The cost is in the response, or in the refusal, of a caller who asks for it, and in no other."""
    answers = [post(client, f"# told\n{PAGE}", ASKS, first=5).json() for _ in range(3)]
    assert answers == [answers[0]] * 3
    assert answers[0]["extensions"] == {"cost": {"requested": 7, "limit": LIMIT}}
    assert len(answers[0]["data"]["orders"]["nodes"]) == 5
    assert "extensions" not in post(client, f"# told\n{PAGE}", first=5).json()
    assert "extensions" not in post(client, f"# told\n{PAGE}", {"x-graphql-cost": "no"}, first=5).json()
    assert post(client, PAGE, ASKS, first=LIMIT).json()["extensions"] == {"cost": COST_TOLD}


def test_a_response_with_its_cost_is_not_cached(client: httpx.Client) -> None:
    """Caches do not vary their responses by that header."""
    parameters = {"query": PAGE, "variables": '{"first": 1}'}
    assert client.get("/api/graphql", params=parameters, headers=ASKS).headers["cache-control"] == "no-store"
    assert client.get("/api/graphql", params=parameters).headers["cache-control"] != "no-store"


@pytest.mark.parametrize(
    ("document", "limit", "requested", "allowed"),
    [(DEEP, "depth", 7, 6), (f"#{'x' * 2_000}", "characters", 2_001, 2_000)],
)
def test_a_document_over_a_limit_is_refused(
    client: httpx.Client, document: str, limit: str, requested: int, allowed: int
) -> None:
    """Each time the refusal has the numbers, whatever other errors the document has."""
    for _ in range(2):
        response = post(client, document)
        (error,) = response.json()["errors"]
        extensions = error["extensions"]
        assert response.status_code == 400
        assert (extensions["reason"], extensions["limit"]) == ("LIMIT_EXCEEDED", limit)
        assert (extensions["requested"], extensions["allowed"]) == (requested, allowed)
    # Clients that know only this media type get errors with status 200, as ever.
    assert client.post("/api/graphql", json={"query": document}).status_code == 200


def test_a_browser_of_an_allowed_origin_may_ask(client: httpx.Client) -> None:
    """The header passes a preflight."""
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-graphql-cost",
    }
    assert client.options("/api/graphql", headers=asked).status_code == 200


def test_over_server_sent_events(client: httpx.Client) -> None:
    """The refusals are the same, and the cost is requested by the same header."""

    def streamed(headers: dict[str, str], **variables: Any) -> dict[str, Any]:
        response = client.post(
            "/api/graphql/stream",
            json={"query": PAGE, "variables": variables},
            headers={"accept": "text/event-stream", **headers},
        )
        data = next(line for line in response.text.splitlines() if line.startswith("data: {"))
        answer = json.loads(data.removeprefix("data: "))
        assert isinstance(answer, dict)
        return answer

    assert streamed(ASKS, first=5)["extensions"] == {"cost": {"requested": 7, "limit": LIMIT}}
    assert streamed({}, first=LIMIT)["errors"][0]["extensions"] == COST_REFUSED


def test_over_a_websocket(server: Server) -> None:
    """The refusals are the same, for single operations. An operation asks for its cost in its extensions."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send('{"type":"connection_init"}')
        assert json.loads(socket.recv(timeout=PATIENCE_SECONDS))["type"] == "connection_ack"

        def answer(**payload: Any) -> dict[str, Any]:
            socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            message = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
            if message["type"] == "next":
                assert json.loads(socket.recv(timeout=PATIENCE_SECONDS))["type"] == "complete"
            assert isinstance(message, dict)
            return message

        refused = answer(query=PAGE, variables=TOO_MANY)
        assert (refused["type"], refused["payload"][0]["extensions"]) == ("error", COST_REFUSED)
        assert answer(query=DEEP)["payload"][0]["extensions"]["limit"] == "depth"
        subscription = "subscription($k: [BigInt!]) { orderStatusChanged(orderKeys: $k) { id } }"
        refused = answer(query=subscription, variables={"k": [*range(LIMIT)]})
        assert refused["payload"][0]["extensions"] == {**COST_REFUSED, "requested": 30 + LIMIT + 1}
        message = answer(query=PAGE, variables={"first": 5}, extensions={"cost": True})
        assert message["payload"]["extensions"] == {"cost": {"requested": 7, "limit": LIMIT}}
        assert "extensions" not in answer(query=PAGE, variables={"first": 5})["payload"]
