"""Estimated counts: what PostgreSQL's planner expects, without reading an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from async_lru import alru_cache

from schema.orders.types import ORDERS
from schema.ports.values import Operator
from server.orders import sql_aggregates as aggregates
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.values import Conditions
    from server.db.engine import Engines
    from server.orders.sql_merged import Orders
    from server.tables.read_connection import ReadConnection
    from server.tables.reader import Reader


class Estimates:
    """Estimates how many orders match.

    Args:
        engines: the pools.
        reader: runs the statements.
        ttl: how long the numbers of changed statuses are reused, in seconds.
    """

    def __init__(self, engines: Engines, reader: Reader[Orders], *, ttl: float) -> None:
        self._engines = engines
        self._reader = reader
        self._status_moves = alru_cache(ttl=ttl)(self._read_status_moves)

    async def count(self, conditions: Conditions) -> int | None:
        """The planner's estimate of the number of matching orders; None if ANALYZE has not run.

        The planner estimates merged statuses badly. So it estimates the synced ones. This adds the orders that changes
        have moved from one status to another, in proportion to the share that the other conditions select.
        """
        if any(condition.value == () for condition in conditions):
            # The planner never estimates 0.
            return 0
        others = tuple(condition for condition in conditions if condition.column is not ORDERS["status"])
        by_status = len(others) < len(conditions)

        async def estimate(connection: ReadConnection[Orders]) -> tuple[int, float, Orders] | None:
            orders = await connection.source()
            known = await connection.rows(aggregates.statistics_known_statement(orders))
            if not (known and known[0][0]):
                return None
            as_synced = await _estimated(connection, orders, conditions)
            share = 1.0
            if by_status and others:
                share = await _estimated(connection, orders, others) / max(1, await _estimated(connection, orders, ()))
            return as_synced, share, orders

        found = await self._reader.run(self._engines.pages, estimate)
        if found is None:
            return None
        as_synced, share, orders = found
        with giving_way():
            moves = await self._status_moves(orders.overlay is not None) if by_status else ()
        return max(0, round(as_synced + share * sum(_effect(move, conditions) for move in moves)))

    async def _read_status_moves(self, has_overlay: bool) -> Sequence[tuple[str | None, str, int]]:  # noqa: FBT001 # the cache's key
        """The number of orders in the overlay for each pair of synced status and status set."""
        if not has_overlay:
            return ()
        rows = await self._reader.fetch(self._engines.aggregates, aggregates.overlay_counts_statement)
        return [(row[0], row[1], row[2]) for row in rows]


async def _estimated(connection: ReadConnection[Orders], orders: Orders, conditions: Conditions) -> int:
    plans = await connection.rows(aggregates.estimate_statement(orders.as_synced(), conditions))
    return int(plans[0][0][0]["Plan"]["Plan Rows"])


def _effect(move: tuple[str | None, str, int], conditions: Conditions) -> int:
    """How many more orders match the conditions on the status, because `move` took them from one status to another."""
    synced, set_here, count = move
    wanted = [
        condition.value if condition.operator is Operator.IN else (condition.value,)
        for condition in conditions
        if condition.column is ORDERS["status"]
    ]

    def matches(status: str | None) -> bool:
        return all(isinstance(values, tuple) and status in values for values in wanted)

    return count * (matches(set_here) - matches(synced))
