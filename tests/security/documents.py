"""Documents for every root field, generated from the schema so that none is overlooked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    build_schema,
    get_named_type,
    is_composite_type,
    is_required_argument,
    is_required_input_field,
)

from tests.servers.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphql import GraphQLSchema

SDL: Final[GraphQLSchema] = build_schema((ROOT / "schema/schema.graphql").read_text())
# The global id of the order with key 1.
ORDER_ID: Final = "T3JkZXI6MQ=="
_VALUES: Final = {
    "Int": "1",
    "BigInt": "1",
    "Float": "1",
    "Decimal": "1",
    "Boolean": "true",
    "String": '"x"',
    "ID": f'"{ORDER_ID}"',
    "UUID": '"00000000-0000-4000-8000-000000000000"',
    "Date": '"1995-01-01"',
    "DateTime": '"1995-01-01T00:00:00Z"',
}


def root_fields(operation: str) -> Iterator[tuple[str, str]]:
    """Each root field of `query`, `mutation` or `subscription`, with a document that selects it alone."""
    root = getattr(SDL, f"{operation}_type")
    for name, field in root.fields.items():
        given = ", ".join(
            f"{argument}: {_value(definition.type)}"
            for argument, definition in field.args.items()
            if is_required_argument(definition)
        )
        selection = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
        yield name, f"{operation} {{ {name}{f'({given})' if given else ''}{selection} }}"


def arguments() -> Iterator[tuple[str, str]]:
    """Every argument and input field, as its path and its name."""
    for name, type_ in SDL.type_map.items():
        if isinstance(type_, GraphQLInputObjectType):
            yield from ((name, member) for member in type_.fields)
        elif not name.startswith("__") and is_composite_type(type_):
            for field in getattr(type_, "fields", {}).values():
                yield from ((name, argument) for argument in field.args)


def _value(type_: Any) -> str:
    """A value of an input type, without its optional parts."""
    if isinstance(type_, GraphQLNonNull):
        return _value(type_.of_type)
    if isinstance(type_, GraphQLList):
        return f"[{_value(type_.of_type)}]"
    if isinstance(type_, GraphQLEnumType):
        return str(next(iter(type_.values)))
    if isinstance(type_, GraphQLInputObjectType):
        required = {name: field.type for name, field in type_.fields.items() if is_required_input_field(field)}
        return f"{{{', '.join(f'{name}: {_value(kind)}' for name, kind in required.items())}}}"
    return _VALUES[type_.name]
