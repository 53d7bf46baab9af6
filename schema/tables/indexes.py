"""The indexes that reads of the served tables need, as their declarations tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from strawberry.utils.str_converters import to_camel_case

from schema.ports.columns import Kind
from schema.tables.declaration import stored_values
from schema.tables.registry import REGISTERED, referred_to

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from schema.ports.columns import Column, Table

# The end of the name of a column that holds a key: of orders, `customer_key`.
_KEY: Final = "_key"


@dataclass(frozen=True, slots=True)
class NeededIndex:
    """An index that reads of a table need. Text in it is in the order of its code points, as pages are.

    Attributes:
        table: the table.
        suffix: the end of the index's name, for example "by_date".
        columns: the columns in their order, the last of which are the key's: by them pages continue.
        of_trigrams: whether it is an index of the one column's trigrams, in small letters, for the filter `contains`.
    """

    table: Table
    suffix: str
    columns: tuple[Column, ...]
    of_trigrams: bool = False


def indexes_of(tables: Collection[Table]) -> list[NeededIndex]:
    """The indexes that tables need which are served together: of each for its key, its sorts and its lookups.

    Rows are looked up by what a to-many relation of a served table refers to. A column that any table would refer to
    is looked up by a filter, too, if there is one.
    """
    return [index for table in tables for index in _indexes(table, tables)]


def text_indexes_of(tables: Collection[Table]) -> list[NeededIndex]:
    """The indexes of trigrams that the filter `contains` can use: of each text that a filter of a table compares."""
    return [
        NeededIndex(table, f"text_of_{column.name}", (column,), of_trigrams=True)
        for table in tables
        for column in table.filters
        if has_text(table, column)
    ]


def has_text(table: Table, column: Column) -> bool:
    """Whether a column of a table is stored free text, and not one of a few values."""
    return column.kind is Kind.TEXT and column.stored is not None and not stored_values(column, table)


@cache
def served_filters(table: Table) -> tuple[str, ...]:
    """The names in the schema of the filters whose index `ensureIndexes` builds, in the order of the filters."""
    indexed = {*table.sorts, *referred_to(table)}
    return tuple(to_camel_case(column.name) for column in table.filters if column in indexed)


def _indexes(table: Table, served: Collection[Table]) -> Iterator[NeededIndex]:
    seen: set[tuple[Column, ...]] = set()
    suffixes: set[str] = set()
    for first in (None, *table.sorts, *_looked_up(table, served)):
        leading = () if first is None else (first,)
        columns = tuple(dict.fromkeys((*leading, *table.key)))
        if columns not in seen:
            seen.add(columns)
            suffix = "by_key" if first is None else _suffix(first, suffixes)
            suffixes.add(suffix)
            yield NeededIndex(table, suffix, columns)


def _looked_up(table: Table, served: Collection[Table]) -> Iterator[Column]:
    for declared in REGISTERED.values():
        for relation in declared.table.relations.values():
            if relation.many and relation.target == table.name:
                column = table[relation.there]
                if declared.table in served or column in table.filters:
                    yield column


def _suffix(column: Column, taken: Collection[str]) -> str:
    """A short name if no other index has it: of orders, `by_date` for `order_date`."""
    name = column.name.removesuffix(_KEY)
    short = f"by_{name.rpartition('_')[2]}"
    return f"by_{name}" if short in taken else short
