"""Owns the running of statements that read: on a secondary or the primary, once more on a lost connection."""

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
# No such table, schema or column; not allowed; a column of another type, which has no such operator or does not fit.
_LOOK_AGAIN = frozenset({"42P01", "3F000", "42703", "42501", "42883", "42804"})


class Reader:
    """Runs statements on the orders table, and tells the readiness how it went."""

    def __init__(self, table: OrdersTable, readiness: Readiness, secondaries: Replicas | None = None) -> None:
        self._table = table
        self._readiness = readiness
        self._secondaries = secondaries

    @property
    def is_divided(self) -> bool:
        """Whether requests may be read from different places."""
        return self._secondaries is not None and self._secondaries.expected

    async def fetch(
        self, pool: Pool, statement_of: Callable[[Orders], sa.Executable]
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of one statement.

        Raises:
            UnavailableError: where the database or the table does not answer.
        """

        async def work(reading: ReadConnection) -> Sequence[sa.Row[*tuple[Any, ...]]]:
            return await reading.rows(statement_of(await reading.orders()))

        return await self.run(pool, work)

    async def rows(
        self,
        pool: Pool,
        statement_of: Callable[[Orders], sa.ClauseElement | Compiled],
        values: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """The rows of a statement that is kept and reused, by the driver itself, which takes half the time.

        Where a connection is at hand and all goes well that is all; anything else is `run`'s. `count` is the driver's.

        Raises:
            UnavailableError: where the database or the table does not answer.
        """

        async def work(reading: ReadConnection) -> Sequence[Any]:
            return await reading.driver_rows(statement_of(await reading.orders()), values, count=count)

        orders = self._table.known
        if orders is None or self.is_divided:
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
            if _passing(error):
                self._table.forget()
                return await self.run(pool, work, again=False)
            raise self._told(error) from error
        if not pool.keep_spare(raw):
            pool.put_back(raw)
        self._readiness.succeeded()
        return rows

    async def run(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]], *, again: bool = True) -> T:
        """The result of statements on one connection. They only read, so they may run `again`.

        Raises:
            UnavailableError: where the database or the table does not answer.
        """
        try:
            result = await self._anywhere(pool, work, again=again)
        except Exception as error:
            if (told := self._told(error)) is error:
                raise
            raise told from error
        self._readiness.succeeded()
        return result

    def _told(self, error: Exception) -> Exception:
        """What a failure means to the caller; the failure itself, where it is a fault of ours."""
        meaning = error if isinstance(error, UnavailableError) else classify(error)
        if isinstance(meaning, UnavailableError):
            if meaning.reason is Reason.ORDERS_UNAVAILABLE:
                self._table.forget()
            self._readiness.failed(meaning, cause=error)
        return meaning or error

    async def _anywhere(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]], *, again: bool) -> T:
        """On a secondary, or else on the primary, there once more where that may help."""
        if self._secondaries is not None:
            with contextlib.suppress(LeftOutError):
                return await self._secondaries.run(pool, work, self._table.known)
        try:
            return await self._attempt(pool, work)
        except Exception as error:
            if not again or not _passing(error):
                raise
            self._table.forget()
            return await self._attempt(pool, work)

    async def _attempt(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]]) -> T:
        async with pool.checkout() as raw:
            return await work(ReadConnection(pool, raw, table=self._table))


def _passing(error: Exception) -> bool:
    """Whether a second attempt may fare better.

    By then the pool has thrown out its dead connections, SQLAlchemy the statements that were prepared before the
    table was altered, and both tables are looked for anew: one that was replaced is found again, and orders are
    read without an overlay that is gone.
    """
    if isinstance(error, DBAPIError):
        stale = isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError)
        return error.connection_invalidated or stale or sqlstate(error) in _LOOK_AGAIN
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.InvalidCachedStatementError):
        return sqlstate(error) in _LOOK_AGAIN or sqlstate(error).startswith(CONNECTION_LOST)
    return isinstance(error, DRIVER_ERRORS) and not is_refused_value(error)
