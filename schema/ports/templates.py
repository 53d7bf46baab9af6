"""Templates: the JSON text of a row with slots, which the store fills with values, and with the JSON of other rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schema.ports.columns import Column, Relation, Table
    from schema.ports.values import ColumnValue, Key, PageRequest


class Form(Enum):
    """How a value is written in JSON: as its GraphQL type serializes it.

    A value that its type would refuse cannot be written. It is left to graphql-core, which reports the error.
    """

    INT = auto()
    BOOLEAN = auto()
    STRING = auto()
    BIGINT = auto()
    DECIMAL = auto()
    DATE = auto()
    DATETIME = auto()
    ENUM = auto()
    GLOBAL_ID = auto()
    CURSOR = auto()


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one value in a template.

    `column` is where the value comes from, and `nullable` says whether it can be null. `names` are pairs of an enum's
    stored value and its member's name. A cursor also needs the columns of the ordering.
    """

    column: Column
    form: Form
    nullable: bool = False
    names: tuple[tuple[str, str], ...] = ()


class Fact(Enum):
    """A fact about a page, by the name of its field in the schema."""

    HAS_NEXT = "hasNextPage"
    HAS_PREVIOUS = "hasPreviousPage"
    START_CURSOR = "startCursor"
    END_CURSOR = "endCursor"
    TOTAL_COUNT = "totalCount"


@dataclass(frozen=True, slots=True)
class Rows:
    """The place of the texts of a page's rows, with commas between them."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class NestedRow:
    """The place of the row of a relation to one: of the row of `table` that it leads to, or `null` if there is none."""

    relation: Relation
    table: Table
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class NestedPage:
    """The place of a page of the rows that a relation to many leads to, or of all of them.

    `number` is the place of its request among those of the statement.
    """

    relation: Relation
    table: Table
    number: int
    parts: tuple[str | Rows | Fact, ...]


Part: TypeAlias = "str | Slot | NestedRow | NestedPage"

# The most places that all templates of one statement may have. A longer statement would cost more than it saves, and
# clients could make the server remember statements of any size.
MOST_SLOTS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The JSON text of one row with its places. Compared by identity, so that caches can use it as a key cheaply.

    `others` are the names of the tables that have the other rows in it, and `flat` says whether there are none.
    """

    parts: tuple[Part, ...]
    others: frozenset[str] = field(init=False)
    flat: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", frozenset(_tables(self.parts)))
        object.__setattr__(self, "flat", not self.others)

    @property
    def slots(self) -> list[Slot]:
        """The slots, in order, without those of other rows."""
        return [part for part in self.parts if isinstance(part, Slot)]

    @property
    def places(self) -> int:
        """The number of its slots, and of everything else that a statement writes, at any depth."""
        return _places(self.parts)


def _tables(parts: Iterable[Part | Rows | Fact]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, (NestedRow, NestedPage)):
            yield part.table.name
        if isinstance(part, (NestedRow, NestedPage, Rows)):
            yield from _tables(part.parts)


def _places(parts: Iterable[Part | Rows | Fact]) -> int:
    return sum(_places_of(part) for part in parts if not isinstance(part, str))


def _places_of(part: Slot | NestedRow | NestedPage | Rows | Fact) -> int:
    return 1 if isinstance(part, (Slot, Fact)) else 1 + _places(part.parts)


class NestedRequest(NamedTuple):
    """A page below each of some rows. If it has a position, that is in the page of the row with the value `parent`."""

    page: PageRequest
    parent: int | None = None


class JsonPage(NamedTuple):
    """A page of rows as JSON.

    `rows[i]` is the text of all rows by the i-th template, separated by commas. `first` and `last` are the sort
    values and the key of the first and the last row; None on an empty page, and if they were not requested.
    """

    rows: tuple[str, ...]
    more_ahead: bool
    any_behind: bool
    first: tuple[tuple[ColumnValue, ...], Key] | None
    last: tuple[tuple[ColumnValue, ...], Key] | None
