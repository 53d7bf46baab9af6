"""The audit: entries wait for their database, each is one row, refusals are counted, and nothing is changed later."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from schema.errors import Reason
from schema.ports.admin.audit import AuditEntry, AuditFilter, AuditOutcome, AuditPosition
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import _SCRIPTS, Migrations
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_entry import input_text, new_entry
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.home import Home
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.table import OperationTable
from server.lakebase.retention import Retention
from server.observability.redaction import secrets_known
from tests.server.conftest import patient_settings
from tests.support.late_database import LateDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import sqlalchemy as sa

    from tests.server.conftest import LogLines

SCHEMA = "kept_audit"
NAME = f"{SCHEMA}.admin_audit"


@pytest.fixture
def late(orders_url: str) -> LateDatabase:
    """A database that does not exist yet."""
    return LateDatabase(orders_url)


@pytest.fixture
async def new_table(
    orders_url: str, late: LateDatabase, database: asyncpg.Connection
) -> AsyncIterator[Callable[[], AuditTable]]:
    """Makes tables as several processes have them, on one schema without entries."""
    settings = patient_settings(orders_url)
    await Migrations(create_migration_engine(settings, UrlDatabase(orders_url)), SCHEMA).upgrade()
    # A trigger makes the audit append only. It is off while the table is emptied.
    await database.execute(f"SET session_replication_role = replica; TRUNCATE {NAME}; RESET session_replication_role")
    pools = []

    def new() -> AuditTable:
        pools.append(create_operations_pool(settings, late))
        migrations = Migrations(create_migration_engine(settings, late), SCHEMA)
        return AuditTable(OwnTables(pools[-1], SCHEMA, migrations, Home(late, SCHEMA)))

    yield new
    for pool in pools:
        await pool.dispose()


@pytest.fixture
async def table(late: LateDatabase, new_table: Callable[[], AuditTable]) -> AuditTable:
    """The table in a database that is there."""
    late.there = True
    return new_table()


def entry(number: int = 0, outcome: AuditOutcome = AuditOutcome.BEGUN, **fields: Any) -> AuditEntry:
    """An entry of an admin; `number` makes one differ from another."""
    return new_entry("ada", "teardownLakebase", outcome, input_=json.dumps({"number": number}), **fields)


def refusal(principal: str = "eve", action: str = "operations") -> AuditEntry:
    """A refusal of a caller without the role."""
    return new_entry(principal, action, AuditOutcome.REFUSED, input_=None, reason=Reason.ROLE_MISSING)


async def rows(database: asyncpg.Connection) -> list[asyncpg.Record]:
    """The rows in the database, oldest first."""
    found: list[asyncpg.Record] = await database.fetch(f"SELECT * FROM {NAME} ORDER BY at, id")
    return found


async def test_entries_wait_for_a_database_and_keep_their_times_and_order(
    late: LateDatabase, new_table: Callable[[], AuditTable], database: asyncpg.Connection
) -> None:
    """Meanwhile they are read from memory. The next entry, or the next use of the database, writes them."""
    audit, written = AuditLog(new_table()), [entry(number) for number in range(3)]
    for one in written:
        await audit.write(one)
    assert audit.waits
    assert (await audit.page(AuditFilter(), size=10, after=None)).entries == written[::-1]
    assert await audit.find(written[0].id) == written[0]
    assert await rows(database) == []
    late.there = True
    await audit.flush()
    assert not audit.waits
    assert [(str(row["id"]), row["at"]) for row in await rows(database)] == [(one.id, one.at) for one in written]
    assert (await audit.page(AuditFilter(), size=10, after=None)).entries == written[::-1]


async def test_what_waits_is_written_when_the_process_stops(
    late: LateDatabase, new_table: Callable[[], AuditTable], database: asyncpg.Connection
) -> None:
    """If there is a database by then."""
    audit = AuditLog(new_table())
    await audit.write(entry())
    await audit.write(refusal())
    late.there = True
    await audit.close()
    assert len(await rows(database)) == 2


async def test_an_entry_that_is_written_again_is_one_row(table: AuditTable, database: asyncpg.Connection) -> None:
    """The reply to the first attempt may have been lost."""
    one = entry()
    await table.add([one])
    await table.add([one, entry(1)])
    assert [row["count"] for row in await rows(database)] == [1, 1]


async def test_the_same_refusals_of_all_processes_are_one_row(
    late: LateDatabase, new_table: Callable[[], AuditTable], database: asyncpg.Connection
) -> None:
    """Counted by caller, action and minute. The refusals of an admin are told apart by their input too."""
    late.there = True
    first, other = AuditLog(new_table()), AuditLog(new_table())
    same, again = refusal(), refusal()
    # Unless the minute has just turned.
    assert same.id == again.id or same.at.minute != again.at.minute
    for _ in range(50):
        for audit in (first, other):
            audit.hold([same])
    first.hold([refusal("mallory"), refusal("eve", "lakebase")])
    await asyncio.gather(first.flush(), other.flush())
    assert sorted(row["count"] for row in await rows(database)) == [1, 1, 100]
    one, two = (entry(number, AuditOutcome.REFUSED, reason=Reason.NAME_INVALID) for number in (1, 2))
    assert one.id != two.id


async def test_a_refusal_is_counted_while_it_is_written(
    late: LateDatabase, new_table: Callable[[], AuditTable], database: asyncpg.Connection
) -> None:
    """None is lost, and none is counted twice."""
    late.there = True
    audit, same = AuditLog(new_table()), refusal()
    for _ in range(20):
        audit.hold([same, same])
        writing = asyncio.create_task(audit.flush())
        await asyncio.sleep(0)
        audit.hold([same])
        await writing
    await audit.flush()
    assert [row["count"] for row in await rows(database)] == [60]


async def test_a_cancelled_writer_loses_and_doubles_nothing(
    late: LateDatabase, new_table: Callable[[], AuditTable], database: asyncpg.Connection
) -> None:
    """A client that goes away cancels its request, and not the statement."""
    late.there = True
    audit = AuditLog(new_table())
    for _ in range(5):
        audit.hold([refusal()])
        writing = asyncio.create_task(audit.flush())
        await asyncio.sleep(0)
        writing.cancel()
    await audit.flush()
    assert sum(row["count"] for row in await rows(database)) == 5


async def test_the_entries_that_wait_are_bounded(
    new_table: Callable[[], AuditTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller without the role displaces no entry of another."""
    monkeypatch.setattr("server.lakebase.database.audit._WAITING_AT_MOST", 10)
    audit, written = AuditLog(new_table()), [entry(number) for number in range(5)]
    for one in written:
        await audit.write(one)
    for number in range(100):
        await audit.write(refusal(action=f"field{number}"))
    held = (await audit.page(AuditFilter(), size=100, after=None)).entries
    assert len(held) == 10
    assert set(written) <= set(held)
    await audit.close()


async def test_a_value_that_cannot_be_stored_stops_no_other(table: AuditTable, database: asyncpg.Connection) -> None:
    """Text in PostgreSQL holds no NUL."""
    audit = AuditLog(table)
    await audit.write(new_entry("a\0b", "operations", AuditOutcome.REFUSED, input_=None, reason=Reason.ROLE_MISSING))
    await audit.write(entry())
    assert not audit.waits
    assert [row["principal"] for row in await rows(database)] == ["ada"]
    await audit.close()


async def test_the_same_refusals_are_two_lines_of_the_log(
    new_table: Callable[[], AuditTable], log_lines: LogLines
) -> None:
    """The first at once, and their number when their minute is over."""
    audit = AuditLog(new_table())
    first = refusal()
    for _ in range(300):
        await audit.write(first)
    assert [line["count"] for line in log_lines() if line["event"] == "audit"] == [1]
    later = new_entry("eve", "lakebase", AuditOutcome.REFUSED, input_=None, reason=Reason.ROLE_MISSING)
    await audit.write(replace(later, at=later.at + timedelta(minutes=1), last_at=later.at + timedelta(minutes=1)))
    counted = [(line["action"], line["count"]) for line in log_lines() if line["event"] == "audit"]
    assert counted == [("operations", 1), ("operations", 300), ("lakebase", 1)]
    await audit.close()


async def test_entries_of_the_revision_before_are_kept(orders_url: str, database: asyncpg.Connection) -> None:
    """They have no input, and count once. A server of that revision can still write, until it is replaced."""
    schema = "older_audit"
    await database.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
    engine = create_migration_engine(patient_settings(orders_url), UrlDatabase(orders_url))
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade_to, schema, "0002")
    old = (
        f"INSERT INTO {schema}.admin_audit (principal, action, outcome, reason, resources, operation, request_id) "
        "VALUES ('ada', 'teardownLakebase', 'BEGUN', NULL, ARRAY['instance one'], gen_random_uuid(), 'r-1')"
    )
    await database.execute(old)
    at = await database.fetchval(f"SELECT at FROM {schema}.admin_audit")
    migrations = Migrations(engine, schema)
    await migrations.upgrade()
    await database.execute(old)
    url = UrlDatabase(orders_url)
    pool = create_operations_pool(patient_settings(orders_url), url)
    table = AuditTable(OwnTables(pool, schema, migrations, Home(url, schema)))
    (newer, older), more = await table.page(AuditFilter(), size=5, after=None)
    assert (older.at, older.last_at, older.count, older.input, more) == (at, at, 1, None, False)
    assert newer.id != older.id
    await pool.dispose()


def _upgrade_to(connection: sa.Connection, schema: str, revision: str) -> None:
    config = Config(attributes={"connection": connection, "schema": schema})
    config.set_main_option("script_location", str(_SCRIPTS))
    command.upgrade(config, revision)


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM {NAME}",
        f"TRUNCATE {NAME}",
        f"UPDATE {NAME} SET principal = 'nobody'",
        f"UPDATE {NAME} SET count = 5, reason = NULL",
        f"UPDATE {NAME} SET count = 1",
        f"UPDATE {NAME} SET count = 5, last_at = last_at - interval '1 day'",
        f"UPDATE {NAME} SET count = 5 WHERE outcome <> 'REFUSED'",
    ],
)
async def test_the_audit_is_append_only(table: AuditTable, database: asyncpg.Connection, statement: str) -> None:
    """Only the count of a refusal rises. To rewrite an entry, one has to drop the table's trigger first."""
    refused = refusal()
    await table.add([entry(), refused])
    await table.add([refused])
    before = await rows(database)
    with pytest.raises(asyncpg.PostgresError, match="admin_audit is append only"):
        await database.execute(statement)
    assert await rows(database) == before


async def test_an_entry_of_the_original_is_told_from_those_of_its_copy(
    table: AuditTable, database: asyncpg.Connection
) -> None:
    """A copy of the database has the original's entries too. An earlier release did not record where it wrote."""
    copied, old, own = (entry(number) for number in range(3))
    await table.add([copied, old, own])
    # The trigger that makes the audit append only is off meanwhile.
    await database.execute("SET session_replication_role = replica")
    await database.execute(f"UPDATE {NAME} SET home = 'another/1/2/3' WHERE id = $1", copied.id)
    await database.execute(f"UPDATE {NAME} SET home = NULL WHERE id = $1", old.id)
    await database.execute("RESET session_replication_role")
    found, _ = await table.page(AuditFilter(), size=5, after=None)
    assert {one.id: one.elsewhere for one in found} == {copied.id: True, old.id: None, own.id: False}
    again = await table.find(copied.id)
    assert again is not None
    assert again.elsewhere


async def test_what_is_too_old_is_deleted(
    table: AuditTable, orders_url: str, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries and ended operations, in batches, and once an hour at most. An unfinished operation stays."""
    monkeypatch.setattr("server.lakebase.database.audit_table._PRUNED_AT_ONCE", 2)
    settings, url = patient_settings(orders_url), UrlDatabase(orders_url)
    pool = create_operations_pool(settings, url)
    migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
    operations = OperationTable(pool, SCHEMA, migrations, Home(url, SCHEMA))
    await database.execute(
        f"""
        DELETE FROM {SCHEMA}.operation;
        INSERT INTO {NAME} (at, last_at, principal, action, outcome, resources)
        SELECT t, t, 'ada', 'teardownLakebase', 'BEGUN', ARRAY['instance one']
        FROM generate_series(now() - interval '35 days', now(), interval '10 days') AS t;
        INSERT INTO {SCHEMA}.operation (id, kind, fingerprint, resources, request, state, steps, facts, requested_by,
            requested_at, finished_at, lease_ends_at)
        SELECT gen_random_uuid(), 'TEARDOWN', state, ARRAY['one'], '{{}}', state, '[]', '{{}}', 'ada', now(), ended, now()
        FROM (VALUES ('FAILED', now() - interval '31 days'), ('SUCCEEDED', now() - interval '29 days'),
            ('RUNNING', NULL)) AS o (state, ended)
        """
    )
    retention = Retention(table, operations, days=14)
    await retention.prune()
    assert len(await rows(database)) == 1
    await Retention(table, operations, days=30).prune()
    assert {row[0] for row in await database.fetch(f"SELECT state FROM {SCHEMA}.operation")} == {"RUNNING"}
    await database.execute(
        f"INSERT INTO {NAME} (at, principal, action, outcome, resources) "
        "VALUES ('2020-01-01', 'ada', 'teardownLakebase', 'BEGUN', '{}')"
    )
    await retention.prune()
    assert len(await rows(database)) == 2
    await pool.dispose()


async def test_the_filter_and_the_flags_of_a_page_are_exact(table: AuditTable) -> None:
    """A page has a previous one only if there is an entry that matches the filter."""
    audit = AuditLog(table)
    made = [entry(number) for number in range(4)]
    await table.add([*made, refusal()])
    page = await audit.page(AuditFilter(principal="ada"), size=2, after=None)
    assert ([one.id for one in page.entries], page.more, page.any_before) == ([made[3].id, made[2].id], True, False)
    after = AuditPosition(made[2].at, made[2].id)
    page = await audit.page(AuditFilter(principal="ada"), size=2, after=after)
    assert ([one.id for one in page.entries], page.more, page.any_before) == ([made[1].id, made[0].id], False, True)
    refused = await audit.page(AuditFilter(outcome=AuditOutcome.REFUSED, action="operations"), size=5, after=None)
    assert [one.principal for one in refused.entries] == ["eve"]
    some = await audit.page(AuditFilter(principal="ada", since=made[1].at, until=made[3].at), size=5, after=None)
    assert [one.id for one in some.entries] == [made[2].id, made[1].id]
    beyond = AuditPosition(datetime.now(UTC) + timedelta(days=1), made[0].id)
    assert not (await audit.page(AuditFilter(), size=1, after=beyond)).any_before


async def test_a_page_is_read_from_an_index(table: AuditTable, database: asyncpg.Connection) -> None:
    """However many entries there are."""
    await table.add([entry()])
    await database.execute("SET enable_seqscan = off; SET enable_sort = off")
    for condition, index in (("true", "admin_audit_by_age"), ("principal = 'ada'", "admin_audit_by_principal")):
        plan = await database.fetch(
            f"EXPLAIN SELECT * FROM {NAME} WHERE {condition} AND (at, id) < (now(), gen_random_uuid()) "
            "ORDER BY at DESC, id DESC LIMIT 51"
        )
        assert index in str(plan)
    await database.execute("RESET enable_seqscan; RESET enable_sort")


def test_an_input_is_kept_as_it_was_given() -> None:
    """As JSON in ASCII, which any database can store; without secrets; cut if it is very long."""

    class Capacity(Enum):
        CU_2 = "two"

    given = {"input": {"name": "a\0\ud800\u20ac", "capacity": Capacity.CU_2, "absent": None}}
    text = input_text(given)
    assert text is not None
    assert text.isascii()
    assert json.loads(text) == {"name": "a\0\ud800\u20ac", "capacity": "CU_2", "absent": None}
    assert input_text({"id": "x"}) == '{"id":"x"}'
    assert input_text({}) is None
    secrets_known.add("sesame-open")
    hidden = input_text({"input": {"name": "sesame-open", "token": "dapi0123456789abcdef"}})
    named = entry(resources=["catalog sesame-open"])
    secrets_known.forget("sesame-open")
    assert hidden == '{"name":"[secret]","token":"[secret]"}'
    assert named.resources == ("catalog [secret]",)
    assert len(input_text({"ids": ["x" * 1000] * 1000}) or "") < 4100
