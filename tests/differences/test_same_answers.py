"""Owns the promise that the fast path answers as the engine does, on tables of orders that no schema expects."""

from __future__ import annotations

import pytest

from schema import build_schema
from tests.differences.applications import application
from tests.differences.comparing import compare, queries_of, written
from tests.differences.tables import APP_SCHEMA, PADDED, PLAIN, corpus_of

pytestmark = pytest.mark.faults

NODES = "nodes { orderKey comment @include(if: $b) }"
# What chance seldom finds: each has one way of giving an argument, and of deciding what is selected.
TRAPS = (
    written(
        f"query($k: BigInt!, $b: Boolean!) {{ orders(first: 2, filter: {{orderKey: {{gt: $k}}}}) {{ {NODES} }} }}",
        {"k": 900, "b": True},
        {"k": "5", "b": True},
        {"k": 900, "b": False},
    ),
    written(
        f"query($k: [BigInt!], $b: Boolean!) {{ orders(filter: {{orderKey: {{in: $k}}}}) {{ {NODES} }} }}",
        {"k": [900, 1], "b": True},
        {"k": 1, "b": True},
        {"b": False},
    ),
    written(
        f"query($f: Int, $k: BigInt, $b: Boolean!) {{ orders(last: 2, filter: {{orderKey: {{lt: $k}}}}, first: $f) {{ {NODES} }} }}",
        {"k": 900, "b": True},
        {"f": 1, "k": 900, "b": True},
        {"f": None, "b": False},
    ),
    written(
        f"query($s: OrderSortField, $d: SortDirection = DESC, $b: Boolean! = true) {{ orders(first: 2, orderBy: {{field: $s, direction: $d}}) {{ {NODES} }} }}",
        {},
        {"s": "TOTAL_PRICE", "d": None},
        {"s": None, "d": "ASC", "b": False},
    ),
    written(
        f"query($p: CountPrecision, $b: Boolean!) {{ orders(first: 1) {{ totalCount(precision: $p) {NODES} }} }}",
        {"b": True},
        {"p": "ESTIMATED", "b": True},
        {"p": None, "b": False},
    ),
)


async def test_each_request_is_answered_for_its_own_variables(database_url: str) -> None:
    """Also the first one that a choice of what is selected is planned for."""
    given = {"orders_table": PADDED, "app_schema": APP_SCHEMA}
    async with (
        application(database_url, fast=True, **given) as fast,
        application(database_url, fast=False, **given) as slow,
    ):
        (await compare(fast, slow, TRAPS)).hold()


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
