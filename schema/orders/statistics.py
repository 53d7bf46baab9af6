"""Counts and statistics of orders."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import strawberry

from schema.orders.enums import OrderPriority, OrderStatus
from schema.orders.types import ORDERS
from schema.ports.values import Count, PriceStats, StatsGroup
from schema.tables.freshness import freshness_field

if TYPE_CHECKING:
    from schema.ports.values import Stats


@strawberry.type(description="A number of orders.")
class OrderCount:
    """A count, and when it was taken."""

    count: int = strawberry.field(description="The exact number of orders that match the filter.")
    as_of: datetime = strawberry.field(
        description="When the orders were counted. Without a filter, a count is reused for a few seconds."
    )
    freshness = freshness_field(ORDERS)

    @classmethod
    def of(cls, count: Count) -> OrderCount:
        """The count from the store's value."""
        return cls(count=count.count, as_of=count.as_of)


@strawberry.type(description="Statistics of total prices. Values are null if there are no orders.")
class TotalPriceStats:
    """Statistics of o_totalprice."""

    sum: Decimal | None = strawberry.field(description="The exact sum of all prices.")
    average: Decimal | None = strawberry.field(description="The mean price, rounded to four decimal places.")
    minimum: Decimal | None = strawberry.field(description="The lowest price.")
    maximum: Decimal | None = strawberry.field(description="The highest price.")

    @classmethod
    def of(cls, stats: PriceStats) -> TotalPriceStats:
        """The statistics from the store's values."""
        return cls(sum=stats.sum, average=stats.average, minimum=stats.minimum, maximum=stats.maximum)


@strawberry.type(description="The statistics of the orders with one status.")
class OrderStatusStats:
    """One group of orderStats.byStatus."""

    status: OrderStatus | None = strawberry.field(
        description="The status. Null if the stored status is missing or not in the schema."
    )
    count: int = strawberry.field(description="How many orders are in this group.")
    total_price: TotalPriceStats = strawberry.field(description="Statistics of their total prices.")


@strawberry.type(description="The statistics of the orders with one priority.")
class OrderPriorityStats:
    """One group of orderStats.byPriority."""

    priority: OrderPriority | None = strawberry.field(
        description="The priority. Null if the stored priority is missing or not in the schema."
    )
    count: int = strawberry.field(description="How many orders are in this group.")
    total_price: TotalPriceStats = strawberry.field(description="Statistics of their total prices.")


@strawberry.type(description="Statistics of all orders that match a filter.")
class OrderStats:
    """Statistics, and when they were computed."""

    count: int = strawberry.field(description="The exact number of orders that match the filter.")
    total_price: TotalPriceStats = strawberry.field(description="Statistics of their total prices.")
    by_status: list[OrderStatusStats] = strawberry.field(
        description="Statistics for each status that occurs, in the order of the enum."
    )
    by_priority: list[OrderPriorityStats] = strawberry.field(
        description="Statistics for each priority that occurs, the most urgent first."
    )
    as_of: datetime = strawberry.field(
        description="When the statistics were computed. Without a filter, they are reused for a few seconds."
    )
    freshness = freshness_field(ORDERS)

    @classmethod
    def of(cls, stats: Stats) -> OrderStats:
        """The statistics from the store's values."""
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
    """Groups by enum member, in the enum's order, from groups by stored value. Unknown values come last, as None."""
    members: list[_EnumT | None] = [*enum, None]
    by_value = {member.value: member for member in enum}
    return sorted(((by_value.get(value), group) for value, group in groups), key=lambda pair: members.index(pair[0]))
