"""Direct use of asyncpg, on a connection of SQLAlchemy's pool.

SQLAlchemy composes and compiles a statement, once. Executing it through SQLAlchemy would cost two to three times as
much as asyncpg itself (`make bench` measures it). SQLAlchemy then does not see errors, so this module discards
connections that may be dead or in an unknown state.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from server.db.errors import is_refused_value, sqlstate
from server.observability.observations import StatementRun
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.pool import PoolProxiedConnection

_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
# SQLSTATEs by which PostgreSQL ends a connection or calls it broken.
CONNECTION_LOST: Final = ("08", "57P")
# Statements that stay compiled. That of lookups varies with the selected columns.
_COMPILED = 256
_CANCEL_SECONDS: Final = 1.0
# The primary's insert position, not the flushed one: with asynchronous commit, changes are visible before a flush.
LOG_POSITION: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


class Compiled:
    """A statement for asyncpg: its text, its constants, and the names of its parameters in order."""

    def __init__(self, statement: sa.ClauseElement) -> None:
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
    """Direct use of the asyncpg connection under one that is checked out of SQLAlchemy's pool.

    Args:
        raw: the checked-out connection.
        pool: the pool's name, for the metrics.
    """

    def __init__(self, raw: PoolProxiedConnection, *, pool: str) -> None:
        self._raw = raw
        self._pool = pool
        self._driver: asyncpg.Connection = raw.driver_connection

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

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        text = statement if isinstance(statement, Compiled) else compiled(statement)
        started, found = time.perf_counter(), 0
        try:
            rows: Sequence[Any] = await self._driver.fetch(text.text, *text.values(parameters))
            found = count(rows)
        except BaseException as error:
            await self.give_up(error)
            raise
        finally:
            seconds = time.perf_counter() - started
            observe(StatementRun(lambda: text.text, found, seconds, self._pool))
        return rows

    async def log_position(self) -> int:
        """The current position in the write-ahead log, in bytes from its beginning.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        return int(await self._driver.fetchval(LOG_POSITION))

    async def begin(self) -> Any:
        """Begin a transaction.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        try:
            transaction = self._driver.transaction(isolation="read_committed")
            await transaction.start()
        except BaseException as error:
            await self.give_up(error)
            raise
        return transaction

    async def give_up(self, error: BaseException) -> None:
        """Discard the connection, unless the error only concerns the statement."""
        about_statement = isinstance(error, asyncpg.PostgresError) and not sqlstate(error).startswith(CONNECTION_LOST)
        if not (about_statement or is_refused_value(error)) or self._driver.is_closed():
            await self.cut(error)

    async def cut(self, error: BaseException) -> None:
        """Close the connection at once, without waiting for a silent peer. Raises nothing.

        The pool learns of the error, and discards the other connections that were opened before.
        """
        try:
            with contextlib.suppress(Exception):
                if isinstance(error, asyncio.CancelledError):
                    # Cancel the statement in PostgreSQL too, which would not notice a dropped connection.
                    await asyncio.shield(self._driver.close(timeout=_CANCEL_SECONDS))
                else:
                    self._driver.terminate()
        finally:
            # This runs even if the request is cancelled again.
            with contextlib.suppress(Exception):
                self._raw.invalidate(error)
