"""The values that the ports of tables take and return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from decimal import Decimal

    from schema.ports.columns import Column, Columns, Table


ColumnValue = object
# The value of each column of a primary key.
Key = tuple[int, ...]
Row = tuple[ColumnValue, ...]


class Operator(Enum):
    """How a condition compares. IN and NOT_IN take a tuple of values; IN with an empty tuple matches no row.

    Only IS_NULL matches rows without a value. IS_NULL and IS_NOT_NULL take none.
    """

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"
    CONTAINS = "contains"
    CONTAINS_IN_ANY_CASE = "contains_in_any_case"
    STARTS_WITH = "starts_with"
    STARTS_WITH_IN_ANY_CASE = "starts_with_in_any_case"


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a column with a value, or with a tuple of values. Values are as stored."""

    column: Column
    operator: Operator
    value: ColumnValue | tuple[ColumnValue, ...] = None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches the rows that one of the alternatives matches: no row if there are none."""

    alternatives: tuple[Conditions, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Matches exactly the rows that the conditions do not match, those without a value included."""

    conditions: Conditions


@dataclass(frozen=True, slots=True)
class OfRelated:
    """Matches the rows to which a row of another table belongs that the conditions match.

    Attributes:
        table: the other table.
        here: the column of the rows.
        there: the column of the other table, which has to equal it.
        conditions: on the other table.
    """

    table: Table
    here: Column
    there: Column
    conditions: Conditions

    @property
    def many(self) -> bool:
        """Whether many rows of the other table may belong to one row."""
        return self.table.key != (self.there,)


Term: TypeAlias = Condition | AnyOf | Not | OfRelated
# All of its terms must hold.
Conditions: TypeAlias = tuple[Term, ...]


def comparisons_in(conditions: Conditions) -> Iterator[Condition]:
    """All comparisons in conditions, from left to right, those of other tables included."""
    for term in conditions:
        if isinstance(term, Condition):
            yield term
        elif isinstance(term, Not | OfRelated):
            yield from comparisons_in(term.conditions)
        else:
            for alternative in term.alternatives:
                yield from comparisons_in(alternative)


def columns_in(conditions: Conditions) -> Columns:
    """The columns of a table that conditions on its rows need."""
    return frozenset(term.here if isinstance(term, OfRelated) else term.column for term in _terms_in(conditions))


def related_in(conditions: Conditions) -> Iterator[OfRelated]:
    """All terms that are about related rows of a table's rows; not those within one another."""
    return (term for term in _terms_in(conditions) if isinstance(term, OfRelated))


def _terms_in(conditions: Conditions) -> Iterator[Condition | OfRelated]:
    """All terms that are about one table's rows, from left to right."""
    for term in conditions:
        if isinstance(term, Not):
            yield from _terms_in(term.conditions)
        elif isinstance(term, AnyOf):
            for alternative in term.alternatives:
                yield from _terms_in(alternative)
        else:
            yield term


class SortKey(NamedTuple):
    """A column to sort by. Text sorts by its code points."""

    column: Column
    descending: bool
    nulls_first: bool

    @classmethod
    def of(cls, column: Column, *, descending: bool = False, nulls_first: bool | None = None) -> SortKey:
        """A sort by this column. By default nulls are where PostgreSQL has them: last, and first if descending."""
        return cls(column, descending, descending if nulls_first is None else nulls_first)


@dataclass(frozen=True, slots=True)
class Ordering:
    """A total order of a table: by `keys`, one after the other, then by the table's key, which is `descending` or not.

    Equal orders are equal: `keys` never has a column of the table's key.
    If there is `within`, it is an order of the rows with one value in that column: of the rows that belong to a parent.
    """

    table: Table
    keys: tuple[SortKey, ...] = ()
    descending: bool = False
    within: Column | None = None

    @classmethod
    def by(cls, table: Table, keys: Iterable[SortKey], *, within: Column | None = None) -> Ordering:
        """The order by these columns. Ties go by the table's key in the direction of the last column.

        Nothing ties after the first column of the table's key, which stands for all of it, so the rest is left out.
        """
        some, descending = [], False
        for key in keys:
            descending = key.descending
            if key.column is table.key[0]:
                break
            some.append(key)
        return cls(table, tuple(some), descending, within)

    @property
    def by_key(self) -> bool:
        """Whether it is by the key alone."""
        return not self.keys

    @property
    def first(self) -> Column:
        """The column that it sorts by first."""
        return self.keys[0].column if self.keys else self.table.key[0]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that decide a row's place: those it sorts by, and the table's key."""
        return (*(key.column for key in self.keys), *self.table.key)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an ordering: the place of a row with these values and this key. The row need not exist any more.

    `values` has a value for each column that the ordering sorts by, and `key` for each column of the table's key.
    """

    values: tuple[ColumnValue | None, ...]
    key: Key


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of at most `size` rows after `position`, or before it if `backward`.

    The rows of the answer are in the ordering either way. `look_back` also asks whether there is any row at
    `position` or on its other side.
    """

    ordering: Ordering
    conditions: Conditions
    size: int
    position: Position | None = None
    backward: bool = False
    look_back: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a table, as stored: `rows[i][j]` is the value of `columns[j]`."""

    columns: tuple[Column, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of rows.

    `more_ahead` says whether more rows follow in the direction of paging, `any_behind` whether there are any in the
    other direction. Behind a numbered page are the orders that its number skips.
    """

    block: Block
    more_ahead: bool
    any_behind: bool


# The page of a query that needs nothing from it: nothing was read.
NO_ROWS: Final = Page(Block((), ()), more_ahead=False, any_behind=False)


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows, and when they were counted."""

    count: int
    as_of: datetime


class StatsGroup(Enum):
    """How statistics can be grouped."""

    STATUS = "status"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class PriceStats:
    """The number of orders and the statistics of their total prices, which are None without any price."""

    count: int
    sum: Decimal | None = None
    average: Decimal | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of all matching orders, and of each group: its stored value and its statistics."""

    total: PriceStats
    groups: dict[StatsGroup, list[tuple[str | None, PriceStats]]]
    as_of: datetime
