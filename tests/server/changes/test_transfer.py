"""An import takes all lines or none, and never adds a change below the head."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from schema.errors import UnavailableError
from server.changes.transfer import ImportRefusedError, exported, import_lines
from server.db.app_tables import change_tables
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.settings import Settings

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine

LINE = {
    "id": 7,
    "o_orderkey": 1,
    "previous_status": "O",
    "status": "P",
    "cleared": False,
    "synced_status": "O",
    "version": 2,
    "changed_by": "somebody",
    "changed_at": "2026-01-01T00:00:00.000001+00:00",
    "note": 'with a "quote", a\nnew line and \u20ac',
}
OWN = (
    "INSERT INTO transfer.order_status_change (o_orderkey, status, cleared, version, changed_by, changed_at) "
    "VALUES (1, 'P', false, 1, 'test', now())"
)


@pytest.fixture(scope="module")
async def connections(orders_url: str) -> AsyncEngine:
    """Connections to a database that has our own tables."""
    engine = create_migration_engine(Settings(database_url=orders_url), UrlDatabase(orders_url))
    await Migrations(engine, "transfer").upgrade()
    return engine


@pytest.fixture
async def engine(connections: AsyncEngine, database: asyncpg.Connection) -> AsyncEngine:
    """Connections to a database with a history of one change."""
    # A trigger makes the history append only. It is off while the table is emptied.
    await database.execute(
        f"SET session_replication_role = replica; TRUNCATE transfer.order_status, transfer.order_status_change "
        f"RESTART IDENTITY; RESET session_replication_role; {OWN}"
    )
    return connections


def line(**different: object) -> str:
    """A line of an export."""
    return json.dumps(LINE | different)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["hello"], "Line 1 is not JSON."),
        (["", "\n", "hello"], "Line 3 is not JSON."),
        (["[]"], "Line 1 is not a change from `export-changes`."),
        (['{"id": 1}'], "Line 1 is not a change from `export-changes`."),
        ([line(id="7")], "Line 1 is not a change from `export-changes`."),
        ([line(), line()], "Line 2 has the id 7, which is not above the id before it, 7."),
        ([line(), line(id=6, version=3)], "Line 2 has the id 6, which is not above the id before it, 7."),
        (
            [line(id=1, version=1)],
            "Change 1 is not the same in the database, whose own history goes up to change 1.",
        ),
        ([line(version=1)], "The lines contradict each other or the database: "),
        ([line(), line(id=8, changed_by=None)], "The lines contradict each other or the database: "),
        *(
            ([line(), "", line(id=8, version=3, changed_at=moment)], "Line 3: `changed_at` is not a time")
            for moment in (
                "soon",
                None,
                0,
                "2026-01-01T00:00:00",
                "infinity",
                "-infinity",
                "12026-01-01T00:00:00+00:00",
                "0044-03-15T00:00:00+00:00 BC",
                "0001-01-01T00:30:00+14:00",
                "9999-12-31T23:30:00-12:00",
            )
        ),
    ],
)
async def test_an_import_that_does_not_fit_imports_nothing(
    engine: AsyncEngine, database: asyncpg.Connection, lines: list[str], said: str
) -> None:
    """The error names the wrong line or change."""
    with pytest.raises(ImportRefusedError) as refused:
        await import_lines(engine, change_tables("transfer"), lines)
    assert str(refused.value).startswith(said)
    assert await database.fetchval("SELECT count(*) FROM transfer.order_status_change") == 1


async def test_an_import_goes_on_where_a_history_ends(engine: AsyncEngine, database: asyncpg.Connection) -> None:
    """Changes that exist are recognised, new ones are added, and the next change has a higher id."""
    known = [one async for one in exported(engine, change_tables("transfer"))]
    assert await import_lines(engine, change_tables("transfer"), [*known, "", line()]) == (1, 1, 0)
    assert [json.loads(one)["id"] async for one in exported(engine, change_tables("transfer"))] == [1, 7]
    row = await database.fetchrow("SELECT status, version, updated_by FROM transfer.order_status WHERE o_orderkey = 1")
    assert tuple(row) == ("P", 2, "somebody")
    await database.execute(OWN.replace("1, 'test'", "3, 'test'"))
    assert await database.fetchval("SELECT max(id) FROM transfer.order_status_change") == 8


ENTRY = {
    "id": "6f1ed002-ab55-4f4e-a7d3-0b1f1c9dc1a5",
    "at": "2026-01-01T00:00:00.000001+00:00",
    "last_at": "2026-01-01T00:00:30+00:00",
    "principal": "ada",
    "action": "teardownLakebase",
    "outcome": "REFUSED",
    "reason": "STATUS_CHANGES_AT_STAKE",
    "resources": ["instance one"],
    "operation": None,
    "request_id": "r-1",
    "input": '{"name":"a\\u0000"}',
    "count": 3,
    "home": "another/1/2/3",
}


def audit_line(**different: object) -> str:
    """A line of an export with an entry of the audit."""
    return json.dumps({"audit": ENTRY | different})


async def test_the_audit_moves_with_the_changes(engine: AsyncEngine, database: asyncpg.Connection) -> None:
    """Every entry as it was, in the order of its time, and once, however often the export is imported."""
    await database.execute(
        "SET session_replication_role = replica; TRUNCATE transfer.admin_audit; RESET session_replication_role"
    )
    later = audit_line(id="7f1ed002-ab55-4f4e-a7d3-0b1f1c9dc1a5", at="2026-01-02T00:00:00+00:00", outcome="BEGUN")
    known = [one async for one in exported(engine, change_tables("transfer"))]
    lines = [*known, later, line(), audit_line()]
    assert await import_lines(engine, change_tables("transfer"), lines) == (1, 1, 2)
    moved = [one async for one in exported(engine, change_tables("transfer"))]
    assert await import_lines(engine, change_tables("transfer"), moved) == (0, 2, 0)
    entries = [json.loads(one)["audit"] for one in moved if "audit" in json.loads(one)]
    assert [one["outcome"] for one in entries] == ["REFUSED", "BEGUN"]
    times = {"at", "last_at"}
    assert {name: value for name, value in entries[0].items() if name not in times} == {
        name: value for name, value in ENTRY.items() if name not in times
    }
    assert [datetime.fromisoformat(entries[0][name]) for name in sorted(times)] == [
        datetime.fromisoformat(str(ENTRY[name])) for name in sorted(times)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"audit": 1}', "Line 1 is not an entry of the audit from `export-changes`."),
        ('{"audit": {"id": 1}}', "Line 1 is not an entry of the audit from `export-changes`."),
        (audit_line(id="x"), "The lines contradict each other or the database: "),
        (audit_line(at="infinity"), "Line 1: `at` is not a time"),
        (audit_line(last_at="12026-01-01T00:00:00+00:00"), "Line 1: `last_at` is not a time"),
        (audit_line(principal=None), "The lines contradict each other or the database: "),
    ],
)
async def test_an_entry_that_does_not_fit_imports_nothing(engine: AsyncEngine, text: str, said: str) -> None:
    """Neither the entries nor the changes around it."""
    with pytest.raises(ImportRefusedError) as refused:
        await import_lines(engine, change_tables("transfer"), [text, line()])
    assert str(refused.value).startswith(said)


async def test_an_export_from_older_tables_says_what_to_do(engine: AsyncEngine, database: asyncpg.Connection) -> None:
    """The changes are exported; for the audit, the tables have to be migrated first."""
    await database.execute("ALTER TABLE transfer.admin_audit RENAME COLUMN input TO other")
    lines = []

    async def export() -> None:
        async for one in exported(engine, change_tables("transfer")):
            lines.append(one)  # noqa: PERF401 # the lines before the error are kept

    with pytest.raises(UnavailableError, match="python -m server migrate"):
        await export()
    await database.execute("ALTER TABLE transfer.admin_audit RENAME COLUMN other TO input")
    assert len(lines) == 1


async def test_nothing_is_exported_of_nothing(engine: AsyncEngine, database: asyncpg.Connection) -> None:
    """An empty history makes an empty export, which can be imported."""
    await database.execute("DROP SCHEMA transfer CASCADE")
    await Migrations(engine, "transfer").upgrade()
    assert [one async for one in exported(engine, change_tables("transfer"))] == []
    assert await import_lines(engine, change_tables("transfer"), []) == (0, 0, 0)
