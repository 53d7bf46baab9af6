"""The end of an operation: stored, shown to subscribers, counted, and written to the audit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from schema.ports.admin.operations import OperationState
from server.db.database import DatabaseAbsentError
from server.lakebase.database.audit import write_line
from server.observability.observations import AdminOperationEnded
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schema.ports.admin.audit import AuditEntry
    from schema.ports.admin.operations import OperationFailure
    from server.lakebase.database.audit import AuditLog
    from server.lakebase.operations.operation import OperationRecord
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.tolerance import Tolerance

# The pause between two attempts to write down the end of an operation.
_FINISH_PAUSE_SECONDS: Final = 1.0


class Endings:
    """Ends operations.

    Args:
        store: where operations are kept.
        audit: the audit, which has an entry for the end of each operation.
        tolerance: tolerates failures of the store.
        changed: awaited after every change of an operation, so that subscribers see it.
        finished: called when the end of an operation is stored.
    """

    def __init__(
        self,
        store: OperationStore,
        audit: AuditLog,
        tolerance: Tolerance,
        *,
        changed: Callable[[], Awaitable[None]],
        finished: Callable[[OperationRecord], None],
    ) -> None:
        self._store = store
        self._audit = audit
        self._tolerating = tolerance.of
        self._changed = changed
        self._finished = finished
        # The audit entries of operations that delete the database with these entries in it.
        self._carried: dict[str, list[AuditEntry]] = {}

    async def carry(self, operation: OperationRecord) -> None:
        """Carry an operation's audit entries past the deletion of their database, to the next one."""
        if operation.id not in self._carried:
            self._carried[operation.id] = await self._audit.of_operation(operation.id)

    def forget(self, operation: OperationRecord) -> None:
        """Forget the entries of an operation that this process no longer runs."""
        self._carried.pop(operation.id, None)

    async def supersede(self, operation: OperationRecord, failure: OperationFailure) -> None:
        """End an operation in memory that another one has superseded."""
        operation.end(failure)
        self._note(operation)
        await self._audit.flush()

    async def finish(self, operation: OperationRecord, failure: OperationFailure | None, *, cancelled: bool) -> None:
        """Store the end of the operation, with its entry in the audit.

        Until then this process holds it, and no other process resumes it.
        """
        ended = replace(operation, steps=list(operation.steps))
        ended.end(failure, cancelled=cancelled)
        while operation.durable:
            with self._tolerating(operation):
                try:
                    await self._store.save(ended)
                except DatabaseAbsentError:
                    # It may stay stopped until an operation on the same resources starts it.
                    self._store.abandon(operation)
                break
            # Readers see the end now, but a new operation on the same resources has to wait until the end is stored.
            await self._show(operation, ended)
            await asyncio.sleep(_FINISH_PAUSE_SECONDS)  # between two attempts at the database
        ended.fence = operation.fence
        if operation.facts.get("detached") and ended.state is not OperationState.SUCCEEDED:
            # Its database was not stopped or deleted after all.
            with self._tolerating(operation):
                await self._store.write_down(ended)
                operation.fence = ended.fence
        self._finished(operation)
        self._note(ended)
        await self._show(operation, ended)
        await self._audit.flush()
        with self._tolerating(operation):
            await self._store.write_down_ended()

    def _note(self, ended: OperationRecord) -> None:
        """Count and log the end of an operation. Its entry in the audit is held, unless the row was ended with it."""
        observe(AdminOperationEnded(ended.request.kind.value, ended.state.value))
        entry = ended.outcome()
        write_line(entry)
        self._audit.hold([*self._carried.pop(ended.id, []), *([] if ended.durable else [entry])])

    async def _show(self, operation: OperationRecord, ended: OperationRecord) -> None:
        operation.steps[:], operation.state, operation.failure = ended.steps, ended.state, ended.failure
        operation.finished_at = ended.finished_at
        operation.cancel_requested_by = ended.cancel_requested_by or operation.cancel_requested_by
        await self._changed()
