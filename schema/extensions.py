"""Owns what happens around the execution of every operation, on every transport."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from graphql import OperationDefinitionNode
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, Reason, RequestError
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from graphql import DocumentNode

    from schema.context import Context

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


class SmallDocumentParserCache(ParserCache):
    """Strawberry's cache of parsed documents, but for large ones: parsed, a character takes some sixty bytes."""

    def on_parse(self) -> Iterator[None]:
        """A large document is parsed each time."""
        if _is_small(self.execution_context.query):
            yield from super().on_parse()
        else:
            yield


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
