"""Tests of the schema with graphql-eslint's rules for Relay's specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients import node
from tests.servers.process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = ROOT / "schema" / "schema.graphql"


def test_the_schema_follows_relay() -> None:
    """The schema does not violate Relay's specification."""
    assert node.run("relay_spec.mjs", str(_SCHEMA)) == {"messages": []}


def test_a_schema_against_relay_is_found_out(tmp_path: Path) -> None:
    """The rules do read the schema: connections with a nullable `pageInfo` are reported."""
    broken = tmp_path / "schema.graphql"
    broken.write_text(_SCHEMA.read_text().replace("pageInfo: PageInfo!", "pageInfo: PageInfo"))
    messages = node.run("relay_spec.mjs", str(broken))["messages"]
    assert {message["ruleId"] for message in messages} == {"@graphql-eslint/relay-connection-types"}
