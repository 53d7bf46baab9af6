"""The locks that keep tables from being read, and the statements that wait for them."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.db.errors import QUERY_CANCELED, sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.driver import PooledConnection
    from server.db.pool import Pool

# A transaction that replaces a table holds this lock until it ends. While it waits for the lock, behind other readers,
# new readers wait behind it.
_LOCKED_QUERY = sa.text(
    """
    SELECT n.nspname || '.' || c.relname, c.oid
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_class c ON c.oid = l.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE n.nspname || '.' || c.relname = ANY(CAST(:names AS text[])) AND l.mode = 'AccessExclusiveLock'
    """
)
_CANCEL_QUERY = sa.text(
    """
    SELECT pg_catalog.pg_cancel_backend(l.pid)
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.relation = ANY(CAST(:tables AS oid[])) AND l.pid = ANY(CAST(:backends AS int[])) AND NOT l.granted
    """
)


async def locked_among(names: Sequence[str], connection: AsyncConnection) -> dict[str, int]:
    """The tables among these that another transaction keeps from being read: their names with schemas, and OIDs."""
    return dict(tuple(row) for row in await connection.execute(_LOCKED_QUERY, {"names": names}))


class LockWatch:
    """Ends the wait of statements for a table that a sync has locked, so that they hold no connections.

    It costs statements nothing as long as they succeed. If statements take all connections of a pool, PostgreSQL soon
    ends one on a brief connection (server/db/shares.py). That may be because it waits for a lock, so the watch looks
    for locked tables. Statements on these are refused from then on, and those that wait for them are cancelled.

    Args:
        refuse: by the names of the tables, with their schemas: makes later statements on the table be refused.
        pools: the pools whose statements read them.
    """

    def __init__(self, refuse: Mapping[str, Callable[[], None]], pools: Iterable[Pool]) -> None:
        self._refuse = refuse
        self._pools = tuple(pools)
        self._found_at = -math.inf

    async def explains(self, error: Exception, raw: PooledConnection) -> bool:
        """Whether a statement failed because a table was found locked meanwhile: then its next attempt is refused.

        Args:
            error: why the statement failed.
            raw: its connection, which is still held.
        """
        if sqlstate(error) != QUERY_CANCELED:
            return False
        if raw.brief and self._found_at < raw.since:
            await self._look(raw.session)
        return self._found_at >= raw.since

    async def _look(self, connection: AsyncConnection) -> None:
        locked = await locked_among([*self._refuse], connection)
        if not locked:
            return
        for name in locked:
            self._refuse[name]()
        self._found_at = time.monotonic()
        backends = [backend for pool in self._pools for backend in pool.backends()]
        await connection.execute(_CANCEL_QUERY, {"tables": [*locked.values()], "backends": backends})
