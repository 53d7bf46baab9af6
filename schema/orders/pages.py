"""Pages of orders: the Relay connection, and the numbered page."""

from __future__ import annotations

import asyncio

import strawberry

from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.orders.types import ORDERS, Order
from schema.ports.values import Conditions, Count  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.tables.freshness import freshness_field
from schema.tables.pages import TableConnection


@strawberry.type(description="A page of orders, and the number of all matching orders.")
class OrderConnection(TableConnection[Order]):
    """Relay's connection of orders."""


@strawberry.type(
    description=(
        "A numbered page, for user interfaces with page numbers. Page numbers shift when orders are added or removed, "
        "and the database reads everything before the page. For distant pages, use `orders` with a cursor."
    )
)
class OrderPage:
    """A numbered page."""

    nodes: list[Order | None] = strawberry.field(
        description="The orders of this page. Null, with an error, where a stored value does not fit the schema."
    )
    page: int = strawberry.field(description="The number of this page. Numbers start at 1.")
    page_size: int = strawberry.field(description="The number of orders on a full page.")
    has_next_page: bool = strawberry.field(description="Whether there is a page after this one.")
    has_previous_page: bool = strawberry.field(
        description="Whether there is a page before this one. It is true from page 2 on, even past the last page."
    )
    conditions: strawberry.Private[Conditions]
    counted: strawberry.Private[bool]
    _count: strawberry.Private[asyncio.Future[Count] | None] = None
    freshness = freshness_field(ORDERS)

    @strawberry.field(description="How many orders match the filter. Null if `includeCount` is false.")
    async def total_count(self, info: Info) -> int | None:
        """Counted only if selected."""
        return await self._total(info) if self.counted else None

    @strawberry.field(description="How many pages there are. Null if `includeCount` is false.")
    async def total_pages(self, info: Info) -> int | None:
        """Computed from the count that total_count returns."""
        return -(-await self._total(info) // self.page_size) if self.counted else None

    async def _total(self, info: Info) -> int:
        if self._count is None:
            self._count = asyncio.ensure_future(info.context.tables.count(ORDERS, self.conditions))
        return (await self._count).count
