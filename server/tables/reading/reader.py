"""Runs statements that read tables: on a replica or the primary, and a second time if the connection was lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import asyncpg

from schema.errors import ApiError, UnavailableError
from server.db.driver import Driver, spoils
from server.db.errors import DRIVER_ERRORS, classify, driver_error, sqlstate
from server.tables.reading.read_connection import ReadConnection
from server.tables.reading.replicas import LeftOutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import sqlalchemy as sa

    from server.db.driver import Compiled, PooledConnection
    from server.db.pool import Pool
    from server.tables.reading.read_connection import Lookup
    from server.tables.reading.replicas import Replicas

S = TypeVar("S")
T = TypeVar("T")
# Undefined table, schema or column; insufficient privilege; undefined operator or datatype mismatch, which happen if a
# column has changed its type.
_LOOK_AGAIN = frozenset({"42P01", "3F000", "42703", "42501", "42883", "42804"})


class Health(Protocol):
    """Whether what statements read from can be read."""

    def succeeded(self) -> None:
        """Note that a statement has succeeded."""

    def failed(self, error: UnavailableError, *, cause: Exception) -> None:
        """Note that a statement has failed."""


class Locks(Protocol):
    """Finds out whether statements wait for tables that are locked."""

    async def explains(self, error: Exception, raw: PooledConnection) -> bool:
        """Whether a statement failed because a table was found locked meanwhile: then its next attempt is refused."""


class Reader(Generic[S]):
    """Runs statements that read from a source, and tells its health whether they succeed.

    Args:
        table: looks the source up.
        health: whether the source can be read.
        replicas: the replicas.
        locks: finds out whether a statement waits for a locked table.
    """

    def __init__(
        self, table: Lookup[S], health: Health, replicas: Replicas | None = None, *, locks: Locks | None = None
    ) -> None:
        self._table = table
        self._health = health
        self._replicas = replicas
        self._locks = locks

    @property
    def has_replicas(self) -> bool:
        """Whether a replica may answer some of the reads."""
        return self._replicas is not None and self._replicas.expected

    def succeeded(self) -> None:
        """Note that a statement of another reader has read the source."""
        self._health.succeeded()

    async def fetch(self, pool: Pool, statement_of: Callable[[S], sa.Executable]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of one statement.

        Raises:
            UnavailableError: the database or the table is unavailable.
        """

        async def work(connection: ReadConnection[S]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
            return await connection.rows(statement_of(await connection.source()))

        return await self.run(pool, work)

    async def rows(
        self,
        pool: Pool,
        statement_of: Callable[[S], sa.ClauseElement | Compiled],
        values: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """The rows of a cached statement, run by the driver itself: that takes half the time.

        This is a shortcut for a statement that succeeds. A second attempt goes through `run`.

        Args:
            pool: the pool of the primary.
            statement_of: makes the statement.
            values: the statement's parameters.
            count: the number of the table's rows in them.

        Raises:
            UnavailableError: the database or the table is unavailable.
        """

        async def work(connection: ReadConnection[S]) -> Sequence[Any]:
            return await connection.driver_rows(statement_of(await connection.source()), values, count=count)

        async def at_once(raw: PooledConnection) -> Sequence[Any]:
            # A request that waited for the connection may find that the source has changed.
            if (source := self._table.known) is None:
                return await self._on(pool, raw, work)
            try:
                return await Driver(raw, pool=pool.name).rows(statement_of(source), values, count=count)
            except Exception as error:
                if self._locks is None or not await self._locks.explains(error, raw):
                    raise
            return await work(ReadConnection(pool, raw, table=self._table))

        if self.has_replicas:
            return await self.run(pool, work)
        try:
            rows = await pool.run(at_once)
        except Exception as error:
            if _may_pass(error):
                self._table.forget()
                return await self.run(pool, work, again=False)
            if (meaning := self._reported(error)) is error:
                raise
            raise meaning from error
        self._health.succeeded()
        return rows

    async def run(self, pool: Pool, work: Callable[[ReadConnection[S]], Awaitable[T]], *, again: bool = True) -> T:
        """The result of statements on one connection. They only read, so they may run `again` after a failure.

        Raises:
            UnavailableError: the database or the table is unavailable.
        """
        try:
            result = await self._anywhere(pool, work, again=again)
        except Exception as error:
            if (meaning := self._reported(error)) is error:
                raise
            raise meaning from error
        self._health.succeeded()
        return result

    def _reported(self, error: Exception) -> ApiError:
        """The meaning of a failure, which the health is told."""
        named = self._table.named
        meaning = classify(error, named)
        if isinstance(meaning, UnavailableError):
            # What was looked up in vain is looked up again in its own time. Others that were found stay known.
            if meaning is not error and meaning.reason is named.reason:
                self._table.forget()
            self._health.failed(meaning, cause=error)
        return meaning

    async def _anywhere(self, pool: Pool, work: Callable[[ReadConnection[S]], Awaitable[T]], *, again: bool) -> T:
        """Run on a replica or else on the primary, where a second attempt may follow."""
        if self._replicas is not None:
            with contextlib.suppress(LeftOutError):
                return await self._replicas.run(pool, work, self._table.known)
        try:
            return await self._attempt(pool, work)
        except Exception as error:
            if not again or not _may_pass(error):
                raise
            self._table.forget()
            return await self._attempt(pool, work)

    async def _attempt(self, pool: Pool, work: Callable[[ReadConnection[S]], Awaitable[T]]) -> T:
        return await pool.run(lambda raw: self._on(pool, raw, work))

    async def _on(self, pool: Pool, raw: PooledConnection, work: Callable[[ReadConnection[S]], Awaitable[T]]) -> T:
        """The result of statements on this connection."""
        try:
            return await work(ReadConnection(pool, raw, table=self._table))
        except Exception as error:
            if self._locks is None or not await self._locks.explains(error, raw):
                raise
        return await work(ReadConnection(pool, raw, table=self._table))


def _may_pass(error: Exception) -> bool:
    """Whether a second attempt may succeed.

    By then the pool has discarded its dead connections, and SQLAlchemy the statements that were prepared before the
    table was altered. The source is looked up again: a table that was replaced is found, and without the overlay, if
    that is gone, orders are read all the same.
    """
    cause = driver_error(error)
    stale = isinstance(cause, asyncpg.InvalidCachedStatementError) or sqlstate(cause) in _LOOK_AGAIN
    return stale or (isinstance(cause, DRIVER_ERRORS) and spoils(cause))
