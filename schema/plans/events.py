"""What a subscription selects of each event: what an event costs, and which subscriptions get equal answers."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    ListValueNode,
    ObjectValueNode,
    VariableNode,
)

from schema.context import EventTerms
from schema.limits.cost import formula_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphql import (
        DocumentNode,
        GraphQLSchema,
        OperationDefinitionNode,
        SelectionNode,
        SelectionSetNode,
        ValueNode,
    )

    from schema.context import PageLimits
    from schema.limits.formulas import StatisticsSource


class EventSelection:
    """The selection of a subscription, without the arguments of the subscription itself.

    These arguments decide which events a subscriber gets, but not what is in an event. So subscribers that resume from
    different cursors, or follow different orders, can get equal answers.

    Args:
        schema: the schema.
        text: the text of the document.
        document: its syntax tree. It is valid and within its limits.
        operation: the subscription.
    """

    def __init__(
        self, schema: GraphQLSchema, text: str, document: DocumentNode, operation: OperationDefinitionNode
    ) -> None:
        self._formula = formula_of(schema, document, operation, of_event=True)
        name = operation.name.value if operation.name else None
        self._operation = sha256(json.dumps([text, name]).encode())
        self._variables = sorted({*_Variables(document).below(operation.selection_set, at_root=True)})

    def terms(self, values: Mapping[str, Any], pages: PageLimits, statistics: StatisticsSource) -> EventTerms:
        """The terms of a subscription's events.

        Args:
            values: the variables of the request.
            pages: the limits of pages.
            statistics: what is known of the tables.
        """
        used = {name: values[name] for name in self._variables if name in values}
        try:
            written = json.dumps(used, sort_keys=True)
        except RecursionError:
            # No argument takes a value that is nested so deeply, so the subscription is about to be refused.
            written = ""
        # A subscription keeps the digest for hours, and so does not keep its text and its variables.
        selection = self._operation.copy()
        selection.update(written.encode())
        return EventTerms(selection.digest(), self._formula.price(values, pages, statistics))


class _Variables:
    """Finds the variables that a selection uses."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._entered: set[tuple[str, bool]] = set()

    def below(self, selection_set: SelectionSetNode, *, at_root: bool) -> Iterator[str]:
        """The variables below a selection set. At the root the arguments of fields are left out."""
        for node in selection_set.selections:
            for directive in node.directives or ():
                for argument in directive.arguments or ():
                    yield from _in_value(argument.value)
            yield from self._in_selection(node, at_root=at_root)

    def _in_selection(self, node: SelectionNode, *, at_root: bool) -> Iterator[str]:
        if isinstance(node, FieldNode):
            for argument in () if at_root else node.arguments or ():
                yield from _in_value(argument.value)
            if node.selection_set:
                yield from self.below(node.selection_set, at_root=False)
        elif not isinstance(node, FragmentSpreadNode):
            yield from self.below(node.selection_set, at_root=at_root)  # type: ignore[attr-defined] # an inline fragment
        elif (node.name.value, at_root) not in self._entered:
            self._entered.add((node.name.value, at_root))
            yield from self.below(self._fragments[node.name.value].selection_set, at_root=at_root)


def _in_value(value: ValueNode) -> Iterator[str]:
    if isinstance(value, VariableNode):
        yield value.name.value
    elif isinstance(value, ListValueNode):
        for element in value.values:
            yield from _in_value(element)
    elif isinstance(value, ObjectValueNode):
        for part in value.fields:
            yield from _in_value(part.value)
