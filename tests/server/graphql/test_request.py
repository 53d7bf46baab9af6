"""Reading a request: what of its parameters is kept."""

from __future__ import annotations

from typing import Any

import pytest

from server.graphql.request import data_of

HASH = "a" * 64
PERSISTED = {"persistedQuery": {"version": 1, "sha256Hash": HASH}}


@pytest.mark.parametrize(
    ("extensions", "kept"),
    [
        (None, None),
        ({}, None),
        ({"tracing": {"a": [[]]}, "cost": [True], "persistedQuery": {"version": 1}}, None),
        ({"cost": False, "consistencyToken": "", "persistedQuery": ""}, None),
        ({"cost": True, "tracing": {}}, {"cost": True}),
        ({"consistencyToken": "x", "a": 1}, {"consistencyToken": "x"}),
        ({"persistedQuery": {"version": 1, "sha256Hash": HASH, "a": [[]]}, "a": 1}, PERSISTED),
        ({**PERSISTED, "cost": True}, {**PERSISTED, "cost": True}),
    ],
)
def test_only_the_extensions_that_the_server_knows_are_kept(extensions: Any, kept: dict[str, Any] | None) -> None:
    """A subscription would keep the others for as long as it lasts."""
    data = data_of({"query": "{ __typename }", "extensions": extensions, "a": [[]]})
    assert data.extensions == kept
    assert data.document_id == (HASH if kept and "persistedQuery" in kept else None)
