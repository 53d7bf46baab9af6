"""The pools of database connections, one for each class of work, and the settings of their sessions."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schema.scalars import sort_date
from server.db.pool import Pool
from server.db.shares import brief_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from server.db.database import Database
    from server.settings import Settings

_log = structlog.get_logger(__name__)
_APPLICATION_NAME = "lakebase-orders-graphql"
_IDLE_IN_TRANSACTION_SECONDS = 5.0
# How much longer than PostgreSQL's statement timeout the driver waits. Only a peer that has gone silent takes longer.
_SILENT_PEER_SECONDS = 1.0
_MIGRATION_SECONDS = 600.0
# Counts and statistics are few and slow: more of them at once would only slow one another down.
_AGGREGATE_CONNECTIONS: Final = 3
# How long an operation waits for a free connection before POOL_EXHAUSTED. Pages are quick, so a longer queue is an
# overload; counts take seconds, and several of them may be asked for at once.
_PAGE_WAIT_SECONDS: Final = 0.25
_AGGREGATE_WAIT_SECONDS: Final = 5.0
_WRITE_WAIT_SECONDS: Final = 1.0
# The longest that a connection is used. Half an hour is well within an OAuth token's life of an hour, and replacements
# are spread out by the pool.
_RECYCLE_SECONDS: Final = 1_800.0
# How long one attempt to connect may take, login included.
CONNECT_SECONDS: Final = 3.0
# With SUBSCRIBERS_KEEP_AWAKE=false the feed sends nothing for hours, so only TCP finds that its peer is gone: it probes
# after 30 s of silence, then every 10 s, three times. Probes do not keep the database awake.
_PROBES: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
# Two for each export. A caller may hold half of a pool (server/db/shares.py), so a slow statement of one export does
# not hold up the caller's other one.
_EXPORT_CONNECTIONS: Final = 4
_EXPORT_WAIT_SECONDS: Final = 5.0
_FEED_CONNECTIONS = _MIGRATION_CONNECTIONS = _ADMIN_CONNECTIONS = 1
_ALLOWED = sa.text(
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
)
# Connections for the operation store and the audit trail.
OPERATION_CONNECTIONS: Final = 3
_OPERATION_SECONDS = 3.0
# PostgreSQL's default suits spinning disks: the planner would sort a bitmap of rows that an index has in order.
RANDOM_PAGE_COST = "1.1"
# A page or a change has no parallel workers: a few slow ones would take all processors from the others. Nor does
# PostgreSQL compile it: for a large page of pages that would take longer than reading it.
_ONE_PROCESSOR: Final = {"max_parallel_workers_per_gather": "0", "jit": "off"}
# A statement of several tables is longer than what asyncpg would keep prepared, and takes milliseconds to plan.
_PREPARED_CHARACTERS: Final = 50_000
# Planning takes nothing beside counting, and a plan for all values may read the whole table for a few.
_COUNTING: Final = {"plan_cache_mode": "force_custom_plan"}


@dataclass(frozen=True, slots=True)
class Engines:
    """Separate pools, so that pages, slow counts and writes do not delay each other.

    The pools are in autocommit mode: a page is one statement, and so is a change.
    """

    pages: Pool
    aggregates: Pool
    writes: Pool

    @property
    def all(self) -> tuple[Pool, ...]:
        """All pools."""
        return self.pages, self.aggregates, self.writes

    async def dispose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(pool.dispose() for pool in self.all))


def connections_of(settings: Settings) -> int:
    """How many connections to the primary all processes with these settings may hold at once."""
    kept = (
        settings.pool_size
        + _AGGREGATE_CONNECTIONS
        + settings.write_pool_size
        + OPERATION_CONNECTIONS
        + _EXPORT_CONNECTIONS
    )
    return settings.workers * (kept + _FEED_CONNECTIONS + _MIGRATION_CONNECTIONS + _ADMIN_CONNECTIONS)


async def warn_of_limit(settings: Settings, pool: Pool) -> None:
    """Log a warning if the database allows fewer connections than these processes alone may open.

    Raises:
        DBAPIError, OSError, TimeoutError, UnavailableError: the database does not answer.
    """
    async with pool.connect() as connection:
        allowed = (await connection.execute(_ALLOWED)).scalar_one()
    if connections_of(settings) > allowed:
        _log.warning(
            "the server may open more connections than the database allows: lower WORKERS or POOL_SIZE",
            wanted=connections_of(settings),
            allowed=allowed,
        )


def create_engines(settings: Settings, database: Database) -> Engines:
    """Create the pools. No connection is opened before the first statement."""
    pages, aggregates = create_read_pools(settings, database)
    return Engines(
        pages,
        aggregates,
        writes=_pool(
            "writes",
            database,
            _connector(settings, database, statement_timeout=settings.statement_timeout, read_only=False),
            size=settings.write_pool_size,
            pool_timeout=_WRITE_WAIT_SECONDS,
            brief=brief_of(settings.write_pool_size),
        ),
    )


def create_read_pools(settings: Settings, database: Database, *, prefix: str = "") -> tuple[Pool, Pool]:
    """Create the pools for pages and aggregates, of the primary or, with a prefix in the names, of a replica."""
    return (
        _pool(
            f"{prefix}pages",
            database,
            _connector(settings, database, statement_timeout=settings.statement_timeout),
            size=settings.pool_size,
            pool_timeout=_PAGE_WAIT_SECONDS,
            brief=brief_of(settings.pool_size),
        ),
        _pool(
            f"{prefix}aggregates",
            database,
            _connector(settings, database, statement_timeout=settings.aggregate_statement_timeout, counts=True),
            size=_AGGREGATE_CONNECTIONS,
            pool_timeout=_AGGREGATE_WAIT_SECONDS,
        ),
    )


def create_exports_pool(settings: Settings, database: Database) -> Pool:
    """Create the small pool of exports. It opens no connection before the first export."""
    return _pool(
        "exports",
        database,
        _connector(settings, database, statement_timeout=settings.aggregate_statement_timeout, purpose=" export"),
        size=_EXPORT_CONNECTIONS,
        pool_timeout=_EXPORT_WAIT_SECONDS,
    )


def create_migration_engine(settings: Settings, database: Database) -> AsyncEngine:
    """Create the engine for migrations. Its connections wait long for locks, and are closed after use."""
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


def create_operations_pool(settings: Settings, database: Database) -> Pool:
    """Create the small pool of administration. It opens no connection before the first is needed."""
    return _pool(
        "operations",
        database,
        _connector(settings, database, statement_timeout=_OPERATION_SECONDS, read_only=False),
        size=OPERATION_CONNECTIONS,
        pool_timeout=_OPERATION_SECONDS,
    )


async def connect_feed(settings: Settings, database: Database) -> asyncpg.Connection:
    """Open the connection on which the feed listens."""
    connection = await _connector(settings, database, statement_timeout=settings.statement_timeout, purpose=" feed")()
    peer = connection._transport.get_extra_info("socket")  # noqa: SLF001 # asyncpg has no option for it
    if peer.family != socket.AF_UNIX:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _PROBES.items():
            # On macOS the first is TCP_KEEPALIVE, with this number.
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option, 0x10), value)
    return connection


def _pool(
    name: str,
    database: Database,
    connect: Callable[[], Awaitable[asyncpg.Connection]],
    *,
    size: int,
    pool_timeout: float,
    brief: int = 0,
) -> Pool:
    return Pool(
        name,
        connect,
        database.wake_up,
        size=size,
        acquisition=pool_timeout,
        recycle=_RECYCLE_SECONDS,
        brief=brief,
    )


def _connector(
    settings: Settings,
    database: Database,
    *,
    statement_timeout: float,
    lock_timeout: float | None = None,
    idle_timeout: float = _IDLE_IN_TRANSACTION_SECONDS,
    read_only: bool = True,
    counts: bool = False,
    purpose: str = "",
) -> Callable[[], Awaitable[asyncpg.Connection]]:
    """A function that opens a connection with the session's settings."""
    options: dict[str, Any] = {
        "command_timeout": statement_timeout + _SILENT_PEER_SECONDS,
        "max_cacheable_statement_size": _PREPARED_CHARACTERS,
        "server_settings": {
            # Dates and times are written and parsed in this style, whatever the database or the role is set to.
            "datestyle": "ISO, YMD",
            "application_name": f"{_APPLICATION_NAME}{purpose}",
            "default_transaction_read_only": "on" if read_only else "off",
            # A change waits for another one and then decides by what that one has written.
            "default_transaction_isolation": "read committed",
            "random_page_cost": RANDOM_PAGE_COST,
            **(_COUNTING if counts else _ONE_PROCESSOR),
            "statement_timeout": _milliseconds(statement_timeout),
            "lock_timeout": _milliseconds(lock_timeout or settings.lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(idle_timeout),
        },
    }

    async def connect() -> asyncpg.Connection:
        connection = await database.connect(timeout=CONNECT_SECONDS, **options)
        try:
            await _set_codecs(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    return connect


async def _set_codecs(connection: asyncpg.Connection) -> None:
    """Read dates and times outside Python's years 1 to 9999 as text: one of them would fail all rows read with it.

    The schema's scalars refuse the text, each in its own field.
    """
    for type_name, decoder in (("date", sort_date), ("timestamptz", _moment)):
        await connection.set_type_codec(type_name, schema="pg_catalog", encoder=str, decoder=decoder)


def _moment(text: str) -> datetime | str:
    """A time in UTC from PostgreSQL's text; the text itself if Python cannot represent the time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
