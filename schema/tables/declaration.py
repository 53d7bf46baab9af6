"""Declares the type of a table: its fields are its columns."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import strawberry
from strawberry.types import get_object_definition
from strawberry.types.base import StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition

from schema.ports.columns import Column, Kind, Table
from schema.scalars import BigInt

if TYPE_CHECKING:
    from schema.relay.node import Node

_COLUMN: Final = "column"
_KINDS: Final[dict[object, Kind]] = {
    BigInt: Kind.INTEGER,
    int: Kind.INTEGER,
    str: Kind.TEXT,
    Decimal: Kind.DECIMAL,
    date: Kind.DATE,
    datetime: Kind.MOMENT,
    bool: Kind.BOOLEAN,
}


class _Stored(NamedTuple):
    name: str | None
    merged: bool


def column(description: str, stored: str | None = None, *, merged: bool = False) -> Any:
    """A field that holds a column.

    Args:
        description: the field's description in the schema.
        stored: the column's name in the database; None if the value is computed.
        merged: whether changes through this API decide its value.
    """
    # Only the selected columns are read, so any attribute may be missing when a row is constructed.
    return strawberry.field(default=None, description=description, metadata={_COLUMN: _Stored(stored, merged)})


def table_of(kind: type[Node], name: str, *, key: tuple[str, ...]) -> Table:
    """The table of a type whose fields are columns.

    Args:
        kind: the type.
        name: the table's name in settings and messages.
        key: the attributes that hold its primary key.
    """
    definition = get_object_definition(kind, strict=True)
    columns = tuple(
        Column(field.python_name, stored.name, _kind_of(field.type), stored.merged)
        for field in definition.fields
        if (stored := field.metadata.get(_COLUMN)) is not None
    )
    by_name = {column.name: column for column in columns}
    return Table(name, definition.name, columns, tuple(by_name[part] for part in key))


def _kind_of(type_: object) -> Kind:
    named = type_.of_type if isinstance(type_, StrawberryOptional) else type_
    return Kind.TEXT if isinstance(named, StrawberryEnumDefinition) else _KINDS[named]
