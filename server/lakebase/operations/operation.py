"""One operation: its request, its steps and how far they are, and its form as a database row."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.ports.admin.audit import AuditOutcome
from schema.ports.admin.operations import Operation, OperationFailure, OperationKind, OperationState, OperationStep
from server.lakebase.database.audit_entry import ACTIONS, INPUT, new_entry
from server.lakebase.operations.stored_json import (
    failure_from_json,
    failure_to_json,
    request_from_json,
    request_to_json,
    steps_from_json,
    steps_to_json,
    storable,
    to_jsonb,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schema.ports.admin.administration import AdminRequest
    from schema.ports.admin.audit import AuditEntry

_log = structlog.get_logger(__name__)
# The operator's confirmations. Requests that differ only in these ask for the same.
_FLAGS: Final = frozenset({"acknowledge_cost", "confirm_deletion", "discard_status_changes", "dry_run"})
# The kinds of operations that create a catalog or a synced table.
CREATING: Final = frozenset({OperationKind.CREATE_CATALOG, OperationKind.CREATE_SYNCED_TABLE, OperationKind.PROVISION})
_ENDED: Final = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})
_PASSED: Final = frozenset({OperationState.SUCCEEDED, OperationState.SKIPPED})


@dataclass(slots=True)
class OperationRecord:
    """An operation, in the form that a process works on and the store keeps.

    `facts` is what the steps have to remember: the uids found when the operation was planned, and the calls that were
    sent. `fence` is the number under which the holder claimed the operation; 0 while it is only in memory.
    `cancel_requested_by` is the user who asked for its cancellation, which the running step sees at its next look.
    `saving` is held while the row is written: of two steps side by side, neither overwrites what the other has noted.
    """

    request: AdminRequest
    resources: tuple[str, ...]
    steps: list[OperationStep]
    facts: dict[str, Any]
    requested_by: str
    requested_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: OperationState = OperationState.PENDING
    finished_at: datetime | None = None
    failure: OperationFailure | None = None
    fence: int = 0
    cancel_requested_by: str | None = None
    saving: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    @property
    def durable(self) -> bool:
        """Whether the operation is kept in the database."""
        return self.fence > 0

    @property
    def ended(self) -> bool:
        """Whether the operation has succeeded, failed or been cancelled."""
        return self.state in _ENDED

    @property
    def fingerprint(self) -> str:
        """A hash of the request without its confirmations: the same for the same request."""
        return fingerprint_of(self.request)

    def repeats(self, other: OperationRecord) -> bool:
        """Whether both do the same work: the same request, with the same steps."""
        steps, others = ([(step.name, step.resource) for step in one.steps] for one in (self, other))
        return self.fingerprint == other.fingerprint and steps == others

    def snapshot(self) -> Operation:
        """The operation as the API shows it now."""
        done = sum(1.0 if step.state is OperationState.SUCCEEDED else step.progress for step in self.steps)
        return Operation(
            id=self.id,
            kind=self.request.kind,
            state=self.state,
            progress=1.0 if self.state is OperationState.SUCCEEDED else round(done / max(len(self.steps), 1), 4),
            steps=tuple(self.steps),
            requested_by=self.requested_by,
            requested_at=self.requested_at,
            finished_at=self.finished_at,
            durable=self.durable,
            failure=self.failure,
            cancel_requested_by=self.cancel_requested_by,
        )

    def next_lanes(self) -> list[list[int]]:
        """The indexes of the next steps to run, in lanes that run side by side; none after the last step."""
        first = next((index for index, step in enumerate(self.steps) if step.state not in _PASSED), None)
        if first is None or not self.steps[first].beside:
            return [] if first is None else [[first]]
        lanes: dict[str, list[int]] = {}
        for index, step in itertools.takewhile(lambda one: one[1].beside, enumerate(self.steps[first:], first)):
            if step.state not in _PASSED:
                lanes.setdefault(step.resource, []).append(index)
        return list(lanes.values())

    def update_step(self, index: int, **values: Any) -> None:
        """Change fields of one step."""
        self.steps[index] = replace(self.steps[index], **storable(values))

    def end(self, failure: OperationFailure | None = None, *, cancelled: bool = False) -> None:
        """Mark the operation as ended; steps that were not reached become SKIPPED."""
        self.failure = failure and replace(failure, message=storable(failure.message))
        self.state = OperationState.FAILED if failure else OperationState.SUCCEEDED
        if cancelled:
            self.state = OperationState.CANCELLED
        self.finished_at = datetime.now(UTC)
        for index, step in enumerate(self.steps):
            if step.state is OperationState.PENDING:
                self.update_step(index, state=OperationState.SKIPPED)
            elif step.state is OperationState.RUNNING:
                message = self._cancelled_message(step) if cancelled else step.message
                self.update_step(index, state=self.state, message=message, finished_at=self.finished_at)

    def outcome(self) -> AuditEntry:
        """The audit's entry of the operation's end. It has the operation's id, so there is only one of it."""
        entry = new_entry(
            self.requested_by,
            ACTIONS[self.request.kind],
            AuditOutcome[self.state.value],
            input_=self.facts.get(INPUT),
            resources=self.resources,
            reason=self.failure.reason if self.failure else None,
            operation_id=self.id,
        )
        ended_at = self.finished_at or entry.at
        return replace(entry, id=self.id, at=ended_at, last_at=ended_at, request_id=None)

    def _cancelled_message(self, step: OperationStep) -> str:
        if step.message is None:
            return f"cancelled by {self.cancel_requested_by} before it did anything"
        return f"{step.message}; then cancelled by {self.cancel_requested_by}: what was begun continues or stays"


def required(value: Any) -> Any:
    """A part of a request that its kind always has."""
    if value is None:
        raise ValueError("the request lacks what its kind needs")
    return value


def fingerprint_of(request: AdminRequest) -> str:
    """A hash of a request without its confirmations."""
    wanted = {name: value for name, value in request_to_json(request).items() if name not in _FLAGS}
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def row_values(operation: OperationRecord) -> dict[str, Any]:
    """The columns of an operation's row that change while it runs."""
    return {
        "id": operation.id,
        "fence": operation.fence,
        "state": operation.state.value,
        "steps": to_jsonb(steps_to_json(operation.steps)),
        "facts": to_jsonb(operation.facts),
        "failure": to_jsonb(failure_to_json(operation.failure)) if operation.failure else None,
        "finished_at": operation.finished_at,
        "cancel_requested_by": operation.cancel_requested_by,
    }


def operations_from_rows(rows: Iterable[Any]) -> list[OperationRecord]:
    """The operations from rows. A row that this version of the code cannot read is logged and left out."""
    operations = []
    for row in rows:
        try:
            operations.append(_from_row(row))
        except (KeyError, TypeError, ValueError):
            _log.exception("operation row cannot be read", operation=str(row[0]))
    return operations


def _from_row(row: Any) -> OperationRecord:
    columns = row._mapping  # noqa: SLF001 # SQLAlchemy's public name for it
    return OperationRecord(
        id=str(columns["id"]),
        request=request_from_json(columns["request"]),
        resources=tuple(columns["resources"]),
        steps=steps_from_json(columns["steps"]),
        facts=columns["facts"],
        requested_by=columns["requested_by"],
        requested_at=_time(columns["requested_at"]),
        state=OperationState(columns["state"]),
        finished_at=columns["finished_at"] and _time(columns["finished_at"]),
        failure=failure_from_json(columns["failure"]),
        fence=columns["fence"],
        cancel_requested_by=columns["cancel_requested_by"],
    )


def _time(stored: datetime | str) -> datetime:
    # The pool returns a time outside Python's years as text.
    if isinstance(stored, str):
        raise ValueError(stored)  # noqa: TRY004 # the value is wrong, as for any other column
    return stored
