"""Counts and statistics of orders."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import strawberry

from schema.orders.arguments import OrderPriority, OrderStatus
from schema.ports.values import Count, PriceStats, StatsGroup

if TYPE_CHECKING:
    from schema.ports.values import Stats


from typing import TYPE_CHECKING


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
