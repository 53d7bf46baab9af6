"""Documents from before `orderBy` was a list: they declare a variable of one object for it.

A literal object becomes a list of one by itself. A variable is of the wrong type, although its value would be right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    SKIP,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)

from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Collection

    from graphql import ArgumentNode, DocumentNode, TypeNode, VariableDefinitionNode
    from graphql.language.visitor import VisitorAction

_ORDER_BYS: Final = frozenset(declared.order_by for declared in REGISTERED.values())


def accept_single_orders(document: DocumentNode) -> DocumentNode:
    """The document, in which a variable that is declared for one object of `orderBy` takes a list of them."""
    declared = {
        definition.variable.name.value
        for operation in document.definitions
        if isinstance(operation, OperationDefinitionNode)
        for definition in operation.variable_definitions or ()
        if _is_single_order(definition.type)
    }
    if not declared:
        return document
    uses = _Uses()
    visit(document, uses)
    names = declared & uses.whole - uses.parts
    changed: DocumentNode = visit(document, _Lists(names)) if names else document
    return changed


def _is_single_order(type_: TypeNode) -> bool:
    named = type_.type if isinstance(type_, NonNullTypeNode) else type_
    return isinstance(named, NamedTypeNode) and named.name.value in _ORDER_BYS


class _Uses(Visitor):
    """Notes which variables are a whole argument `orderBy`, and which are anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: set[str] = set()
        self.parts: set[str] = set()

    def enter_argument(self, node: ArgumentNode, *_: object) -> VisitorAction:
        """A whole argument is not visited as a part."""
        if node.name.value != "orderBy" or not isinstance(node.value, VariableNode):
            return None
        self.whole.add(node.value.name.value)
        return SKIP

    def enter_variable_definition(self, _node: VariableDefinitionNode, *_: object) -> VisitorAction:
        """A declaration is no use."""
        return SKIP

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        """A part of an argument, or another argument."""
        self.parts.add(node.name.value)


class _Lists(Visitor):
    """Declares variables as lists."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: object) -> Any:
        """Replace the type by a list of it."""
        type_ = node.type
        if node.variable.name.value not in self._names or not _is_single_order(type_):
            return SKIP
        if isinstance(type_, NamedTypeNode):
            return replace(node, type=ListTypeNode(type=NonNullTypeNode(type=type_, loc=type_.loc), loc=type_.loc))
        return replace(node, type=NonNullTypeNode(type=ListTypeNode(type=type_, loc=type_.loc), loc=type_.loc))
