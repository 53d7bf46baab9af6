"""A connection for reading tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from server.db.driver import Driver, end_refused, text_of
from server.observability.observations import StatementRun
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.driver import Compiled, PooledConnection
    from server.db.errors import TableNamed
    from server.db.pool import Pool


S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Lookup(Protocol[S_co]):
    """Looks up what statements read from. Only the primary is asked."""

    @property
    def named(self) -> TableNamed:
        """How errors name it."""

    @property
    def known(self) -> S_co | None:
        """As last looked up; None if it has to be looked up."""

    async def resolve(self, connection: AsyncConnection) -> S_co:
        """As it is known, or looked up on this connection.

        Raises:
            UnavailableError: it is not there.
        """

    def forget(self) -> None:
        """Look it up again next time."""


class ReadConnection(Generic[S]):
    """A connection for reading, and what its statements read from.

    Args:
        pool: the connection's pool.
        raw: the connection, as it was checked out.
        table: looks the source up on this connection; None on a replica.
        source: the source as the primary has it, for a replica.
    """

    def __init__(
        self,
        pool: Pool,
        raw: PooledConnection,
        *,
        table: Lookup[S] | None = None,
        source: S | None = None,
    ) -> None:
        self._pool = pool
        self._raw = raw
        self._table = table
        self._source = source if table is None else table.known

    async def source(self) -> S:
        """What the statements read from, looked up if necessary.

        Raises:
            UnavailableError: it is not there.
        """
        if self._source is None and self._table is not None:
            self._source = await self._table.resolve(self._raw.session)
        if self._source is None:
            raise RuntimeError("neither a table nor its source were given")
        return self._source

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
        except Exception as error:
            await end_refused(self._raw, error)
            raise
        finally:
            seconds = time.perf_counter() - started
            observe(StatementRun(lambda: text_of(statement), len(rows), seconds, self._pool.name))
        return rows
