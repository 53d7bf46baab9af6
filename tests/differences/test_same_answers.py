"""The fast path answers as the engine does, on tables with orders that the schema does not expect."""

from __future__ import annotations

import pytest

from schema import build_schema
from schema.graph import TABLES
from tests.differences.applications import application
from tests.differences.comparing import compare, queries_of, written
from tests.differences.corpus import corpus_of
from tests.differences.tables import PADDED, PLAIN, settings_for

pytestmark = pytest.mark.faults

NODES = "nodes { orderKey comment @include(if: $b) }"
# Cases that random queries rarely hit. Each combines one way of passing an argument with one way of selecting.
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
    """A planned document uses each request's own variables, including those of the request it was planned for."""
    given = settings_for(PADDED)
    async with (
        application(database_url, fast=True, **given) as fast,
        application(database_url, fast=False, **given) as slow,
    ):
        (await compare(fast, slow, TRAPS)).hold()


@pytest.mark.parametrize(("table", "first_seed", "share"), [(PADDED, 0, 0.4), (PLAIN, 100_000, 0.2)])
async def test_the_fast_path_answers_as_the_engine_does(
    database_url: str, table: str, first_seed: int, share: float
) -> None:
    """For all queries and rows: the same data, keys in the same order, and the same errors."""
    schema = build_schema(tables=TABLES)._schema  # noqa: SLF001 # graphql-core's schema, to generate queries from
    async with (
        application(database_url, fast=True, **settings_for(table)) as fast,
        application(database_url, fast=False, **settings_for(table)) as slow,
    ):
        queries = queries_of(schema, corpus_of(table), first_seed=first_seed, share=share)
        tally = await compare(fast, slow, queries)
    print(tally)  # noqa: T201 # pytest shows it with -s or on failure
    tally.hold()
