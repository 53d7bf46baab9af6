"""The arguments of pages: orderings of any table, which become values of the ports, and the length of lists."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import strawberry

from schema.errors import InputError, Reason
from schema.ports.values import Ordering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.columns import Column, Table

MAX_LIST_VALUES = 1000


@strawberry.enum(description="The direction of sorting.")
class SortDirection(Enum):
    """Ascending or descending."""

    ASC = strawberry.enum_value("asc", description="Smallest or earliest first.")
    DESC = strawberry.enum_value("desc", description="Largest or latest first.")


def ordering_of(table: Table, order_by: Any, *, within: Column | None = None) -> Ordering:
    """The requested ordering of a table; by its key if none is given.

    Args:
        table: the table.
        order_by: an input with a `field`, whose values are names of columns, and a `direction`; None if it is absent.
        within: the column of the parent's rows, if these are rows of a parent.
    """
    if not order_by:
        return Ordering(table, table.key[0], within=within)
    column = table[str(order_by.field.value)] if order_by.field else table.key[0]
    return Ordering(table, column, descending=order_by.direction is SortDirection.DESC, within=within)


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
