"""The schema's extensions: what happens around the execution of every operation, on every transport."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphql import OperationDefinitionNode, validate
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, RateLimitedError, Reason, RequestError
from schema.limits.cost import check_cost, reported_cost
from schema.limits.document import read_document
from schema.limits.prices import points_of, reading_points
from schema.limits.scans import advice_on
from schema.permissions import Role
from schema.plans.documents import Document
from schema.tables.older_documents import accept_single_orders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from graphql import DocumentNode
    from strawberry.types.execution import ExecutionContext

    from schema.context import Account, Context
    from schema.limits.document import DocumentLimits
    from schema.plans.documents import DocumentCache

# Each mistake may quote most of the document. graphql-core would report a hundred, which takes a quarter of a second.
MOST_MISTAKES = 10
_HEAD = "headCursor"


class OperationScope(SchemaExtension):
    """Gives each operation a context of its own, and refuses a request that does not say which operation to run."""

    def on_operation(self) -> Iterator[None]:
        """The operations of a WebSocket share its context, but a lookup must not outlive its operation."""
        context: Context = self.execution_context.context
        self.execution_context.context = context.for_operation()
        yield

    def on_validate(self) -> Iterator[None]:
        """Without a name, Strawberry would run the first of several operations."""
        document = self.execution_context.graphql_document
        if document is not None and _requested_name(self.execution_context) is None:
            _refuse_several(document)
        yield


class HeadFirst(SchemaExtension):
    """Reads the head of the feed before the rest of an operation that asks for it.

    Root fields run side by side. If the head were read after the orders, a change in between would be lost: the orders
    do not show it, and a subscription from the head does not deliver it.
    """

    async def on_execute(self) -> AsyncIterator[None]:
        """Look for the field's name in the text. A false match, in a comment for example, costs one statement.

        Only queries read the head here. A mutation makes changes after its start, and a subscription goes on, so these
        read the head where it is selected.
        """
        is_query = self.execution_context.operation_type is OperationType.QUERY
        if is_query and _HEAD in (self.execution_context.query or ""):
            context: Context = self.execution_context.context
            # If this fails, the field itself reports the error, and the other fields are answered.
            with contextlib.suppress(ApiError):
                context.principal.demand(Role.READER)
                self.execution_context.context = replace(context, head=await context.history.head())
        yield


class DocumentPreparation(SchemaExtension):
    """Parses and validates a document, unless the cache has it. Both take a turn, and the caller pays for them.

    Args:
        documents: the cache.
        limits: the limits of a document.
    """

    def __init__(self, documents: DocumentCache, limits: DocumentLimits) -> None:
        self._documents = documents
        self._limits = limits
        self._known = False

    async def on_parse(self) -> AsyncIterator[None]:
        """Parse within the limits. Validation takes longest, so a document that exceeds them is not validated."""
        context = self.execution_context
        if context.query and context.graphql_document is None:
            document = self._documents.get(context.query)
            if document is None:
                await context.context.turns.take(len(context.query), context.context.principal.user)
                # Another request may have brought the same text meanwhile.
                document = self._documents.get(context.query)
            self._known = document is not None
            context.graphql_document = document.ast if document else self._read(context.query, context.context.account)
        yield

    async def on_validate(self) -> AsyncIterator[None]:
        """Validate with our own bound on errors. Strawberry does not validate once `pre_execution_errors` is a list."""
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            context.pre_execution_errors = []
            if not self._known:
                await context.context.turns.take(len(context.query or ""), context.context.principal.user)
                began = time.thread_time()
                context.pre_execution_errors = validate(
                    context.schema._schema,  # noqa: SLF001 # Strawberry has no public way to it
                    document,
                    (*context.validation_rules, MaybeNullValidationRule, OneOfInputValidationRule),
                    max_errors=MOST_MISTAKES,
                )
                if context.pre_execution_errors:
                    _settle(context.context.account, since=began)
                elif context.query:
                    self._documents.add(context.query, document)
        yield

    def _read(self, text: str, account: Account | None) -> DocumentNode:
        # A text beyond the limit is refused by its length alone.
        if account is not None and len(text) <= self._limits.characters:
            account.pay(reading_points(text))
        began = time.thread_time()
        try:
            return accept_single_orders(read_document(text, self._limits))
        except Exception:
            _settle(account, since=began)
            raise


def _settle(account: Account | None, *, since: float) -> None:
    """Have the caller pay for what refusing a document took of this thread's time."""
    if account is not None:
        account.settle(points_of(time.thread_time() - since))


class CostControl(SchemaExtension):
    """Enforces the cost limit of an operation, charges the cost, and reports it to a client that asks for it.

    Args:
        documents: the cache of documents.
        limit: the cost limit of an operation.
    """

    def __init__(self, documents: DocumentCache, *, limit: int) -> None:
        self._documents = documents
        self._limit = limit
        self._cost: int | None = None

    def on_execute(self) -> Iterator[None]:
        """Charge after validation, on which a formula relies, and before the database is queried."""
        execution = self.execution_context
        context: Context = execution.context
        text, ast = execution.query or "", execution.graphql_document
        if ast is not None:
            # A very long document is not in the cache.
            document = self._documents.get(text) or Document(text, ast)
            graphql_schema = execution.schema._schema  # noqa: SLF001 # Strawberry has no public way to it
            formula = document.formula(graphql_schema, _requested_name(execution))
            given = execution.variables or {}, context.limits, context.statistics
            self._cost = formula.price(*given)
            check_cost(formula, self._cost, self._limit, lambda: advice_on(formula, *given))
            if context.charge is not None:
                try:
                    context.charge(self._cost)
                except RateLimitedError as error:
                    raise error if error.retryable else error.advised(advice_on(formula, *given)) from None
            if events := document.events(graphql_schema, _requested_name(execution)):
                terms = events.terms(*given)
                execution.context = replace(context, event_terms=terms)
        yield

    def get_results(self) -> dict[str, Any]:
        """The cost, also of an operation that was refused for it."""
        if self._cost is None or not asks_for_cost(
            self.execution_context.context, self.execution_context.operation_extensions
        ):
            return {}
        return cost_extension(self._cost, self._limit)


class Planning(SchemaExtension):
    """Plans a query that the ordinary path is about to execute, so that the fast path can answer the next request.

    It is the innermost extension, so the document has passed every extension that may refuse it.

    Args:
        documents: the cache of documents.
    """

    def __init__(self, documents: DocumentCache) -> None:
        self._documents = documents

    def on_execute(self) -> Iterator[None]:
        """A document that is not in the cache is very long, and is not planned."""
        execution = self.execution_context
        if document := self._documents.get(execution.query or ""):
            document.plan(execution.schema, _requested_name(execution))
        yield


def asks_for_cost(context: Context, extensions: Mapping[str, Any] | None) -> bool:
    """Whether the client asks for the operation's cost: by a header, or by `cost: true` in `extensions`."""
    return context.tells_cost or (extensions is not None and extensions.get("cost") is True)


def cost_extension(cost: int, limit: int) -> dict[str, Any]:
    """The cost, as the answer's `extensions` hold it."""
    return {"cost": {"requested": reported_cost(cost), "limit": limit}}


def _requested_name(execution: ExecutionContext) -> str | None:
    """The `operationName` of the request. Strawberry's `operation_name` falls back to the first operation's name."""
    return execution._provided_operation_name  # noqa: SLF001 # Strawberry has no public way to it


def _refuse_several(document: DocumentNode) -> None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > 1:
        names = ", ".join(f"`{node.name.value}`" for node in operations if node.name) or "none has a name"
        raise RequestError(Reason.OPERATION_UNDETERMINED, f"Say in `operationName` which operation to run: {names}.")
