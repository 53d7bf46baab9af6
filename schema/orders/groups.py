"""Groups of orders: the arguments of `orderGroups`, and the types that it returns."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import strawberry

from schema.context import PageLimits
from schema.errors import InputError, Reason
from schema.orders.enums import OrderPriority, OrderStatus  # noqa: TC001 # as above
from schema.orders.statistics import TotalPriceStats
from schema.orders.types import ORDERS
from schema.ports.groups import GroupKey, GroupRequest, GroupSort
from schema.relay.pagination import given, page_size
from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.arguments import SortDirection
from schema.tables.declaration import stored_values
from schema.tables.fields import to_one
from schema.tables.freshness import freshness_field
from schema.tables.registry import ORDERS_NAME, REGISTERED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from schema.ports.columns import Column, Table
    from schema.ports.groups import Group, Groups
    from schema.ports.values import ColumnValue, Conditions

# How many groups there are in an answer. The settings for page sizes do not change it.
GROUP_LIMITS: Final = PageLimits(default=100, maximum=1_000)
MAX_KEYS: Final = 2
# The table and the column of each key that is not a column of orders by its own name.
_COLUMNS: Final[dict[GroupKey, tuple[str, str]]] = {
    GroupKey.PRIORITY: (ORDERS_NAME, "order_priority"),
    GroupKey.MARKET_SEGMENT: ("customers", "market_segment"),
    GroupKey.NATION: ("nations", "nation_key"),
    GroupKey.ORDER_YEAR: (ORDERS_NAME, "order_date"),
    GroupKey.ORDER_MONTH: (ORDERS_NAME, "order_date"),
    GroupKey.ORDER_DAY: (ORDERS_NAME, "order_date"),
}


@strawberry.enum(description="What orders can be grouped by. Each value fills the field of `OrderGroup` that it names.")
class OrderGroupBy(Enum):
    """A value is that of the port's GroupKey."""

    STATUS = strawberry.enum_value(GroupKey.STATUS.value, description="By `status`, as it is now.")
    PRIORITY = strawberry.enum_value(GroupKey.PRIORITY.value, description="By `priority`.")
    CLERK = strawberry.enum_value(GroupKey.CLERK.value, description="By `clerk`.")
    CUSTOMER = strawberry.enum_value(GroupKey.CUSTOMER.value, description="By `customerKey`.")
    MARKET_SEGMENT = strawberry.enum_value(
        GroupKey.MARKET_SEGMENT.value, description="By the `marketSegment` of the customer."
    )
    NATION = strawberry.enum_value(GroupKey.NATION.value, description="By the `nation` of the customer.")
    ORDER_YEAR = strawberry.enum_value(GroupKey.ORDER_YEAR.value, description="By the year of the order date.")
    ORDER_MONTH = strawberry.enum_value(GroupKey.ORDER_MONTH.value, description="By the month of the order date.")
    ORDER_DAY = strawberry.enum_value(GroupKey.ORDER_DAY.value, description="By the order date.")


@strawberry.enum(description="What groups can be sorted by. Groups that are equal in it are sorted by their keys.")
class OrderGroupSortField(Enum):
    """A value is that of the port's GroupSort."""

    KEYS = strawberry.enum_value(
        GroupSort.KEYS.value,
        description=(
            "By the first key of `by`, then by the second. Enums are in the order of the schema, nations in that of "
            "their keys. Null is the largest. This is the default."
        ),
    )
    COUNT = strawberry.enum_value(GroupSort.COUNT.value, description="By the number of orders.")
    TOTAL_PRICE = strawberry.enum_value(
        GroupSort.TOTAL_PRICE.value,
        description="By the sum of the total prices. Groups without any price are the last in both directions.",
    )


@strawberry.input(description="How to sort groups.")
class OrderGroupOrder:
    """The orderBy argument of orderGroups."""

    field: OrderGroupSortField | None = strawberry.field(
        default=OrderGroupSortField.KEYS, description="What to sort by."
    )
    direction: SortDirection | None = strawberry.field(
        default=SortDirection.ASC, description="The direction of sorting."
    )


@strawberry.input(description="Conditions on the number of orders in a group.")
class OrderGroupCountFilter:
    """Conditions on `count`."""

    gte: int | None = strawberry.field(
        default=strawberry.UNSET, description="At least so many orders. Every group has one, so 0 and 1 leave none out."
    )


@strawberry.input(description="Which groups to return, by what they hold. `filter` says which orders are grouped.")
class OrderGroupHaving:
    """The having argument of orderGroups."""

    count: OrderGroupCountFilter | None = strawberry.field(
        default=strawberry.UNSET, description="Conditions on the number of orders in the group."
    )


@strawberry.type(
    description=(
        "A group of orders, with the values that its orders have in common. A value is null if the orders are not "
        "grouped by it; if they are, null is the group of the orders that have none, or one that is not in the schema."
    )
)
class OrderGroup:
    """One group. An attribute of a key has the name of its GroupKey's value."""

    status: OrderStatus | None = strawberry.field(default=None, description="The status, with changes of this API.")
    priority: OrderPriority | None = strawberry.field(default=None, description="The priority.")
    clerk: str | None = strawberry.field(default=None, description="The clerk who took the orders.")
    customer_key: BigInt | None = strawberry.field(
        default=None, description="The key of the customer who placed the orders."
    )
    market_segment: Any = strawberry.field(
        default=None,
        graphql_type=REGISTERED["customers"].lazy("MarketSegment") | None,
        description="The market segment of the customer. Null also while the synced table lacks the customer.",
    )
    nation_key: strawberry.Private[int | None] = None
    nation: Any = to_one(
        "nations",
        "The nation of the customer. Null also while a synced table lacks the customer or the nation.",
        here="nation_key",
        there="nation_key",
    )
    order_year: int | None = strawberry.field(
        default=None, description="The year of the order date, from 1 to 9999. Null for a date outside of these years."
    )
    order_month: date | None = strawberry.field(
        default=None, description="The first day of the month of the order date. Null where `orderYear` is."
    )
    order_day: date | None = strawberry.field(default=None, description="The order date.")
    count: int = strawberry.field(description="How many orders are in the group.")
    total_price: TotalPriceStats = strawberry.field(description="Statistics of their total prices.")

    @classmethod
    def of(cls, group: Group, by: Sequence[GroupKey]) -> OrderGroup:
        """The group from the store's value."""
        keys = {_attribute(key): _known(key, value) for key, value in zip(by, group.values, strict=True)}
        return cls(count=group.stats.count, total_price=TotalPriceStats.of(group.stats), **keys)


@strawberry.type(description="Groups of orders, in the order that was asked for.")
class OrderGroups:
    """Groups, and when they were read."""

    groups: list[OrderGroup] = strawberry.field(description="The groups. Each has at least one order.")
    truncated: bool = strawberry.field(description="Whether there are more groups than `first`.")
    as_of: datetime = strawberry.field(
        description="When the orders were grouped. Without a filter, the groups are reused for a few seconds."
    )
    freshness = freshness_field(ORDERS)

    @classmethod
    def of(cls, groups: Groups, by: Sequence[GroupKey]) -> OrderGroups:
        """The groups from the store's value."""
        return cls(
            groups=[OrderGroup.of(group, by) for group in groups.groups], truncated=groups.more, as_of=groups.as_of
        )


def group_request(
    by: Sequence[OrderGroupBy],
    conditions: Conditions,
    having: OrderGroupHaving | None,
    order_by: OrderGroupOrder | None,
    first: int | None,
    *,
    prices: bool,
) -> GroupRequest:
    """The request for groups that these arguments ask for.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID, PAGE_SIZE_INVALID.
    """
    sort = order_by.field if order_by and order_by.field else OrderGroupSortField.KEYS
    return GroupRequest(
        by=_checked_keys(by),
        conditions=conditions,
        at_least=_checked_count(having),
        sort=GroupSort(sort.value),
        descending=order_by is not None and order_by.direction is SortDirection.DESC,
        size=page_size(GROUP_LIMITS.default if first is None else first, GROUP_LIMITS, argument="first"),
        prices=prices,
    )


def unserved_keys(tables: Collection[str], hidden: Collection[str]) -> Iterator[GroupKey]:
    """The keys that a deployment does not serve.

    Args:
        tables: the names of the tables that it serves.
        hidden: the fields that it hides, as "Type.attribute".
    """
    for key in GroupKey:
        table, column = column_of(key)
        if not key.tables <= {*tables} or f"{table.type_name}.{column.name}" in hidden:
            yield key


def column_of(key: GroupKey) -> tuple[Table, Column]:
    """The column from which a key is read, and its table."""
    name, column = _COLUMNS.get(key, (ORDERS_NAME, key.value))
    table = REGISTERED[name].table
    return table, table[column]


@cache
def values_of(key: GroupKey) -> tuple[object, ...]:
    """The stored values of an enum in the order of the schema; none if the key is no enum."""
    table, column = column_of(key)
    return tuple(stored_values(column, table).values())


def _checked_keys(by: Sequence[OrderGroupBy]) -> tuple[GroupKey, ...]:
    if len(by) > MAX_KEYS:
        raise InputError(Reason.TOO_MANY_VALUES, f"`by` has {len(by)} values; at most {MAX_KEYS} are allowed.")
    if not by:
        raise InputError(Reason.VALUE_INVALID, "`by` is empty. Name one or two values to group by.")
    if len({*by}) < len(by):
        raise InputError(Reason.VALUE_INVALID, f"`by` names {by[0].name} twice. Name each value once.")
    return tuple(GroupKey(one.value) for one in by)


def _checked_count(having: OrderGroupHaving | None) -> int:
    count = given(having.count) if having else None
    at_least = given(count.gte) if count else None
    if at_least is not None and at_least < 0:
        raise InputError(Reason.VALUE_INVALID, f"`having.count.gte` is {at_least}; it must be 0 or more.")
    return at_least or 0


def _attribute(key: GroupKey) -> str:
    """The attribute of OrderGroup that holds the store's value."""
    return "nation_key" if key is GroupKey.NATION else key.value


def _known(key: GroupKey, value: ColumnValue) -> Any:
    """A stored value, or None if it is not in the schema."""
    values = values_of(key)
    return None if values and value not in values else value
