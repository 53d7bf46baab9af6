"""The fast path answers as the engine does, with ordinary orders and unusual servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from schema import build_schema
from schema.graph import TABLES
from tests.differences.applications import application
from tests.differences.comparing import compare, queries_of
from tests.differences.corpus import corpus_of
from tests.differences.tables import CLEAN, PADDED, READER, settings_for

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Case:
    """A server, and the queries that it gets."""

    table: str
    first_seed: int
    share: float
    at_once: int = 1
    restricted: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


CASES = {
    "clean": Case(CLEAN, 200_000, 0.2, at_once=4),
    "hidden": Case(
        PADDED,
        300_000,
        0.1,
        settings={
            "hidden_fields": {"Order.comment", "Order.clerk", "Customer.phone", "LineItem.comment"},
            "local_roles": {"reader"},
        },
    ),
    "without changes": Case(PADDED, 400_000, 0.1, restricted=True, settings={"app_schema": "differences_absent"}),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_fast_path_answers_as_the_engine_does(database_url: str, name: str) -> None:
    """Requests run concurrently, readers see only some fields, or the tables of status changes are missing."""
    case = CASES[name]
    hidden = case.settings.get("hidden_fields", ())
    schema = build_schema(tables=TABLES, hidden_fields=hidden)._schema  # noqa: SLF001 # graphql-core's schema, to generate queries from
    url = urlsplit(database_url)
    if case.restricted:
        url = url._replace(netloc=f"{READER}:{READER}@{url.hostname}:{url.port}")
    given = {**settings_for(case.table), **case.settings}
    async with (
        application(url.geturl(), fast=True, **given) as fast,
        application(url.geturl(), fast=False, **given) as slow,
    ):
        queries = queries_of(schema, corpus_of(case.table), first_seed=case.first_seed, share=case.share)
        tally = await compare(fast, slow, queries, at_once=case.at_once)
    print(tally)  # noqa: T201 # pytest shows it with -s or on failure
    tally.hold()
