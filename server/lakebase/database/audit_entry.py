"""The entries of the audit: makes new ones, and searches those in memory."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from schema.ports.admin.audit import AuditEntry, AuditOutcome, AuditPage
from schema.ports.admin.operations import OperationKind
from server.observability.log_setup import cut
from server.observability.redaction import secrets_known
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schema.ports.admin.audit import AuditFilter, AuditPosition

# How much of an input is kept: about as much as the longest input that the platform accepts.
_INPUT_CHARACTERS: Final = 4000
# The namespace of the ids of counted refusals: any fixed UUID.
_COUNTED: Final = uuid.UUID("0d6f2b2e-6c0f-4a55-9a44-3f6d5c0b7c11")
# The facts of an operation that hold the input of its request and its resources, both without secrets, for the entry of
# its end.
INPUT: Final = "input"
RESOURCES: Final = "resources"
# An action has the name of its mutation.
ACTIONS: Final = {
    OperationKind.CREATE_INSTANCE: "createDatabaseInstance",
    OperationKind.UPDATE_INSTANCE: "updateDatabaseInstance",
    OperationKind.DELETE_INSTANCE: "deleteDatabaseInstance",
    OperationKind.UNDELETE_INSTANCE: "undeleteDatabaseInstance",
    OperationKind.CREATE_CATALOG: "createDatabaseCatalog",
    OperationKind.DELETE_CATALOG: "deleteDatabaseCatalog",
    OperationKind.CREATE_SYNCED_TABLE: "createSyncedTable",
    OperationKind.DELETE_SYNCED_TABLE: "deleteSyncedTable",
    OperationKind.REFRESH_SYNCED_TABLE: "refreshSyncedTable",
    OperationKind.ENSURE_INDEXES: "ensureIndexes",
    OperationKind.PROVISION: "provisionLakebase",
    OperationKind.TEARDOWN: "teardownLakebase",
    OperationKind.CREATE_BRANCH: "createDatabaseBranch",
    OperationKind.UPDATE_BRANCH: "updateDatabaseBranch",
    OperationKind.DELETE_BRANCH: "deleteDatabaseBranch",
    OperationKind.UNDELETE_BRANCH: "undeleteDatabaseBranch",
    OperationKind.RESTORE: "restoreDatabase",
    OperationKind.CREATE_SNAPSHOT: "createDatabaseSnapshot",
    OperationKind.DELETE_SNAPSHOT: "deleteDatabaseSnapshot",
}
CANCEL: Final = "cancelOperation"


def new_entry(
    principal: str,
    action: str,
    outcome: AuditOutcome,
    *,
    input_: str | None,
    resources: Sequence[str] = (),
    reason: Reason | None = None,
    operation_id: str | None = None,
) -> AuditEntry:
    """An entry of this moment.

    The same refusals within a minute count in one row. So a refusal gets the id of its row, which is computed from what
    makes refusals the same: their caller, action, reason and input. The input of a caller without the role does not
    matter, or such a caller could make any number of rows.
    """
    at = datetime.now(UTC)
    if outcome is AuditOutcome.REFUSED:
        told_apart_by = None if reason is Reason.ROLE_MISSING else input_
        same = json.dumps([principal, action, reason and reason.name, told_apart_by, minute_of(at).isoformat()])
        id_ = uuid.uuid5(_COUNTED, same)
    else:
        id_ = uuid.uuid4()
    request = current_record.get()
    return AuditEntry(
        id=str(id_),
        at=at,
        last_at=at,
        principal=principal,
        action=action,
        outcome=outcome,
        reason=reason and reason.name,
        resources=tuple(secrets_known.scrub(resource) for resource in resources),
        operation_id=operation_id,
        request_id=request.request_id if request else None,
        input=input_,
        count=1,
    )


def input_text(arguments: Mapping[str, Any]) -> str | None:
    """The input in the arguments of an admin field, as JSON text without secrets, cut if it is very long."""
    given = arguments.get("input", arguments)
    text = json.dumps(given, separators=(",", ":"), default=_json_value)
    return cut(secrets_known.scrub(text), _INPUT_CHARACTERS) if given else None


def _json_value(value: object) -> str | None:
    """A member of an enum as its name, and an absent variable as null. Variables contain both."""
    return value.name if isinstance(value, Enum) else None


def minute_of(time: datetime) -> datetime:
    """The beginning of the minute of a time."""
    return time.replace(second=0, microsecond=0)


def page_of(entries: Iterable[AuditEntry], wanted: AuditFilter, size: int, after: AuditPosition | None) -> AuditPage:
    """The page of entries in memory."""
    matching = sorted((entry for entry in entries if _matches(entry, wanted)), key=_place, reverse=True)
    found = [entry for entry in matching if after is None or _place(entry) < (after.at, after.id)]
    return AuditPage(found[:size], len(found) > size, len(found) < len(matching))


def _matches(entry: AuditEntry, wanted: AuditFilter) -> bool:
    return (
        (wanted.principal is None or entry.principal == wanted.principal)
        and (wanted.action is None or entry.action == wanted.action)
        and (wanted.outcome is None or entry.outcome is wanted.outcome)
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.until is None or entry.at < wanted.until)
    )


def _place(entry: AuditEntry) -> tuple[datetime, str]:
    return entry.at, entry.id
