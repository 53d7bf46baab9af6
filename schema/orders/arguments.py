"""The arguments of order queries: filters and orderings."""

from __future__ import annotations

from datetime import date  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from enum import Enum
from typing import TYPE_CHECKING

import strawberry

from schema.errors import InputError, Reason
from schema.orders.enums import OrderPriority, OrderStatus  # noqa: TC001 # as above
from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.arguments import (
    DIRECTION,
    EQ,
    IN,
    INDEXED,
    NULLS,
    UNINDEXED,
    CustomerKeyFilter,
    SortDirection,
    SortNulls,
    check_list_length,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_GT = "Greater than this."
_GTE = "Greater than or equal to this."
_LT = "Less than this."
_LTE = "Less than or equal to this."


@strawberry.enum(
    description="The fields that orders can be sorted by. Orders with equal values are sorted by order key."
)
class OrderSortField(Enum):
    """A value is the name of the column to sort by."""

    ORDER_KEY = strawberry.enum_value("order_key", description="By the order's key. This is the default.")
    ORDER_DATE = strawberry.enum_value("order_date", description="By the date on which the order was placed.")
    TOTAL_PRICE = strawberry.enum_value("total_price", description="By the total price of the order.")
    CUSTOMER_KEY = strawberry.enum_value("customer_key", description="By the key of the customer who placed the order.")
    STATUS_UPDATED_AT = strawberry.enum_value(
        "status_updated_at",
        description=(
            "By the time of the last change of the status through this API. Most orders have none: with "
            "`direction: DESC, nulls: LAST` the orders that were changed last come first, and are read fast."
        ),
    )
    SHIP_PRIORITY = strawberry.enum_value(
        "ship_priority", description="By the shipping priority. Not indexed: all orders that match are read and sorted."
    )


@strawberry.input(
    description=(
        "A field to sort orders by. A cursor is valid only for the whole `orderBy` it was issued for. Where the first "
        "field has an index, a page reads what it returns, and the orders that tie with its first and last one there."
    )
)
class OrderOrder:
    """One of the orderBy argument."""

    field: OrderSortField | None = strawberry.field(
        default=OrderSortField.ORDER_KEY,
        description="The field. All but SHIP_PRIORITY are fast with the indexes that `ensureIndexes` builds.",
    )
    direction: SortDirection | None = strawberry.field(default=SortDirection.ASC, description=DIRECTION)
    nulls: SortNulls | None = strawberry.field(default=strawberry.UNSET, description=NULLS)


@strawberry.input(description="Conditions on an order key. An order must satisfy all of them.")
class OrderKeyFilter:
    """Conditions on o_orderkey."""

    eq: BigInt | None = strawberry.field(default=strawberry.UNSET, description=EQ)
    in_: list[BigInt] | None = strawberry.field(default=strawberry.UNSET, name="in", description=IN)
    gt: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_GT)
    gte: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_GTE)
    lt: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_LT)
    lte: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_LTE)


@strawberry.input(description="Conditions on a status. An order must satisfy all of them.")
class OrderStatusFilter:
    """Conditions on o_orderstatus."""

    eq: OrderStatus | None = strawberry.field(default=strawberry.UNSET, description=EQ)
    in_: list[OrderStatus] | None = strawberry.field(default=strawberry.UNSET, name="in", description=IN)


@strawberry.input(description="Conditions on a priority. An order must satisfy all of them.")
class OrderPriorityFilter:
    """Conditions on o_orderpriority."""

    eq: OrderPriority | None = strawberry.field(default=strawberry.UNSET, description=EQ)
    in_: list[OrderPriority] | None = strawberry.field(default=strawberry.UNSET, name="in", description=IN)


@strawberry.input(description="Conditions on a clerk's name, compared exactly. An order must satisfy all of them.")
class ClerkFilter:
    """Conditions on o_clerk."""

    eq: str | None = strawberry.field(default=strawberry.UNSET, description=EQ)
    in_: list[str] | None = strawberry.field(default=strawberry.UNSET, name="in", description=IN)


@strawberry.input(
    description=(
        "Conditions on an order date. An order must satisfy all of them. For one day, pass it as `gte` and `lte`."
    )
)
class OrderDateFilter:
    """Conditions on o_orderdate."""

    gt: date | None = strawberry.field(default=strawberry.UNSET, description="Later than this.")
    gte: date | None = strawberry.field(default=strawberry.UNSET, description="On this day or later.")
    lt: date | None = strawberry.field(default=strawberry.UNSET, description="Earlier than this.")
    lte: date | None = strawberry.field(default=strawberry.UNSET, description="On this day or earlier.")


@strawberry.input(description="Conditions on a total price. An order must satisfy all of them.")
class TotalPriceFilter:
    """Conditions on o_totalprice."""

    gt: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_GT)
    gte: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_GTE)
    lt: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_LT)
    lte: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_LTE)


@strawberry.input(
    description=(
        "Which orders to return: those that satisfy all conditions. Contradictory conditions match no order. "
        "A condition that is absent, `null` or an empty object `{}` restricts nothing; `in: []` matches no order."
    )
)
class OrderFilter:
    """The filter argument. An attribute has the name of the column that it restricts."""

    order_key: OrderKeyFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `orderKey`. {INDEXED}"
    )
    customer_key: CustomerKeyFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `customerKey`. {INDEXED}"
    )
    status: OrderStatusFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `status`. {UNINDEXED}"
    )
    order_priority: OrderPriorityFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `orderPriority`. {UNINDEXED}"
    )
    clerk: ClerkFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `clerk`. {UNINDEXED}"
    )
    order_date: OrderDateFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `orderDate`. {INDEXED}"
    )
    total_price: TotalPriceFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Conditions on `totalPrice`. {INDEXED}"
    )


@strawberry.input(description="Which changes to return: those that satisfy all conditions; all if there are none.")
class OrderStatusChangeFilter:
    """The filter argument of orderStatusChanges."""

    order_keys: list[BigInt] | None = strawberry.field(
        default=strawberry.UNSET, description="Changes of these orders, at most 1,000. An empty list matches no change."
    )
    changed_by: str | None = strawberry.field(default=strawberry.UNSET, description="Changes made by this user.")


def chosen_orders(keys: Sequence[int] | None, *, argument: str) -> frozenset[int] | None:
    """The order keys in a list argument, as a set; None if it is absent.

    Raises:
        InputError: TOO_MANY_VALUES.
    """
    if keys is None or keys is strawberry.UNSET:
        return None
    check_list_length(keys, argument=argument)
    return frozenset(keys)


def checked_text(text: str | None, *, argument: str) -> str | None:
    """The text, after a check that PostgreSQL can store it.

    Raises:
        InputError: VALUE_INVALID for a NUL byte.
    """
    if text and "\0" in text:
        raise InputError(Reason.VALUE_INVALID, f"`{argument}` contains a NUL byte, which cannot be stored.")
    return text
