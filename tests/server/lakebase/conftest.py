"""Fixtures for operations: what their tables are made from, on a schema of their own without operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service.postgres import Project

from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase.database.home import Home
from tests.server.conftest import patient_settings
from tests.server.lakebase.desk import opened_desk
from tests.servers.operator import HASTE, INSTANCE
from tests.servers.platform import AT_ONCE, platform_directory, running_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import asyncpg

    from server.db.pool import Pool
    from tests.server.lakebase.desk import Desk
    from tests.servers.platform import LocalPlatform

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


@pytest.fixture(scope="session")
def platform() -> Iterator[LocalPlatform]:
    """A local platform with one instance, where a branch has no endpoint before a client creates one."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE, branch_endpoints=False) as platform:
        platform.workspace().postgres.create_project(Project(), INSTANCE).wait()
        yield platform


@pytest.fixture
async def desk(platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A desk whose steps look often. Afterwards only the first branch is left, as the default one."""
    for name, value in HASTE.items():
        monkeypatch.setattr(name, value)
    async with opened_desk(platform) as desk:
        yield desk
        platform.clear_faults()
        for branch in await desk.services.platform.branches(INSTANCE):
            if branch.name == "production" and not branch.is_default:
                desk.make_default("production")
        left = await desk.services.platform.branches(INSTANCE)
        # A branch goes before its source.
        for branch in sorted(left, key=lambda one: str(one.created_at), reverse=True):
            if branch.name != "production":
                desk.postgres.delete_branch(branch.path, purge=True).wait()
