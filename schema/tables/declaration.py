"""Declares the type of a table: its fields are its columns and its relations."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import strawberry
from strawberry.types import get_object_definition
from strawberry.types.base import StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.utils.str_converters import to_camel_case

from schema.ports.columns import Column, Kind, Relation, Table
from schema.scalars import BigInt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strawberry.types.field import StrawberryField

    from schema.tables.rows import Row

_COLUMN: Final = "column"
_RELATION: Final = "relation"
_NEEDS: Final = "needs"
_KINDS: Final[dict[object, Kind]] = {
    BigInt: Kind.INTEGER,
    int: Kind.INTEGER,
    str: Kind.TEXT,
    Decimal: Kind.DECIMAL,
    date: Kind.DATE,
    datetime: Kind.MOMENT,
    bool: Kind.BOOLEAN,
}
_R = TypeVar("_R", bound="Row")


class _Stored(NamedTuple):
    name: str | None
    merged: bool
    may_hide: bool
    shown: bool
    unchanged: tuple[object] | None = None


def column(
    description: str,
    stored: str | None = None,
    *,
    merged: bool = False,
    may_hide: bool = False,
    unchanged: tuple[object] | None = None,
) -> Any:
    """A field that holds a column.

    Args:
        description: the field's description in the schema.
        stored: the column's name in the database; None if the value is computed.
        merged: whether changes through this API decide its value.
        may_hide: whether a deployment may leave it out of the schema.
        unchanged: in a tuple, its value in a row that was never changed; None if that depends on the row.
    """
    return _stored(_Stored(stored, merged, may_hide, shown=True, unchanged=unchanged), description)


def unseen(stored: str) -> Any:
    """A column that the schema does not have: a relation needs it, or a filter."""
    return _stored(_Stored(stored, merged=False, may_hide=False, shown=False))


def _stored(stored: _Stored, description: str | None = None) -> Any:
    # Only the selected columns are read, so any attribute may be missing when a row is constructed.
    return strawberry.field(default=None, description=description, metadata={_COLUMN: stored})


def needs(*columns: str) -> Mapping[str, object]:
    """The metadata of a field that is resolved from these columns, by their attributes."""
    return {_NEEDS: columns}


def relates(relation: Relation) -> Mapping[str, object]:
    """The metadata of a field that follows a relation."""
    return {_RELATION: relation, _NEEDS: (relation.here,)}


def relation_of(field: StrawberryField) -> Relation | None:
    """The relation that a field follows, if it follows one."""
    return field.metadata.get(_RELATION)


def is_shown(field: StrawberryField) -> bool:
    """Whether the schema has the field."""
    stored: _Stored | None = field.metadata.get(_COLUMN)
    return stored is None or stored.shown


def has_table(
    name: str,
    *,
    source: str,
    key: tuple[str, ...],
    sorts: tuple[str, ...] = (),
    other_sorts: tuple[str, ...] = (),
    filters: tuple[str, ...] = (),
) -> Any:
    """Decorate a type whose fields are columns and relations with its table.

    Args:
        name: the table's name in settings and messages.
        source: the name of its source table in the lakehouse.
        key: the attributes that hold its primary key.
        sorts: the attributes that its pages can be sorted by along an index, besides the key.
        other_sorts: the attributes that they can be sorted by without an index of the table.
        filters: the attributes that its pages can be filtered by.
    """

    def decorate(kind: type[_R]) -> type[_R]:
        definition = get_object_definition(kind, strict=True)
        columns = tuple(
            Column(
                field.python_name, stored.name, _kind_of(field.type), stored.merged, stored.may_hide, stored.unchanged
            )
            for field in definition.fields
            if (stored := field.metadata.get(_COLUMN)) is not None
        )
        by_name = {column.name: column for column in columns}
        keys = tuple(by_name[part] for part in key)
        needed = {
            to_camel_case(field.python_name): tuple(by_name[part] for part in field.metadata[_NEEDS])
            for field in definition.fields
            if _NEEDS in field.metadata
        }
        kind.table = Table(
            name=name,
            type_name=definition.name,
            make=kind,
            columns=columns,
            key=keys,
            source=source,
            relations={
                field.python_name: relation
                for field in definition.fields
                if (relation := relation_of(field)) is not None
            },
            needs={
                "id": keys,
                **{to_camel_case(column.name): (column,) for column in columns},
                **needed,
            },
            sorts=(keys[0], *(by_name[part] for part in sorts)),
            other_sorts=tuple(by_name[part] for part in other_sorts),
            filters=tuple(by_name[part] for part in filters),
        )
        return kind

    return decorate


def stored_values(column: Column, table: Table) -> Mapping[str, object]:
    """The stored value of each of a column's values in the schema, by their names; none if it is no enum."""
    definition = get_object_definition(table.make, strict=True)
    named = next(field.type for field in definition.fields if field.python_name == column.name)
    enum = named.of_type if isinstance(named, StrawberryOptional) else named
    return {value.name: value.value for value in enum.values} if isinstance(enum, StrawberryEnumDefinition) else {}


def _kind_of(type_: object) -> Kind:
    named = type_.of_type if isinstance(type_, StrawberryOptional) else type_
    return Kind.TEXT if isinstance(named, StrawberryEnumDefinition) else _KINDS[named]
