"""The ports of orders: the store, which reads pages and statistics, and the lookup of single orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schema.ports.columns import Columns
    from schema.ports.templates import JsonPage, Template
    from schema.ports.values import Block, Conditions, Count, Ordering, Page, PageRequest, Stats, StatsGroup


class OrderStore(Protocol):
    """Reads orders.

    Every method raises `schema.errors.UnavailableError` if the store does not answer.
    A block holds exactly the requested columns.
    """

    async def page(self, request: PageRequest, columns: Columns) -> Page:
        """A page next to a position. It costs the same at any depth."""

    async def json_page(self, request: PageRequest, templates: tuple[Template, ...], *, ends: bool) -> JsonPage | None:
        """The same page as JSON, with the positions of its first and last order if `ends`.

        None if a stored value does not fit the schema: the ordinary path then reports it.
        """

    async def json_orders(
        self, keys: Sequence[int], templates: tuple[Template, ...]
    ) -> Mapping[int, tuple[str, ...]] | None:
        """The JSON of each order with one of these keys, by each template. Keys without an order are left out.

        None as for `json_page`.
        """

    async def numbered_page(
        self, ordering: Ordering, conditions: Conditions, columns: Columns, *, offset: int, size: int
    ) -> Page:
        """A page by the number of orders skipped. It costs more the deeper it is."""

    async def count(self, conditions: Conditions) -> Count:
        """The exact number of matching orders. Without conditions it may be a few seconds old."""

    async def estimated_count(self, conditions: Conditions) -> int | None:
        """The approximate number of matching orders, from the database's statistics; None if it has none."""

    async def stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        """Statistics of the matching orders. Without conditions they may be a few seconds old."""

    async def sample(self, size: int, columns: Columns) -> Block:
        """`size` distinct orders drawn at random, each equally likely; fewer if there are fewer."""


class OrderLookup(Protocol):
    """Looks up single orders for one operation. Lookups made at the same time share one statement."""

    async def order(self, key: int, columns: Columns) -> Block | None:
        """A block of one row, or None if there is no such order."""

    async def orders(self, keys: Iterable[int], columns: Columns) -> Sequence[Block | None]:
        """For each key, in order: a block of one row, or None if there is no such order."""
