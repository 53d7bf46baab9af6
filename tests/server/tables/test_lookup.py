"""Lookups of what is nested: their statements end with the operation, and one that takes too long costs its field."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from schema.graph import TABLES
from tests.server.conftest import engines_of, patient_settings
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from tests.server.conftest import Execute, OpenStore

_CREATE: Final = """
CREATE TABLE public.looked_up AS
SELECT n::bigint AS l_orderkey, 1::bigint AS l_partkey, 1::bigint AS l_suppkey, 1 AS l_linenumber, 1.0 AS l_quantity,
       1.0 AS l_extendedprice, 0.1 AS l_discount, 0.1 AS l_tax, 'N' AS l_returnflag, 'O' AS l_linestatus,
       date '1995-01-01' AS l_shipdate, date '1995-01-01' AS l_commitdate, date '1995-01-01' AS l_receiptdate,
       '' AS l_shipinstruct, 'AIR' AS l_shipmode, '' AS l_comment
FROM generate_series(1, 50) n;
ALTER TABLE public.looked_up ADD PRIMARY KEY (l_orderkey, l_linenumber)
"""
SERVED: Final = {"line_items": "public.looked_up"}
WAITING: Final = "SELECT count(*) FROM pg_locks WHERE relation = to_regclass('public.looked_up') AND NOT granted"
# A page and a count, which are two statements.
DOCUMENT: Final = "{ orders(first: 2) { nodes { orderKey lineItems(first: 1) { totalCount nodes { lineNumber } } } } }"
ALIASES: Final = "{ orders(first: 2) { nodes { a: lineItems(first: 1) { nodes { tax } } b: lineItems(first: 2) { nodes { tax } } } } }"


@pytest.fixture(autouse=True)
async def _table(database: asyncpg.Connection) -> AsyncIterator[None]:
    """A table that a test may lock."""
    await database.execute(f"DROP TABLE IF EXISTS public.looked_up; {_CREATE}")
    yield
    await database.execute("DROP TABLE public.looked_up")


async def measured() -> None:
    """Wait for the measurements of tables: they would wait for a lock too, and be counted."""
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name().startswith("statistics of ")))


async def until(database: asyncpg.Connection, waiting: int) -> None:
    """Wait until this number of statements waits for the table."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await database.fetchval(WAITING) != waiting:  # noqa: ASYNC110 # PostgreSQL sends no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("document", "together"), [(DOCUMENT, 1), (ALIASES, 2)], ids=["page", "aliases"])
async def test_the_statements_of_a_cancelled_operation_end_in_the_database(
    open_store: OpenStore, execute: Execute, database: asyncpg.Connection, document: str, together: int
) -> None:
    """As at the deadline of a request, or when its client has gone."""
    context = open_store(tables=SERVED)[1]
    assert "errors" not in await execute(document, context=context)
    await measured()
    async with database.transaction():
        await database.execute("LOCK TABLE public.looked_up IN ACCESS EXCLUSIVE MODE")
        operation = asyncio.ensure_future(execute(document, context=context.for_operation()))
        await until(database, together)
        operation.cancel()
        await asyncio.gather(operation, return_exceptions=True)
        await until(database, 0)


async def test_one_that_leaves_does_not_take_the_others_with_it(
    open_store: OpenStore, database: asyncpg.Connection
) -> None:
    """A statement ends when nobody waits for it any more."""
    context = open_store(tables=SERVED)[1]
    table = TABLES["line_items"]
    columns = frozenset({table["line_number"]})
    assert await context.lookup.row(table, (1, 1), columns)
    await measured()
    async with database.transaction():
        await database.execute("LOCK TABLE public.looked_up IN ACCESS EXCLUSIVE MODE")
        first, second = (asyncio.create_task(context.lookup.row(table, (key, 1), columns)) for key in (1, 2))
        await until(database, 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await database.fetchval(WAITING) == 1
    found = await second
    assert found
    assert found.rows == [(1,)]


async def test_a_nested_statement_that_takes_too_long_costs_its_field_alone(
    open_store: OpenStore, execute: Execute, database: asyncpg.Connection, orders_url: str
) -> None:
    """The rows around it live, and the answer says that a later attempt may succeed."""
    async with engines_of(patient_settings(orders_url, statement_timeout=0.2)) as engines:
        context = open_store(tables=SERVED, engines=engines)[1]
        assert "errors" not in await execute(DOCUMENT, context=context)
        await measured()
        async with database.transaction():
            await database.execute("LOCK TABLE public.looked_up IN ACCESS EXCLUSIVE MODE")
            answer = await execute(DOCUMENT, context=context.for_operation())
    nodes = answer["data"]["orders"]["nodes"]
    assert [node["lineItems"] for node in nodes] == [None, None]
    assert all(node["orderKey"] for node in nodes)
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"STATEMENT_TIMEOUT"}
