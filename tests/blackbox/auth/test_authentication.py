"""Tests of authentication on every transport: the real process, with tokens and with the platform's headers."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.servers.issuer import Issuer, running_issuer
from tests.servers.process import PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

PROTOCOL = Subprotocol("graphql-transport-ws")
ORDER = "{ order(orderKey: 1) { orderKey } }"
FEED = "subscription { orderStatusChanged { version } }"
CHANGE = "mutation { setOrderStatus(input: {orderKey: 3, status: OPEN}) { change { changedBy } } }"
FOUND = {"data": {"order": {"orderKey": "1"}}}
STREAM = {"accept": "text/event-stream"}
# How many seconds an expired token is still accepted, because clocks differ.
LEEWAY = 30
METHODS = ["POST", "GET", "POST stream", "GET stream"]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """The issuer whose tokens the server accepts."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def guarded(orders_url: str, issuer: Issuer) -> Iterator[Server]:
    """A server that accepts the issuer's tokens."""
    settings = issuer.settings(APP_SCHEMA="guarded", ALLOWED_ORIGINS="https://shop.example")
    with running_server(orders_url, **settings) as server:
        yield server
        assert "eyJ" not in server.log()


@pytest.fixture(scope="module")
def app(orders_url: str) -> Iterator[Server]:
    """A server as on the platform, with roles by name."""
    settings: dict[str, Any] = {
        "AUTH_MODE": "databricks-app",
        "DATABRICKS_APP_NAME": "orders",
        "READER_USERS": "*",
        "WRITER_USERS": "ann@example.com",
    }
    with running_server(orders_url, APP_SCHEMA="app", **settings) as server:
        yield server


def bearer(token: str) -> dict[str, str]:
    """The header that sends a token."""
    return {"authorization": f"Bearer {token}"}


def ask(server: Server, method: str = "POST", query: str = ORDER, **headers: str) -> httpx.Response:
    """Send a query by one of METHODS."""
    kind, _, stream = method.partition(" ")
    body: dict[str, Any] = {"params": {"query": query}} if kind == "GET" else {"json": {"query": query}}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{server.graphql}/stream" if stream else server.graphql
    return httpx.request(kind, url, headers={**(STREAM if stream else {}), **names}, **body)


def reason_of(response: httpx.Response) -> str:
    """The reason of a response's only error."""
    (error,) = response.json()["errors"]
    return str(error["extensions"]["reason"])


def open_socket(server: Server, **headers: str) -> ClientConnection:
    """An accepted connection."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return connect(server.graphql.replace("http", "ws", 1), subprotocols=[PROTOCOL], additional_headers=names)


def send(connection: ClientConnection, type_: str, payload: object = None, id_: str | None = None) -> None:
    """Send a message."""
    message = {"type": type_, "payload": payload, "id": id_}
    connection.send(json.dumps({name: value for name, value in message.items() if value is not None}))


def messages_of(connection: ClientConnection) -> tuple[list[str], int, str]:
    """The types of the remaining messages, and the code and reason with which the connection is closed."""
    types = []
    try:
        while True:
            types.append(json.loads(connection.recv(timeout=PATIENCE_SECONDS))["type"])
    except ConnectionClosed as closed:
        return types, closed.rcvd.code if closed.rcvd else 1006, closed.rcvd.reason if closed.rcvd else ""


def answer(connection: ClientConnection) -> Any:
    """The payload of the next message."""
    return json.loads(connection.recv(timeout=PATIENCE_SECONDS)).get("payload")


@pytest.mark.parametrize("method", METHODS)
def test_without_a_valid_token_nothing_is_run(guarded: Server, issuer: Issuer, method: str) -> None:
    """Every HTTP transport answers with the same error, and asks for a token."""
    for headers, challenge in (
        ({}, "Bearer"),
        (bearer(issuer.token(exp=int(time.time()) - 31)), 'Bearer error="invalid_token"'),
        (bearer("x"), 'Bearer error="invalid_token"'),
        (bearer("x" * 9000), 'Bearer error="invalid_token"'),
    ):
        refused = ask(guarded, method, **headers)
        assert (refused.status_code, reason_of(refused)) == (401, "UNAUTHENTICATED")
        assert refused.headers["www-authenticate"] == challenge
        assert "data" not in refused.json()
        assert "retry-after" not in refused.headers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_with_a_valid_token_the_query_runs(guarded: Server, issuer: Issuer, method: str, key: str) -> None:
    """The query runs on every HTTP transport, with keys of both kinds."""
    response = ask(guarded, method, **bearer(issuer.token(key)))
    assert response.status_code == 200
    assert json.dumps(FOUND, separators=(",", ":")) in response.text


def test_a_change_is_made_in_the_name_of_the_tokens_user(guarded: Server, issuer: Issuer) -> None:
    """A user without the role changes nothing, and no other header can name the user."""
    forged = {"x_forwarded_email": "boss@example.com", "x_forwarded_user": "1"}
    changed = ask(guarded, query=CHANGE, **bearer(issuer.token(sub="Łukasz")), **forged).json()
    assert changed["data"]["setOrderStatus"]["change"] == {"changedBy": "Łukasz"}
    for roles in (["reader"], None, ["Writer"]):
        assert reason_of(ask(guarded, query=CHANGE, **bearer(issuer.token(roles=roles)))) == "ROLE_MISSING"


def test_two_headers_are_one_too_many(guarded: Server, issuer: Issuer) -> None:
    """The server does not guess which one counts."""
    headers = [("authorization", f"Bearer {issuer.token()}")] * 2
    assert httpx.post(guarded.graphql, json={"query": ORDER}, headers=headers).status_code == 401


def test_the_page_and_the_health_are_open(guarded: Server) -> None:
    """A browser opens the page without a token, which the user enters there. A query in its URL is refused."""
    browser = {"accept": "text/html,*/*;q=0.8"}
    assert httpx.get(guarded.graphql, headers=browser).headers["content-type"].startswith("text/html")
    assert httpx.get(guarded.graphql, headers=browser, params={"query": ORDER}).status_code == 401
    assert httpx.get(f"{guarded.url}/readyz").status_code == 200


def test_a_page_of_an_allowed_origin_may_send_a_token(guarded: Server) -> None:
    """The preflight allows the Authorization header."""
    preflight = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    allowed = httpx.options(guarded.graphql, headers=preflight)
    assert allowed.status_code == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION"])
def test_a_socket_may_authenticate_in_its_init(guarded: Server, issuer: Issuer, name: str) -> None:
    """Browsers have to authenticate in the init, because they cannot set the headers of a WebSocket."""
    with open_socket(guarded) as socket:
        send(socket, "connection_init", {name: f"Bearer {issuer.token()}"})
        assert answer(socket) is None
        send(socket, "subscribe", {"query": ORDER}, "1")
        assert answer(socket) == FOUND


def test_a_socket_may_authenticate_in_its_upgrade(guarded: Server, issuer: Issuer) -> None:
    """Programs can set the headers of a WebSocket."""
    with open_socket(guarded, **bearer(issuer.token())) as socket:
        send(socket, "connection_init")
        assert answer(socket) is None
        send(socket, "subscribe", {"query": ORDER}, "1")
        assert answer(socket) == FOUND


@pytest.mark.parametrize("init", [None, {}, {"authorization": "Bearer x"}, {"authorization": 1}, {"token": "x"}])
def test_a_socket_without_a_valid_token_is_closed(guarded: Server, init: object) -> None:
    """Nothing is run on it, not even an operation that is sent at once."""
    with open_socket(guarded) as socket:
        send(socket, "connection_init", init)
        # The server may have closed it by then.
        with contextlib.suppress(ConnectionClosed):
            send(socket, "subscribe", {"query": ORDER}, "1")
        types, code, reason = messages_of(socket)
        assert (types, code) == ([], 4403)
        assert reason.startswith("Forbidden: ")
    with open_socket(guarded) as socket:
        send(socket, "subscribe", {"query": ORDER}, "1")
        assert messages_of(socket)[:2] == ([], 4401)


def test_open_sockets_and_streams_end_with_their_token(guarded: Server, issuer: Issuer) -> None:
    """The server closes a socket with 4403, and a stream without a `complete`: clients reconnect with a new token."""
    # On a busy machine the first token may expire before the connections are open.
    for seconds in (2, 8, 32):
        token = issuer.token(exp=int(time.time()) + seconds - LEEWAY)
        with open_socket(guarded) as socket, httpx.Client() as client:
            send(socket, "connection_init", {"authorization": f"Bearer {token}"})
            send(socket, "subscribe", {"query": FEED}, "1")
            headers = {**STREAM, **bearer(token)}
            with client.stream("POST", f"{guarded.graphql}/stream", json={"query": FEED}, headers=headers) as stream:
                text = stream.read().decode()
            types, code, _ = messages_of(socket)
        assert code == 4403
        assert "complete" not in text
        assert ask(guarded, **bearer(token)).status_code == 401
        if stream.status_code == 200 and types == ["connection_ack"]:
            return
    pytest.fail("timed out: the token had ended before anything was open")


def test_while_the_issuer_is_down_tokens_get_a_retryable_error(orders_url: str) -> None:
    """Every transport asks the client to retry, and the server accepts tokens as soon as the issuer is back.

    It accepts a rotated key at once. When the issuer is down again, the known keys stay valid.
    """
    with running_issuer() as issuer, running_server(orders_url, **issuer.settings(APP_SCHEMA="guarded")) as server:
        issuer.fails = True
        token = issuer.token()
        for method in METHODS:
            refused = ask(server, method, **bearer(token))
            assert (refused.status_code, reason_of(refused)) == (503, "AUTHENTICATION_UNAVAILABLE")
            assert int(refused.headers["retry-after"]) >= 1
        with open_socket(server) as socket:
            send(socket, "connection_init", {"authorization": f"Bearer {token}"})
            assert messages_of(socket)[:2] == ([], 1013)
        # A request without a token is refused for that, even when the issuer is down.
        assert ask(server).status_code == 401
        issuer.fails = False
        wait_for(lambda: ask(server, **bearer(token)).status_code == 200, what=lambda: "the keys to be fetched")
        issuer.rotate("new")
        assert ask(server, **bearer(issuer.token("new"))).json() == FOUND
        assert "does not publish" in ask(server, **bearer(token)).text
        issuer.fails = True
        assert ask(server, **bearer(issuer.token("new"))).json() == FOUND


def test_the_platforms_headers_name_the_caller(app: Server) -> None:
    """The platform's headers name the caller on every transport, and nothing else does."""
    ann = {"x_forwarded_email": "Ann@example.com", "x_forwarded_user": "1@2"}
    for method in METHODS:
        assert ask(app, method, **ann).status_code == 200
        refused = ask(app, method, authorization="Bearer x")
        assert (refused.status_code, reason_of(refused)) == (401, "UNAUTHENTICATED")
        assert "www-authenticate" not in refused.headers
    assert ask(app, query=CHANGE, **ann).json()["data"]["setOrderStatus"]["change"] == {"changedBy": "ann@example.com"}
    assert reason_of(ask(app, query=CHANGE, x_forwarded_email="bob@example.com")) == "ROLE_MISSING"


def test_the_platforms_headers_name_the_caller_of_a_socket(app: Server) -> None:
    """The upgrade's headers name the caller: without them the upgrade is refused, and an init's payload does not count."""
    with pytest.raises(InvalidStatus) as refused:
        open_socket(app)
    assert refused.value.response.status_code == 401
    assert b"UNAUTHENTICATED" in refused.value.response.body
    with open_socket(app, x_forwarded_email="bob@example.com") as socket:
        send(socket, "connection_init", {"X-Forwarded-Email": "ann@example.com", "authorization": "Bearer x"})
        assert answer(socket) is None
        send(socket, "subscribe", {"query": CHANGE}, "1")
        assert answer(socket)["errors"][0]["extensions"]["reason"] == "ROLE_MISSING"


def test_our_own_page_is_ours_behind_the_proxy(app: Server) -> None:
    """A page has the server's own origin if that is the host by which the browser called the proxy, and only then."""
    host = "orders-1.aws.databricksapps.com"
    proxied = {"x_forwarded_email": "ann@example.com", "x_forwarded_host": host}
    assert ask(app, "GET stream", origin=f"https://{host}", **proxied).status_code == 200
    assert reason_of(ask(app, "GET stream", origin="https://evil.example", **proxied)) == "ORIGIN_FORBIDDEN"


def test_headers_of_the_platform_mean_nothing_elsewhere(server: Server) -> None:
    """Outside of the platform any client can set these headers."""
    forged = {"x_forwarded_email": "boss@example.com", "x_forwarded_host": "evil.example", "authorization": "Bearer x"}
    assert ask(server, query=CHANGE, **forged).json()["data"]["setOrderStatus"]["change"] == {"changedBy": "local"}
    assert reason_of(ask(server, "GET stream", origin="https://evil.example", **forged)) == "ORIGIN_FORBIDDEN"
