"""The ports of status changes: the writer, the history, the lookup and the feed, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime
    from uuid import UUID

    from schema.errors import Reason


@dataclass(frozen=True, slots=True)
class StatusChange:
    """An applied change. The history keeps it for good.

    `id` is its place in the feed. A later change has a higher id and never becomes visible before an earlier one.
    Statuses are as stored. `cleared` says that the change went back to the synced status, which is then `status`.
    `changed_at` is text if the stored time is outside the years 1 to 9999.
    """

    id: int
    order_key: int
    previous_status: str | None
    status: str | None
    cleared: bool
    synced_status: str | None
    version: int
    changed_by: str
    changed_at: datetime | str
    note: str | None


@dataclass(frozen=True, slots=True)
class WantedStatus:
    """The status to set, on a condition. A `status` of None goes back to the synced status."""

    order_key: int
    status: str | None
    expected_status: str | None = None
    expected_version: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Changes to make in one transaction: all or none if `atomic`, otherwise every change that can be made."""

    operation: str
    wanted: tuple[WantedStatus, ...]
    atomic: bool
    idempotency_key: UUID | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a change was refused, and the order's state at that time. `field` is a field of the change's input."""

    reason: Reason
    message: str
    field: str | None = None
    current_status: str | None = None
    current_version: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one wanted status. Without a change or a refusal, the order had that status already."""

    order_key: int
    previous_status: str | None
    change: StatusChange | None
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """One outcome for each wanted status, in order, or a refusal of the whole request."""

    outcomes: tuple[Outcome, ...]
    replayed: bool = False
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class ChangeWindow:
    """At most `size` changes after a place in the feed, or before it if `backward`."""

    size: int
    position: int | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes to return. None does not restrict; an empty set matches no change."""

    order_keys: frozenset[int] | None = None
    changed_by: str | None = None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes, oldest first; whether more follow in the direction of paging, and whether there are any behind."""

    changes: Sequence[StatusChange]
    more_ahead: bool
    any_behind: bool


class StatusWriter(Protocol):
    """Changes statuses."""

    async def write(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Make the changes and commit them before returning.

        Raises:
            UnavailableError: if nothing was written.
            OutcomeUnknownError: if the reply to the commit was lost.
        """


class ChangeHistory(Protocol):
    """Reads the history of all changes, in the order of the feed.

    Every method raises `schema.errors.UnavailableError` if the store does not answer.
    """

    async def head(self) -> int:
        """The head: the id of the newest change that can be read, 0 if there is none."""

    async def page(self, window: ChangeWindow, chosen: ChangeFilter, *, until: int | None) -> ChangePage:
        """A page of the history, up to and including the change `until`."""


class ChangeLookup(Protocol):
    """Looks up changes for one operation. Lookups made at the same time share one statement."""

    async def changes(self, ids: Sequence[int]) -> Sequence[StatusChange | None]:
        """The changes with these ids, in order; None for an id that does not exist."""

    async def of_order(self, order_key: int, window: ChangeWindow, *, until: int | None) -> ChangePage:
        """A page of the changes of one order. Calls made at the same time with the same window share one statement."""


class ChangeFeed(Protocol):
    """Delivers changes as they are committed."""

    def changes(self, after: int, order_keys: frozenset[int] | None) -> AsyncGenerator[StatusChange, None]:
        """Every change after a place in the feed, of these orders or of all: in order, each exactly once.

        The generator does not end until it is closed.

        Raises:
            UnavailableError: if the feed cannot be read; SUBSCRIBER_TOO_SLOW if the subscriber falls behind.
        """
