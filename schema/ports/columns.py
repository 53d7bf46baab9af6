"""The served tables and their columns, as the ports name them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Kind(Enum):
    """What a column holds, whichever of the database's types it has."""

    INTEGER = auto()
    TEXT = auto()
    DECIMAL = auto()
    DATE = auto()
    MOMENT = auto()
    BOOLEAN = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of a table, or a value that is computed for each of its rows.

    Attributes:
        name: the attribute of the table's type.
        stored: the column's name in the database; None if the value is computed.
        kind: what it holds.
        merged: whether changes through this API decide its value. It has no index, and PostgreSQL knows nothing of it.
        may_hide: whether a deployment may leave it out of the schema. The table then need not have it.
        unchanged: in a tuple, its value in a row that was never changed through this API; None if that depends on the
            row.
    """

    name: str
    stored: str | None
    kind: Kind
    merged: bool = False
    may_hide: bool = False
    unchanged: tuple[object] | None = None

    def __repr__(self) -> str:
        """Its name."""
        return self.name


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of a table: of each row, to the rows of the target whose column `there` equals the row's `here`.

    Attributes:
        target: the name of the target table.
        here: the name of the table's column.
        there: the name of the target's column. For a relation to one row it is the target's key.
        many: whether a row may have many of them, which are then read in pages.
        listed: whether all of the many are read at once, because there are few.
    """

    target: str
    here: str
    there: str
    many: bool
    listed: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """A served table.

    Attributes:
        name: in settings and messages, for example "orders".
        make: makes an object of the table's type in the schema from the values of its columns, by name.
        columns: in the order of the type's fields.
        key: the columns of its primary key.
        source: the name of the source table in the lakehouse.
        relations: by the attribute of the table's type.
        needs: for each field of the type, by its name in the schema, the columns that it is resolved from.
        sorts: the columns by which pages of the table can be sorted along an index. The first is that of the key.
        filters: the columns that pages can be filtered by.
        other_sorts: those by which pages can be sorted without an index of the table.
    """

    name: str
    type_name: str
    make: Callable[..., Any]
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    source: str
    relations: Mapping[str, Relation]
    needs: Mapping[str, tuple[Column, ...]]
    sorts: tuple[Column, ...]
    filters: tuple[Column, ...]
    other_sorts: tuple[Column, ...] = ()

    def __getitem__(self, name: str) -> Column:
        """The column with this name."""
        return self._by_name[name]

    def __repr__(self) -> str:
        """Its name."""
        return self.name

    def in_order(self, columns: Iterable[Column]) -> tuple[Column, ...]:
        """These columns in the order of the type's fields, so that one selection always makes the same statement."""
        wanted = set(columns)
        return tuple(column for column in self.columns if column in wanted)

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}


Columns = frozenset[Column]
