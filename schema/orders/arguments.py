"""The arguments of order queries: filters and orderings."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import strawberry

from schema.errors import InputError, Reason
from schema.orders.types import Order
from schema.scalars import BigInt  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.tables.arguments import DIRECTION, NULLS, SortDirection, SortNulls, check_list_length
from schema.tables.filters import CHANGED, INDEXED, filter_of

if TYPE_CHECKING:
    from collections.abc import Sequence


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


@filter_of(
    Order,
    "Which orders to return.",
    about={
        "order_key": INDEXED,
        "customer_key": INDEXED,
        "order_date": INDEXED,
        "total_price": INDEXED,
        "status_version": CHANGED,
        "status_updated_at": CHANGED,
        "status_updated_by": CHANGED,
        "status_superseded": CHANGED,
    },
    named={
        "order_key": "OrderKeyFilter",
        "customer_key": "CustomerKeyFilter",
        "order_date": "OrderDateFilter",
        "total_price": "TotalPriceFilter",
        "clerk": "ClerkFilter",
    },
)
class OrderFilter:
    """The filter argument. An attribute has the name of the column that it restricts, or combines other filters."""


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
