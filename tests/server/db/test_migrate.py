"""Migrations in this process: races between releases, and the rights that a role needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from schema.errors import Reason, UnavailableError
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import _MIGRATION_LOCK, Migrations
from tests.server.conftest import patient_settings
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

SCHEMA = "migrated"


def migrations_of(url: str) -> Migrations:
    """The migrations of a process that uses this URL."""
    return Migrations(create_migration_engine(patient_settings(url), UrlDatabase(url)), SCHEMA)


@pytest.fixture
async def head(orders_url: str, database: asyncpg.Connection) -> AsyncIterator[str]:
    """The revision of the tables, made by this code in a schema of their own."""
    yield await migrations_of(orders_url).upgrade()
    await database.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


async def set_revision(database: asyncpg.Connection, revision: str) -> None:
    """Make the tables pretend to be of a revision."""
    await database.execute(f"UPDATE {SCHEMA}.alembic_version SET version_num = $1", revision)


async def test_a_release_that_waits_while_a_later_one_upgrades_uses_its_tables(
    orders_url: str, database: asyncpg.Connection, head: str
) -> None:
    """The tables were of a revision that both upgrade; the later release got the lock first, and went further."""
    migrations = migrations_of(orders_url)
    await set_revision(database, "0001")
    async with database.transaction(), asyncio.timeout(PATIENCE_SECONDS):
        await database.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        waiting = asyncio.create_task(migrations.ensure())
        while not await database.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):  # noqa: ASYNC110 # polls the database
            await asyncio.sleep(0.01)  # between two looks
        await set_revision(database, "9999")
    await waiting
    assert migrations.missing is None
    assert await migrations.upgrade() == "9999"
    await set_revision(database, head)


@pytest.mark.parametrize(
    "right",
    [
        "UPDATE ON order_status",
        "DELETE ON order_status",
        "INSERT ON order_status_change",
        "UPDATE ON idempotency",
        "DELETE ON idempotency",
        "USAGE, UPDATE ON SEQUENCE order_status_change_id",
        "SELECT ON alembic_version",
        "EXECUTE ON FUNCTION write_statuses",
    ],
)
async def test_each_right_that_a_change_needs_is_checked_before(
    orders_url: str, database: asyncpg.Connection, head: str, right: str
) -> None:
    """Otherwise /readyz would say that changes can be made, and the first one would be refused."""
    assert head
    await database.execute(
        f"""
        SET search_path = {SCHEMA}; CREATE ROLE mason LOGIN PASSWORD 'mason';
        REVOKE EXECUTE ON FUNCTION write_statuses FROM PUBLIC;
        GRANT USAGE ON SCHEMA {SCHEMA} TO mason; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO mason;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO mason;
        GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO mason;
        """
    )
    parts = urlsplit(orders_url)
    masons = migrations_of(urlunsplit(parts._replace(netloc=f"mason:mason@{parts.hostname}:{parts.port}")))
    try:
        assert await masons.upgrade() == head
        await database.execute(f"REVOKE {right} FROM mason")
        with pytest.raises(UnavailableError) as refused:
            await masons.ensure()
        assert refused.value.reason is Reason.CHANGES_UNAVAILABLE
        assert masons.missing == refused.value.message
        # The message has the GRANTs that an owner runs.
        _, _, run = refused.value.message.partition(" run: ")
        await database.execute(run.rpartition("; then")[0])
        await masons.ensure()
        assert masons.missing is None
    finally:
        await database.execute(
            "GRANT EXECUTE ON FUNCTION write_statuses TO PUBLIC; "
            "RESET search_path; DROP OWNED BY mason; DROP ROLE mason"
        )
