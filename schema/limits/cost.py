"""Owns the cost of an operation: a formula made once of its document, and worked out with each request's variables.

Every field costs a point, `__typename` none. What is selected of a list counts as often as the list is long, a page as
often as it was asked to be, whatever it turns out to hold; an element of a list that is given costs a point too. Fields
that take more than a value's work have a price (schema/limits/prices.py). What `@skip` and `@include` leave out is
counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
    value_from_ast_untyped,
)

from schema.errors import LimitError, Reason
from schema.limits.document import INTROSPECTION_FIELDS, merged
from schema.limits.formulas import ONE, Elements, Formula, Given, Length, PageSize, Priced, bare, has_lists, length_of
from schema.limits.prices import About, AsLongAs, Cheaper, OfPage, Paged, price_of, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphql import (
        DocumentNode,
        GraphQLInputType,
        GraphQLNamedType,
        GraphQLSchema,
        OperationDefinitionNode,
        SelectionSetNode,
        ValueNode,
    )

    from schema.limits.formulas import Number

_MOST_DIGITS: Final = 18
_MOST_TOLD: Final = 2**53 - 1
# How long the lists of the schema's own types are, about.
_INTROSPECTED: Final = {
    "types": 100,
    "fields": 8,
    "args": 2,
    "inputFields": 6,
    "enumValues": 5,
    "possibleTypes": 6,
    "interfaces": 1,
    "directives": 6,
}
# A value of them takes some microseconds, as ten of an order do.
_VALUES_FOR_A_POINT: Final = 10
# Twice what the standard query comes to, and more.
MOST_INTROSPECTED: Final = 300_000


def check_cost(formula: Formula, cost: int, limit: int) -> None:
    """Refuse an operation that costs too much.

    Args:
        formula: its formula.
        cost: what the formula comes to for the request's variables.
        limit: what an operation may cost, introspection aside, which has a bound of its own.

    Raises:
        LimitError: COST_EXCEEDED.
    """
    requested = cost - formula.introspection
    if requested > limit:
        message = (
            f"The operation costs {told_cost(requested):,}, and at most {limit:,} are allowed: ask for "
            "smaller pages or fewer fields."
        )
        raise LimitError(Reason.COST_EXCEEDED, message, limit="cost", requested=told_cost(requested), allowed=limit)


def formula_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Formula:
    """The formula of an operation of a valid document that is within its limits.

    Raises:
        LimitError: COST_EXCEEDED, it would describe the schema over and over.
    """
    return _Compiler(schema, document, operation).formula(operation)


def told_cost(cost: int) -> int:
    """A cost as it is told: no larger than what every reader of JSON has as a number."""
    return min(cost, _MOST_TOLD)


class _Compiler:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._defaults = {
            definition.variable.name.value: value_from_ast_untyped(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }
        self._values = 0

    def formula(self, operation: OperationDefinitionNode) -> Formula:
        root = self._schema.get_root_type(operation.operation)
        if root is None:
            return Formula()
        formula = self._selected(root, [operation.selection_set], None)
        # An operation that asks for nothing but its type's name is one all the same.
        formula.points = max(formula.points, 1)
        return formula

    def _selected(
        self, type_: GraphQLNamedType, selection_sets: list[SelectionSetNode], page: int | Number | None
    ) -> Formula:
        formula = Formula()
        for parent, nodes in self._fields(type_, selection_sets):
            name = nodes[0].name.value
            if name in INTROSPECTION_FIELDS:
                formula.add(self._introspection(nodes))
            elif name in parent.fields:
                formula.add(self._field(parent, nodes, page))
        return formula

    def _fields(
        self, type_: GraphQLNamedType, selection_sets: list[SelectionSetNode]
    ) -> Sequence[tuple[GraphQLObjectType | GraphQLInterfaceType, list[FieldNode]]]:
        """The fields of selections that are one, those of one response key and type together."""
        found: dict[tuple[str, str], tuple[Any, list[FieldNode]]] = {}
        entered: set[str] = set()
        waiting: list[tuple[GraphQLNamedType, SelectionSetNode]] = [(type_, some) for some in reversed(selection_sets)]
        while waiting:
            parent, selection_set = waiting.pop()
            for node in selection_set.selections:
                if isinstance(node, FieldNode):
                    if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
                        key = (node.alias or node.name).value, parent.name
                        found.setdefault(key, (parent, []))[1].append(node)
                    continue
                fragment: Any = node
                if not isinstance(node, InlineFragmentNode):
                    fragment = self._fragments.get(node.name.value)  # type: ignore[attr-defined] # a spread
                    if fragment is None or fragment.name.value in entered:
                        continue
                    entered.add(fragment.name.value)
                condition = fragment.type_condition
                narrowed = self._schema.get_type(condition.name.value) if condition else parent
                waiting.append((narrowed or parent, fragment.selection_set))
        return list(found.values())

    def _field(
        self, parent: GraphQLObjectType | GraphQLInterfaceType, nodes: list[FieldNode], page: int | Number | None
    ) -> Formula:
        node, declared = nodes[0], parent.fields[nodes[0].name.value]
        name = node.name.value
        formula = Formula()
        formula.add_often(self._price(price_of(parent.name, name, declared.type), node), ONE)
        for argument in node.arguments or ():
            if argument.name.value in declared.args and has_lists(type_ := declared.args[argument.name.value].type):
                self._add_elements(formula, argument.value, type_)
        named = get_named_type(declared.type)
        if not is_composite_type(named):
            return formula
        listed = is_list_type(get_nullable_type(declared.type))
        size = self._size(parent.name, name, node, page)
        selection_sets = [some.selection_set for some in nodes if some.selection_set]
        below = self._selected(named, selection_sets, None if listed else size)
        if listed:
            # One that nothing but its type's name is asked of has to be found all the same.
            below.points = max(below.points, 1)
            formula.add_often(1 if size is None else size, below)
        else:
            formula.add(below)
        return formula

    def _price(self, price: int | Cheaper, node: FieldNode) -> int | Number:
        if isinstance(price, int):
            return price
        given = self._argument(node, price.argument)
        if given is None or given.variable is None:
            return price.price if given is not None and given.literal == price.value else price.otherwise
        return Priced(given, price)

    def _size(self, type_name: str, name: str, node: FieldNode, page: int | Number | None) -> int | Number | None:
        size = size_of(type_name, name)
        if isinstance(size, Paged):
            given = (self._argument(node, argument) for argument in size.arguments)
            return PageSize(tuple(one for one in given if one is not None), size.limits, size.default)
        if isinstance(size, AsLongAs):
            argument, *path = size.path
            found = self._argument(node, argument, *path)
            if found is None or found.variable is None:
                return length_of(found.literal) if found else 0
            return Length(found)
        if isinstance(size, About):
            return size.length
        return page if isinstance(size, OfPage) else None

    def _argument(self, node: FieldNode, name: str, *path: str) -> Given | None:
        """What is given for an argument, or at a path within it; None where nothing is."""
        value: ValueNode | None = next((some.value for some in node.arguments or () if some.name.value == name), None)
        while path and isinstance(value, ObjectValueNode):
            value = next((some.value for some in value.fields if some.name.value == path[0]), None)
            path = path[1:]
        return None if value is None else self._given(value, path)

    def _given(self, value: ValueNode, path: tuple[str, ...] = ()) -> Given:
        if isinstance(value, VariableNode):
            variable = value.name.value
            return Given(variable=variable, default=self._defaults.get(variable), path=path)
        if isinstance(value, ListValueNode):
            return Given([None] * len(value.values))
        if isinstance(value, IntValueNode):
            # A literal of any length is a number to the grammar, and Python reads no more than 4,300 digits.
            return Given(int(value.value) if len(value.value) <= _MOST_DIGITS else int(value.value[:_MOST_DIGITS]))
        return Given(None if isinstance(value, NullValueNode) else getattr(value, "value", value))

    def _add_elements(self, formula: Formula, value: ValueNode, type_: GraphQLInputType) -> None:
        """Add the elements of the lists that are given for an argument, those in variables too."""
        type_ = bare(type_)
        if isinstance(value, VariableNode):
            formula.add_often(Elements(self._given(value), type_), ONE)
        elif isinstance(type_, GraphQLList):
            within = value.values if isinstance(value, ListValueNode) else (value,)
            formula.points += 0 if isinstance(value, NullValueNode) else len(within)
            for element in within if has_lists(type_.of_type) else ():
                self._add_elements(formula, element, type_.of_type)
        elif isinstance(type_, GraphQLInputObjectType) and isinstance(value, ObjectValueNode):
            for part in value.fields:
                if part.name.value in type_.fields and has_lists(type_.fields[part.name.value].type):
                    self._add_elements(formula, part.value, type_.fields[part.name.value].type)

    def _introspection(self, nodes: list[FieldNode]) -> Formula:
        values = self._introspected([node.selection_set for node in nodes if node.selection_set])
        # Of all that the operation asks of them: under twenty names, twenty times.
        self._values += values
        if self._values > MOST_INTROSPECTED:
            message = (
                f"So many fields of the schema's own types come to {self._values:,} values or more; "
                f"{MOST_INTROSPECTED:,} are answered."
            )
            raise LimitError(
                Reason.COST_EXCEEDED, message, limit="introspection", requested=self._values, allowed=MOST_INTROSPECTED
            )
        points = values // _VALUES_FOR_A_POINT
        return Formula(points=1 + points, introspection=points)

    def _introspected(self, selection_sets: list[SelectionSetNode]) -> int:
        by_key: dict[str, list[FieldNode]] = {}
        for node in merged(selection_sets, self._fragments, met=set()):
            by_key.setdefault((node.alias or node.name).value, []).append(node)
        values = 0
        for nodes in by_key.values():
            often = _INTROSPECTED.get(nodes[0].name.value, 1)
            below = [node.selection_set for node in nodes if node.selection_set]
            values += 1 + often * (self._introspected(below) if below else 0)
        return values
