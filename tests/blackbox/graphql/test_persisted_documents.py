"""Persisted documents in the real process, over POST, GET, a WebSocket and server-sent events."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.blackbox.graphql.test_websocket import closed_with
from tests.blackbox.process.test_start import start
from tests.servers.process import PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.process import Server

    Ask = Callable[[Server, dict[str, Any]], tuple[int | None, dict[str, Any]]]

ORDER = "query One($key: BigInt!) { order(orderKey: $key) { orderKey } }"
PAGE = "{ orders(first: 1) { nodes { orderKey } } }"
CHANGE = "mutation { clearOrderStatus(input: {orderKey: 99999999}) { userErrors { code } } }"
FEED = "subscription { orderStatusChanged { version } }"
WITH_KEY = {"variables": {"key": 1}}
FOUND = {"data": {"order": {"orderKey": "1"}}}
FIRST = {"data": {"orders": {"nodes": [{"orderKey": "1"}]}}}


def sha(text: str) -> str:
    """The hash that clients send."""
    return hashlib.sha256(text.encode()).hexdigest()


def extension(hashed: str) -> dict[str, Any]:
    """The hash as Apollo's clients send it."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashed}}}


def parameters(asked: dict[str, Any]) -> dict[str, str]:
    """A request as the query of a URL, which has no null."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in asked.items()
        if value is not None
    }


def post(server: Server, asked: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The status and the response of a POST."""
    response = httpx.post(server.graphql, json=asked)
    return response.status_code, response.json()


def get(server: Server, asked: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The status and the response of a GET."""
    response = httpx.get(server.graphql, params=parameters(asked))
    return response.status_code, response.json()


def stream(server: Server, asked: dict[str, Any], *, by: str = "POST") -> tuple[int | None, dict[str, Any]]:
    """The status, and the first event of a stream or its refusal."""
    body: dict[str, Any] = {"json": asked} if by == "POST" else {"params": parameters(asked)}
    with httpx.stream(by, f"{server.graphql}/stream", headers={"accept": "text/event-stream"}, **body) as response:
        if response.status_code != 200:
            return response.status_code, json.loads(response.read())
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        return 200, json.loads(next(lines).removeprefix("data: "))


def browser(server: Server, asked: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The same by GET, as a browser's EventSource asks."""
    return stream(server, asked, by="GET")


def socket(server: Server, asked: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The first message about an operation on a WebSocket. It has no status."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        for message in ({"type": "connection_init"}, {"id": "1", "type": "subscribe", "payload": asked}):
            connection.send(json.dumps(message))
        assert json.loads(connection.recv(timeout=PATIENCE_SECONDS))["type"] == "connection_ack"
        message = json.loads(connection.recv(timeout=PATIENCE_SECONDS))
        return None, message["payload"] if message["type"] == "next" else {"errors": message["payload"]}


def reason(response: dict[str, Any]) -> str:
    """The reason of the only error of a response without data."""
    assert "data" not in response
    (error,) = response["errors"]
    return str(error["extensions"]["reason"])


def by_name(server: Server, name: str, *, count: int) -> list[str]:
    """The log lines of the operations of this name, as soon as there are `count` of them."""

    def lines() -> list[str]:
        return [line for line in server.log().splitlines() if f'"operation":"{name}"' in line]

    wait_for(lambda: len(lines()) >= count, what=server.log)
    return lines()


TRANSPORTS = pytest.mark.parametrize("ask", [post, get, stream, browser, socket])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest as a build of the frontend writes it."""
    file = tmp_path_factory.mktemp("manifest") / "persisted-documents.json"
    relay = hashlib.md5(PAGE.encode()).hexdigest()  # noqa: S324 # as Relay's compiler does
    file.write_text(json.dumps({sha(ORDER): ORDER, relay: PAGE, "change": CHANGE, "feed": FEED}))
    return file


@pytest.fixture(scope="module")
def trusting(orders_url: str, manifest: Path) -> Iterator[Server]:
    """A server that runs only the documents in the manifest."""
    with running_server(
        orders_url, APP_SCHEMA="documents", PERSISTED_DOCUMENTS=str(manifest), PERSISTED_DOCUMENTS_ONLY="true"
    ) as server:
        yield server


@TRANSPORTS
@pytest.mark.parametrize(
    "named",
    [{"documentId": f"sha256:{sha(ORDER)}"}, {"documentId": sha(ORDER)}, extension(sha(ORDER)), {"query": ORDER}],
    ids=["sha256:", "bare", "apollo", "text"],
)
def test_a_trusted_document_is_run(trusting: Server, ask: Ask, named: dict[str, Any]) -> None:
    """On every transport, on either path, by its hash or by its exact text."""
    for _ in range(2):
        status, response = ask(trusting, named | WITH_KEY)
        assert status in {200, None}
        assert response == FOUND


@TRANSPORTS
@pytest.mark.parametrize(
    "asked",
    [
        {"query": f"{ORDER} "} | WITH_KEY,
        {"query": "{ __typename }"},
        {"query": "{ __typename }"} | extension(sha("{ __typename }")),
        {"query": "{ __typename }", "documentId": "x"},
        extension(sha(FEED)),
        {"documentId": "unknown"},
    ],
    ids=["a space more", "a text", "a text with its hash", "a text with an id", "a hash", "an id"],
)
def test_a_document_that_is_not_trusted_is_refused(trusting: Server, ask: Ask, asked: dict[str, Any]) -> None:
    """Whatever is sent with it: only the manifest decides."""
    status, response = ask(trusting, asked)
    assert status in {403, None}
    assert reason(response) == "DOCUMENT_NOT_TRUSTED"
    assert response["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def test_a_hash_does_not_bypass_the_limits_of_a_transport(trusting: Server) -> None:
    """A mutation by GET or a subscription by POST is refused, as it would be by its text."""
    assert get(trusting, {"documentId": "change"})[0] == 405
    assert post(trusting, {"documentId": "feed"})[0] == 405
    assert post(trusting, {"documentId": "change"})[1]["data"]["clearOrderStatus"]["userErrors"]
    url = f"{trusting.graphql}/stream?documentId=feed"
    with httpx.stream("GET", url, headers={"accept": "text/event-stream"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert next(response.iter_lines()).startswith("retry: ")


def test_a_wrong_manifest_stops_the_start(orders_url: str, tmp_path: Path) -> None:
    """All of its mistakes are reported, as for any wrong setting."""
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"a": "{ nothing }", "b": "{", "c": PAGE}))
    shown = start(DATABASE_URL=orders_url, PERSISTED_DOCUMENTS=str(file))
    assert (shown.returncode, shown.stdout) == (2, "")
    first, *lines = shown.stderr.splitlines()
    assert first == "The settings are wrong:"
    assert [line.split(": ")[:2] for line in lines] == [["  PERSISTED_DOCUMENTS", "a"], ["  PERSISTED_DOCUMENTS", "b"]]


@TRANSPORTS
def test_a_document_that_was_sent_once_is_known_by_its_hash(server: Server, ask: Ask) -> None:
    """An invalid document never is. Before that, the error has the message that Apollo's clients know."""
    text = f"{PAGE} # {ask.__name__}"
    status, response = ask(server, extension(sha(text)))
    assert status in {200, 400, None}
    assert reason(response) == "PERSISTED_QUERY_NOT_FOUND"
    assert response["errors"][0]["message"] == "PersistedQueryNotFound"
    assert response["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
    assert ask(server, extension(sha(text)) | {"query": text})[1] == FIRST
    for _ in range(2):
        assert ask(server, extension(sha(text)))[1] == FIRST
        assert ask(server, {"documentId": f"sha256:{sha(text)}"})[1] == FIRST
    rubbish = f"{{ nothing }} # {ask.__name__}"
    assert reason(ask(server, extension(sha(rubbish)) | {"query": rubbish})[1]) == "DOCUMENT_INVALID"
    assert reason(ask(server, extension(sha(rubbish)))[1]) == "PERSISTED_QUERY_NOT_FOUND"


@TRANSPORTS
def test_a_hash_has_to_match_the_text_beside_it(server: Server, ask: Ask) -> None:
    """Otherwise a client could register its own text under the hash of another document."""
    status, response = ask(server, extension(sha(ORDER)) | {"query": PAGE})
    assert status in {400, None}
    assert reason(response) == "PERSISTED_QUERY_MISMATCH"


def test_a_response_to_a_hash_can_be_cached(server: Server) -> None:
    """A GET by hash has a tag, and gets a 304 while nothing changes. The error about an unknown hash is never cached."""
    text = f"{PAGE} # kept"
    asked = parameters(extension(sha(text)))
    unknown = httpx.get(server.graphql, params=asked)
    assert (unknown.status_code, unknown.headers["cache-control"]) == (200, "no-store")
    post(server, extension(sha(text)) | {"query": text})
    httpx.get(server.graphql, params=asked)
    kept = httpx.get(server.graphql, params=asked)
    assert kept.json() == FIRST
    again = httpx.get(server.graphql, params=asked, headers={"if-none-match": kept.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_document_asked_for_by_hash_takes_the_fast_path(server: Server) -> None:
    """Once the server has answered its text, whichever client sent it."""
    text = "query ByHash { orders(first: 1) { nodes { orderKey } } }"
    post(server, extension(sha(text)) | {"query": text})
    assert post(server, extension(sha(text)))[1] == FIRST
    fast = [json.loads(line)["fast"] for line in by_name(server, "ByHash", count=2)]
    assert fast == [False, True]


def test_a_browser_that_asks_by_hash_gets_the_response_instead_of_a_page(server: Server) -> None:
    """A person can open a URL with a hash in it."""
    headers = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    post(server, extension(sha(PAGE)) | {"query": PAGE})
    for asked in ({"documentId": sha(PAGE)}, extension(sha(PAGE))):
        assert httpx.get(server.graphql, params=parameters(asked), headers=headers).json() == FIRST


@pytest.mark.parametrize("asked", [{}, {"query": None}, {"query": 1}, {"documentId": 1, "query": PAGE}])
def test_on_a_socket_a_malformed_request_still_closes_it(server: Server, asked: dict[str, Any]) -> None:
    """It has neither a text nor a hash, or one of a wrong type."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        for message in ({"type": "connection_init"}, {"id": "1", "type": "subscribe", "payload": asked}):
            connection.send(json.dumps(message))
        assert closed_with(connection) == 4400


def test_documents_are_not_remembered_if_that_is_off(orders_url: str) -> None:
    """The error has the message that makes Apollo's clients send the text from then on. The server runs the text."""
    with running_server(orders_url, AUTOMATIC_PERSISTED_QUERIES="0") as server:
        for _ in range(2):
            status, response = post(server, extension(sha(PAGE)))
            assert (status, reason(response)) == (200, "PERSISTED_QUERY_NOT_SUPPORTED")
            assert response["errors"][0]["message"] == "PersistedQueryNotSupported"
            assert post(server, extension(sha(PAGE)) | {"query": PAGE})[1] == FIRST
