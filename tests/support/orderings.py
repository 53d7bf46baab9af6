"""Orderings and positions, as most tests need them: by one column, as PostgreSQL sorts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.ports.values import Ordering, Position, SortKey

if TYPE_CHECKING:
    from schema.ports.columns import Column, Table
    from schema.ports.values import Key


def ordering_by(
    table: Table, column: Column | None = None, *, descending: bool = False, within: Column | None = None
) -> Ordering:
    """The order by a column, or by the table's key."""
    return Ordering.by(table, [SortKey.of(column or table.key[0], descending=descending)], within=within)


def position_of(ordering: Ordering, value: object, key: Key) -> Position:
    """The place of a row with this value and key."""
    return Position(() if ordering.by_key else (value,), key)
