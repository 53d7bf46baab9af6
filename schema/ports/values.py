"""The values that the ports of orders take and give."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal


ColumnValue = object


Row = tuple[ColumnValue, ...]


class OrderColumn(Enum):
    """What is known of an order. A value is the attribute's name on `schema.orders.types.Order`.

    STATUS is the merged one: that of the last change, or the synced one where there was none.
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
    """How a condition compares. IN takes a tuple of values; an empty one holds for no order."""

    EQ = "eq"
    IN = "in_"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison that every order of an answer satisfies, with the value as it is stored."""

    column: OrderColumn
    operator: Operator
    value: ColumnValue | tuple[ColumnValue, ...]


Conditions = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Ordering:
    """A total order: by `column`, then by order key, both in the same direction.

    Orders without a value in `column` come last when ascending and first when descending.
    """

    column: OrderColumn = OrderColumn.ORDER_KEY
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an ordering: the order with this value and key, whether it still exists or not."""

    value: ColumnValue | None
    key: int


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of at most `size` orders next to `position`, on its far side in the direction of travel.

    `backward` travels against the ordering; the rows of the answer are in its order all the same.
    `look_back` asks also whether there is any order at `position` or behind it.
    """

    ordering: Ordering
    conditions: Conditions
    size: int
    position: Position | None = None
    backward: bool = False
    look_back: bool = False


@dataclass(frozen=True, slots=True)
class OrderBlock:
    """Rows of orders as they came from the store: `rows[i][j]` is the value of `columns[j]`."""

    columns: tuple[OrderColumn, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Page:
    """A block, whether more orders follow in the direction of travel, and whether any lie behind.

    Behind a numbered page lies whatever its number skips.
    """

    block: OrderBlock
    more_ahead: bool
    any_behind: bool


@dataclass(frozen=True, slots=True)
class Count:
    """A number of orders, as of a moment."""

    count: int
    as_of: datetime


class StatsGroup(Enum):
    """By what the statistics can be broken down."""

    STATUS = "status"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class PriceStats:
    """How many orders, and what their total prices come to; None where there are no orders."""

    count: int
    sum: Decimal | None
    average: Decimal | None
    minimum: Decimal | None
    maximum: Decimal | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics over all orders asked for, and by group: the stored value and its statistics."""

    total: PriceStats
    groups: dict[StatsGroup, list[tuple[str | None, PriceStats]]]
    as_of: datetime
