"""Estimated counts: what PostgreSQL's planner expects, without reading an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from async_lru import alru_cache

from schema.orders.types import ORDERS
from schema.ports.values import AnyOf, Condition, Not, Operator, columns_in
from server.orders.sql_aggregates import overlay_counts_statement
from server.orders.sql_merged import Orders
from server.tables.estimates import Estimates, matches_nothing
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schema.ports.values import Conditions, Term
    from server.db.engine import Engines
    from server.tables.reading.read_connection import ReadConnection
    from server.tables.reading.reader import Reader

_STATUS: Final = frozenset({ORDERS["status"]})


class OrderEstimates(Estimates[Orders]):
    """Estimates how many orders match.

    Args:
        engines: the pools.
        reader_of: what runs statements with conditions.
        ttl: how long the numbers of changed statuses are reused, in seconds.
    """

    def __init__(self, engines: Engines, reader_of: Callable[[Conditions], Reader[Orders]], *, ttl: float) -> None:
        super().__init__(engines, reader_of)
        self._status_moves = alru_cache(ttl=ttl)(self._read_status_moves)

    async def count(self, conditions: Conditions) -> int | None:
        """The planner's estimate of the number of matching orders; None if ANALYZE has not run.

        The planner estimates merged statuses badly. So it estimates the synced ones. This adds the orders that changes
        have moved from one status to another, in proportion to the share that the other conditions select.
        """
        of_status = tuple(term for term in conditions if columns_in((term,)) == _STATUS)
        others = tuple(term for term in conditions if columns_in((term,)) != _STATUS)
        if not of_status or matches_nothing(conditions) or _reads_changes(conditions):
            return await super().count(conditions)

        async def estimate(connection: ReadConnection[Orders]) -> tuple[int, float, Orders] | None:
            as_synced = await self.estimated(connection, conditions)
            share: float | None = 1.0
            if others:
                matching, all_ = await self.estimated(connection, others), await self.estimated(connection, ())
                share = None if matching is None or all_ is None else matching / max(1, all_)
            return None if as_synced is None or share is None else (as_synced, share, await connection.source())

        found = await self.reader_of(conditions).run(self.engines.pages, estimate)
        if found is None:
            return None
        as_synced, share, orders = found
        with giving_way():
            moves = await self._status_moves(orders.overlay is not None)
        return max(0, round(as_synced + share * sum(_effect(move, of_status) for move in moves)))

    def source_of(self, source: Orders, conditions: Conditions) -> Orders:
        """The orders as the planner knows them: with the overlay only for conditions on what changes alone decide."""
        return source.whole() if _reads_changes(conditions) else source.as_synced()

    async def _read_status_moves(self, has_overlay: bool) -> Sequence[tuple[str | None, str, int]]:  # noqa: FBT001 # the cache's key
        """The number of orders in the overlay for each pair of synced status and status set."""
        if not has_overlay:
            return ()
        rows = await self.reader_of(()).fetch(self.engines.aggregates, overlay_counts_statement)
        return [(row[0], row[1], row[2]) for row in rows]


def _reads_changes(conditions: Conditions) -> bool:
    """Whether there are conditions on columns that only changes through this API give a value."""
    return any(column.unchanged is not None for column in columns_in(conditions))


def _effect(move: tuple[str | None, str, int], of_status: Conditions) -> int:
    """How many more orders match the conditions on the status, because `move` took them from one status to another."""
    synced, set_here, count = move
    return count * (_matches(set_here, of_status) - _matches(synced, of_status))


def _matches(status: str | None, of_status: Conditions) -> bool:
    """Whether an order with this status matches conditions that are all on the status."""
    return all(_matches_term(status, term) for term in of_status)


def _matches_term(status: str | None, term: Term) -> bool:
    if isinstance(term, AnyOf):
        return any(_matches(status, alternative) for alternative in term.alternatives)
    if isinstance(term, Not):
        return not _matches(status, term.conditions)
    if not isinstance(term, Condition) or status is None:
        return False
    values = term.value if isinstance(term.value, tuple) else (term.value,)
    return (status in values) is (term.operator in {Operator.EQ, Operator.IN})
