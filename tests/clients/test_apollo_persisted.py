"""Tests of the server with Apollo's own link for persisted queries: automatic ones, and those of a manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import node
from tests.servers.process import running_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.process import Server

# The id that a build writes. The client sends the id and never the text.
_ID = "orders-page"
_TRUSTED = "query Trusted { orders(first: 2) { nodes { id orderKey __typename } __typename } }"
_SENT = {
    "post": ["POST hash", "POST text hash", "POST hash", "POST hash"],
    "get": ["GET hash", "POST text hash", "GET hash", "GET hash"],
    "off": ["POST hash", "POST text", "POST text", "POST text"],
    "trusted": ["POST hash"] * 3,
}


@pytest.fixture(scope="module")
def results(server: Server, orders_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The requests of each client, and the responses."""
    manifest: Path = tmp_path_factory.mktemp("manifest") / "manifest.json"
    operation = {"id": _ID, "name": "Trusted", "type": "query", "body": _TRUSTED}
    manifest.write_text(
        json.dumps({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]})
    )
    with (
        running_server(orders_url, AUTOMATIC_PERSISTED_QUERIES="0") as forgetful,
        running_server(orders_url, PERSISTED_DOCUMENTS=str(manifest), PERSISTED_DOCUMENTS_ONLY="true") as trusting,
    ):
        return node.run("apollo_persisted.mjs", server.graphql, forgetful.graphql, trusting.graphql, _ID)


@pytest.mark.parametrize("client", _SENT)
def test_a_text_is_sent_once_at_most(results: Any, client: str) -> None:
    """Then the client sends the hash alone, by GET too. If the server stores no queries, it does not retry the hash."""
    assert results[client] == {"sent": _SENT[client], "keys": [["1", "2"]] * 3}
