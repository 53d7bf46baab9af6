"""The values that the ports of orders take and return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal


ColumnValue = object
Row = tuple[ColumnValue, ...]


class OrderColumn(Enum):
    """The columns of an order. A value is the name of the attribute of `schema.orders.types.Order`.

    STATUS is the merged status: the overlay's status if there is one, else the synced status.
    """

    ORDER_KEY = "order_key"
    CUSTOMER_KEY = "customer_key"
    STATUS = "status"
    TOTAL_PRICE = "total_price"
    ORDER_DATE = "order_date"
    ORDER_PRIORITY = "order_priority"
    CLERK = "clerk"
    SHIP_PRIORITY = "ship_priority"
    COMMENT = "comment"
    STATUS_VERSION = "status_version"
    STATUS_UPDATED_AT = "status_updated_at"
    STATUS_UPDATED_BY = "status_updated_by"
    SYNCED_STATUS = "synced_status"
    STATUS_SUPERSEDED = "status_superseded"


OrderColumns = frozenset[OrderColumn]


class Operator(Enum):
    """How a condition compares. IN takes a tuple of values; an empty tuple matches no order."""

    EQ = "eq"
    IN = "in_"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a column with a value, or with a tuple of values. Values are as stored."""

    column: OrderColumn
    operator: Operator
    value: ColumnValue | tuple[ColumnValue, ...]


Conditions = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Ordering:
    """A total order: by `column`, then by order key, both in the same direction.

    Null in `column` sorts last when ascending and first when descending.
    """

    column: OrderColumn = OrderColumn.ORDER_KEY
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an ordering: the place of an order with this value and key. The order need not exist any more."""

    value: ColumnValue | None
    key: int


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of at most `size` orders after `position`, or before it if `backward`.

    The rows of the answer are in the ordering either way. `look_back` also asks whether there is any order at
    `position` or on its other side.
    """

    ordering: Ordering
    conditions: Conditions
    size: int
    position: Position | None = None
    backward: bool = False
    look_back: bool = False


@dataclass(frozen=True, slots=True)
class OrderBlock:
    """Rows of orders, as stored: `rows[i][j]` is the value of `columns[j]`."""

    columns: tuple[OrderColumn, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of orders.

    `more_ahead` says whether more orders follow in the direction of paging, `any_behind` whether there are any in the
    other direction. Behind a numbered page are the orders that its number skips.
    """

    block: OrderBlock
    more_ahead: bool
    any_behind: bool


# The page of a query that needs nothing from it: nothing was read.
NO_ORDERS: Final = Page(OrderBlock((), ()), more_ahead=False, any_behind=False)


@dataclass(frozen=True, slots=True)
class Count:
    """A number of orders, and when they were counted."""

    count: int
    as_of: datetime


class StatsGroup(Enum):
    """How statistics can be grouped."""

    STATUS = "status"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class PriceStats:
    """The number of orders and the statistics of their total prices, which are None if there are no orders."""

    count: int
    sum: Decimal | None
    average: Decimal | None
    minimum: Decimal | None
    maximum: Decimal | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of all matching orders, and of each group: its stored value and its statistics."""

    total: PriceStats
    groups: dict[StatsGroup, list[tuple[str | None, PriceStats]]]
    as_of: datetime
