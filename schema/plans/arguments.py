"""The variables and arguments of a planned operation, coerced as graphql-core and Strawberry would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLNonNull,
    NamedTypeNode,
    NameNode,
    NonNullTypeNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from strawberry.types.arguments import convert_arguments

from schema.scalars import parse_bigint
from schema.tables.arguments import MAX_LIST_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import strawberry
    from graphql import (
        DocumentNode,
        GraphQLSchema,
        ListValueNode,
        Node,
        ObjectValueNode,
        OperationDefinitionNode,
        VariableDefinitionNode,
    )
    from strawberry.types.field import StrawberryField


class UnplannedError(Exception):
    """The operation, or this request for it, has no plan: the ordinary path answers."""


def _int(value: object) -> object:
    if type(value) is int and -(2**31) <= value < 2**31:
        return value
    raise UnplannedError


def _str(value: object) -> object:
    if type(value) is str:
        return value
    raise UnplannedError


def _bool(value: object) -> object:
    if type(value) is bool:
        return value
    raise UnplannedError


def _bigint(value: object) -> object:
    try:
        return parse_bigint(value)
    except GraphQLError:
        raise UnplannedError from None


# Scalars whose usual JSON form needs no coercion. Other forms (1.0 as an Int, 1 as an ID) are left to graphql-core.
_SIMPLE: Final[dict[str, Callable[[object], object]]] = {
    "Int": _int,
    "String": _str,
    "ID": _str,
    "Boolean": _bool,
    "BigInt": _bigint,
}


@dataclass(frozen=True, slots=True)
class Values:
    """The variables of one request.

    `by_name` holds the variables that have a value. `full` is graphql-core's form of them, if it coerced them.
    """

    by_name: Mapping[str, Any]
    full: VariableValues | None = None


class Variables:
    """The variables that an operation declares.

    If all of them are of simple types and none is used within a list or object, they are checked here, as graphql-core
    would check them. Otherwise graphql-core coerces all of them.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._simple: list[tuple[str, Callable[[object], object], bool]] = []
        self._defaults: dict[str, Any] = {}
        # A variable within a list or object is left to graphql-core.
        self.simple = not _has_variables_within_literals(document)
        for definition in self._definitions:
            name, required, check = _declared(definition)
            if check is None:
                self.simple = False
                return
            self._simple.append((name, check, required))
            if definition.default_value is not None:
                self._defaults |= self._coerced([definition], {}).coerced

    def coerce(self, given: Mapping[str, Any]) -> Values:
        """Coerce the variables of a request.

        Raises:
            UnplannedError: graphql-core would refuse them, or might.
        """
        if not self.simple:
            if _has_too_long_a_list(given):
                raise UnplannedError
            values = self._coerced(self._definitions, dict(given))
            return Values(values.coerced, values)
        found = dict(self._defaults)
        for name, check, required in self._simple:
            value = given.get(name)
            if value is not None:
                found[name] = check(value)
            elif name in given and not required:
                found[name] = None
            elif required and (name in given or name not in found):
                raise UnplannedError
        return Values(found)

    def _coerced(self, definitions: Sequence[VariableDefinitionNode], given: dict[str, Any]) -> VariableValues:
        # Stop at the first error: the ordinary path reports all of them.
        values = get_variable_values(self._schema, definitions, given, max_errors=0)
        if not isinstance(values, VariableValues):
            raise UnplannedError
        return values


class Arguments:
    """The arguments of one field, by their names in the resolver."""

    def __init__(self, schema: strawberry.Schema, type_name: str, node: FieldNode, variables: Variables) -> None:
        self._schema = schema
        self._node = node
        self._field = _strawberry_field(schema, type_name, node.name.value)
        self._graphql_field = schema._schema.type_map[type_name].fields[node.name.value]  # type: ignore[attr-defined] # noqa: SLF001 # an object type, and Strawberry has no public way to it
        self._from_variables: dict[str, str] = {}
        self._required: list[str] = []
        constant: dict[str, Any] = {}
        self._by_graphql_core = False
        names = {self._graphql_name(argument): argument.python_name for argument in self._field.arguments}
        for argument in node.arguments or ():
            name, declared = argument.name.value, self._graphql_field.args[argument.name.value]
            if not _has_variables(argument.value):
                constant[name] = declared
            elif isinstance(argument.value, VariableNode) and variables.simple:
                self._from_variables[names[name]] = argument.value.name.value
                if isinstance(declared.type, GraphQLNonNull):
                    self._required.append(names[name])
            else:
                self._by_graphql_core = True
        alone = FieldNode(
            name=NameNode(value=node.name.value),
            arguments=tuple(argument for argument in node.arguments or () if argument.name.value in constant),
        )
        self._constant = self._converted(GraphQLField(self._graphql_field.type, args=constant), alone, None)

    @property
    def changing(self) -> frozenset[str]:
        """The names of the arguments that depend on variables."""
        if self._by_graphql_core:
            return frozenset(argument.python_name for argument in self._field.arguments)
        return frozenset(self._from_variables)

    def coerce(self, values: Values) -> dict[str, Any]:
        """Coerce the arguments for these variables; those that are not given are left out.

        Raises:
            UnplannedError: graphql-core would refuse them.
        """
        if self._by_graphql_core:
            return self._converted(self._graphql_field, self._node, values.full)
        found = dict(self._constant)
        for name, variable in self._from_variables.items():
            if variable in values.by_name:
                found[name] = values.by_name[variable]
        if any(found.get(name) is None for name in self._required):
            raise UnplannedError
        return found

    def _converted(self, field: GraphQLField, node: FieldNode, values: VariableValues | None) -> dict[str, Any]:
        try:
            given = get_argument_values(field, node, values)
        except GraphQLError:
            raise UnplannedError from None
        return convert_arguments(
            given,
            self._field.arguments,
            scalar_registry=self._schema.schema_converter.scalar_registry,
            config=self._schema.config,
        )

    def _graphql_name(self, argument: Any) -> str:
        return self._schema.config.name_converter.from_argument(argument)


def _has_too_long_a_list(given: Mapping[str, Any]) -> bool:
    """Whether a list is longer than any query takes. Such a list would be coerced here and then again."""
    waiting = [*given.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list) and len(value) > MAX_LIST_VALUES:
            return True
    return False


def _declared(definition: VariableDefinitionNode) -> tuple[str, bool, Callable[[object], object] | None]:
    type_ = definition.type
    required = isinstance(type_, NonNullTypeNode)
    named = type_.type if isinstance(type_, NonNullTypeNode) else type_
    check = _SIMPLE.get(named.name.value) if isinstance(named, NamedTypeNode) else None
    return definition.variable.name.value, required, check


def _strawberry_field(schema: strawberry.Schema, type_name: str, name: str) -> StrawberryField:
    field = schema.get_field_for_type(name, type_name)
    if field is None:
        raise UnplannedError
    return field


class _Literals(Visitor):
    found = False

    def enter_list_value(self, node: ListValueNode, *_: Any) -> None:
        self.found |= _has_variables(node)

    def enter_object_value(self, node: ObjectValueNode, *_: Any) -> None:
        self.found |= _has_variables(node)


def _has_variables_within_literals(document: DocumentNode) -> bool:
    visitor = _Literals()
    visit(document, visitor)
    return visitor.found


class _Variables(Visitor):
    found = False

    def enter_variable(self, *_: Any) -> None:
        self.found = True


def _has_variables(node: Node) -> bool:
    visitor = _Variables()
    visit(node, visitor)
    return visitor.found
