"""The parts of an operation's row that are JSON: its request, its steps and its failure."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.branches import BranchChange, BranchSpec, SnapshotSpec
from schema.ports.admin.instances import InstanceChange, InstanceSpec
from schema.ports.admin.operations import OperationFailure, OperationKind, OperationState, OperationStep
from schema.ports.admin.tables import CatalogSpec, SyncedTableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SPECS: Final = {
    "instance": InstanceSpec,
    "change": InstanceChange,
    "catalog": CatalogSpec,
    "table": SyncedTableSpec,
    "branch": BranchSpec,
    "branch_change": BranchChange,
    "snapshot": SnapshotSpec,
}
# NULs and lone surrogates.
_REFUSED: Final = re.compile("[\x00\ud800-\udfff]")


def request_to_json(request: AdminRequest) -> dict[str, Any]:
    """A request as JSON values."""
    return {**dataclasses.asdict(request), "kind": request.kind.value}


def request_from_json(values: Mapping[str, Any]) -> AdminRequest:
    """The request from JSON values. Fields that only another version of this code knows are ignored."""
    known = {name: values[name] for name in _field_names(AdminRequest) & values.keys()}
    for name, kind in _SPECS.items():
        if known.get(name) is not None:
            known[name] = _spec_from_json(kind, known[name])
    others = tuple(_spec_from_json(SyncedTableSpec, one) for one in known.get("others", ()))
    return AdminRequest(**{**known, "kind": OperationKind(known["kind"]), "others": others})


def _spec_from_json(kind: type[Any], values: Mapping[str, Any]) -> Any:
    spec = {key: values[key] for key in _field_names(kind) & values.keys()}
    if spec.get("primary_key") is not None:
        spec["primary_key"] = tuple(spec["primary_key"])
    return kind(**spec)


def steps_to_json(steps: Sequence[OperationStep]) -> list[dict[str, Any]]:
    """Steps as JSON values."""
    return [
        {
            **dataclasses.asdict(step),
            "state": step.state.value,
            "started_at": step.started_at and step.started_at.isoformat(),
            "finished_at": step.finished_at and step.finished_at.isoformat(),
        }
        for step in steps
    ]


def steps_from_json(values: Sequence[Mapping[str, Any]]) -> list[OperationStep]:
    """The steps from JSON values."""
    return [
        OperationStep(
            name=step["name"],
            resource=step["resource"],
            state=OperationState(step["state"]),
            progress=step["progress"],
            message=step["message"],
            started_at=_parse_time(step["started_at"]),
            finished_at=_parse_time(step["finished_at"]),
            # Rows from earlier releases lack it.
            beside=step.get("beside", False),
        )
        for step in values
    ]


def failure_to_json(failure: OperationFailure | None) -> dict[str, Any] | None:
    """A failure as JSON values."""
    return (
        {"reason": failure.reason.name, "message": failure.message, "retryable": failure.retryable} if failure else None
    )


def failure_from_json(values: Mapping[str, Any] | None) -> OperationFailure | None:
    """The failure from JSON values."""
    return OperationFailure(Reason[values["reason"]], values["message"], values["retryable"]) if values else None


def _field_names(kind: type[Any]) -> frozenset[str]:
    return frozenset(one.name for one in dataclasses.fields(kind))


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def to_jsonb(value: Any) -> str:
    """A JSON value as text that `jsonb` accepts."""
    return json.dumps(storable(value))


def storable(value: Any) -> Any:
    """A value with U+FFFD in place of what `jsonb` refuses, and the platform's JSON may hold."""
    if isinstance(value, str):
        return _REFUSED.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return value
