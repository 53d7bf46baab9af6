"""Runs statements that read orders: on a replica or the primary, and a second time if the connection was lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError

from schema.errors import Reason, UnavailableError
from server.db.driver import CONNECTION_LOST, Driver
from server.db.errors import DRIVER_ERRORS, classify, is_refused_value, sqlstate
from server.orders.read_connection import ReadConnection
from server.orders.replicas import LeftOutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import sqlalchemy as sa

    from server.db.driver import Compiled
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.orders.readiness import Readiness
    from server.orders.replicas import Replicas
    from server.orders.sql_merged import Orders

T = TypeVar("T")
# Undefined table, schema or column; insufficient privilege; undefined operator or datatype mismatch, which happen if a
# column has changed its type.
_LOOK_AGAIN = frozenset({"42P01", "3F000", "42703", "42501", "42883", "42804"})


class Reader:
    """Runs statements on the orders table, and tells the readiness whether they succeed."""

    def __init__(self, table: OrdersTable, readiness: Readiness, replicas: Replicas | None = None) -> None:
        self._table = table
        self._readiness = readiness
        self._replicas = replicas

    @property
    def has_replicas(self) -> bool:
        """Whether a replica may answer some of the reads."""
        return self._replicas is not None and self._replicas.expected

    async def fetch(
        self, pool: Pool, statement_of: Callable[[Orders], sa.Executable]
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of one statement.

        Raises:
            UnavailableError: the database or the table is unavailable.
        """

        async def work(connection: ReadConnection) -> Sequence[sa.Row[*tuple[Any, ...]]]:
            return await connection.rows(statement_of(await connection.orders()))

        return await self.run(pool, work)

    async def rows(
        self,
        pool: Pool,
        statement_of: Callable[[Orders], sa.ClauseElement | Compiled],
        values: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """The rows of a cached statement, run by the driver itself: that takes half the time.

        This is a shortcut for a spare connection and a statement that succeeds. Everything else goes through `run`.

        Args:
            pool: the pool of the primary.
            statement_of: makes the statement.
            values: the statement's parameters.
            count: the number of orders in the rows.

        Raises:
            UnavailableError: the database or the table is unavailable.
        """

        async def work(connection: ReadConnection) -> Sequence[Any]:
            return await connection.driver_rows(statement_of(await connection.orders()), values, count=count)

        orders = self._table.known
        if orders is None or self.has_replicas:
            return await self.run(pool, work)
        raw = pool.take_spare()
        if raw is None:
            return await self.run(pool, work)
        try:
            rows = await Driver(raw, pool=pool.name).rows(statement_of(orders), values, count=count)
        except BaseException as error:
            await pool.give_back(raw, error)
            if not isinstance(error, Exception):
                raise
            if _may_pass(error):
                self._table.forget()
                return await self.run(pool, work, again=False)
            raise self._reported(error) from error
        if not pool.keep_spare(raw):
            pool.put_back(raw)
        self._readiness.succeeded()
        return rows

    async def run(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]], *, again: bool = True) -> T:
        """The result of statements on one connection. They only read, so they may run `again`.

        Raises:
            UnavailableError: the database or the table is unavailable.
        """
        try:
            result = await self._anywhere(pool, work, again=again)
        except Exception as error:
            if (reported := self._reported(error)) is error:
                raise
            raise reported from error
        self._readiness.succeeded()
        return result

    def _reported(self, error: Exception) -> Exception:
        """Report a failure to the readiness. Return the error for the caller, or the failure itself if it is a bug."""
        meaning = error if isinstance(error, UnavailableError) else classify(error)
        if isinstance(meaning, UnavailableError):
            if meaning.reason is Reason.ORDERS_UNAVAILABLE:
                self._table.forget()
            self._readiness.failed(meaning, cause=error)
        return meaning or error

    async def _anywhere(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]], *, again: bool) -> T:
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

    async def _attempt(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]]) -> T:
        async with pool.checkout() as raw:
            return await work(ReadConnection(pool, raw, table=self._table))


def _may_pass(error: Exception) -> bool:
    """Whether a second attempt may succeed.

    By then the pool has discarded its dead connections, and SQLAlchemy the statements that were prepared before the
    table was altered. Both tables are looked up again: a table that was replaced is found, and if the overlay is gone,
    orders are read without it.
    """
    if isinstance(error, DBAPIError):
        stale = isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError)
        return error.connection_invalidated or stale or sqlstate(error) in _LOOK_AGAIN
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.InvalidCachedStatementError):
        return sqlstate(error) in _LOOK_AGAIN or sqlstate(error).startswith(CONNECTION_LOST)
    return isinstance(error, DRIVER_ERRORS) and not is_refused_value(error)
