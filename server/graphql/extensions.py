"""Owns what the server does around every operation: its name noted, its reads routed, a query kept to its deadline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from schema.deadline import current_deadline, request_deadline
from server.graphql.fast_path import NAME_CHARACTERS
from server.observability.metrics import note_subscription
from server.observability.request_record import current_record
from server.observability.tracing import tracing
from server.read_requirement import current_reads
from server.traffic.admission import has_place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from server.traffic.admission import Admission

_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class NoteOperation(SchemaExtension):
    """Notes on the request's record which operation it is, and whether it may be read from a secondary."""

    def on_operation(self) -> Iterator[None]:
        """A subscription lasts until here, also where it is ended from outside."""
        record = current_record.get()
        try:
            yield
        finally:
            if record is not None and record.subscription:
                note_subscription(record.transport, -1)

    def on_parse(self) -> Iterator[None]:
        """The name is known once the document has been read."""
        try:
            yield
        finally:
            name = self.execution_context.operation_name
            # What a caller asks for need not be a name at all.
            if (record := current_record.get()) and name and _NAME.fullmatch(name):
                record.operation = name[:NAME_CHARACTERS]

    def on_validate(self) -> Iterator[None]:
        """What a mutation or a subscription shows is what has just been written: it is read from the primary."""
        yield
        reads, document = current_reads.get(None), self.execution_context.graphql_document
        if reads is not None and document is not None and not self.execution_context.pre_execution_errors:
            reads.primary_only = self.execution_context.operation_type is not OperationType.QUERY

    def on_execute(self) -> Iterator[None]:
        """The type is by then one that is served here. Of a subscription this is the beginning alone."""
        kind = self.execution_context.operation_type
        record = current_record.get()
        tracing.note_operation(record.operation if record else None, kind.value)
        if record is not None and kind is OperationType.SUBSCRIPTION:
            record.subscription = True
            note_subscription(record.transport, 1)
        yield


class Admitted(SchemaExtension):
    """Lets an operation be begun once it is among those in flight. A subscription, which lasts, never is.

    What is wrong with a document is told although nobody more is let in. One that has come by the fast way is among
    them already (server/graphql/endpoint.py).
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def on_execute(self) -> AsyncIterator[None]:
        """Before its deadline begins."""
        lasts = self.execution_context.operation_type is OperationType.SUBSCRIPTION
        if lasts or has_place():
            yield
            return
        place = await self._admission.enter()
        try:
            yield
        finally:
            place.leave()


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
            if current_deadline():
                # What the fast way has left of it.
                yield
            else:
                async with request_deadline(self._seconds):
                    yield
        finally:
            if reads := current_reads.get(None):
                reads.cancel_loads()
