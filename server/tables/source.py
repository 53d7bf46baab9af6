"""Where the rows of a table come from: its columns as expressions, and the FROM clause that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.sql.selectable import NamedFromClause

    from schema.ports.columns import Column, Table
    from schema.ports.values import Conditions
    from schema.ports.ways import Way


class Others(Protocol):
    """The sources of tables, by the names of the tables."""

    def __getitem__(self, table: str, /) -> Source:
        """The source of one."""


class Source:
    """The rows of a synced table.

    Args:
        table: the table as the ports name it.
        synced: the table in the database. Its columns have the names of the table's.
    """

    def __init__(self, table: Table, synced: NamedFromClause) -> None:
        self.table = table
        self.synced = synced
        self.others: Others = {}

    def beside(self, others: Others) -> Source:
        """The same rows, for statements that compare rows of other tables too: of these, by the names of the tables."""
        same = Source(self.table, self.synced)
        same.others = others
        return same

    def again(self) -> Source:
        """The same rows under another name, for a query within one that may read the same table."""
        return Source(self.table, self.synced.alias()).beside(self.others)

    def column(self, column: Column) -> sa.ColumnElement[Any]:
        """A column as an expression. A column of the synced table keeps its name; any other has none."""
        plain: sa.ColumnElement[Any] = self.synced.c[column.name]
        return plain

    def whole(self) -> Source:
        """The same rows, for a statement that reads all of them."""
        return self

    def read(self, way: Way) -> Source:  # noqa: ARG002 # for tables with an overlay
        """The same rows, for a page that is read in this way."""
        return self

    def starting_at(self, column: Column) -> Source | None:  # noqa: ARG002 # as below
        """The same rows, for a walk in the order of a column past those that have no value in it; None if none has."""
        return self

    def rows(self, columns: Iterable[Column], conditions: Conditions = ()) -> sa.FromClause:  # noqa: ARG002 # for tables with more than one part
        """The FROM clause for these columns and conditions."""
        return self.synced


def as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A text column of any type as `text`: char(n) without its padding."""
    return sa.cast(column, TEXT())
