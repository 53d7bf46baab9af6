"""An empty text and null mean an absent parameter: the same for every parameter, on every transport."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.blackbox.graphql.test_persisted_documents import (
    FOUND,
    ORDER,
    TRANSPORTS,
    WITH_KEY,
    extension,
    post,
    reason,
    sha,
)
from tests.servers.process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.blackbox.graphql.test_persisted_documents import Ask
    from tests.servers.process import Server

HASH = sha(ORDER)


@pytest.fixture(scope="module")
def trusting(orders_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs only the document of a manifest, by its hash or by its text."""
    manifest: Path = tmp_path_factory.mktemp("manifest") / "persisted-documents.json"
    manifest.write_text(json.dumps({HASH: ORDER}))
    with running_server(orders_url, PERSISTED_DOCUMENTS=str(manifest), PERSISTED_DOCUMENTS_ONLY="true") as server:
        yield server


@TRANSPORTS
@pytest.mark.parametrize("absent", ["", None], ids=["empty", "null"])
@pytest.mark.parametrize("by", ["text", "documentId", "doc_id", "apollo"])
def test_a_parameter_without_a_value_is_absent(trusting: Server, ask: Ask, by: str, absent: str | None) -> None:
    """Whatever names the document, all other parameters may be empty or null: `query` beside a hash, and the rest."""
    named = {
        "text": {"query": ORDER},
        "documentId": {"documentId": HASH},
        "doc_id": {"doc_id": HASH},
        "apollo": extension(HASH),
    }[by]
    others: dict[str, Any] = {
        name: absent for name in ("query", "documentId", "doc_id", "operationName", "extensions") if name not in named
    }
    # Each parameter alone, because one may hide the fault of another; then all together.
    for left_empty in ({name: absent} for name in others):
        assert ask(trusting, named | WITH_KEY | left_empty)[1] == FOUND, left_empty
    assert ask(trusting, others | named | WITH_KEY)[1] == FOUND


@TRANSPORTS
@pytest.mark.parametrize("absent", ["", None], ids=["empty", "null"])
@pytest.mark.parametrize("name", ["persistedQuery", "consistencyToken", "cost"])
def test_an_extension_without_a_value_is_absent(server: Server, ask: Ask, name: str, absent: str | None) -> None:
    """Each request has a text, and is sent twice: the first takes the ordinary path, the second the fast path."""
    for _ in range(2):
        assert ask(server, {"query": ORDER, "extensions": {name: absent}} | WITH_KEY)[1] == FOUND


@TRANSPORTS
@pytest.mark.parametrize("offered", [{}, {"version": 1}, *({"version": 1, "sha256Hash": none} for none in ("", None))])
def test_a_hash_without_a_value_is_absent(server: Server, ask: Ask, offered: dict[str, Any]) -> None:
    """Also where nothing but the ordinary path answers, which remembers documents by their hash."""
    sent = {"query": "{ __typename }", "extensions": {"persistedQuery": offered}}
    assert ask(server, sent)[1] == {"data": {"__typename": "Query"}}


@TRANSPORTS
@pytest.mark.parametrize("absent", ["", None], ids=["empty", "null"])
def test_variables_without_a_value_are_absent(server: Server, ask: Ask, absent: str | None) -> None:
    """The values of variables are not parameters: an empty text in them stays one."""
    assert ask(server, {"query": "{ __typename }", "variables": absent})[1] == {"data": {"__typename": "Query"}}
    clerk = "query ($clerk: String) { orders(first: 1, filter: {clerk: {eq: $clerk}}) { nodes { id } } }"
    assert ask(server, {"query": clerk, "variables": {"clerk": ""}})[1] == {"data": {"orders": {"nodes": []}}}


@TRANSPORTS
@pytest.mark.parametrize(
    "differing",
    [
        {"documentId": HASH, "doc_id": "another"},
        {"documentId": "another"} | extension(HASH),
        {"doc_id": "another"} | extension(HASH),
    ],
    ids=["documentId and doc_id", "documentId and apollo", "doc_id and apollo"],
)
def test_identifiers_that_differ_are_refused(server: Server, ask: Ask, differing: dict[str, Any]) -> None:
    """The server does not choose between them. A WebSocket is closed, as for any malformed message."""
    if ask.__name__ == "socket":
        assert _closed_or_reason(server, differing) == 4400
    else:
        assert reason(ask(server, differing)[1]) == "PARAMETER_INVALID"


@pytest.mark.parametrize("asked", [{"query": ""}, {"query": "", "documentId": None, "extensions": {}}])
def test_a_request_of_nothing_is_refused(server: Server, asked: dict[str, Any]) -> None:
    """The request names no document. A WebSocket stays open: the message is valid, and only its operation fails."""
    assert reason(post(server, asked)[1]) == "PARAMETER_INVALID"
    assert _closed_or_reason(server, asked) == "PARAMETER_INVALID"


def test_a_browser_gets_the_page_for_an_address_without_a_document(server: Server) -> None:
    """A URL whose `query` is empty asks for no operation."""
    page = httpx.get(server.graphql, params={"query": "", "variables": ""}, headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")


def _closed_or_reason(server: Server, asked: dict[str, Any]) -> int | str:
    """The code with which the server closes a WebSocket after this operation, or the reason why the operation fails."""
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        for message in ({"type": "connection_init"}, {"id": "1", "type": "subscribe", "payload": asked}):
            connection.send(json.dumps(message))
        with contextlib.suppress(ConnectionClosedError):
            for text in connection:
                message = json.loads(text)
                if message["type"] == "error":
                    return reason({"errors": message["payload"]})
        assert connection.close_code is not None
        return connection.close_code
