"""The slots of a type's fields: which column each field writes, and in which form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from graphql import GraphQLEnumType, GraphQLNonNull, GraphQLObjectType, get_named_type
from strawberry.utils.str_converters import to_snake_case

from schema.ports.templates import Form, Slot

if TYPE_CHECKING:
    from graphql import GraphQLField

    from schema.ports.columns import Column, Table

_FORMS: Final = {
    "Int": Form.INT,
    "Boolean": Form.BOOLEAN,
    "String": Form.STRING,
    "BigInt": Form.BIGINT,
    "Decimal": Form.DECIMAL,
    "Date": Form.DATE,
    "DateTime": Form.DATETIME,
}


def slots_of(table: Table, type_: GraphQLObjectType) -> dict[str, Slot]:
    """The slot of each scalar field of a table's type, by the field's name."""
    by_attribute = {column.name: column for column in table.columns}
    slots = {
        name: _slot(by_attribute[attribute], field)
        for name, field in type_.fields.items()
        if (attribute := to_snake_case(name)) in by_attribute
    }
    return {**{name: slot for name, slot in slots.items() if slot}, "id": Slot(table.key[0], Form.GLOBAL_ID)}


def cursor_of(table: Table) -> Slot:
    """The slot of the cursor of a table's row."""
    return Slot(table.key[0], Form.CURSOR)


def _slot(column: Column, graphql_field: GraphQLField) -> Slot | None:
    type_ = graphql_field.type
    nullable, named = not isinstance(type_, GraphQLNonNull), get_named_type(type_)
    if isinstance(named, GraphQLEnumType):
        members = tuple((str(_stored(value.value)), name) for name, value in named.values.items())
        return Slot(column, Form.ENUM, nullable, members)
    form = _FORMS.get(named.name)
    return Slot(column, form, nullable) if form else None


def _stored(member: object) -> object:
    return getattr(member, "value", member)
