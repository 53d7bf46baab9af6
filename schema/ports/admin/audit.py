"""The audit of administration: its entries, and which of them to read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class AuditOutcome(Enum):
    """What became of a privileged action.

    FOUND: the same operation was under way already, and was returned; or the operation to cancel has ended already.
    UNCHANGED: everything was as wanted, and no operation was begun.
    """

    BEGUN = "BEGUN"
    FOUND = "FOUND"
    REFUSED = "REFUSED"
    UNCHANGED = "UNCHANGED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit: a privileged action, done or refused.

    `count` is how often the same was refused within the minute of `at`, the first time; `last_at` is the last time.
    `input` is JSON text. Times are by the clock of the process that wrote the entry. `elsewhere` says that the entry
    was written in another database, and came here with a copy or an import; None if that is not known.
    """

    id: str
    at: datetime
    last_at: datetime
    principal: str
    action: str
    outcome: AuditOutcome
    reason: str | None
    resources: Sequence[str]
    operation_id: str | None
    request_id: str | None
    input: str | None
    count: int
    elsewhere: bool | None = False


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions that entries of the audit have to satisfy; None is no condition. `until` is exclusive."""

    principal: str | None = None
    action: str | None = None
    outcome: AuditOutcome | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPosition:
    """The place of an entry in the audit, which stays valid when the entry is deleted."""

    at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; whether older ones follow, and whether newer ones precede them."""

    entries: Sequence[AuditEntry]
    more: bool
    any_before: bool
