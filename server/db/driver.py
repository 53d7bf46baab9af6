"""Owns speaking to asyncpg directly, on a connection that SQLAlchemy's pool owns, where that is worth it.

SQLAlchemy composes and compiles a statement, once; executing it through SQLAlchemy would cost two to three times what
asyncpg itself does (`make bench` says by how much). What is lost with it is that SQLAlchemy hears of errors: a
connection that may be dead, or of which nobody knows what it is doing, is therefore thrown away here.
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
# The server has ended the connection, or says that it is broken.
CONNECTION_LOST: Final = ("08", "57P")
_COMPILED = 256
_CANCEL_SECONDS: Final = 1.0
# Of the primary. Not how far it is flushed: where commits need not be synchronous they are seen before that.
WRITTEN: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


class Compiled:
    """A statement as asyncpg takes it: its text, its own constants, and the names of its parameters in their order."""

    def __init__(self, statement: sa.ClauseElement) -> None:
        compiled: Any = statement.compile(dialect=_DIALECT)
        self.text = str(compiled)
        self._names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values to send with it."""
        given = {**self._constants, **parameters} if self._constants else parameters
        return [given[name] for name in self._names]


def text_of(statement: sa.Executable) -> str:
    """The text of a statement, its values left out."""
    return str(statement.compile(dialect=_DIALECT))  # type: ignore[attr-defined] # whatever is executed has it


@lru_cache(maxsize=_COMPILED)
def compiled(statement: sa.ClauseElement) -> Compiled:
    """The statement, compiled when it is first met; a statement is itself, not its text, so keep and reuse it."""
    return Compiled(statement)


class Driver:
    """The asyncpg connection under one that is checked out of SQLAlchemy's pool.

    Args:
        raw: what is checked out.
        pool: the pool's name.
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
        """The rows of a statement, which is noted on the request's record.

        Args:
            statement: kept and reused, for it is compiled once; or compiled already.
            parameters: its values.
            count: how many rows were read, where one that comes stands for many.

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

    async def written(self) -> int:
        """How far the write-ahead log is now, in bytes from its beginning.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        return int(await self._driver.fetchval(WRITTEN))

    async def begin(self) -> Any:
        """A transaction that is begun.

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
        """Throw the connection away, unless the error is the server's word on a statement and no more."""
        said = isinstance(error, asyncpg.PostgresError) and not sqlstate(error).startswith(CONNECTION_LOST)
        if not (said or is_refused_value(error)) or self._driver.is_closed():
            await self.cut(error)

    async def cut(self, error: BaseException) -> None:
        """End the connection at once: a peer that has fallen silent is not waited for. Raises nothing.

        The pool hears of the error, and does not use its other connections that are as old.
        """
        try:
            with contextlib.suppress(Exception):
                if isinstance(error, asyncio.CancelledError):
                    # The statement is to end in the server too, which one that is just dropped does not tell it.
                    await asyncio.shield(self._driver.close(timeout=_CANCEL_SECONDS))
                else:
                    self._driver.terminate()
        finally:
            # Also where the caller is cancelled once more.
            with contextlib.suppress(Exception):
                self._raw.invalidate(error)
