"""The types of the audit: the entry, its connection, and the filter."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

import strawberry
from strawberry import UNSET

from schema.admin.operations import Operation
from schema.errors import InputError, Reason
from schema.permissions import Role
from schema.ports.admin import audit as ports
from schema.relay.node import Node, encode_global_id
from schema.relay.pagination import Connection, given

if TYPE_CHECKING:
    from schema.context import Info


@strawberry.enum(description="What became of an admin action.")
class AdminAuditOutcome(Enum):
    """Each value is the port's enum member."""

    BEGUN = strawberry.enum_value(
        ports.AuditOutcome.BEGUN,
        description="Its operation was begun. For `cancelOperation`: the cancellation was begun.",
    )
    FOUND = strawberry.enum_value(
        ports.AuditOutcome.FOUND,
        description=(
            "The same operation was under way already, and was returned. For `cancelOperation`: the operation had "
            "ended already."
        ),
    )
    UNCHANGED = strawberry.enum_value(
        ports.AuditOutcome.UNCHANGED, description="Everything was as wanted already, so no operation was begun."
    )
    REFUSED = strawberry.enum_value(ports.AuditOutcome.REFUSED, description="It was refused: `reason` says why.")
    SUCCEEDED = strawberry.enum_value(ports.AuditOutcome.SUCCEEDED, description="Its operation succeeded.")
    FAILED = strawberry.enum_value(ports.AuditOutcome.FAILED, description="Its operation failed: `reason` says why.")
    CANCELLED = strawberry.enum_value(ports.AuditOutcome.CANCELLED, description="Its operation was cancelled.")


@strawberry.type(
    description=(
        "One entry of the audit: an admin action that was begun, refused or ended. Refusals of the same caller, action "
        "and reason within a minute are one entry, which counts them. While there is no database, the server keeps "
        "entries in memory, and writes them as soon as there is one."
    )
)
class AdminAuditEntry(Node):
    """One entry."""

    role: ClassVar[Role] = Role.ADMIN

    key: strawberry.Private[str]
    place: strawberry.Private[ports.AuditPosition]

    at: datetime = strawberry.field(description="When it happened; for counted refusals, when the first one happened.")
    last_at: datetime = strawberry.field(
        description="When the last of the counted refusals happened; for any other entry, `at`."
    )
    count: int = strawberry.field(description="How many refusals this entry counts; 1 for any other entry.")
    principal: str = strawberry.field(description="The caller.")
    action: str = strawberry.field(description="The root field that the caller used, for example `teardownLakebase`.")
    outcome: AdminAuditOutcome = strawberry.field(description="What became of it.")
    reason: str | None = strawberry.field(
        description="Why it was refused or failed, for programs: as in the `extensions.reason` of errors."
    )
    resources: list[str] = strawberry.field(
        description="The resources that the action is about, for example `instance orders-pg`, once they are known."
    )
    operation_id: strawberry.ID | None = strawberry.field(
        description="The `id` of the operation that was begun, found or ended; null for a refusal."
    )
    request_id: str | None = strawberry.field(
        description="The `x-request-id` of the request; null at an operation's end."
    )
    input: str | None = strawberry.field(
        description=(
            "The field's input as the caller gave it, as JSON text, without secrets; if it is very long, only its "
            "beginning. For counted refusals of a caller without the role: the first input."
        )
    )
    elsewhere: bool | None = strawberry.field(
        description=(
            "Whether the entry was written in another database. If so, this database is a copy, such as a branch or a "
            "restore, or the entry was imported. Null if the release that wrote the entry did not record its database."
        )
    )

    @classmethod
    def of(cls, found: ports.AuditEntry) -> AdminAuditEntry:
        """Convert the port's entry."""
        return cls(
            key=found.id,
            place=ports.AuditPosition(found.at, found.id),
            at=found.at,
            last_at=found.last_at,
            count=found.count,
            principal=found.principal,
            action=found.action,
            outcome=AdminAuditOutcome(found.outcome),
            reason=found.reason,
            resources=list(found.resources),
            operation_id=encode_global_id(Operation.__name__, found.operation_id) if found.operation_id else None,
            request_id=found.request_id,
            input=found.input,
            elsewhere=found.elsewhere,
        )

    def node_key(self) -> str:
        """The entry's id."""
        return self.key


@strawberry.type(description="A page of the audit, newest first. Paging is forward only, to older entries.")
class AdminAuditConnection(Connection[AdminAuditEntry]):
    """Relay's connection of audit entries."""


@strawberry.input(description="The conditions that an entry has to satisfy. Without any, all entries are returned.")
class AdminAuditFilter:
    """The filter argument of adminAudit."""

    principal: str | None = strawberry.field(default=UNSET, description="Entries of this caller.")
    action: str | None = strawberry.field(
        default=UNSET, description="Entries of this root field, for example `teardownLakebase`."
    )
    outcome: AdminAuditOutcome | None = strawberry.field(default=UNSET, description="Entries with this outcome.")
    since: datetime | None = strawberry.field(default=UNSET, description="Entries with `at` at this moment or later.")
    until: datetime | None = strawberry.field(default=UNSET, description="Entries with `at` before this moment.")

    def wanted(self) -> ports.AuditFilter:
        """The port's filter.

        Raises:
            InputError: VALUE_INVALID.
        """
        outcome = given(self.outcome)
        return ports.AuditFilter(
            principal=_text(given(self.principal), argument="principal"),
            action=_text(given(self.action), argument="action"),
            outcome=None if outcome is None else ports.AuditOutcome(outcome.value),
            since=given(self.since),
            until=given(self.until),
        )


def _text(text: str | None, *, argument: str) -> str | None:
    """The text, after a check that PostgreSQL can compare it.

    Raises:
        InputError: VALUE_INVALID.
    """
    if text and "\0" in text:
        raise InputError(Reason.VALUE_INVALID, f"`{argument}` contains a NUL byte, which no entry has.")
    return text


async def audit_entry_with_key(info: Info, key: str) -> AdminAuditEntry | None:
    """The entry with this key."""
    found = await info.context.lakebase.audit_entry(key)
    return None if found is None else AdminAuditEntry.of(found)
