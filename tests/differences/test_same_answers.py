"""Owns the promise that the fast path answers as the engine does, on tables of orders that no schema expects."""

from __future__ import annotations

import pytest

from schema import build_schema
from tests.differences.applications import application
from tests.differences.comparing import compare, queries_of
from tests.differences.tables import APP_SCHEMA, PADDED, PLAIN, corpus_of


@pytest.mark.parametrize(("table", "first_seed", "share"), [(PADDED, 0, 0.4), (PLAIN, 100_000, 0.2)])
async def test_the_fast_path_answers_as_the_engine_does(
    database_url: str, table: str, first_seed: int, share: float
) -> None:
    """Whatever is asked, and whatever is stored: the same data, keys in the same order, and the same errors."""
    schema, given = build_schema()._schema, {"orders_table": table, "app_schema": APP_SCHEMA}  # noqa: SLF001 # graphql-core's own, to walk through
    async with (
        application(database_url, fast=True, **given) as fast,
        application(database_url, fast=False, **given) as slow,
    ):
        queries = queries_of(schema, corpus_of(table), first_seed=first_seed, share=share)
        tally = await compare(fast, slow, queries)
    print(tally)  # noqa: T201 # a test that passes says how much it has compared
    tally.hold()
