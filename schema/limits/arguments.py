"""The arguments of a field in a document: literals, and variables whose values a request brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import (
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    VariableNode,
    value_from_ast_untyped,
)

from schema.limits.formulas import ArgumentValue

if TYPE_CHECKING:
    from graphql import FieldNode, OperationDefinitionNode, ValueNode

    from schema.limits.formulas import Variables

# An integer literal is cut to this many digits. Such a number exceeds every limit anyway.
_MOST_DIGITS: Final = 18


class GivenArguments:
    """The arguments of an operation's fields."""

    def __init__(self, operation: OperationDefinitionNode) -> None:
        self._defaults = {
            definition.variable.name.value: value_from_ast_untyped(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }

    def find(self, node: FieldNode, name: str, *path: str) -> ArgumentValue | None:
        """The value of an argument, or at a path within it; None if it is not given."""
        value = _of(node, name)
        while path and isinstance(value, ObjectValueNode):
            value = next((some.value for some in value.fields if some.name.value == path[0]), None)
            path = path[1:]
        return None if value is None else self.value(value, path)

    def whole(self, node: FieldNode, name: str) -> Any:
        """The whole value of an argument, for `filled`: objects and lists of values; None if it is not given."""
        value = _of(node, name)
        return None if value is None else self._whole(value)

    def value(self, value: ValueNode, path: tuple[str, ...] = ()) -> ArgumentValue:
        """A value, or what is at a path within it. Of the elements of a list, only the number is known."""
        if isinstance(value, VariableNode):
            variable = value.name.value
            return ArgumentValue(variable=variable, default=self._defaults.get(variable), path=path)
        if isinstance(value, ListValueNode):
            return ArgumentValue([None] * len(value.values))
        if isinstance(value, IntValueNode):
            # The grammar allows literals of any length, but Python reads at most 4,300 digits.
            return ArgumentValue(
                int(value.value) if len(value.value) <= _MOST_DIGITS else int(value.value[:_MOST_DIGITS])
            )
        return ArgumentValue(None if isinstance(value, NullValueNode) else getattr(value, "value", value))

    def _whole(self, value: ValueNode) -> Any:
        if isinstance(value, ObjectValueNode):
            return {part.name.value: self._whole(part.value) for part in value.fields}
        return [self._whole(part) for part in value.values] if isinstance(value, ListValueNode) else self.value(value)


def filled(whole: Any, variables: Variables) -> Any:
    """The whole value of an argument, with the variables of a request."""
    if isinstance(whole, ArgumentValue):
        return whole.value(variables)
    if isinstance(whole, list):
        return [filled(part, variables) for part in whole]
    return {name: filled(part, variables) for name, part in whole.items()} if isinstance(whole, dict) else whole


def _of(node: FieldNode, name: str) -> ValueNode | None:
    return next((some.value for some in node.arguments or () if some.name.value == name), None)
