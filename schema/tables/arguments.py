"""The arguments of pages: orderings of any table, which become values of the ports, and the length of lists."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import strawberry

from schema.errors import InputError, Reason
from schema.ports.values import Ordering, SortKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.columns import Column, Table

MAX_LIST_VALUES = 1000
MAX_SORT_KEYS = 3


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
