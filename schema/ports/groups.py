"""The port of groups of orders: what is asked for, and what the store returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schema.ports.values import ColumnValue, Conditions, PriceStats


class GroupKey(Enum):
    """What orders can be grouped by."""

    STATUS = "status"
    PRIORITY = "priority"
    CLERK = "clerk"
    CUSTOMER = "customer_key"
    MARKET_SEGMENT = "market_segment"
    NATION = "nation"
    ORDER_YEAR = "order_year"
    ORDER_MONTH = "order_month"
    ORDER_DAY = "order_day"

    @property
    def tables(self) -> frozenset[str]:
        """The names of the tables that it is read from, beside the orders."""
        if self is GroupKey.NATION:
            return frozenset({"customers", "nations"})
        return frozenset({"customers"}) if self is GroupKey.MARKET_SEGMENT else frozenset()


class GroupSort(Enum):
    """What groups can be sorted by: their keys, their numbers of orders, or the sums of their prices."""

    KEYS = "keys"
    COUNT = "count"
    TOTAL_PRICE = "total_price"


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """The first `size` groups of the matching orders, in an order.

    Groups that are equal in the order are sorted by their keys, ascending. A key that is null is the largest. A group
    without a price is the last, whatever the direction is.

    Attributes:
        by: the keys, one or two.
        conditions: which orders to group.
        at_least: groups of fewer orders are left out.
        sort: what to sort the groups by.
        descending: whether the largest are the first.
        size: how many groups to return at most.
        prices: whether the statistics of their prices are wanted.
    """

    by: tuple[GroupKey, ...]
    conditions: Conditions
    at_least: int
    sort: GroupSort
    descending: bool
    size: int
    prices: bool

    @property
    def tables(self) -> frozenset[str]:
        """The names of the tables that are read beside the orders."""
        return frozenset().union(*(key.tables for key in self.by))


@dataclass(frozen=True, slots=True)
class Group:
    """A group of orders: the stored value of each key, in the order of the request, and the statistics.

    Of a nation it is the key. The prices are None if they are not wanted.
    """

    values: tuple[ColumnValue, ...]
    stats: PriceStats


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of orders, whether there are more of them, and when they were read."""

    groups: Sequence[Group]
    more: bool
    as_of: datetime


class OrderGroupStore(Protocol):
    """Groups orders. It raises `schema.errors.UnavailableError` if the store does not answer or lacks a table."""

    async def groups(self, request: GroupRequest) -> Groups:
        """The groups. Without conditions they may be a few seconds old."""
