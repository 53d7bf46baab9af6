"""Tests of documents by hash over a WebSocket, with the clients that send an empty text beside the hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node
from tests.clients.conftest import APP_SCHEMA
from tests.servers.process import ROOT, running_server
from tests.servers.tpch_graph import TABLES

if TYPE_CHECKING:
    from tests.clients.changes import Changes
    from tests.servers.process import Server

_LEARNING = ["text hash"] * 2
_KNOWN = ["hash"] * 2


@pytest.fixture(scope="module")
def made(changes: Changes) -> tuple[str, list[dict[str, Any]]]:
    """The cursor of the head, and the changes made after it."""
    return changes.head(), changes.make(3)


@pytest.fixture(scope="module")
def seen(
    shop: Server,
    orders_url: str,
    made: tuple[str, list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """What each client sent and got. Relay's server runs only the documents that Relay's compiler wrote."""
    place = str(tmp_path_factory.mktemp("relay"))
    manifest = node.run("relay_persisted.mjs", place, str(ROOT / "schema" / "schema.graphql"), "MD5")["file"]
    after, changes = made
    settings = {"PERSISTED_DOCUMENTS": manifest, "PERSISTED_DOCUMENTS_ONLY": "true", "TABLES": TABLES}
    with running_server(orders_url, APP_SCHEMA=APP_SCHEMA, **settings) as trusting:
        return node.run("persisted_socket.mjs", shop.url, trusting.url, place, after, str(len(changes)))


@pytest.mark.parametrize("client", ["graphql-ws", "urql", "relay"])
def test_a_query_and_a_subscription_are_found_by_their_hash(
    seen: Any, made: tuple[str, list[dict[str, Any]]], client: str
) -> None:
    """graphql-ws itself, urql's persistedExchange with `enableForSubscriptions`, and Relay's persisted documents."""
    _, changes = made
    assert seen[client]["head"] == changes[-1]["cursor"]
    assert seen[client]["heard"] == changes


@pytest.mark.parametrize(
    ("client", "sent"),
    [
        ("graphql-ws", [*_LEARNING, *_KNOWN]),
        # The first client asks for each document by its hash, sends the text when the server does not know it, and
        # the second finds both known.
        ("urql", ["hash", "text hash", "hash", "text hash", *_KNOWN]),
        ("relay", _KNOWN),
    ],
)
def test_the_text_is_sent_at_most_once(seen: Any, client: str, sent: list[str]) -> None:
    """An unknown hash over a WebSocket leads the client to send the text too. Relay never has one."""
    assert seen[client]["sent"] == sent
