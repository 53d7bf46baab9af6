"""The cost of an operation: a formula compiled once from its document, and evaluated with each request's variables.

Every field costs a point, `__typename` too. The selection on a list is multiplied by the length of the list. A page
counts with its requested size, however many entries it turns out to hold. Each element of a list in the arguments costs
a point too. Fields that take more work than a scalar have a price (schema/limits/prices.py). Fields that `@skip` and
`@include` leave out are counted.
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
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from schema.errors import LimitError, Reason
from schema.limits.arguments import GivenArguments
from schema.limits.document import INTROSPECTION_FIELDS, merged_fields
from schema.limits.formulas import (
    LEAST_POINTS,
    ONE,
    Elements,
    Formula,
    Length,
    NumberOfRows,
    PageSize,
    PriceByArgument,
    bare,
    has_lists,
    length_of,
)
from schema.limits.lookups import lookups_of
from schema.limits.prices import (
    SHARED_PRICES,
    ConditionalPrice,
    ListArgument,
    PageArguments,
    PageEntries,
    RowsOf,
    TypicalLength,
    price_of,
    size_of,
)
from schema.limits.scans import FINDING, scans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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

_TYPENAME: Final = "__typename"
# The largest integer that every JSON parser reads exactly.
_MOST_REPORTED: Final = 2**53 - 1
# The approximate lengths of the lists in the schema's own types.
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
# A value of an introspection takes some microseconds, so ten of them cost as much as one field.
_VALUES_FOR_A_POINT: Final = 10
# The most values that an operation's introspection may have: more than twice those of the standard query.
MOST_INTROSPECTED: Final = 300_000


def check_cost(formula: Formula, cost: int, limit: int, advice: Callable[[], Iterable[str]] = tuple) -> None:
    """Refuse an operation that costs too much.

    Args:
        formula: its formula.
        cost: what the formula comes to for the request's variables.
        limit: what an operation may cost. Introspection is left out: it has a bound of its own.
        advice: further sentences on how to ask for less.

    Raises:
        LimitError: COST_EXCEEDED.
    """
    requested = cost - formula.introspection
    # A lower limit would refuse everything.
    if requested > max(limit, LEAST_POINTS):
        message = (
            f"The operation costs {reported_cost(requested):,}, and at most {limit:,} are allowed: ask for "
            "smaller pages or fewer fields."
        )
        message = " ".join([message, *dict.fromkeys(advice())])
        raise LimitError(Reason.COST_EXCEEDED, message, limit="cost", requested=reported_cost(requested), allowed=limit)


def formula_of(
    schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode, *, of_event: bool = False
) -> Formula:
    """The cost formula of an operation of a valid document that is within its limits.

    Args:
        schema: the schema.
        document: the document.
        operation: one of its operations.
        of_event: for a subscription, the formula of one event. The start of the subscription, with arguments such as a
            list of keys, is paid for apart.

    Raises:
        LimitError: COST_EXCEEDED if the operation repeats introspection too often.
    """
    return _Compiler(schema, document, operation, of_event=of_event).formula(operation)


def reported_cost(cost: int) -> int:
    """A cost as it is reported: at most the largest integer that every JSON parser reads exactly."""
    return min(cost, _MOST_REPORTED)


class _Compiler:
    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode, *, of_event: bool
    ) -> None:
        self._schema = schema
        self._started = schema.subscription_type if of_event else None
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._arguments = GivenArguments(operation)
        self._values = 0

    def formula(self, operation: OperationDefinitionNode) -> Formula:
        root = self._schema.get_root_type(operation.operation)
        if root is None:
            return Formula()
        return self._selected(root, [operation.selection_set], None)

    def _selected(
        self, type_: GraphQLNamedType, selection_sets: list[SelectionSetNode], page: int | Number | None
    ) -> Formula:
        formula = Formula()
        fields = self._fields(type_, selection_sets)
        for owner, (names, price) in SHARED_PRICES.items():
            if any(parent.name == owner and nodes[0].name.value in names for parent, nodes in fields):
                formula.points += price
        for parent, nodes in fields:
            name = nodes[0].name.value
            if name == _TYPENAME:
                formula.points += 1
            elif name in INTROSPECTION_FIELDS:
                formula.add(self._introspection(nodes))
            elif name in parent.fields:
                formula.add(self._field(parent, nodes, page))
        return formula

    def _fields(
        self, type_: GraphQLNamedType, selection_sets: list[SelectionSetNode]
    ) -> Sequence[tuple[GraphQLObjectType | GraphQLInterfaceType, list[FieldNode]]]:
        """The fields of merged selections, grouped by response key and type, as GraphQL merges them for an object."""
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
                # A fragment on an interface of an object selects fields of this object.
                if condition and not isinstance(parent, GraphQLObjectType):
                    narrowed = self._schema.get_type(condition.name.value) or parent
                else:
                    narrowed = parent
                waiting.append((narrowed, fragment.selection_set))
        # Every object has the fields of its interfaces. So a field of the interface, and the same field selected on an
        # implementing type, are one field.
        for response_key, owner in [*found]:
            if owner != type_.name and (response_key, type_.name) in found:
                found[response_key, type_.name][1].extend(found.pop((response_key, owner))[1])
        return list(found.values())

    def _field(
        self, parent: GraphQLObjectType | GraphQLInterfaceType, nodes: list[FieldNode], page: int | Number | None
    ) -> Formula:
        node, declared = nodes[0], parent.fields[nodes[0].name.value]
        name = node.name.value
        formula = Formula()
        # The subscription itself was paid for when it started: its work and its arguments.
        has_started = parent is self._started
        formula.add_times(1 if has_started else self._price(price_of(parent.name, name, declared.type), node), ONE)
        for argument in () if has_started else node.arguments or ():
            if argument.name.value in declared.args and has_lists(type_ := declared.args[argument.name.value].type):
                self._add_elements(formula, argument.value, type_)
        named = get_named_type(declared.type)
        if not is_composite_type(named):
            return formula
        listed = is_list_type(get_nullable_type(declared.type))
        size = self._size(parent.name, name, node, page)
        selection_sets = [some.selection_set for some in nodes if some.selection_set]
        if (finds := FINDING.get(f"{parent.name}.{name}")) is not None:
            selected = [some[0] for _, some in self._fields(named, selection_sets)]
            formula.add(scans_of(finds, node, selected, self._arguments, size))
        if parent.name == "Query" and (lookups := lookups_of(node, self._arguments)):
            formula.add_times(lookups, ONE)
        below = self._selected(named, selection_sets, None if listed else size)
        if listed:
            # Even an element of which only `__typename` is selected has to be found.
            below.points = max(below.points, 1)
            formula.add_times(1 if size is None else size, below)
        else:
            formula.add(below)
        return formula

    def _price(self, price: int | ConditionalPrice, node: FieldNode) -> int | Number:
        if isinstance(price, int):
            return price
        given = self._arguments.find(node, price.argument)
        if given is None or given.variable is None:
            return price.price if given is not None and given.literal == price.value else price.otherwise
        return PriceByArgument(given, price)

    def _size(self, type_name: str, name: str, node: FieldNode, page: int | Number | None) -> int | Number | None:
        size = size_of(type_name, name)
        if isinstance(size, PageArguments):
            given = (self._arguments.find(node, argument) for argument in size.arguments)
            return PageSize(tuple(one for one in given if one is not None), size.limits, size.default)
        if isinstance(size, ListArgument):
            argument, *path = size.path
            found = self._arguments.find(node, argument, *path)
            if found is None or found.variable is None:
                return length_of(found.literal) if found else 0
            return Length(found)
        if isinstance(size, TypicalLength):
            return size.length
        if isinstance(size, RowsOf):
            return NumberOfRows(size.table, size.within)
        return page if isinstance(size, PageEntries) else None

    def _add_elements(self, formula: Formula, value: ValueNode, type_: GraphQLInputType) -> None:
        """Add the elements of the lists in an argument, literal or in variables."""
        type_ = bare(type_)
        if isinstance(value, VariableNode):
            formula.add_times(Elements(self._arguments.value(value), type_), ONE)
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
        # One total for the operation: an introspection under twenty aliases counts twenty times.
        self._values += values
        if self._values > MOST_INTROSPECTED:
            message = (
                f"The operation's introspection comes to {self._values:,} values or more, and at most "
                f"{MOST_INTROSPECTED:,} are allowed."
            )
            raise LimitError(
                Reason.COST_EXCEEDED, message, limit="introspection", requested=self._values, allowed=MOST_INTROSPECTED
            )
        points = values // _VALUES_FOR_A_POINT
        return Formula(points=1 + points, introspection=points)

    def _introspected(self, selection_sets: list[SelectionSetNode]) -> int:
        by_key: dict[str, list[FieldNode]] = {}
        for node in merged_fields(selection_sets, self._fragments, visited=set()):
            by_key.setdefault((node.alias or node.name).value, []).append(node)
        values = 0
        for nodes in by_key.values():
            times = _INTROSPECTED.get(nodes[0].name.value, 1)
            below = [node.selection_set for node in nodes if node.selection_set]
            values += 1 + times * (self._introspected(below) if below else 0)
        return values
