"""A connection for reading orders."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from server.db.driver import Driver, text_of
from server.observability.observations import StatementRun
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa

    from server.db.driver import Compiled, PooledConnection
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.orders.sql_merged import Orders


class ReadConnection:
    """A connection for reading, and the orders that its statements read.

    Args:
        pool: the connection's pool.
        raw: the connection, as it was checked out.
        table: looks the orders up on this connection; None on a replica.
        orders: the orders as the primary has them, for a replica.
    """

    def __init__(
        self,
        pool: Pool,
        raw: PooledConnection,
        *,
        table: OrdersTable | None = None,
        orders: Orders | None = None,
    ) -> None:
        self._pool = pool
        self._raw = raw
        self._table = table
        self._orders = orders if table is None else table.known

    async def orders(self) -> Orders:
        """The orders, looked up if necessary.

        Raises:
            UnavailableError: ORDERS_UNAVAILABLE.
        """
        if self._orders is None and self._table is not None:
            self._orders = await self._table.resolve(self._raw.session)
        if self._orders is None:
            raise RuntimeError("neither a table nor its orders were given")
        return self._orders

    async def driver_rows(
        self,
        statement: sa.ClauseElement | Compiled,
        parameters: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """The rows of a cached statement, run by the driver itself: that takes half the time."""
        return await Driver(self._raw, pool=self._pool.name).rows(statement, parameters, count=count)

    async def rows(self, statement: sa.Executable) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of a statement. The request's record counts it."""
        started = time.perf_counter()
        rows: Sequence[sa.Row[*tuple[Any, ...]]] = ()
        try:
            rows = (await self._raw.session.execute(statement)).all()
        finally:
            seconds = time.perf_counter() - started
            observe(StatementRun(lambda: text_of(statement), len(rows), seconds, self._pool.name))
        return rows
