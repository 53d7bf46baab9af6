"""Owns what happens around the execution of every operation, on every transport."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphql import OperationDefinitionNode
from strawberry.extensions import SchemaExtension, ValidationCache
from strawberry.types.graphql import OperationType

from schema.cost import told_cost
from schema.errors import ApiError, Reason, RequestError
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from graphql import DocumentNode

    from schema.context import Context
    from schema.cost import Costs
    from schema.limits import Documents

# GraphiQL's introspection query has 1,600, Relay's largest are a few thousand.
REMEMBERED_CHARACTERS = 16_384
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
            self._cost = formula.of(execution.variables or {}, context.limits)
            self._costs.hold(formula, self._cost)
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


class SmallDocumentValidationCache(ValidationCache):
    """Strawberry's cache of validated documents, but for large ones, which it would keep alive."""

    def on_validate(self) -> Iterator[None]:
        """A large document is validated each time."""
        if _is_small(self.execution_context.query):
            yield from super().on_validate()
        else:
            yield


def _is_small(query: str | None) -> bool:
    return query is not None and len(query) <= REMEMBERED_CHARACTERS


def _refuse_several(document: DocumentNode) -> None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > 1:
        names = ", ".join(f"`{node.name.value}`" for node in operations if node.name) or "none has a name"
        raise RequestError(Reason.OPERATION_UNDETERMINED, f"Say in `operationName` which operation to run: {names}.")
