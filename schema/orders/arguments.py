"""Owns the arguments of order queries: filter and order, and what they mean to the store."""

from __future__ import annotations

from datetime import date  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from enum import Enum
from typing import TYPE_CHECKING

import strawberry
from strawberry.utils.str_converters import to_camel_case

from schema.errors import InputError, Reason
from schema.ports.values import Condition, Conditions, Operator, OrderColumn, Ordering
from schema.scalars import BigInt  # noqa: TC001 # as above

if TYPE_CHECKING:
    from collections.abc import Sequence


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_LIST_VALUES = 1000

_EQ = "Equal to this."
_IN = f"Equal to one of these, at most {MAX_LIST_VALUES:,}. An empty list matches no order."
_GT = "Greater than this."
_GTE = "Greater than or equal to this."
_LT = "Less than this."
_LTE = "Less than or equal to this."
_INDEXED = "Backed by an index, if the table has those in the README."
_UNINDEXED = (
    "Not backed by an index: on a large table combine it with one that is, or the statement timeout may strike."
)


@strawberry.enum(description="How far an order has come.")
class OrderStatus(Enum):
    """TPC-H's order statuses; a value is what is stored."""

    OPEN = strawberry.enum_value("O", description="No part of the order has been shipped. Stored as `O`.")
    FULFILLED = strawberry.enum_value("F", description="All of the order has been shipped. Stored as `F`.")
    PARTIAL = strawberry.enum_value("P", description="A part of the order has been shipped. Stored as `P`.")


_BY_STORED_VALUE = {str(status.value): status for status in OrderStatus}


def known_status(stored: str | None) -> OrderStatus | None:
    """The status that is stored so; None where there is none, or one that is unknown to the schema."""
    return None if stored is None else _BY_STORED_VALUE.get(stored)


@strawberry.enum(description="How urgent an order is.")
class OrderPriority(Enum):
    """TPC-H's order priorities; a value is what is stored."""

    URGENT = strawberry.enum_value("1-URGENT", description="The most urgent. Stored as `1-URGENT`.")
    HIGH = strawberry.enum_value("2-HIGH", description="Stored as `2-HIGH`.")
    MEDIUM = strawberry.enum_value("3-MEDIUM", description="Stored as `3-MEDIUM`.")
    NOT_SPECIFIED = strawberry.enum_value("4-NOT SPECIFIED", description="Nobody said. Stored as `4-NOT SPECIFIED`.")
    LOW = strawberry.enum_value("5-LOW", description="The least urgent. Stored as `5-LOW`.")


@strawberry.enum(description="By what orders can be sorted. Equal values are sorted by order key.")
class OrderSortField(Enum):
    """A value is the column that is sorted by."""

    ORDER_KEY = strawberry.enum_value(OrderColumn.ORDER_KEY, description="The order's key: the default.")
    ORDER_DATE = strawberry.enum_value(OrderColumn.ORDER_DATE, description="The day the order was placed.")
    TOTAL_PRICE = strawberry.enum_value(OrderColumn.TOTAL_PRICE, description="What the order costs.")


@strawberry.enum(description="Which way to sort.")
class SortDirection(Enum):
    """Ascending or descending."""

    ASC = strawberry.enum_value("asc", description="Smallest or earliest first.")
    DESC = strawberry.enum_value("desc", description="Largest or latest first.")


@strawberry.input(description="How to sort orders. A cursor belongs to the order it was issued under.")
class OrderOrder:
    """The orderBy argument."""

    field: OrderSortField | None = strawberry.field(
        default=OrderSortField.ORDER_KEY,
        description="By what to sort. Every choice is backed by an index, if the table has those in the README.",
    )
    direction: SortDirection | None = strawberry.field(default=SortDirection.ASC, description="Which way to sort.")


@strawberry.input(description="Conditions on an order key. All that are given hold together.")
class OrderKeyFilter:
    """Conditions on o_orderkey."""

    eq: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_EQ)
    in_: list[BigInt] | None = strawberry.field(default=strawberry.UNSET, name="in", description=_IN)
    gt: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_GT)
    gte: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_GTE)
    lt: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_LT)
    lte: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_LTE)


@strawberry.input(description="Conditions on a customer key. All that are given hold together.")
class CustomerKeyFilter:
    """Conditions on o_custkey."""

    eq: BigInt | None = strawberry.field(default=strawberry.UNSET, description=_EQ)
    in_: list[BigInt] | None = strawberry.field(default=strawberry.UNSET, name="in", description=_IN)


@strawberry.input(description="Conditions on a status. All that are given hold together.")
class OrderStatusFilter:
    """Conditions on o_orderstatus."""

    eq: OrderStatus | None = strawberry.field(default=strawberry.UNSET, description=_EQ)
    in_: list[OrderStatus] | None = strawberry.field(default=strawberry.UNSET, name="in", description=_IN)


@strawberry.input(description="Conditions on a priority. All that are given hold together.")
class OrderPriorityFilter:
    """Conditions on o_orderpriority."""

    eq: OrderPriority | None = strawberry.field(default=strawberry.UNSET, description=_EQ)
    in_: list[OrderPriority] | None = strawberry.field(default=strawberry.UNSET, name="in", description=_IN)


@strawberry.input(description="Conditions on a clerk's name, compared exactly. All that are given hold together.")
class ClerkFilter:
    """Conditions on o_clerk."""

    eq: str | None = strawberry.field(default=strawberry.UNSET, description=_EQ)
    in_: list[str] | None = strawberry.field(default=strawberry.UNSET, name="in", description=_IN)


@strawberry.input(
    description="Conditions on an order date. All that are given hold together; one day is `gte` and `lte` alike."
)
class OrderDateFilter:
    """Conditions on o_orderdate."""

    gt: date | None = strawberry.field(default=strawberry.UNSET, description="Later than this.")
    gte: date | None = strawberry.field(default=strawberry.UNSET, description="On this day or later.")
    lt: date | None = strawberry.field(default=strawberry.UNSET, description="Earlier than this.")
    lte: date | None = strawberry.field(default=strawberry.UNSET, description="On this day or earlier.")


@strawberry.input(description="Conditions on a total price. All that are given hold together.")
class TotalPriceFilter:
    """Conditions on o_totalprice."""

    gt: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_GT)
    gte: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_GTE)
    lt: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_LT)
    lte: Decimal | None = strawberry.field(default=strawberry.UNSET, description=_LTE)


@strawberry.input(
    description=(
        "Which orders to take. All given conditions hold together; contradictory ones match no order. "
        "A condition that is absent or `null`, and an empty object `{}`, restrict nothing; "
        "`in: []` matches no order."
    )
)
class OrderFilter:
    """The filter argument. An attribute is named as the column it restricts."""

    order_key: OrderKeyFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `orderKey`. {_INDEXED}"
    )
    customer_key: CustomerKeyFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `customerKey`. {_INDEXED}"
    )
    status: OrderStatusFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `status`. {_UNINDEXED}"
    )
    order_priority: OrderPriorityFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `orderPriority`. {_UNINDEXED}"
    )
    clerk: ClerkFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `clerk`. {_UNINDEXED}"
    )
    order_date: OrderDateFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `orderDate`. {_INDEXED}"
    )
    total_price: TotalPriceFilter | None = strawberry.field(
        default=strawberry.UNSET, description=f"Restricts `totalPrice`. {_INDEXED}"
    )


def ordering_of(order_by: OrderOrder | None) -> Ordering:
    """The ordering asked for; by order key where none is."""
    if not order_by:
        return Ordering()
    field = order_by.field or OrderSortField.ORDER_KEY
    return Ordering(OrderColumn(field.value), descending=order_by.direction is SortDirection.DESC)


def conditions_of(order_filter: OrderFilter | None) -> Conditions:
    """The conditions of a filter; none for an absent or empty one.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID.
    """
    return tuple(
        Condition(column, operator, _stored(value, operator, name=_argument_name(column, operator)))
        for column in OrderColumn
        if (part := getattr(order_filter, column.value, None))
        for operator in Operator
        if (value := getattr(part, operator.value, None)) is not None and value is not strawberry.UNSET
    )


def check_list_length(values: Sequence[object], *, argument: str) -> None:
    """Hold a list argument to its cap.

    Raises:
        InputError: TOO_MANY_VALUES.
    """
    if len(values) > MAX_LIST_VALUES:
        raise InputError(
            Reason.TOO_MANY_VALUES,
            f"`{argument}` has {len(values)} values; at most {MAX_LIST_VALUES} are allowed.",
        )


def _argument_name(column: OrderColumn, operator: Operator) -> str:
    return f"filter.{to_camel_case(column.value)}.{operator.value.rstrip('_')}"


def _stored(value: object, operator: Operator, *, name: str) -> object:
    if operator is Operator.IN and isinstance(value, list):
        check_list_length(value, argument=name)
        return tuple(dict.fromkeys(_stored(item, Operator.EQ, name=name) for item in value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str) and "\0" in value:
        raise InputError(Reason.VALUE_INVALID, f"`{name}` contains a NUL byte, which no order has.")
    return value


@strawberry.input(description="Which changes to take. All that is given holds together; nothing given takes all.")
class OrderStatusChangeFilter:
    """The filter argument of orderStatusChanges."""

    order_keys: list[BigInt] | None = strawberry.field(
        default=strawberry.UNSET, description="Of these orders, at most 1,000. An empty list matches no change."
    )
    changed_by: str | None = strawberry.field(default=strawberry.UNSET, description="Made by this user.")


def chosen_orders(keys: Sequence[int] | None, *, argument: str) -> frozenset[int] | None:
    """The set of order keys that a list argument chooses; None where it is absent.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID.
    """
    if keys is None or keys is strawberry.UNSET:
        return None
    check_list_length(keys, argument=argument)
    return frozenset(keys)


def checked_text(text: str | None, *, argument: str) -> str | None:
    """A text that PostgreSQL can hold.

    Raises:
        InputError: VALUE_INVALID, a NUL byte.
    """
    if text and "\0" in text:
        raise InputError(Reason.VALUE_INVALID, f"`{argument}` contains a NUL byte.")
    return text
