"""Direct use of asyncpg, on a connection of a pool.

SQLAlchemy composes and compiles a statement, once. Executing it through SQLAlchemy would cost two to three times as
much as asyncpg itself (`make bench` measures it). Only this module decides that a connection is spoilt.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from server.db.errors import DRIVER_ERRORS, driver_error, is_refused_value, sqlstate
from server.observability.observations import StatementRun
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.observability.request_record import RequestRecord

T = TypeVar("T")
_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
# SQLSTATEs by which PostgreSQL ends a connection or calls it broken.
CONNECTION_LOST: Final = ("08", "57P")
# Statements that stay compiled. That of lookups varies with the selected columns.
_COMPILED = 256
_CANCEL_SECONDS: Final = 1.0
# How long closing a connection may wait for its peer.
_CLOSE_SECONDS: Final = 1.0
# The primary's insert position, not the flushed one: with asynchronous commit, changes are visible before a flush.
LOG_POSITION: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
# A statement without columns. asyncpg cannot send an empty one.
_NOTHING: Final = "SELECT"
# The key, in the `info` of SQLAlchemy's connection, of ours.
_OURS: Final = "ours"


class PooledConnection:
    """A connection of a pool: asyncpg's, and SQLAlchemy's over it.

    Args:
        session: SQLAlchemy's connection, in autocommit mode.
        driver: asyncpg's connection.
        opened_at: when its login began, by the monotonic clock.
        ends_at: when it is replaced at the latest, by the same clock.
        lost: called when the database closes it.
    """

    __slots__ = (
        "_on_closed",
        "brief",
        "computed",
        "driver_connection",
        "ends_at",
        "holder",
        "info",
        "lost_at",
        "opened_at",
        "session",
        "since",
        "spoilt",
    )

    def __init__(
        self,
        session: AsyncConnection,
        driver: asyncpg.Connection,
        *,
        opened_at: float,
        ends_at: float,
        lost: Callable[[], None],
    ) -> None:
        self.session = session
        self.driver_connection = driver
        self.opened_at = opened_at
        self.ends_at = ends_at
        self._on_closed = lambda _: lost()
        driver.add_termination_listener(self._on_closed)
        # Whether PostgreSQL soon ends its statements (server/db/shares.py).
        self.brief = False
        # The operation that holds it, since when, and for how long the server had computed until then. The server's own
        # work is no operation.
        self.holder: RequestRecord | None = None
        self.since = math.inf
        self.computed = 0.0
        # What its users know of it.
        self.info: dict[str, Any] = {}
        # Whether it may not be used again; and when it was lost, which says something about the others too.
        self.spoilt = False
        self.lost_at = -math.inf
        session.info[_OURS] = self

    def spoil(self, error: BaseException) -> None:
        """Mark it, and unless its caller was cancelled, close it at once, without waiting for a silent peer."""
        self.spoilt = True
        if not isinstance(error, (asyncpg.PostgresError, ConnectionError)):
            self._close_ourselves()
        if isinstance(error, Exception):
            self.lost_at = time.monotonic()
            self.driver_connection.terminate()

    async def close(self) -> None:
        """Close it, without waiting for a silent peer."""
        self._close_ourselves()
        with contextlib.suppress(Exception):
            await self.driver_connection.close(timeout=_CLOSE_SECONDS)
        with contextlib.suppress(Exception):
            # Only asyncpg's own close has a timeout.
            await self.session.close()

    def _close_ourselves(self) -> None:
        """Note that the server closes the connection, and not the database."""
        self.driver_connection.remove_termination_listener(self._on_closed)


class Compiled:
    """A statement for asyncpg: its text, its constants, and the names of its parameters in order.

    Args:
        statement: the statement.
        by_values: whether it needs a plan for its values. PostgreSQL keeps one plan for all values of a prepared
            statement after a few executions, so this one is prepared anew each time, in one more round trip.
    """

    def __init__(self, statement: sa.ClauseElement, *, by_values: bool = False) -> None:
        self.by_values = by_values
        compiled: Any = statement.compile(dialect=_DIALECT)
        self.text = str(compiled)
        self._names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values to send, in the order of the placeholders."""
        given = {**self._constants, **parameters} if self._constants else parameters
        return [given[name] for name in self._names]


def text_of(statement: sa.Executable) -> str:
    """The text of a statement without its values."""
    return str(statement.compile(dialect=_DIALECT))  # type: ignore[attr-defined] # every executable statement has it


@lru_cache(maxsize=_COMPILED)
def compiled(statement: sa.ClauseElement) -> Compiled:
    """Compile a statement, once. Statements are cached by identity, not by text: keep and reuse them."""
    return Compiled(statement)


class Driver:
    """Direct use of the asyncpg connection under a pooled one. Its calls raise what asyncpg raises.

    Args:
        raw: the pooled connection.
        pool: the pool's name, for the metrics.
    """

    def __init__(self, raw: PooledConnection, *, pool: str) -> None:
        self._raw = raw
        self._pool = pool
        self._driver = raw.driver_connection

    async def rows(
        self,
        statement: sa.ClauseElement | Compiled,
        parameters: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """Run a statement, observe it in log and metrics, and return its rows.

        Args:
            statement: a statement that is reused, because it is compiled once; or a compiled one.
            parameters: its values.
            count: counts the rows that were read, if one returned row stands for many.
        """
        text = statement if isinstance(statement, Compiled) else compiled(statement)
        values = text.values(parameters)
        started, found = time.perf_counter(), 0
        try:
            fetch = self._fetch_by_values if text.by_values else self._driver.fetch
            rows: Sequence[Any] = await self._call(fetch(text.text, *values))
            found = count(rows)
        finally:
            seconds = time.perf_counter() - started
            observe(StatementRun(lambda: text.text, found, seconds, self._pool))
        return rows

    async def _fetch_by_values(self, text: str, *values: Any) -> Sequence[Any]:
        """The rows of a statement without a name, which PostgreSQL plans for these values."""
        return await (await self._driver.prepare(text, name="")).fetch(*values)  # type: ignore[no-any-return] # asyncpg has no types

    async def value(self, statement: str) -> Any:
        """The first value of a statement."""
        return await self._call(self._driver.fetchval(statement))

    async def log_position(self) -> int:
        """The current position in the write-ahead log, in bytes from its beginning."""
        return int(await self.value(LOG_POSITION))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction around the body, of SQLAlchemy's statements too. It is rolled back if the body raises."""
        transaction = self._driver.transaction(isolation="read_committed")
        await self._call(transaction.start())
        try:
            yield
        except BaseException:
            if not self._raw.spoilt:
                # The body's error is what the caller has to know.
                with contextlib.suppress(Exception):
                    await self._call(transaction.rollback())
            raise
        await self._call(transaction.commit())

    async def _call(self, call: Awaitable[T]) -> T:
        """Await asyncpg. If that fails, spoil the connection, unless the failure only concerns the statement."""
        try:
            return await call
        except BaseException as error:
            if self._driver.is_closed() or spoils(error):
                self._raw.spoil(error)
                if not isinstance(error, Exception):
                    # Cancel the statement in PostgreSQL too, which would not notice a dropped connection.
                    with contextlib.suppress(Exception):
                        await asyncio.shield(self._driver.close(timeout=_CANCEL_SECONDS))
            else:
                await end_refused(self._raw, error)
            raise


async def end_refused(raw: PooledConnection, error: BaseException) -> None:
    """If the driver has refused a value, end the statement for which it was: it is prepared, and locks its tables."""
    if is_refused_value(driver_error(error)):
        with contextlib.suppress(Exception):
            await raw.driver_connection.execute(_NOTHING)


def spoil_if_lost(context: sa.ExceptionContext) -> None:
    """Judge the failure of a statement that SQLAlchemy has sent, as a call of asyncpg is judged: its `handle_error`.

    SQLAlchemy recognises neither a silent peer nor one that is gone.
    """
    error = driver_error(context.sqlalchemy_exception or context.original_exception)
    failed = isinstance(error, (OSError, TimeoutError, *DRIVER_ERRORS)) and spoils(error)
    if context.connection is not None and (context.is_disconnect or failed):
        context.is_disconnect = True
        if (ours := context.connection.info.get(_OURS)) is not None:
            ours.spoil(error)


def spoils(error: BaseException) -> bool:
    """Whether a call of asyncpg that failed like this has lost its connection, or leaves it in an unknown state."""
    if isinstance(error, asyncpg.PostgresError):
        return sqlstate(error).startswith(CONNECTION_LOST)
    return not is_refused_value(error)
