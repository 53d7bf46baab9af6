"""The cost of changes: one statement for a thousand as for one, joins only when needed, and keys that expire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from server.changes.status_writer import SqlStatusWriter
from server.db.database import UrlDatabase
from server.db.engine import create_engines, create_migration_engine
from server.db.migrate import Migrations
from server.observability.request_record import current_record
from tests.server.conftest import engines_of, patient_settings
from tests.servers.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from schema.context import Context
    from server.local.cluster import Cluster
    from tests.server.conftest import Execute, OpenStore

TABLE = "public.counted_orders"
APP_SCHEMA = "counted_changes"
OVERLAY = f"{APP_SCHEMA}.order_status "
SET_ONE = """
mutation($input: SetOrderStatusInput!) {
  setOrderStatus(input: $input) { replayed change { status } userErrors { code } }
}
"""
SET_MANY = """
mutation($input: SetOrderStatusesInput!) {
  setOrderStatuses(input: $input) { results { change { version note } order { status } } }
}
"""


class Silent(UrlDatabase):
    """A database that accepts connections and says nothing."""

    attempts = 0

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # as the base
        """Time out."""
        assert options
        assert timeout
        self.attempts += 1
        raise TimeoutError


@pytest.fixture(scope="module")
async def known(execute: Execute, open_store: OpenStore, database: asyncpg.Connection) -> AsyncIterator[Context]:
    """A thousand orders, all OPEN, and a store that has looked up their table and created our own tables."""
    await database.execute(
        f"CREATE TABLE {TABLE} (LIKE public.orders_synced INCLUDING INDEXES); "
        f"INSERT INTO {TABLE} SELECT n, 1, 'O', 9.99, '1995-06-17', '5-LOW', 'Clerk#1', 0, '' "
        f"FROM generate_series(1, 1000) n"
    )
    _, context = open_store(TABLE, app_schema=APP_SCHEMA)
    await set_one(execute, context, "PARTIAL")
    yield context
    await database.execute(f"DROP TABLE {TABLE}; DROP SCHEMA {APP_SCHEMA} CASCADE")


@pytest.fixture(autouse=True)
async def _nothing_set(known: Context, database: asyncpg.Connection) -> None:
    """No order has been changed, and no key used."""
    assert known
    # A trigger makes the history append only. It is off while the table is emptied.
    await database.execute(
        f"SET session_replication_role = replica; TRUNCATE {APP_SCHEMA}.order_status, "
        f"{APP_SCHEMA}.order_status_change, {APP_SCHEMA}.idempotency; RESET session_replication_role"
    )


@pytest.fixture
async def context(execute: Execute, known: Context, statements: list[str]) -> Context:
    """A store that has looked up its tables. Order 1 has been changed."""
    await set_one(execute, known, "PARTIAL")
    statements.clear()
    return known


async def set_one(execute: Execute, context: Context, status: str, key: UUID | None = None) -> dict[str, Any]:
    """Set the status of order 1."""
    input_ = {"orderKey": "1", "status": status, "idempotencyKey": key and str(key)}
    payload: dict[str, Any] = (await execute(SET_ONE, context=context, input=input_))["data"]["setOrderStatus"]
    return payload


@pytest.mark.parametrize("keys", [(None, None), (str(uuid4()), str(uuid4()))], ids=["", "keyed"])
async def test_a_thousand_changes_are_one_statement(
    execute: Execute, context: Context, statements: list[str], keys: tuple[str | None, str | None]
) -> None:
    """Each change has a note. A second statement reads the orders again for the answer."""
    sent = []
    for numbers, status, key in ((range(1, 3), "FULFILLED", keys[0]), (range(1, 1001), "PARTIAL", keys[1])):
        changes = [{"orderKey": str(number), "status": status, "note": f"no. {number}"} for number in numbers]
        answer = await execute(SET_MANY, context=context, input={"changes": changes, "idempotencyKey": key})
        results = answer["data"]["setOrderStatuses"]["results"]
        assert [result["change"]["note"] for result in results] == [change["note"] for change in changes]
        assert [result["order"]["status"] for result in results] == [status] * len(changes)
        sent.append(statements.copy())
        statements.clear()
    assert sent[1] == sent[0]
    assert len(sent[0]) == 2


@pytest.mark.parametrize(
    ("fields", "joins"),
    [
        ("id orderKey customerKey totalPrice orderDate orderPriority clerk shipPriority comment", 0),
        ("syncedStatus", 0),
        ("status", 1),
        ("statusVersion", 1),
        ("statusUpdatedAt", 1),
        ("statusUpdatedBy", 1),
        ("statusSuperseded", 1),
        ("status statusVersion statusUpdatedAt statusUpdatedBy syncedStatus statusSuperseded", 1),
    ],
)
@pytest.mark.parametrize("arguments", ["first: 3", "last: 3", "first: 3, orderBy: {field: TOTAL_PRICE}"])
async def test_a_page_joins_the_statuses_that_were_set_only_where_one_is_selected(
    execute: Execute, context: Context, statements: list[str], arguments: str, fields: str, joins: int
) -> None:
    """One join for all orders, in the one statement of the page."""
    document = f"{{ orders({arguments}) {{ edges {{ cursor node {{ {fields} }} }} pageInfo {{ hasNextPage }} }} }}"
    assert "errors" not in await execute(document, context=context)
    assert [statement.count(OVERLAY) for statement in statements] == [joins]


@pytest.mark.parametrize(("status", "joins"), [("", 0), ("status: {eq: PARTIAL}", 1), ("status: {in: []}", 1)])
async def test_a_filter_on_the_status_joins_them_whatever_is_selected(
    execute: Execute, context: Context, statements: list[str], status: str, joins: int
) -> None:
    """This holds for the page, the count and the statistics. Another filter joins nothing."""
    chosen = f"filter: {{orderKey: {{lt: 10}} {status}}}"
    document = f"{{ orders({chosen}) {{ nodes {{ orderKey }} totalCount }} orderStats({chosen}) {{ count }} }}"
    assert "errors" not in await execute(document, context=context)
    assert [statement.count(OVERLAY) for statement in statements] == [joins] * 3


async def test_the_latest_changes_of_a_hundred_orders_are_one_more_statement(
    execute: Execute, context: Context, statements: list[str]
) -> None:
    """Two statements, not a hundred and one, whether an order has many changes, a few or none."""
    for status, last in (("FULFILLED", 50), ("OPEN", 40), ("PARTIAL", 30), ("OPEN", 20)):
        changes = [{"orderKey": str(number), "status": status} for number in range(1, last + 1)]
        await execute(SET_MANY, context=context, input={"changes": changes})
    statements.clear()
    answer = await execute(
        "{ orders(first: 100) { nodes { status statusChanges(last: 3) { nodes { version } } } } }", context=context
    )
    versions = [
        [change["version"] for change in node["statusChanges"]["nodes"]] for node in answer["data"]["orders"]["nodes"]
    ]
    # Order 1 already had a change.
    assert versions == [
        [3, 4, 5],
        *[[2, 3, 4]] * 19,
        *[[1, 2, 3]] * 10,
        *[[1, 2]] * 10,
        *[[1]] * 10,
        *[[]] * 50,
    ]
    assert len(statements) == 2


async def test_a_key_may_be_used_anew_when_its_retention_is_over(
    execute: Execute, open_store: OpenStore, context: Context
) -> None:
    """Until then the key is refused with another input. Afterwards it is a new key, and is recorded again."""
    _, forgetful = open_store(TABLE, app_schema=APP_SCHEMA, retention=0)
    key = uuid4()
    assert (await set_one(execute, context, "OPEN", key))["userErrors"] == []
    assert (await set_one(execute, context, "FULFILLED", key))["userErrors"] == [{"code": "IDEMPOTENCY_KEY_REUSED"}]
    anew = await set_one(execute, forgetful, "FULFILLED", key)
    assert anew == {"replayed": False, "change": {"status": "FULFILLED"}, "userErrors": []}
    assert await set_one(execute, context, "FULFILLED", key) == anew | {"replayed": True}


async def test_keys_are_thrown_away_when_their_retention_is_over(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then a write with a key deletes expired keys, and keeps those whose outcome may still be replayed."""
    contexts = [open_store(TABLE, app_schema=APP_SCHEMA, retention=retention)[1] for retention in (3600, 3600, 0)]
    monkeypatch.setattr("server.changes.idempotency._EXPIRE_EVERY_SECONDS", 0)
    kept = []
    for context in contexts:
        await set_one(execute, context, "PARTIAL", uuid4())
        assert isinstance(context.statuses, SqlStatusWriter)
        await context.statuses.close()
        kept.append(await database.fetchval(f"SELECT count(*) FROM {APP_SCHEMA}.idempotency"))
    assert kept == [1, 2, 0]


@pytest.mark.parametrize("empty", [False, True], ids=["forestalled", "empty"])
async def test_a_change_that_is_refused_costs_no_connection(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, orders_url: str, *, empty: bool
) -> None:
    """Two callers forestall each other, or a sync has emptied the table: a hundred rounds open no connection."""
    async with engines_of(patient_settings(orders_url)) as engines:
        _, context = open_store("public.refusing_orders", engines=engines, app_schema=APP_SCHEMA)
        await database.execute(
            f"CREATE TABLE refusing_orders (LIKE {TABLE} INCLUDING INDEXES); "
            f"INSERT INTO refusing_orders SELECT * FROM {TABLE} WHERE NOT {empty}"
        )
        # No operation may hold them all.
        current_record.set(None)
        for raw in [await engines.writes.take(brief=True) for _ in range(engines.writes.size)]:
            engines.writes.give_back(raw)
        opened: list[None] = []
        engines.writes.opened = lambda: opened.append(None)
        changed = 0
        for order in range(1, 101):
            forestalling = [
                {"orderKey": str(order), "status": status, "expectedVersion": 0} for status in ("PARTIAL", "FULFILLED")
            ]
            asked = (execute(SET_ONE, context=context, input=input_) for input_ in forestalling)
            changed += sum(
                bool((answer["data"] or {}).get("setOrderStatus")) for answer in await asyncio.gather(*asked)
            )
        await database.execute("DROP TABLE refusing_orders")
        assert changed == (0 if empty else 200)
        assert opened == []


async def test_a_key_that_is_claimed_anew_meanwhile_is_not_thrown_away(
    execute: Execute,
    open_store: OpenStore,
    cluster: Cluster,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deletion of expired keys waits for a transaction that is just claiming one of them, and then keeps it."""
    _, context = open_store(TABLE, app_schema=APP_SCHEMA)
    expired, newer = uuid4(), uuid4()
    await set_one(execute, context, "PARTIAL", expired)
    await database.execute(f"UPDATE {APP_SCHEMA}.idempotency SET created_at = '2000-01-01'")
    async with database.transaction():
        await database.execute(f"UPDATE {APP_SCHEMA}.idempotency SET created_at = now()")
        monkeypatch.setattr("server.changes.idempotency._EXPIRE_EVERY_SECONDS", 0)
        await set_one(execute, context, "PARTIAL", newer)
        await until(lambda: cluster.run_sql("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0")
    assert isinstance(context.statuses, SqlStatusWriter)
    await context.statuses.close()
    kept = await database.fetch(f"SELECT key FROM {APP_SCHEMA}.idempotency")
    assert {row["key"] for row in kept} == {expired, newer}


async def test_a_full_queue_of_notifications_fails_no_change(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, known: Context, orders_url: str
) -> None:
    """While NOTIFY would fail, changes are not announced. Two functions stand in for a queue of 8 GB."""
    assert known
    await database.execute("""
        CREATE SCHEMA full_queue;
        CREATE FUNCTION full_queue.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT 1.0::float8';
        CREATE FUNCTION full_queue.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$
            BEGIN RAISE 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'; END
        $$;
    """)
    url = f"{orders_url}?search_path=full_queue,pg_catalog"
    async with engines_of(patient_settings(url)) as engines:
        _, context = open_store(TABLE, engines=engines, app_schema=APP_SCHEMA)
        assert (await set_one(execute, context, "FULFILLED"))["change"] == {"status": "FULFILLED"}
    await database.execute("DROP SCHEMA full_queue CASCADE")


async def test_a_table_that_cannot_be_served_takes_no_changes(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, known: Context
) -> None:
    """A read says what is wrong with its columns, and so does a change, which writes nothing."""
    assert known
    await database.execute(
        f"CREATE TABLE odd_orders (LIKE {TABLE} INCLUDING INDEXES); INSERT INTO odd_orders SELECT * FROM {TABLE}; "
        "ALTER TABLE odd_orders ALTER o_orderstatus TYPE int USING 1"
    )
    _, context = open_store("public.odd_orders", app_schema=APP_SCHEMA)
    answer = await execute(SET_ONE, context=context, input={"orderKey": "1", "status": "PARTIAL"})
    await database.execute("DROP TABLE odd_orders")
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["ORDERS_UNAVAILABLE"]
    assert "o_orderstatus" in answer["errors"][0]["message"]
    assert await database.fetchval(f"SELECT count(*) FROM {APP_SCHEMA}.order_status_change") == 0


async def test_a_view_may_have_an_order_twice(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, known: Context
) -> None:
    """One of the rows counts, and every other order of the list keeps its own."""
    assert known
    await database.execute(
        f"CREATE VIEW doubled_orders AS SELECT * FROM {TABLE} UNION ALL SELECT * FROM {TABLE} WHERE o_orderkey = 7"
    )
    _, context = open_store("public.doubled_orders", app_schema=APP_SCHEMA)
    changes = [{"orderKey": str(key), "status": "PARTIAL", "note": str(key)} for key in (6, 7, 8)]
    answer = await execute(SET_MANY, context=context, input={"changes": changes})
    await database.execute("DROP VIEW doubled_orders")
    results = answer["data"]["setOrderStatuses"]["results"]
    assert [result["change"] for result in results] == [{"version": 1, "note": str(key)} for key in (6, 7, 8)]


async def test_a_function_that_was_dropped_is_made_again_as_the_message_says(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, known: Context, orders_url: str
) -> None:
    """Until then nothing is written. Afterwards the same process changes statuses again."""
    assert known
    _, context = open_store(TABLE, app_schema=APP_SCHEMA)
    await database.execute(f"DROP FUNCTION {APP_SCHEMA}.write_statuses")
    answer = await execute(SET_ONE, context=context, input={"orderKey": "1", "status": "PARTIAL"})
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["CHANGES_UNAVAILABLE"]
    assert "set the version in its table alembic_version to '0005'" in answer["errors"][0]["message"]
    await database.execute(f"UPDATE {APP_SCHEMA}.alembic_version SET version_num = '0005'")
    settings = patient_settings(orders_url)
    await Migrations(create_migration_engine(settings, UrlDatabase(orders_url)), APP_SCHEMA).upgrade()
    assert (await set_one(execute, context, "PARTIAL"))["change"] == {"status": "PARTIAL"}


async def test_a_database_that_does_not_answer_is_asked_once(
    execute: Execute, open_store: OpenStore, orders_url: str, known: Context
) -> None:
    """Each attempt may take as long as a silent peer is waited for."""
    assert known
    silent = Silent(orders_url)
    engines = create_engines(patient_settings(orders_url), silent)
    _, context = open_store(TABLE, engines=engines, app_schema=APP_SCHEMA)
    answer = await execute(SET_ONE, context=context, input={"orderKey": "1", "status": "PARTIAL"})
    await engines.dispose()
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["DATABASE_UNAVAILABLE"]
    assert silent.attempts == 1
