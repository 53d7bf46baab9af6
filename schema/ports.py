"""Owns the questions that the schema may ask of the world, as Protocols, and the values they are put in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from schema.templates import Template, WrittenPage

ColumnValue = object
Row = tuple[ColumnValue, ...]


class OrderColumn(Enum):
    """What is known of an order. A value is the attribute's name on `schema.orders.Order`.

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


class OrderStore(Protocol):
    """Where orders are read.

    Every method raises `schema.errors.UnavailableError` where the store does not answer.
    A block holds the columns asked for and no others.
    """

    async def page(self, request: PageRequest, columns: OrderColumns) -> Page:
        """A page by position: costs the same at any depth."""

    async def written_page(
        self, request: PageRequest, templates: tuple[Template, ...], *, ends: bool
    ) -> WrittenPage | None:
        """The same page in JSON, with its outermost positions where `ends` are wanted.

        None where a value has no JSON of its own: `page` then says what it is.
        """

    async def written_orders(
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
