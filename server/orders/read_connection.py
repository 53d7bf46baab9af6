"""Owns a connection that is read on, with the orders as they are found on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from server.db.driver import Driver, text_of
from server.observability.observations import StatementRun
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.pool import PoolProxiedConnection

    from server.db.driver import Compiled
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.orders.sql_merged import Orders


class ReadConnection:
    """A connection to read with, and the orders: as they are found on it, or as the primary has them.

    Args:
        pool: what the connection is checked out of.
        raw: what is checked out.
        table: where the orders are looked up.
        orders: what the primary has, where they are not to be looked up.
    """

    def __init__(
        self,
        pool: Pool,
        raw: PoolProxiedConnection,
        *,
        table: OrdersTable | None = None,
        orders: Orders | None = None,
    ) -> None:
        self._pool = pool
        self._raw = raw
        self._table = table
        self._orders = orders if table is None else table.known
        self._adopted: AsyncConnection | None = None

    async def orders(self) -> Orders:
        """The orders.

        Raises:
            UnavailableError: ORDERS_UNAVAILABLE.
        """
        if self._orders is None and self._table is not None:
            self._orders = await self._table.resolve(self._connection)
        if self._orders is None:
            raise RuntimeError("a reading is given a table or its orders")
        return self._orders

    async def driver_rows(
        self,
        statement: sa.ClauseElement | Compiled,
        parameters: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """The rows of a statement that is kept and reused, by the driver itself, which takes half the time."""
        return await Driver(self._raw, pool=self._pool.name).rows(statement, parameters, count=count)

    async def rows(self, statement: sa.Executable) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of a statement, which is noted on the request's record."""
        started = time.perf_counter()
        rows: Sequence[sa.Row[*tuple[Any, ...]]] = ()
        try:
            rows = (await self._connection.execute(statement)).all()
        finally:
            seconds = time.perf_counter() - started
            observe(StatementRun(lambda: text_of(statement), len(rows), seconds, self._pool.name))
        return rows

    @property
    def _connection(self) -> AsyncConnection:
        if self._adopted is None:
            self._adopted = self._pool.adopt(self._raw)
        return self._adopted
