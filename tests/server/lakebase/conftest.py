"""Fixtures for operations: what their tables are made from, on a schema of their own without operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase.database.home import Home
from tests.server.conftest import patient_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import asyncpg

    from server.db.pool import Pool

SCHEMA = "run_operations"


@pytest.fixture
async def arguments(orders_url: str, database: asyncpg.Connection) -> AsyncIterator[tuple[Pool, str, Migrations, Home]]:
    """What tables of operations and of the audit are made from. There are no operations."""
    settings, url = patient_settings(orders_url), UrlDatabase(orders_url)
    migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
    await migrations.upgrade()
    await database.execute(f"DELETE FROM {SCHEMA}.operation")
    pool = create_operations_pool(settings, url)
    yield pool, SCHEMA, migrations, Home(url, SCHEMA)
    await pool.dispose()


@pytest.fixture
async def refuse(
    arguments: tuple[Any, ...],  # noqa: ARG001 # they make the tables
    database: asyncpg.Connection,
) -> AsyncIterator[Callable[[str | None], Awaitable[object]]]:
    """Makes PostgreSQL refuse each write of an operation's row with a SQLSTATE, or none any more."""

    async def refuse(state: str | None) -> None:
        await database.execute(f"DROP TRIGGER IF EXISTS refuse ON {SCHEMA}.operation")
        if state is not None:
            await database.execute(
                f"""
                CREATE OR REPLACE FUNCTION {SCHEMA}.refuse() RETURNS trigger LANGUAGE plpgsql
                AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$;
                CREATE TRIGGER refuse BEFORE UPDATE ON {SCHEMA}.operation EXECUTE FUNCTION {SCHEMA}.refuse()
                """
            )

    yield refuse
    await refuse(None)
