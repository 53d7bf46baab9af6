"""Schema extensions of the server: they note an operation's name, route its reads, admit it, and set its deadline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from schema.deadline import current_deadline, request_deadline
from server.graphql.fast_path import NAME_CHARACTERS
from server.http.read_requirement import current_reads
from server.observability.observations import SubscriptionEnded, SubscriptionStarted
from server.observability.request_record import current_record
from server.observability.sinks import observe
from server.observability.tracing import tracing
from server.traffic.admission import holds_slot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from server.traffic.admission import Admission

_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class NoteOperation(SchemaExtension):
    """Notes an operation's name and type on the request's record, and lets only queries read from a replica."""

    def on_operation(self) -> Iterator[None]:
        """Count the end of a subscription here: this also runs if it is cancelled."""
        record = current_record.get()
        try:
            yield
        finally:
            if record is not None and record.subscription:
                observe(SubscriptionEnded(record.transport))

    def on_parse(self) -> Iterator[None]:
        """Note the name, which is known once the document has been parsed."""
        try:
            yield
        finally:
            name = self.execution_context.operation_name
            # A client may send any text as `operationName`.
            if (record := current_record.get()) and name and _NAME.fullmatch(name):
                record.operation = name[:NAME_CHARACTERS]

    def on_validate(self) -> Iterator[None]:
        """Read for mutations and subscriptions from the primary: they show what has just been written."""
        yield
        reads, document = current_reads.get(None), self.execution_context.graphql_document
        if reads is not None and document is not None and not self.execution_context.pre_execution_errors:
            reads.primary_only = self.execution_context.operation_type is not OperationType.QUERY

    def on_execute(self) -> Iterator[None]:
        """Note the type. For a subscription this runs once, at its start, which drops what the rest does not need."""
        kind = self.execution_context.operation_type
        record = current_record.get()
        tracing.note_operation(record.operation if record else None, kind.value)
        if record is not None:
            record.mutation = kind is OperationType.MUTATION
            if kind is OperationType.SUBSCRIPTION:
                record.subscription, record.asked = True, (None, None)
                observe(SubscriptionStarted(record.transport))
        yield
        if kind is OperationType.SUBSCRIPTION:
            self.execution_context.query = self.execution_context.variables = None


class AdmissionGate(SchemaExtension):
    """Executes an operation once it has an admission slot. A subscription takes none: it would hold it for too long.

    While memory is short, neither is begun. Errors in a document are reported without a wait for a slot. An operation
    from the fast path has its slot already (server/graphql/endpoint.py).
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def on_execute(self) -> AsyncIterator[None]:
        """Wait for a slot, before the deadline starts."""
        if holds_slot():
            yield
            return
        self._admission.refuse_if_short()
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            yield
            return
        slot = await self._admission.enter()
        try:
            yield
        finally:
            slot.leave()


class QueryDeadline(SchemaExtension):
    """Cancels a query that takes too long, and its statements. A mutation goes on: its change may have been made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def on_execute(self) -> AsyncIterator[None]:
        """Set the deadline. Admin fields and a wake-up of the database extend it themselves."""
        if self.execution_context.operation_type is not OperationType.QUERY:
            yield
            return
        try:
            if current_deadline():
                # The fast path has set it already.
                yield
            else:
                async with request_deadline(self._seconds):
                    yield
        finally:
            if reads := current_reads.get(None):
                reads.cancel_loads()
