"""The statistics of a table, measured in the background: no request waits for them, or fails with them."""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING, Final

import structlog

from schema.ports.statistics import NO_STATISTICS, TableStatistics
from server.tables.measuring.sql_statistics import measure, with_changes

if TYPE_CHECKING:
    from schema.ports.columns import Table
    from server.db.pool import Pool

_log = structlog.get_logger(__name__)
# How old they may be when a price depends on them, and how long a failure is left alone.
_MEASURE_AGAIN_SECONDS: Final = 60.0


class Measurement:
    """Measures a table when a price depends on it, and keeps the result.

    Args:
        pool: whose connections are used. Not that of pages: these have no time to lose.
        table: the table.
        name: its name in the database, with its schema.
        changes: the schema of the overlay, if the table has one.
    """

    def __init__(self, pool: Pool, table: Table, name: str, *, changes: str | None = None) -> None:
        self._pool = pool
        self._table = table
        self._schema, _, self._name = name.rpartition(".")
        self._changes = changes
        self._statistics = NO_STATISTICS
        self._began_at = -math.inf
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    def statistics(self) -> TableStatistics:
        """What is known of the table. If it is old, it is measured again meanwhile."""
        if time.monotonic() - self._began_at > _MEASURE_AGAIN_SECONDS:
            self.renew()
        return self._statistics

    def renew(self) -> None:
        """Measure the table now, in the background: it is another one, or its statistics are old."""
        self._began_at = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(
                self._measure(), name=f"statistics of {self._table.name}", context=Context()
            )

    async def settled(self) -> None:
        """Wait for the measurement that is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """End the measurement that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _measure(self) -> None:
        try:
            async with self._pool.connect() as connection:
                known = await measure(connection, self._table, self._schema, self._name)
                if self._changes is not None:
                    known = await with_changes(connection, known, self._table, self._changes)
                self._statistics = known
            self._failed = False
        except Exception as error:  # noqa: BLE001 # whatever it is, prices go by what was known before
            if not self._failed:
                _log.warning("the statistics of a table could not be read", table=self._table.name, error=str(error))
            self._failed = True
