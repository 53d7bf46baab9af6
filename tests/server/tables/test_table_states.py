"""A table of the graph in any state: missing, without a column, locked, replaced, or not to be read. The others go on."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from schema.plans.replay import Failures
from server.tables.catalog.synced_table import Definition
from tests.server.conftest import engines_of, patient_settings
from tests.servers.graph_tables import make_graph, orders_of, served
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import strawberry

    from schema import DocumentCache
    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore

SCHEMA: Final = "graph_changing"
CUSTOMERS: Final = f"{SCHEMA}.customer_synced"
ROLE: Final = "graph_reader"
DOCUMENT: Final = """{
  orders(first: 2) { nodes { orderKey customer { name phone accountBalance nation { name } } lineItems(first: 1) { nodes { lineNumber } totalCount } } }
  customer(customerKey: 1) { name }
  customers(first: 1) { nodes { customerKey } totalCount }
  nations { nationKey customers(first: 1) { nodes { customerKey } totalCount } }
  node(id: "Q3VzdG9tZXI6MQ==") { id }
}"""
_LINES: Final = ({"nodes": [{"lineNumber": 1}], "totalCount": 7}, {"nodes": [], "totalCount": 0})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is missing is looked up each time, not once a second."""
    monkeypatch.setattr("server.tables.catalog.synced_table._LOOK_AGAIN_SECONDS", -1.0)


@pytest.fixture
async def context(database: asyncpg.Connection, open_store: OpenStore) -> Context:
    """The context of operations on a new graph."""
    await make_graph(database, SCHEMA)
    return open_store(orders_of(SCHEMA), tables=served(SCHEMA))[1]


def hold_without_customers(answer: dict[str, Any]) -> set[str]:
    """Check that an answer has everything but customers, with retryable errors. Returns their messages."""
    assert answer["data"]["orders"]["nodes"] == [
        {"orderKey": key, "customer": None, "lineItems": lines} for key, lines in zip(("1", "2"), _LINES, strict=True)
    ]
    rest = {name: value for name, value in answer["data"].items() if name != "orders"}
    nations = [{"nationKey": key, "customers": None} for key in (*range(7), 24)]
    assert rest == {"customer": None, "customers": None, "nations": nations, "node": None}
    for error in answer["errors"]:
        assert error["extensions"] == {
            "code": "SERVICE_UNAVAILABLE",
            "reason": "TABLE_UNAVAILABLE",
            "retryable": True,
            "retryAfter": 1,
        }
    return {error["message"] for error in answer["errors"]}


async def whole(execute: Execute, context: Context) -> dict[str, Any]:
    """The data of the document, which is answered without an error."""
    answer = await execute(DOCUMENT, context=context)
    assert "errors" not in answer
    assert answer["data"]["customer"] == {"name": "Customer#000000001"}
    data: dict[str, Any] = answer["data"]
    return data


# What breaks the table, what mends it, and what is then said of it.
BROKEN: Final = {
    "missing": (
        "ALTER TABLE {0} RENAME TO gone",
        "ALTER TABLE {1}.gone RENAME TO customer_synced",
        "does not exist (yet)",
    ),
    "without a column": (
        "ALTER TABLE {0} RENAME COLUMN c_phone TO c_fax",
        "ALTER TABLE {0} RENAME COLUMN c_fax TO c_phone",
        "c_phone is missing",
    ),
    "with a key of another type": (
        "ALTER TABLE {0} ALTER COLUMN c_nationkey TYPE text",
        "ALTER TABLE {0} ALTER COLUMN c_nationkey TYPE bigint USING c_nationkey::bigint",
        "c_nationkey is text (it should be int8 or int4 or int2)",
    ),
    "with a value of another type": (
        "ALTER TABLE {0} ALTER COLUMN c_acctbal TYPE text",
        "ALTER TABLE {0} ALTER COLUMN c_acctbal TYPE numeric USING c_acctbal::numeric",
        "c_acctbal is text (it should be numeric)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_table_that_cannot_be_read_costs_its_own_fields(
    execute: Execute, context: Context, database: asyncpg.Connection, name: str
) -> None:
    """They name the table, and what is wrong with it. As soon as it is mended, they are served."""
    broken_by, mended_by, message = BROKEN[name]
    await database.execute(broken_by.format(CUSTOMERS, SCHEMA))
    (told,) = hold_without_customers(await execute(DOCUMENT, context=context))
    assert CUSTOMERS in told
    assert message in told
    await database.execute(mended_by.format(CUSTOMERS, SCHEMA))
    await whole(execute, context)


_FILTERED: Final = """
{
  orders(filter: {customer: {name: {startsWith: "Customer"}}}) { nodes { orderKey } totalCount }
  ordersPage(filter: {customer: {}}) { nodes { orderKey } }
  orderCount(filter: {not: {customer: {}}}) { count }
  orderStats(filter: {customer: {}}) { count }
  part(partKey: 1) { lineItems { totalCount } }
  beside: orders(filter: {lineItems: {some: {lineNumber: {eq: 7}}}}) { nodes { orderKey } }
}
"""


@pytest.mark.parametrize("name", BROKEN)
async def test_a_table_that_filters_ask_about_costs_the_fields_with_these(
    execute: Execute, context: Context, database: asyncpg.Connection, name: str
) -> None:
    """Those that ask about other tables are answered. As soon as it is mended, all are."""
    broken_by, mended_by, message = BROKEN[name]
    await database.execute(broken_by.format(CUSTOMERS, SCHEMA))
    hold_without_related(await execute(_FILTERED, context=context), message)
    await database.execute(mended_by.format(CUSTOMERS, SCHEMA))
    assert "errors" not in await execute(_FILTERED, context=context)
    # It may also break later.
    broken_by, mended_by, message = BROKEN["missing"]
    await database.execute(broken_by.format(CUSTOMERS, SCHEMA))
    hold_without_related(await execute(_FILTERED, context=context), message)
    await database.execute(mended_by.format(CUSTOMERS, SCHEMA))


def hold_without_related(answer: dict[str, Any], message: str) -> None:
    """Check that an answer has everything but what filters by customers would find."""
    assert {name for name, value in answer["data"].items() if value is None} == {
        "orders",
        "ordersPage",
        "orderCount",
        "orderStats",
    }
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"TABLE_UNAVAILABLE"}
    assert all(message in error["message"] for error in answer["errors"])


@pytest.mark.parametrize("name", ["missing", "without a column", "with a key of another type"])
async def test_a_table_that_breaks_while_it_is_read_costs_its_own_fields(
    execute: Execute, context: Context, database: asyncpg.Connection, name: str
) -> None:
    """Once a statement meets what is wrong; the first one may say less. It is served again as soon as it is mended."""
    broken_by, mended_by, message = BROKEN[name]
    await whole(execute, context)
    await database.execute(broken_by.format(CUSTOMERS, SCHEMA))
    await execute(DOCUMENT, context=context)
    (told,) = hold_without_customers(await execute(DOCUMENT, context=context))
    assert message in told
    await database.execute(mended_by.format(CUSTOMERS, SCHEMA))
    await whole(execute, context)


async def test_a_table_that_is_replaced_is_found_again(
    execute: Execute, context: Context, database: asyncpg.Connection
) -> None:
    """A sync does this, also with other column types. No query fails for it."""
    before = await whole(execute, context)
    for types in ("c_custkey::int, c_name::char(40)", "c_custkey, c_name::varchar(99)", "c_custkey, c_name"):
        await database.execute(
            f"CREATE TABLE {SCHEMA}.other AS SELECT {types}, c_address, c_nationkey, c_phone, c_acctbal, "
            f"c_mktsegment::char(10), c_comment FROM {CUSTOMERS}; "
            f"DROP TABLE {CUSTOMERS}; ALTER TABLE {SCHEMA}.other RENAME TO customer_synced"
        )
        assert await whole(execute, context) == before


async def test_a_table_that_is_locked_costs_its_own_fields(
    execute: Execute, database: asyncpg.Connection, open_store: OpenStore, orders_url: str
) -> None:
    """As while a sync replaces it, whether it is locked while it is read or when it is looked up."""
    await make_graph(database, SCHEMA)
    async with engines_of(patient_settings(orders_url, lock_timeout=0.05)) as engines:
        _, context = open_store(orders_of(SCHEMA), engines=engines, tables=served(SCHEMA))
        await whole(execute, context)
        async with database.transaction():
            await database.execute(f"LOCK TABLE {CUSTOMERS}")
            (told,) = hold_without_customers(await execute(DOCUMENT, context=context))
        assert told == "The table of customers is locked, as it is while a sync replaces it. Try again later."
        await whole(execute, context)


async def test_nothing_waits_for_a_table_that_is_found_locked(
    execute: Execute, database: asyncpg.Connection, open_store: OpenStore, orders_url: str
) -> None:
    """A statement that waited for the lock would keep a connection from the other tables, here for ever."""
    await make_graph(database, SCHEMA)
    async with engines_of(patient_settings(orders_url)) as engines:
        _, context = open_store(orders_of(SCHEMA), engines=engines, tables=served(SCHEMA))
        async with database.transaction():
            await database.execute(f"LOCK TABLE {CUSTOMERS}")
            (told,) = hold_without_customers(await execute(DOCUMENT, context=context))
        assert told == "The table of customers is locked, as it is while a sync replaces it. Try again later."
        await whole(execute, context)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_table_that_is_locked_while_it_is_read_takes_no_connections(
    execute: Execute, database: asyncpg.Connection, open_store: OpenStore, orders_url: str, *, waits: bool
) -> None:
    """Statements that wait for it are ended before the lock's timeout, as soon as others need their connections.

    They wait for it too while the sync still `waits` for the lock: behind another reader, say a slow count.
    """
    await make_graph(database, SCHEMA)
    sync, lock = await asyncpg.connect(orders_url), f"LOCK TABLE {CUSTOMERS}"
    async with closed_at_end(sync), engines_of(patient_settings(orders_url, pool_size=4)) as engines:
        _, context = open_store(orders_of(SCHEMA), engines=engines, tables=served(SCHEMA))
        await whole(execute, context)
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks, database.transaction():
            if waits:
                await database.execute(f"{lock} IN ACCESS SHARE MODE")
                tasks.create_task(sync.execute(f"BEGIN; {lock}; COMMIT"))
                await _requested(database)
            else:
                await database.execute(lock)
            answers = await asyncio.gather(*(execute(DOCUMENT, context=context) for _ in range(5)))
        told = {message for answer in answers for message in hold_without_customers(answer)}
        assert told == {"The table of customers is locked, as it is while a sync replaces it. Try again later."}
        await whole(execute, context)


@contextlib.asynccontextmanager
async def closed_at_end(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Close a connection at the end of the block, whatever happens in it."""
    try:
        yield
    finally:
        connection.terminate()


async def _requested(database: asyncpg.Connection) -> None:
    """Wait until a lock on the customers is requested, and not granted."""
    asked = f"SELECT EXISTS (SELECT FROM pg_locks WHERE relation = '{CUSTOMERS}'::regclass AND NOT granted)"
    while not await database.fetchval(asked):  # noqa: ASYNC110 # it is in another process
        await asyncio.sleep(0.01)  # pause between two checks


async def test_a_table_that_the_role_may_not_read_costs_its_own_fields(
    execute: Execute, database: asyncpg.Connection, open_store: OpenStore, orders_url: str
) -> None:
    """Until it is granted."""
    await make_graph(database, SCHEMA)
    await database.execute(
        f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'; GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {ROLE}; REVOKE SELECT ON {CUSTOMERS} FROM {ROLE}"
    )
    parts = urlsplit(orders_url)
    url = parts._replace(netloc=f"{ROLE}:{ROLE}@{parts.hostname}:{parts.port}").geturl()
    try:
        async with engines_of(patient_settings(url)) as engines:
            _, context = open_store(orders_of(SCHEMA), engines=engines, tables=served(SCHEMA))
            (told,) = hold_without_customers(await execute(DOCUMENT, context=context))
            assert told == "The server's role may not read the table of customers. Try again later."
            await database.execute(f"GRANT SELECT ON {CUSTOMERS} TO {ROLE}")
            await whole(execute, context)
    finally:
        await database.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


async def test_the_graph_goes_on_without_orders(
    execute: Execute, context: Context, database: asyncpg.Connection
) -> None:
    """The orders are one of the tables: without them the others are served."""
    await database.execute(f"DROP TABLE {orders_of(SCHEMA)}")
    answer = await execute(
        "{ customer(customerKey: 1) { name orders { totalCount nodes { id } } } part(partKey: 1) { partKey "
        "lineItems(first: 1) { nodes { lineNumber order { id } } } } }",
        context=context,
    )
    assert answer["data"] == {
        "customer": {"name": "Customer#000000001", "orders": None},
        "part": {"partKey": "1", "lineItems": {"nodes": [{"lineNumber": 1, "order": None}]}},
    }
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"ORDERS_UNAVAILABLE"}


async def test_a_missing_table_is_looked_up_once_in_a_while(
    planned_schema: tuple[DocumentCache, strawberry.Schema],
    context: Context,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the others only once, however many queries ask for it, from plans or without."""
    monkeypatch.setattr("server.tables.catalog.synced_table._LOOK_AGAIN_SECONDS", math.inf)
    looked_up: list[str] = []
    read = Definition.read

    async def note_and_read(definition: Definition, connection: Any) -> dict[str, str]:
        looked_up.append(definition.qualified_name)
        return await read(definition, connection)

    monkeypatch.setattr(Definition, "read", note_and_read)
    await database.execute(f"DROP TABLE {CUSTOMERS}")
    documents, schema = planned_schema
    document = "{ orders(first: 2) { nodes { orderKey customer { name } lineItems { nodes { lineNumber } } } } }"
    for _ in range(3):
        await schema.execute(document, context_value=context)
        known = documents.get(document)
        assert known
        planned = known.plans[None]
        assert planned
        # The ordinary way answers what it can.
        assert await planned.write(context, {}, Failures()) is None
    assert sorted(looked_up) == sorted([orders_of(SCHEMA), *served(SCHEMA).values()])
