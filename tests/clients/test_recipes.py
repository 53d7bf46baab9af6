"""Tests of the recipes of schema/CLIENTS.md, as a reader copies them. test_restart.py has those that resume subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients import node
from tests.servers.process import ROOT

if TYPE_CHECKING:
    from tests.clients.changes import Changes
    from tests.servers.process import Server


def test_an_event_source_comes_back_after_an_error_status(shop: Server, changes: Changes) -> None:
    """A proxy cuts the stream and answers the next request with a 502. Each change is heard, once and in order."""
    with node.started("event_source.mjs", node.tool("chromium"), shop.url, changes.head(), "recipe") as script:
        made = changes.make(2)
        heard = [script.next() for _ in made]
        script.tell("cut")
        assert script.next() == "502"
        made += changes.make(2)
        heard += [script.next() for _ in made[2:]]
        assert script.finish() == []
    assert heard == made


def test_generated_types_are_strings() -> None:
    """With the options of the recipe graphql-codegen knows every custom scalar of the schema."""
    types = node.run("generate.mjs", str(ROOT / "schema" / "schema.graphql"))["types"]
    for scalar in ("BigInt", "Date", "DateTime", "Decimal", "UUID"):
        assert f"  {scalar}: {{ input: string; output: string; }}" in types


def test_generated_types_cover_the_graph() -> None:
    """A relation is optional as in the schema, keys and amounts have the scalars' types, and enums have their words."""
    types = node.run("generate.mjs", str(ROOT / "schema" / "schema.graphql"))["types"]
    for line in (
        "  customer?: Maybe<Customer>;",
        "  lineItems?: Maybe<LineItemConnection>;",
        "  accountBalance: Scalars['Decimal']['output'];",
        "  part?: Maybe<Part>;",
        "  region?: Maybe<Region>;",
        "  nations: Array<Nation>;",
        "  AirReg = 'AIR_REG',",
        "export type CustomerOrdersArgs = {",
    ):
        assert line in types
