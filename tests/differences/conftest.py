"""Owns the database of random queries: its tables, and the statuses that were changed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import asyncpg
import pytest
from pydantic import SecretStr

from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.logs import configure_logs
from server.settings import Settings
from tests.differences.tables import APP_SCHEMA, change_statuses, make_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.local.cluster import Cluster


@pytest.fixture(scope="module")
async def database_url(cluster: Cluster) -> AsyncIterator[str]:
    """The URL of a database with the tables. What is logged about them is a lot, and goes nowhere."""
    settings = Settings(database_url=SecretStr(cluster.url))
    configure_logs(settings.model_copy(update={"log_level": "CRITICAL"}), stream=io.StringIO())
    database, engine = await asyncpg.connect(cluster.url), create_migration_engine(settings, UrlDatabase(cluster.url))
    try:
        await make_tables(database)
        await database.execute(f"DROP SCHEMA IF EXISTS {APP_SCHEMA} CASCADE")
        await Migrations(engine, APP_SCHEMA).upgrade()
        await change_statuses(database)
        yield cluster.url
    finally:
        await engine.dispose()
        await database.close()
        configure_logs(settings)
