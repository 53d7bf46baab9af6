"""The served tables and their columns, as the ports name them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    """

    name: str
    stored: str | None
    kind: Kind
    merged: bool = False

    def __repr__(self) -> str:
        """Its name."""
        return self.name


@dataclass(frozen=True, eq=False)
class Table:
    """A served table.

    Attributes:
        name: in settings and messages, for example "orders".
        type_name: its type in the schema.
        columns: in the order of the type's fields.
        key: the columns of its primary key.
    """

    name: str
    type_name: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...]

    def __getitem__(self, name: str) -> Column:
        """The column with this name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}


Columns = frozenset[Column]
