"""The conditions and the order that the arguments of a page ask for, as far as its price needs to know them.

What is wrong in them is refused before it is read, and is left out here.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from strawberry.utils.str_converters import to_camel_case

from schema.ports.values import Condition, Operator, Ordering, SortKey
from schema.tables.arguments import MAX_SORT_KEYS, SortDirection, SortNulls
from schema.tables.conditions import IN_ANY_CASE, MAX_DEPTH, NONE, OPERATORS, SOME, any_of, none_of, related
from schema.tables.declaration import stored_values
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schema.ports.columns import Column, Relation, Table
    from schema.ports.values import Conditions, Term

_COMBINED: Final = frozenset({"and", "or", "not"})
# By their names in the schema.
_OPERATORS: Final = {to_camel_case(name.rstrip("_")): operator for name, operator in OPERATORS.items()}


def asked_conditions(table: Table, given: Any) -> Conditions:
    """The conditions of the argument `filter` of a page of this table."""
    return _asked(table, given, 1)


def _asked(table: Table, given: Any, depth: int) -> Conditions:
    if not isinstance(given, dict) or depth > MAX_DEPTH:
        return ()
    columns = _filters(table)
    found: list[Term] = []
    for name, parts in given.items():
        if name in _COMBINED:
            found += _combined(table, name, parts, depth + 1)
        elif (column := columns.get(name)) is not None and isinstance(parts, dict):
            found += _comparisons(table, column, parts)
        elif (relation := _relations(table).get(name)) is not None and isinstance(parts, dict):
            found += _related(table, relation, parts, depth + 1)
    return tuple(found)


def _related(table: Table, relation: Relation, given: Mapping[str, Any], depth: int) -> Iterator[Term]:
    target = REGISTERED[relation.target].table
    if not relation.many:
        yield related(table, relation, _asked(target, given, depth))
        return
    if isinstance(part := given.get(SOME), dict):
        yield related(table, relation, _asked(target, part, depth))
    if isinstance(part := given.get(NONE), dict):
        yield from none_of((related(table, relation, _asked(target, part, depth)),))


def _combined(table: Table, name: str, given: Any, depth: int) -> Conditions:
    if name == "not":
        return none_of(_asked(table, given, depth)) if isinstance(given, dict) else ()
    if given is None:
        return ()
    # A single object is coerced to a list of one.
    listed = [_asked(table, part, depth) for part in (given if isinstance(given, list) else [given])]
    return any_of(listed) if name == "or" else tuple(chain.from_iterable(listed))


def _comparisons(table: Table, column: Column, given: Mapping[str, Any]) -> Iterator[Condition]:
    any_case = given.get("caseSensitive") is not True
    for part, value in given.items():
        operator = _OPERATORS.get(part)
        if operator is None or value is None:
            continue
        if operator is Operator.IS_NULL:
            yield Condition(column, Operator.IS_NOT_NULL if value is False else operator)
        else:
            yield Condition(
                column, IN_ANY_CASE.get(operator, operator) if any_case else operator, _stored(table, column, value)
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
def _filters(table: Table) -> Mapping[str, Column]:
    return {to_camel_case(column.name): column for column in table.filters}


@cache
def _relations(table: Table) -> Mapping[str, Relation]:
    return {to_camel_case(name): relation for name, relation in table.relations.items()}


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
