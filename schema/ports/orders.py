"""The port of what is read of orders and of no other table: numbered pages, statistics and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from schema.ports.columns import Columns
    from schema.ports.values import Block, Conditions, Ordering, Page, Stats, StatsGroup


class OrderStore(Protocol):
    """Reads orders.

    Every method raises `schema.errors.UnavailableError` if the store does not answer.
    A block holds exactly the requested columns.
    """

    async def numbered_page(
        self, ordering: Ordering, conditions: Conditions, columns: Columns, *, offset: int, size: int
    ) -> Page:
        """A page by the number of orders skipped. It costs more the deeper it is."""

    async def stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        """Statistics of the matching orders. Without conditions they may be a few seconds old."""

    async def sample(self, size: int, columns: Columns) -> Block:
        """`size` distinct orders drawn at random, each equally likely; fewer if there are fewer."""
