"""Owns the types that describe orders: the order itself, its pages, counts and statistics."""

from __future__ import annotations

import asyncio
from datetime import date, datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import strawberry
from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from schema.context import Info  # noqa: TC001 # as above
from schema.node import Node
from schema.order_arguments import OrderPriority, OrderStatus
from schema.pagination import Connection, Edge, PageInfo, encode_cursor, given, page_window
from schema.permissions import Role
from schema.ports import Conditions, Count, OrderColumn, OrderColumns, PriceStats, StatsGroup
from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.selection import Selection
from schema.status_changes import OrderStatusChangeConnection, change_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schema.ports import OrderBlock, Ordering, Page, PageRequest, Stats


def _column(description: str) -> Any:
    # Only the selected columns are read, so an attribute may be left out when an order is made.
    return strawberry.field(default=None, description=description)


@strawberry.type(description="An order as the lakehouse last delivered it, with the status that was set here since.")
class Order(Node):
    """One row. An attribute is named as its `OrderColumn` and holds the value as stored."""

    role: ClassVar[Role] = Role.READER

    order_key: BigInt = _column("The order's own key. Keys are unique but not consecutive.")
    customer_key: BigInt = _column("The key of the customer who ordered.")
    status: OrderStatus = _column(
        "How far the order has come: what was set here last, or the synced status where nothing was."
    )
    total_price: Decimal = _column("What the order costs, exactly.")
    order_date: date = _column("The day the order was placed.")
    order_priority: OrderPriority = _column("How urgent the order is.")
    clerk: str = _column("The clerk who took the order, `Clerk#000000951` say.")
    ship_priority: int = _column("The priority of shipping; 0 in TPC-H data.")
    comment: str = _column("Free text.")
    status_version: int = _column(
        "How often the status was changed here; 0 as synced. Give it as `expectedVersion` to change what you saw."
    )
    status_updated_at: datetime | None = _column("When the status was last changed here; null as synced.")
    status_updated_by: str | None = _column("Who changed the status here last; null as synced.")
    synced_status: OrderStatus | None = _column("What the synced table says, whatever was set here.")
    status_superseded: bool = _column(
        "Whether the synced status has moved on since the status was set here. What was set here still wins."
    )

    @strawberry.field(
        description=(
            "The changes of this order's status that were made here, oldest first: `last: 3` are the latest. "
            "For all orders of a page they are one statement."
        )
    )
    async def status_changes(  # Relay's four arguments
        self,
        info: Info,
        first: Annotated[int | None, strawberry.argument(description="How many to take after `after`.")] = UNSET,
        after: Annotated[str | None, strawberry.argument(description="The cursor to start after.")] = UNSET,
        last: Annotated[int | None, strawberry.argument(description="How many to take before `before`.")] = UNSET,
        before: Annotated[str | None, strawberry.argument(description="The cursor to end before.")] = UNSET,
    ) -> OrderStatusChangeConnection:
        """Through the operation's lookup."""
        window = change_window(
            page_window(
                info.context.limits,
                first=given(first),
                after=given(after),
                last=given(last),
                before=given(before),
            )
        )
        page = await info.context.change_lookup.of_order(self.order_key, window, until=info.context.head)
        return OrderStatusChangeConnection.of(page, window, head=info.context.head)

    def node_key(self) -> str:
        """The order key."""
        return str(self.order_key)


# Which column each field of Order is read from: the one map, for whatever reads orders.
COLUMN_OF_FIELD: dict[str, OrderColumn] = {
    "id": OrderColumn.ORDER_KEY,
    "statusChanges": OrderColumn.ORDER_KEY,
    **{to_camel_case(column.value): column for column in OrderColumn},
}


def order_columns(*selections: Selection | None) -> OrderColumns:
    """The columns that selections on Order need."""
    return frozenset(
        COLUMN_OF_FIELD[name]
        for selection in selections
        if selection is not None
        for name in selection.fields()
        if name in COLUMN_OF_FIELD
    )


async def selected_order(info: Info, key: int) -> Order | None:
    """The order with this key, with what the field being resolved selects of it."""
    block = await info.context.lookup.order(key, order_columns(Selection.below(info, "Order")))
    return None if block is None else next(orders_in(block))


def orders_in(block: OrderBlock) -> Iterator[Order]:
    """The orders of a block, in its order."""
    names = [column.value for column in block.columns]
    make: Callable[..., Order] = Order
    return (make(**dict(zip(names, row, strict=True))) for row in block.rows)


@strawberry.enum(description="How a number of orders is found.")
class CountPrecision(Enum):
    """The precision argument of totalCount."""

    EXACT = strawberry.enum_value(
        "exact",
        description="Counted, which takes longer the more orders match. Over all orders it may be seconds old.",
    )
    ESTIMATED = strawberry.enum_value(
        "estimated",
        description=(
            "Taken from the database's statistics: cheap at any size. Over all orders it is off by some percent, "
            "with several conditions it may be off by any factor."
        ),
    )


@strawberry.type(description="A page of orders, and how many there are in all.")
class OrderConnection(Connection[Order]):
    """Relay's connection of orders."""

    conditions: strawberry.Private[Conditions] = ()

    @strawberry.field(description="How many orders match the filter, whatever the page. Counted only when selected.")
    async def total_count(
        self,
        info: Info,
        precision: Annotated[
            CountPrecision | None,
            strawberry.argument(description="How to find it. An estimate is null where there is none to be had."),
        ] = CountPrecision.EXACT,
    ) -> int | None:
        """The count, or None where an estimate is not to be had."""
        if precision is CountPrecision.ESTIMATED:
            return await info.context.orders.estimated_count(self.conditions)
        return (await info.context.orders.count(self.conditions)).count

    @classmethod
    def of(cls, request: PageRequest, page: Page | None, *, with_cursors: bool) -> OrderConnection:
        """The connection of a page; of None where nothing of the page is selected.

        Without cursors, where none is selected, they are empty.
        """
        if page is None:
            return cls(edges=[], nodes=[], page_info=PageInfo.empty(), conditions=request.conditions)
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
    return encode_cursor(ordering, getattr(order, ordering.column.value), order.order_key)


def cursor_columns(ordering: Ordering) -> OrderColumns:
    """The columns that the cursors of an ordering are made of."""
    return frozenset({ordering.column, OrderColumn.ORDER_KEY})


@strawberry.type(
    description=(
        "A page by its number, for interfaces with page numbers. Numbers shift when orders come and go, and the "
        "database reads everything before the page: for far pages use `orders` with a cursor."
    )
)
class OrderPage:
    """A page by number."""

    nodes: list[Order | None] = strawberry.field(
        description="The orders of this page. Null, with an error, where a stored value is outside the schema."
    )
    page: int = strawberry.field(description="The number of this page, from 1.")
    page_size: int = strawberry.field(description="How many orders a page holds.")
    has_next_page: bool = strawberry.field(description="Whether there is a page after this one.")
    has_previous_page: bool = strawberry.field(
        description="Whether there is a page before this one: true from page 2 on, also past the last page."
    )
    conditions: strawberry.Private[Conditions]
    counted: strawberry.Private[bool]
    _count: strawberry.Private[asyncio.Future[Count] | None] = None

    @strawberry.field(description="How many orders match the filter. Null with `includeCount: false`.")
    async def total_count(self, info: Info) -> int | None:
        """Counted only when selected."""
        return await self._total(info) if self.counted else None

    @strawberry.field(description="How many pages there are. Null with `includeCount: false`.")
    async def total_pages(self, info: Info) -> int | None:
        """From the same count as total_count."""
        return -(-await self._total(info) // self.page_size) if self.counted else None

    async def _total(self, info: Info) -> int:
        if self._count is None:
            self._count = asyncio.ensure_future(info.context.orders.count(self.conditions))
        return (await self._count).count


@strawberry.type(description="A number of orders.")
class OrderCount:
    """A count, as of a moment."""

    count: int = strawberry.field(description="How many orders match the filter, exactly.")
    as_of: datetime = strawberry.field(
        description="When they were counted. Over all orders a count is reused for a few seconds."
    )

    @classmethod
    def of(cls, count: Count) -> OrderCount:
        """The count as it came from the store."""
        return cls(count=count.count, as_of=count.as_of)


@strawberry.type(description="What total prices come to. Null where there are no orders.")
class TotalPriceStats:
    """Statistics of o_totalprice."""

    sum: Decimal | None = strawberry.field(description="All prices added up, exactly.")
    average: Decimal | None = strawberry.field(description="The mean price, rounded to four decimals.")
    minimum: Decimal | None = strawberry.field(description="The lowest price.")
    maximum: Decimal | None = strawberry.field(description="The highest price.")

    @classmethod
    def of(cls, stats: PriceStats) -> TotalPriceStats:
        """The statistics as they came from the store."""
        return cls(sum=stats.sum, average=stats.average, minimum=stats.minimum, maximum=stats.maximum)


@strawberry.type(description="The statistics of the orders with one status.")
class OrderStatusStats:
    """One group of orderStats.byStatus."""

    status: OrderStatus | None = strawberry.field(
        description="The status. Null where the stored status is missing or unknown to the schema."
    )
    count: int = strawberry.field(description="How many orders have it.")
    total_price: TotalPriceStats = strawberry.field(description="What they come to.")


@strawberry.type(description="The statistics of the orders with one priority.")
class OrderPriorityStats:
    """One group of orderStats.byPriority."""

    priority: OrderPriority | None = strawberry.field(
        description="The priority. Null where the stored priority is missing or unknown to the schema."
    )
    count: int = strawberry.field(description="How many orders have it.")
    total_price: TotalPriceStats = strawberry.field(description="What they come to.")


@strawberry.type(description="Statistics of all orders that match a filter.")
class OrderStats:
    """Statistics, as of a moment."""

    count: int = strawberry.field(description="How many orders match the filter, exactly.")
    total_price: TotalPriceStats = strawberry.field(description="What they come to.")
    by_status: list[OrderStatusStats] = strawberry.field(
        description="The same by status, for each that occurs, in the order of the enum."
    )
    by_priority: list[OrderPriorityStats] = strawberry.field(
        description="The same by priority, for each that occurs, the most urgent first."
    )
    as_of: datetime = strawberry.field(
        description="When they were computed. Over all orders they are reused for a few seconds."
    )

    @classmethod
    def of(cls, stats: Stats) -> OrderStats:
        """The statistics as they came from the store."""
        return cls(
            count=stats.total.count,
            total_price=TotalPriceStats.of(stats.total),
            by_status=[
                OrderStatusStats(status=status, count=group.count, total_price=TotalPriceStats.of(group))
                for status, group in _by_member(OrderStatus, stats.groups.get(StatsGroup.STATUS, []))
            ],
            by_priority=[
                OrderPriorityStats(priority=priority, count=group.count, total_price=TotalPriceStats.of(group))
                for priority, group in _by_member(OrderPriority, stats.groups.get(StatsGroup.PRIORITY, []))
            ],
            as_of=stats.as_of,
        )


_EnumT = TypeVar("_EnumT", bound=Enum)


def _by_member(
    enum: type[_EnumT], groups: list[tuple[str | None, PriceStats]]
) -> list[tuple[_EnumT | None, PriceStats]]:
    """Groups by stored value as groups by enum member, in the enum's order, what is unknown to it last."""
    members: list[_EnumT | None] = [*enum, None]
    by_value = {member.value: member for member in enum}
    return sorted(((by_value.get(value), group) for value, group in groups), key=lambda pair: members.index(pair[0]))
