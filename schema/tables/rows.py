"""The rows of tables as objects of the graph, and the columns that a selection of their fields needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from schema.permissions import Role
from schema.relay.node import Node, row_key_of
from schema.relay.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schema.context import Info
    from schema.ports.columns import Columns, Table
    from schema.ports.values import Block, Key

# Between the columns of a key in a global id.
BETWEEN_KEYS = ":"


class Row(Node):
    """A row of a table. An attribute has the name of its column, and holds the stored value."""

    role: ClassVar[Role] = Role.READER
    table: ClassVar[Table]

    def node_key(self) -> str:
        """The values of its key."""
        return BETWEEN_KEYS.join(str(getattr(self, column.name)) for column in self.table.key)


def rows_in(table: Table, block: Block) -> list[Row]:
    """The objects of a block's rows, in their order."""
    names = [column.name for column in block.columns]
    return [table.make(**dict(zip(names, row, strict=True))) for row in block.rows]


def row_in(table: Table, block: Block | None) -> Row | None:
    """The object of a block of one row; None if there is no such row."""
    return None if block is None else rows_in(table, block)[0]


def columns_of(table: Table, selections: Iterable[Selection | None]) -> Columns:
    """The columns that selections on the table's type need."""
    needs = table.needs
    return frozenset(
        column
        for selection in selections
        if selection is not None
        for name in selection.fields()
        for column in needs.get(name, ())
    )


def selected_columns(info: Info, table: Table) -> Columns:
    """The columns that the field being resolved selects of a row of this table.

    They are remembered for the operation: the same field may be resolved for each of a thousand rows.
    """
    # The nodes live as long as the operation.
    field = tuple(map(id, info._raw_info.field_nodes))  # noqa: SLF001 # Strawberry has no public access to them
    known = info.context.selected_columns
    if field not in known:
        known[field] = columns_of(table, [Selection.below(info, table.type_name)])
    return known[field]


def key_of(table: Table, text: str) -> Key | None:
    """The key in a global id of the table's type; None if no row can have it.

    The parts after the first count within it, from 1.
    """
    parts = [row_key_of(part) for part in text.split(BETWEEN_KEYS)]
    if len(parts) != len(table.key):
        return None
    first, *others = parts
    if first is None or any(other is None or other < 1 for other in others):
        return None
    return tuple(part for part in parts if part is not None)
