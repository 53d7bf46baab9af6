"""Estimated counts: what PostgreSQL's planner expects, without reading a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from schema.ports.values import AnyOf, Condition, Operator
from server.tables.source import Source
from server.tables.sql.counts import estimate_statement, statistics_known_statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports.values import Conditions
    from server.db.engine import Engines
    from server.tables.reading.read_connection import ReadConnection
    from server.tables.reading.reader import Reader

S = TypeVar("S", bound=Source)


def matches_nothing(conditions: Conditions) -> bool:
    """Whether the conditions can be seen to match no row: one of them is an empty list."""
    return any(
        term == AnyOf(()) or (isinstance(term, Condition) and term.operator is Operator.IN and not term.value)
        for term in conditions
    )


class Estimates(Generic[S]):
    """Estimates how many rows match.

    Args:
        engines: the pools.
        reader_of: what runs statements with conditions.
    """

    def __init__(self, engines: Engines, reader_of: Callable[[Conditions], Reader[S]]) -> None:
        self.engines = engines
        self.reader_of = reader_of

    async def count(self, conditions: Conditions) -> int | None:
        """The planner's estimate of the number of matching rows; None if ANALYZE has not run."""
        if matches_nothing(conditions):
            # The planner never estimates 0.
            return 0
        reader = self.reader_of(conditions)
        return await reader.run(self.engines.pages, lambda connection: self.estimated(connection, conditions))

    def source_of(self, source: S, conditions: Conditions) -> Source:  # noqa: ARG002 # for tables with an overlay
        """The rows that the planner estimates."""
        return source

    async def estimated(self, connection: ReadConnection[S], conditions: Conditions) -> int | None:
        """The estimate on this connection."""
        source = await connection.source()
        known = await connection.rows(statistics_known_statement(source))
        if not (known and known[0][0]):
            return None
        plans = await connection.rows(estimate_statement(self.source_of(source, conditions), conditions))
        return int(plans[0][0][0]["Plan"]["Plan Rows"])
