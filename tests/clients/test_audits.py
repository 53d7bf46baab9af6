"""Tests of the endpoint with graphql-http's audits of GraphQL over HTTP."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.clients import node

if TYPE_CHECKING:
    from tests.servers.process import Server


def test_every_audit_is_ok(server: Server) -> None:
    """The server passes all 61 audits of the levels MUST, SHOULD and MAY."""
    results = node.run("audits.mjs", server.graphql)["results"]
    passed = Counter(audit["name"].split()[0] for audit in results if audit["status"] == "ok")
    levels = ", ".join(f"{count} {level}" for level, count in passed.most_common())
    print(f"graphql-http: {passed.total()} ok of {len(results)}: {levels}")  # noqa: T201 # pytest -s shows it
    assert [audit for audit in results if audit["status"] != "ok"] == []
    assert passed == {"MUST": 13, "SHOULD": 23, "MAY": 25}
