"""Owns what the server does around every operation: its name noted, its reads routed, a query kept to its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from schema.deadline import request_deadline
from server.record import current_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_NAME_CHARACTERS = 100


class NoteOperation(SchemaExtension):
    """Notes on the request's record what its operation is called, and whether it may be read from a secondary."""

    def on_operation(self) -> Iterator[None]:
        """Known only once the document has been read."""
        try:
            yield
        finally:
            # Also where a subscription is ended from outside.
            if (record := current_record.get()) and (name := self.execution_context.operation_name):
                record.operation = name[:_NAME_CHARACTERS]

    def on_validate(self) -> Iterator[None]:
        """What a mutation or a subscription shows is what has just been written: it is read from the primary."""
        yield
        record, document = current_record.get(), self.execution_context.graphql_document
        if record is not None and document is not None and not self.execution_context.pre_execution_errors:
            record.primary_only = self.execution_context.operation_type is not OperationType.QUERY


class QueryDeadline(SchemaExtension):
    """Ends a query, with its statements, that takes too long. A change is not ended: it may have been made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def on_execute(self) -> AsyncIterator[None]:
        """The admin fields and a database that wakes ask for more time themselves."""
        if self.execution_context.operation_type is not OperationType.QUERY:
            yield
            return
        try:
            async with request_deadline(self._seconds):
                yield
        finally:
            if record := current_record.get():
                record.cancel_loads()
