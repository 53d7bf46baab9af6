"""The creation of a database for random queries, with its tables and changed statuses."""

from __future__ import annotations

import asyncpg
from pydantic import SecretStr

from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.settings import Settings
from tests.differences.tables import APP_SCHEMA, change_statuses, make_tables


async def make_database(url: str) -> None:
    """Create the tables, replacing earlier ones."""
    settings = Settings(database_url=SecretStr(url))
    database, engine = await asyncpg.connect(url), create_migration_engine(settings, UrlDatabase(url))
    try:
        await make_tables(database)
        await database.execute(f"DROP SCHEMA IF EXISTS {APP_SCHEMA} CASCADE")
        await Migrations(engine, APP_SCHEMA).upgrade()
        await change_statuses(database)
    finally:
        await engine.dispose()
        await database.close()
