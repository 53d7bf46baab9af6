"""Owns what happens around the execution of every operation, on every transport."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphql import OperationDefinitionNode, validate
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, Reason, RequestError
from schema.limits.cost import told_cost
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from graphql import DocumentNode

    from schema.context import Context
    from schema.limits.cost import Costs
    from schema.limits.document import Documents

# GraphiQL's introspection query has 1,600, Relay's largest are a few thousand.
REMEMBERED_CHARACTERS = 16_384
# Each may quote most of the document. graphql-core would find a hundred, which takes a quarter of a second.
MOST_MISTAKES = 10
_HEAD = "headCursor"


class OperationScope(SchemaExtension):
    """Gives each operation a context of its own, and refuses a request that does not say which it means."""

    def on_operation(self) -> Iterator[None]:
        """A WebSocket has one context for all of its operations; a lookup must not outlive one."""
        context: Context = self.execution_context.context
        self.execution_context.context = context.for_operation()
        yield

    def on_validate(self) -> Iterator[None]:
        """Strawberry would run the first of several operations where none is named."""
        document = self.execution_context.graphql_document
        if document is not None and self.execution_context._provided_operation_name is None:  # noqa: SLF001 # operation_name answers with the first operation's name where none was given
            _refuse_several(document)
        yield


class HeadFirst(SchemaExtension):
    """Reads the head of the feed before anything else of an operation that asks for it.

    Root fields run side by side. A head read after the orders beside it would be past changes that those orders
    do not show, and that a subscription from there on would never bring.
    """

    async def on_execute(self) -> AsyncIterator[None]:
        """By the document's text: at worst a comment costs a statement.

        A mutation's own changes come after its start, and a subscription's events go on: theirs is read where it
        is selected.
        """
        is_query = self.execution_context.operation_type is OperationType.QUERY
        if is_query and _HEAD in (self.execution_context.query or ""):
            context: Context = self.execution_context.context
            # Where it fails the field itself says so, and the other fields have their say.
            with contextlib.suppress(ApiError):
                context.principal.demand(Role.READER)
                self.execution_context.context = replace(context, head=await context.history.head())
        yield


class DocumentReading(SchemaExtension):
    """Reads the document, within its limits, before anything else looks at it."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def on_parse(self) -> Iterator[None]:
        """What is refused here is not validated, which takes longest of all."""
        context = self.execution_context
        if context.query and context.graphql_document is None:
            context.graphql_document = self._documents.read(context.query)
        yield


class CostControl(SchemaExtension):
    """Holds an operation to what it may cost, has it charged, and tells the cost to who asks for it."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._cost: int | None = None

    def on_execute(self) -> Iterator[None]:
        """After validation, which a formula relies on; before anything is asked of the database."""
        execution = self.execution_context
        context: Context = execution.context
        if execution.graphql_document is not None:
            name = execution._provided_operation_name  # noqa: SLF001 # operation_name answers with the first operation's name where none was given
            formula = self._costs.formula(execution.query, execution.graphql_document, name)
            self._cost = formula.evaluate(execution.variables or {}, context.limits)
            self._costs.hold(formula, self._cost)
            if context.charge is not None:
                context.charge(self._cost)
        yield

    def get_results(self) -> dict[str, Any]:
        """The cost, also that of an operation which was refused for it."""
        if self._cost is None or not asks_for_cost(
            self.execution_context.context, self.execution_context.operation_extensions
        ):
            return {}
        return cost_told(self._cost, self._costs.limit)


def asks_for_cost(context: Context, extensions: Mapping[str, Any] | None) -> bool:
    """Whether the answer is to say what the operation costs: by a header, or by `cost: true` in its extensions."""
    return context.tells_cost or (extensions is not None and extensions.get("cost") is True)


def cost_told(cost: int, limit: int) -> dict[str, Any]:
    """What the answer's `extensions` say of it."""
    return {"cost": {"requested": told_cost(cost), "limit": limit}}


class ValidDocuments:
    """The texts of the documents that have proved valid, the latest used.

    What is wrong with one that is not would be remembered with it, which may be a hundred times its length.

    Args:
        most: how many are remembered.
        longest: the length of the longest of those, in characters.
    """

    def __init__(self, *, most: int, longest: int) -> None:
        self._most = most
        self._longest = longest
        self._texts: OrderedDict[str, None] = OrderedDict()

    def has(self, text: str) -> bool:
        """Whether this one is remembered."""
        if text not in self._texts:
            return False
        self._texts.move_to_end(text)
        return True

    def add(self, text: str) -> None:
        """Remember one, unless it is a long one."""
        if len(text) <= self._longest:
            self._texts[text] = None
            if len(self._texts) > self._most:
                self._texts.popitem(last=False)


class DocumentValidation(SchemaExtension):
    """Validates a document, but for those that have been before."""

    def __init__(self, valid: ValidDocuments) -> None:
        self._valid = valid

    def on_validate(self) -> Iterator[None]:
        """Strawberry validates what this leaves over, which is nothing."""
        context = self.execution_context
        text, document = context.query, context.graphql_document
        if document is not None:
            context.pre_execution_errors = []
            if text is None or not self._valid.has(text):
                rules = (*context.validation_rules, MaybeNullValidationRule, OneOfInputValidationRule)
                context.pre_execution_errors = validate(
                    context.schema._schema,  # noqa: SLF001 # Strawberry has no public way to it
                    document,
                    rules,
                    max_errors=MOST_MISTAKES,
                )
                if text is not None and not context.pre_execution_errors:
                    self._valid.add(text)
        yield


def _refuse_several(document: DocumentNode) -> None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > 1:
        names = ", ".join(f"`{node.name.value}`" for node in operations if node.name) or "none has a name"
        raise RequestError(Reason.OPERATION_UNDETERMINED, f"Say in `operationName` which operation to run: {names}.")
