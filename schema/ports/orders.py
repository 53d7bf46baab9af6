"""Owns the questions that the schema may ask of the world, as Protocols, and the values they are put in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schema.ports.templates import JsonPage, Template
    from schema.ports.values import (
        Conditions,
        Count,
        OrderBlock,
        OrderColumns,
        Ordering,
        Page,
        PageRequest,
        Stats,
        StatsGroup,
    )


class OrderStore(Protocol):
    """Where orders are read.

    Every method raises `schema.errors.UnavailableError` where the store does not answer.
    A block holds the columns asked for and no others.
    """

    async def page(self, request: PageRequest, columns: OrderColumns) -> Page:
        """A page by position: costs the same at any depth."""

    async def json_page(self, request: PageRequest, templates: tuple[Template, ...], *, ends: bool) -> JsonPage | None:
        """The same page in JSON, with its outermost positions where `ends` are wanted.

        None where a value has no JSON of its own: `page` then says what it is.
        """

    async def json_orders(
        self, keys: Sequence[int], templates: tuple[Template, ...]
    ) -> Mapping[int, tuple[str, ...]] | None:
        """Each order with one of these keys, as every template has it; one that there is not is left out.

        None as above.
        """

    async def numbered_page(
        self, ordering: Ordering, conditions: Conditions, columns: OrderColumns, *, offset: int, size: int
    ) -> Page:
        """A page by number of orders skipped: costs more the deeper it is."""

    async def count(self, conditions: Conditions) -> Count:
        """Exactly how many orders there are. Without conditions it may be a few seconds old."""

    async def estimated_count(self, conditions: Conditions) -> int | None:
        """About how many orders there are, from the database's statistics; None where it has none."""

    async def stats(self, conditions: Conditions, groups: frozenset[StatsGroup]) -> Stats:
        """What the total prices come to. Without conditions it may be a few seconds old."""

    async def sample(self, size: int, columns: OrderColumns) -> OrderBlock:
        """`size` different orders drawn at random, each equally likely; fewer where there are fewer."""


class OrderLookup(Protocol):
    """Finds single orders for one operation, putting all that are asked for at once into one statement."""

    async def order(self, key: int, columns: OrderColumns) -> OrderBlock | None:
        """A block of one row, or None where there is no such order."""

    async def orders(self, keys: Iterable[int], columns: OrderColumns) -> Sequence[OrderBlock | None]:
        """As many as keys, in their order."""
