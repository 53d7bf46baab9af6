"""Owns the running of statements that read: the table resolved, one retry on a lost connection, errors classified."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError

from schema.errors import Reason, UnavailableError
from server.db.driver import Driver, text_of
from server.db.errors import DRIVER_ERRORS, classify, sqlstate
from server.record import note_statement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from server.db.merged import Orders
    from server.db.tables import OrdersTable
    from server.readiness import Readiness

T = TypeVar("T")
# No such table, schema or column; not allowed.
_LOOK_AGAIN = frozenset({"42P01", "3F000", "42703", "42501"})


class Reading:
    """A connection to read with, and the orders as they are found on it."""

    def __init__(self, connection: AsyncConnection, table: OrdersTable) -> None:
        self._connection = connection
        self._table = table

    async def orders(self) -> Orders:
        """The orders.

        Raises:
            UnavailableError: ORDERS_UNAVAILABLE.
        """
        return await self._table.resolve(self._connection)

    async def driver_rows(self, statement: sa.ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The same of a statement that is kept and reused, by the driver itself, which takes half the time."""
        return await (await Driver.of(self._connection)).rows(statement, parameters)

    async def rows(self, statement: sa.Executable) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of a statement, which is noted on the request's record."""
        started = time.perf_counter()
        rows: Sequence[sa.Row[*tuple[Any, ...]]] = ()
        try:
            rows = (await self._connection.execute(statement)).all()
        finally:
            note_statement(text=lambda: text_of(statement), rows=len(rows), seconds=time.perf_counter() - started)
        return rows


class Reader:
    """Runs statements on the orders table, and tells the readiness how it went."""

    def __init__(self, table: OrdersTable, readiness: Readiness) -> None:
        self._table = table
        self._readiness = readiness

    async def fetch(
        self, engine: AsyncEngine, statement_of: Callable[[Orders], sa.Executable]
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of one statement.

        Raises:
            UnavailableError: where the database or the table does not answer.
        """

        async def work(reading: Reading) -> Sequence[sa.Row[*tuple[Any, ...]]]:
            return await reading.rows(statement_of(await reading.orders()))

        return await self.run(engine, work)

    async def run(self, engine: AsyncEngine, work: Callable[[Reading], Awaitable[T]]) -> T:
        """The result of statements on one connection. They only read, so they may run twice.

        Raises:
            UnavailableError: where the database or the table does not answer.
        """
        try:
            try:
                result = await self._attempt(engine, work)
            except (DBAPIError, *DRIVER_ERRORS) as error:
                if isinstance(error, DBAPIError) and not _passing(error):
                    raise
                self._table.forget()
                result = await self._attempt(engine, work)
        except Exception as error:
            meaning = error if isinstance(error, UnavailableError) else classify(error)
            if isinstance(meaning, UnavailableError):
                if meaning.reason is Reason.ORDERS_UNAVAILABLE:
                    self._table.forget()
                self._readiness.failed(meaning, cause=error)
            if meaning is None or meaning is error:
                raise
            raise meaning from error
        self._readiness.succeeded()
        return result

    async def _attempt(self, engine: AsyncEngine, work: Callable[[Reading], Awaitable[T]]) -> T:
        async with engine.connect() as connection:
            return await work(Reading(connection, self._table))


def _passing(error: DBAPIError) -> bool:
    """Whether a second attempt may fare better.

    By then the pool has thrown out its dead connections, SQLAlchemy the statements that were prepared before the
    table was altered, and both tables are looked for anew: one that was replaced is found again, and orders are
    read without an overlay that is gone.
    """
    stale = isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError)
    return error.connection_invalidated or stale or sqlstate(error) in _LOOK_AGAIN
