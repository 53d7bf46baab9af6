"""Owns an operation while it is worked on: what was asked for, how far it is, and its form in the database."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.errors import Reason
from schema.ports.administration import (
    AdminRequest,
    CatalogSpec,
    InstanceChange,
    InstanceSpec,
    Operation,
    OperationFailure,
    OperationKind,
    OperationStep,
    SyncedTableSpec,
    WorkState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_log = structlog.get_logger(__name__)
# What an operator says beside what is wanted: two requests that differ in these alone are the same.
_FLAGS: Final = frozenset({"acknowledge_cost", "confirm_deletion", "discard_status_changes", "dry_run"})
_SPECS: Final = {"instance": InstanceSpec, "change": InstanceChange, "catalog": CatalogSpec, "table": SyncedTableSpec}
_ENDED: Final = frozenset({WorkState.SUCCEEDED, WorkState.FAILED})
_PASSED: Final = frozenset({WorkState.SUCCEEDED, WorkState.SKIPPED})


@dataclass(slots=True)
class Work:
    """An operation as the process has it that works on it.

    `facts` is what the steps have to remember: uids as they were planned, and what has been sent. `fence` is the
    number under which it was taken up; 0 while it lives in memory alone.
    """

    request: AdminRequest
    resources: tuple[str, ...]
    steps: list[OperationStep]
    facts: dict[str, Any]
    requested_by: str
    requested_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: WorkState = WorkState.PENDING
    finished_at: datetime | None = None
    failure: OperationFailure | None = None
    fence: int = 0

    @property
    def durable(self) -> bool:
        """Whether it is kept in the database."""
        return self.fence > 0

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in _ENDED

    @property
    def fingerprint(self) -> str:
        """The same for the same request."""
        wanted = {name: value for name, value in request_to_json(self.request).items() if name not in _FLAGS}
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()

    def operation(self) -> Operation:
        """As it is shown."""
        done = sum(1.0 if step.state is WorkState.SUCCEEDED else step.progress for step in self.steps)
        return Operation(
            id=self.id,
            kind=self.request.kind,
            state=self.state,
            progress=1.0 if self.state is WorkState.SUCCEEDED else round(done / max(len(self.steps), 1), 4),
            steps=tuple(self.steps),
            requested_by=self.requested_by,
            requested_at=self.requested_at,
            finished_at=self.finished_at,
            durable=self.durable,
            failure=self.failure,
        )

    def next_step(self) -> int | None:
        """The place of the step to go on with; None behind the last."""
        return next((place for place, step in enumerate(self.steps) if step.state not in _PASSED), None)

    def put(self, place: int, **values: Any) -> None:
        """Change the step at a place."""
        self.steps[place] = replace(self.steps[place], **values)

    def end(self, failure: OperationFailure | None = None) -> None:
        """It has come to its end; what was not reached is skipped."""
        self.failure = failure
        self.state = WorkState.FAILED if failure else WorkState.SUCCEEDED
        self.finished_at = datetime.now(UTC)
        for place, step in enumerate(self.steps):
            if step.state is WorkState.PENDING:
                self.put(place, state=WorkState.SKIPPED)
            elif step.state is WorkState.RUNNING:
                self.put(place, state=self.state, finished_at=self.finished_at)


def request_to_json(request: AdminRequest) -> dict[str, Any]:
    """A request as JSON has it."""
    return {**dataclasses.asdict(request), "kind": request.kind.value}


def request_from_json(found: Mapping[str, Any]) -> AdminRequest:
    """The request again. What another version of this code has written beside it is left out."""
    values = {name: found[name] for name in _names(AdminRequest) & found.keys()}
    for name, kind in _SPECS.items():
        if values.get(name) is not None:
            given = {key: values[name][key] for key in _names(kind) & values[name].keys()}
            if "primary_key" in given:
                given["primary_key"] = tuple(given["primary_key"])
            values[name] = kind(**given)
    return AdminRequest(**{**values, "kind": OperationKind(values["kind"])})


def steps_to_json(steps: Sequence[OperationStep]) -> list[dict[str, Any]]:
    """Steps as JSON has them."""
    return [
        {
            **dataclasses.asdict(step),
            "state": step.state.value,
            "started_at": step.started_at and step.started_at.isoformat(),
            "finished_at": step.finished_at and step.finished_at.isoformat(),
        }
        for step in steps
    ]


def steps_from_json(found: Sequence[Mapping[str, Any]]) -> list[OperationStep]:
    """The steps again."""
    return [
        OperationStep(
            name=step["name"],
            resource=step["resource"],
            state=WorkState(step["state"]),
            progress=step["progress"],
            message=step["message"],
            started_at=_moment(step["started_at"]),
            finished_at=_moment(step["finished_at"]),
        )
        for step in found
    ]


def failure_to_json(failure: OperationFailure | None) -> dict[str, Any] | None:
    """A failure as JSON has it."""
    return (
        {"reason": failure.reason.name, "message": failure.message, "retryable": failure.retryable} if failure else None
    )


def failure_from_json(found: Mapping[str, Any] | None) -> OperationFailure | None:
    """The failure again."""
    return OperationFailure(Reason[found["reason"]], found["message"], found["retryable"]) if found else None


def _names(kind: type[Any]) -> frozenset[str]:
    return frozenset(one.name for one in dataclasses.fields(kind))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def values_of(work: Work) -> dict[str, Any]:
    """What changes of its row while it is worked on."""
    return {
        "id": work.id,
        "fence": work.fence,
        "state": work.state.value,
        "steps": json.dumps(steps_to_json(work.steps)),
        "facts": json.dumps(work.facts),
        "failure": json.dumps(failure_to_json(work.failure)) if work.failure else None,
        "finished_at": work.finished_at,
    }


def works_of(rows: Iterable[Any]) -> list[Work]:
    """The operations of rows; one that another version of this code has written may be left out."""
    found = []
    for row in rows:
        try:
            found.append(_work(row))
        except (KeyError, TypeError, ValueError):
            _log.exception("an operation cannot be read", operation=str(row[0]))
    return found


def _work(row: Any) -> Work:
    found = row._mapping  # noqa: SLF001 # SQLAlchemy's public name for it
    return Work(
        id=str(found["id"]),
        request=request_from_json(found["request"]),
        resources=tuple(found["resources"]),
        steps=steps_from_json(found["steps"]),
        facts=found["facts"],
        requested_by=found["requested_by"],
        requested_at=found["requested_at"],
        state=WorkState(found["state"]),
        finished_at=found["finished_at"],
        failure=failure_from_json(found["failure"]),
        fence=found["fence"],
    )
