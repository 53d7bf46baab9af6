"""The arguments of pages: filters and orderings of any table, and their conversion to values of the ports."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from schema.errors import InputError, Reason
from schema.ports.values import Condition, Conditions, Operator, Ordering, SortKey
from schema.scalars import BigInt  # noqa: TC001 # Strawberry reads the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.columns import Column, Table

MAX_LIST_VALUES = 1000
MAX_SORT_KEYS = 3

EQ = "Equal to this."
IN = f"Equal to one of these values, at most {MAX_LIST_VALUES:,}. An empty list matches nothing."
INDEXED = "Fast if the table has the indexes that `ensureIndexes` builds."
UNINDEXED = "Not indexed: on a large table, combine it with an indexed condition, or the query may time out."


@strawberry.enum(description="The direction of sorting.")
class SortDirection(Enum):
    """Ascending or descending."""

    ASC = strawberry.enum_value("asc", description="Smallest or earliest first.")
    DESC = strawberry.enum_value("desc", description="Largest or latest first.")


@strawberry.enum(description="Where entries without a value are sorted.")
class SortNulls(Enum):
    """Before or after all others."""

    FIRST = strawberry.enum_value("first", description="Before all entries with a value.")
    LAST = strawberry.enum_value("last", description="After all entries with a value.")


ORDER_BY = (
    f"How to sort: by up to {MAX_SORT_KEYS} fields, one after the other, and then by key in the direction of the last "
    "one. By ascending key if absent or empty. A single object stands for a list of it."
)
DIRECTION = "The direction of sorting."
NULLS = "Where entries without a value are; if absent, last when ascending and first when descending."


@strawberry.input(description="Conditions on a customer key. All of them must hold.")
class CustomerKeyFilter:
    """Conditions on the key of a customer, of orders and of customers."""

    eq: BigInt | None = strawberry.field(default=strawberry.UNSET, description=EQ)
    in_: list[BigInt] | None = strawberry.field(default=strawberry.UNSET, name="in", description=IN)


def ordering_of(table: Table, order_by: Sequence[Any] | None, *, within: Column | None = None) -> Ordering:
    """The requested ordering of a table; by its key if none is given.

    Args:
        table: the table.
        order_by: inputs with a `field`, whose values are names of columns, a `direction` and `nulls`; None if absent.
        within: the column of the parent's rows, if these are rows of a parent.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID.
    """
    if not order_by:
        return Ordering(table, within=within)
    if len(order_by) > MAX_SORT_KEYS:
        raise InputError(
            Reason.TOO_MANY_VALUES, f"`orderBy` has {len(order_by)} values; at most {MAX_SORT_KEYS} are allowed."
        )
    keys: dict[Column, SortKey] = {}
    for index, given in enumerate(order_by):
        key = _sort_key(table, given)
        if key.column in keys:
            earlier, name = [*keys].index(key.column), key.column.name.upper()
            raise InputError(
                Reason.VALUE_INVALID,
                f"`orderBy[{index}].field` is {name}, as `orderBy[{earlier}].field` is already: name each field once.",
            )
        keys[key.column] = key
    return Ordering.by(table, keys.values(), within=within)


def _sort_key(table: Table, given: Any) -> SortKey:
    column = table[str(given.field.value)] if given.field else table.key[0]
    nulls_first = given.nulls is SortNulls.FIRST if given.nulls else None
    return SortKey.of(column, descending=given.direction is SortDirection.DESC, nulls_first=nulls_first)


def conditions_of(table: Table, given: Any) -> Conditions:
    """The conditions of a filter; none if it is absent or empty.

    Args:
        table: the table.
        given: an input whose attributes have the names of columns, and hold inputs with the names of operators.

    Raises:
        InputError: TOO_MANY_VALUES, VALUE_INVALID.
    """
    if not given:
        return ()
    return tuple(
        Condition(column, operator, _stored(value, operator, name=_argument_name(column, operator)))
        for column in table.filters
        if (part := getattr(given, column.name, None))
        for operator in Operator
        if (value := getattr(part, operator.value, None)) is not None and value is not strawberry.UNSET
    )


def check_list_length(values: Sequence[object], *, argument: str) -> None:
    """Check that a list argument is not too long.

    Raises:
        InputError: TOO_MANY_VALUES.
    """
    if len(values) > MAX_LIST_VALUES:
        raise InputError(
            Reason.TOO_MANY_VALUES,
            f"`{argument}` has {len(values)} values; at most {MAX_LIST_VALUES} are allowed.",
        )


def _argument_name(column: Column, operator: Operator) -> str:
    return f"filter.{to_camel_case(column.name)}.{to_camel_case(operator.value.rstrip('_'))}"


def _stored(value: object, operator: Operator, *, name: str) -> object:
    if operator is Operator.IN and isinstance(value, list):
        check_list_length(value, argument=name)
        return tuple(dict.fromkeys(_stored(item, Operator.EQ, name=name) for item in value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str) and "\0" in value:
        raise InputError(Reason.VALUE_INVALID, f"`{name}` contains a NUL byte, which no stored text can contain.")
    return value
