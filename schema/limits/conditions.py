"""The conditions and the order that the arguments of a page ask for, as far as its price needs to know them.

What is wrong in them is refused before it is read, and is left out here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from strawberry.utils.str_converters import to_camel_case

from schema.ports.values import Condition, Operator, Ordering, SortKey
from schema.tables.arguments import MAX_SORT_KEYS, SortDirection, SortNulls
from schema.tables.declaration import stored_values
from schema.tables.registry import referred_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.ports.columns import Column, Table
    from schema.ports.values import Conditions

_OPERATORS: Final = {to_camel_case(operator.value.rstrip("_")): operator for operator in Operator}


def asked_conditions(table: Table, given: Any) -> Conditions:
    """The conditions of the argument `filter` of a page of this table."""
    if not isinstance(given, dict):
        return ()
    columns = _filters(table)
    return tuple(
        Condition(column, operator, _stored(table, column, value))
        for name, parts in given.items()
        if (column := columns.get(name)) is not None and isinstance(parts, dict)
        for part, value in parts.items()
        if (operator := _OPERATORS.get(part)) is not None and value is not None
    )


def asked_ordering(table: Table, given: Any, *, within: Column | None = None) -> Ordering:
    """The order of the argument `orderBy`, or that of the key."""
    sorts, listed = _sorts(table), given if isinstance(given, list) else [given]
    keys = [_sort_key(one, sorts, table.key[0]) for one in listed[:MAX_SORT_KEYS] if isinstance(one, dict)]
    return Ordering.by(table, keys, within=within)


def _sort_key(given: Mapping[str, Any], sorts: Mapping[str, Column], key: Column) -> SortKey:
    name, nulls = given.get("field"), given.get("nulls")
    return SortKey.of(
        sorts.get(name, key) if isinstance(name, str) else key,
        descending=given.get("direction") == SortDirection.DESC.name,
        nulls_first=nulls == SortNulls.FIRST.name if nulls else None,
    )


def names_of_filters(table: Table) -> Mapping[str, Column]:
    """The columns that pages of a table can be filtered by, by their names in the schema."""
    return _filters(table)


@cache
def served_filters(table: Table) -> tuple[str, ...]:
    """The names of the filters whose index `ensureIndexes` builds, in the order of the table's sorts and relations."""
    indexed = {*table.sorts, *referred_to(table)}
    return tuple(name for name, column in _filters(table).items() if column in indexed)


@cache
def _filters(table: Table) -> Mapping[str, Column]:
    return {to_camel_case(column.name): column for column in table.filters}


@cache
def _sorts(table: Table) -> Mapping[str, Column]:
    return {column.name.upper(): column for column in (*table.sorts, *table.other_sorts)}


# Clients send the name of an enum's member, and the database stores its value.
_members: Final = cache(stored_values)


def _stored(table: Table, column: Column, value: Any) -> Any:
    """A value as the database has it, as far as it is understood."""
    if isinstance(value, list):
        return tuple(_scalar(table, column, element) for element in value)
    return _scalar(table, column, value)


def _scalar(table: Table, column: Column, value: Any) -> str | float | None:
    if isinstance(value, str):
        return str(_members(column, table).get(value, value))
    return value if isinstance(value, int | float) else None
