"""Owns the pools of database connections, one for each class of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schema.pagination import sort_date

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from server.db.database import Database
    from server.settings import Settings

_APPLICATION_NAME = "lakebase-orders-graphql"
_IDLE_IN_TRANSACTION_SECONDS = 5.0
# How much longer than the server's own statement timeout to wait for a peer that has fallen silent.
_SILENT_PEER_SECONDS = 1.0
_MIGRATION_SECONDS = 600.0
_OPERATION_CONNECTIONS = 3
_OPERATION_SECONDS = 3.0
# The planner's default is a spinning disk's: it makes it read and sort a bitmap of rows that an index has in order.
RANDOM_PAGE_COST = "1.1"
# Below the hour that a token lives, and below any idle limit of the platform.
_RECYCLE_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Engines:
    """Pools of their own, so that pages, slow counts and writes neither wait for nor hold up each other.

    None of them begins transactions by itself; those of writes are begun where they are made.
    """

    pages: AsyncEngine
    aggregates: AsyncEngine
    writes: AsyncEngine

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in (self.pages, self.aggregates, self.writes):
            await engine.dispose()


def create_engines(settings: Settings, database: Database) -> Engines:
    """The pools; no connection is opened before the first statement."""
    return Engines(
        pages=_engine(
            settings,
            database,
            size=settings.pool_size,
            pool_timeout=settings.pool_timeout,
            statement_timeout=settings.statement_timeout,
        ),
        aggregates=_engine(
            settings,
            database,
            size=settings.aggregate_pool_size,
            pool_timeout=settings.aggregate_pool_timeout,
            statement_timeout=settings.aggregate_statement_timeout,
        ),
        writes=_engine(
            settings,
            database,
            size=settings.write_pool_size,
            pool_timeout=settings.write_pool_timeout,
            statement_timeout=settings.statement_timeout,
            read_only=False,
        ),
    )


def create_migration_engine(settings: Settings, database: Database) -> AsyncEngine:
    """Connections for changing our own tables, each closed after its use; waiting for one another is what they do."""
    return create_async_engine(
        "postgresql+asyncpg://",
        poolclass=sa.NullPool,
        hide_parameters=True,
        async_creator=_connector(
            settings,
            database,
            statement_timeout=_MIGRATION_SECONDS,
            lock_timeout=_MIGRATION_SECONDS,
            idle_timeout=_MIGRATION_SECONDS,
            read_only=False,
        ),
    )


def create_operations_engine(settings: Settings, database: Database) -> AsyncEngine:
    """Connections for what operations leave in the database: few, and none before the first is needed."""
    return _engine(
        settings,
        database,
        size=_OPERATION_CONNECTIONS,
        pool_timeout=_OPERATION_SECONDS,
        statement_timeout=_OPERATION_SECONDS,
        read_only=False,
    )


async def connect_feed(settings: Settings, database: Database) -> asyncpg.Connection:
    """A connection of its own to listen on."""
    return await _connector(settings, database, statement_timeout=settings.statement_timeout, purpose=" feed")()


def _as_text(connection: Any, _record: object) -> None:
    """Take dates as text: Python has none outside the years 1 to 9999, and one of them would cost the whole page."""
    connection.run_async(
        lambda driver: driver.set_type_codec("date", schema="pg_catalog", encoder=str, decoder=sort_date)
    )


def _engine(
    settings: Settings,
    database: Database,
    *,
    size: int,
    pool_timeout: float,
    statement_timeout: float,
    read_only: bool = True,
) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        # Reads of one statement need no transaction of their own: this spares a BEGIN and a ROLLBACK each.
        isolation_level="AUTOCOMMIT",
        pool_size=size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        pool_recycle=_RECYCLE_SECONDS,
        pool_use_lifo=True,
        # Errors are logged with their statement; its parameters are the callers' own data.
        hide_parameters=True,
        async_creator=_connector(settings, database, statement_timeout=statement_timeout, read_only=read_only),
    )
    sa.event.listen(engine.sync_engine, "connect", _as_text)
    return engine


def _connector(
    settings: Settings,
    database: Database,
    *,
    statement_timeout: float,
    lock_timeout: float | None = None,
    idle_timeout: float = _IDLE_IN_TRANSACTION_SECONDS,
    read_only: bool = True,
    purpose: str = "",
) -> Callable[[], Awaitable[asyncpg.Connection]]:
    """What opens a connection, with what holds for its whole session."""
    options: dict[str, Any] = {
        "command_timeout": statement_timeout + _SILENT_PEER_SECONDS,
        "server_settings": {
            "application_name": f"{_APPLICATION_NAME}{purpose}",
            "default_transaction_read_only": "on" if read_only else "off",
            "random_page_cost": RANDOM_PAGE_COST,
            "statement_timeout": _milliseconds(statement_timeout),
            "lock_timeout": _milliseconds(lock_timeout or settings.lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(idle_timeout),
        },
    }

    async def connect() -> asyncpg.Connection:
        return await database.connect(timeout=settings.connect_timeout, **options)

    return connect


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
