"""Owns what happens around the execution of every operation, on every transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphql import OperationDefinitionNode
from strawberry.extensions import SchemaExtension

from schema.errors import Reason, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphql import DocumentNode

    from schema.context import Context


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


def _refuse_several(document: DocumentNode) -> None:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > 1:
        names = ", ".join(f"`{node.name.value}`" for node in operations if node.name)
        raise RequestError(Reason.OPERATION_UNDETERMINED, f"Say in `operationName` which operation to run: {names}.")
