"""Pages of orders: the Relay connection, and the numbered page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.orders.statistics import CountPrecision
from schema.orders.types import Order, orders_in
from schema.ports.values import Conditions, Count  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.relay.pagination import Connection, Edge, PageInfo, encode_cursor

if TYPE_CHECKING:
    from schema.ports.columns import Columns
    from schema.ports.values import Ordering, Page, PageRequest


@strawberry.type(description="A page of orders, and the number of all matching orders.")
class OrderConnection(Connection[Order]):
    """Relay's connection of orders."""

    conditions: strawberry.Private[Conditions] = ()

    @strawberry.field(
        description="How many orders match the filter, on all pages. Counted only if this field is selected."
    )
    async def total_count(
        self,
        info: Info,
        precision: Annotated[
            CountPrecision | None,
            strawberry.argument(
                description="Exact, or estimated at low cost. An estimate is null if the database has none."
            ),
        ] = CountPrecision.EXACT,
    ) -> int | None:
        """The count; None if an estimate is requested and the database has none."""
        if precision is CountPrecision.ESTIMATED:
            return await info.context.orders.estimated_count(self.conditions)
        return (await info.context.orders.count(self.conditions)).count

    @classmethod
    def of(cls, request: PageRequest, page: Page, *, with_cursors: bool) -> OrderConnection:
        """The connection of a page.

        Cursors are empty unless `with_cursors`: computing them would be wasted if none is selected.
        """
        orders = list(orders_in(page.block))
        cursors = [_cursor(request.ordering, order) if with_cursors else "" for order in orders]
        return cls(
            edges=[Edge(cursor=cursor, node=order) for cursor, order in zip(cursors, orders, strict=True)],
            nodes=orders,  # type: ignore[arg-type] # list is invariant, and this one is only read
            page_info=PageInfo(
                has_next_page=page.any_behind if request.backward else page.more_ahead,
                has_previous_page=page.more_ahead if request.backward else page.any_behind,
                start_cursor=cursors[0] if cursors else None,
                end_cursor=cursors[-1] if cursors else None,
            ),
            conditions=request.conditions,
        )


def _cursor(ordering: Ordering, order: Order) -> str:
    return encode_cursor(ordering, getattr(order, ordering.column.name), (order.order_key,))


def cursor_columns(ordering: Ordering) -> Columns:
    """The columns that the cursors of an ordering need."""
    return frozenset({ordering.column, *ordering.table.key})


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
            self._count = asyncio.ensure_future(info.context.orders.count(self.conditions))
        return (await self._count).count
