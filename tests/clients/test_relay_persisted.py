"""Tests of a manifest written by Relay's own compiler: the server takes it unchanged, with any hash algorithm."""

from __future__ import annotations

from pathlib import Path

import pytest

from schema import DocumentCache
from server.graphql.documents.manifest import check_manifest, read_manifest
from server.graphql.documents.persisted import Documents
from server.graphql.request import data_of
from server.settings import Settings
from tests.clients import node
from tests.servers.process import ROOT
from tests.servers.tpch_graph import TABLES


@pytest.mark.parametrize("algorithm", ["MD5", "SHA256"])
def test_what_relay_persists_is_trusted(tmp_path: Path, algorithm: str) -> None:
    """Its documents match the schema, and the server finds them by the ids that the network layer gets."""
    made = node.run("relay_persisted.mjs", str(tmp_path), str(ROOT / "schema" / "schema.graphql"), algorithm)
    settings = Settings(
        database_url="postgresql://h/db",
        tables=TABLES,
        persisted_documents=Path(made["file"]),
        persisted_documents_only=True,
    )
    check_manifest(settings)
    documents = read_manifest(Path(made["file"]))
    assert {text.split("(")[0].split(" {")[0] for text in documents.values()} == {
        "query customerLinesQuery",
        "query customerOrdersQuery",
        "query ordersListQuery",
        "query ordersOrderQuery",
        "query feed_headQuery",
        "subscription feed_changedSubscription",
    }
    for identifier, text in documents.items():
        data = data_of({"doc_id": identifier, "variables": {}})
        Documents.of(settings, DocumentCache()).resolve(data)
        assert data.query == text
