"""The ports of status changes: the writer, the history, the lookup and the feed, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from schema.errors import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """The place in the feed right after a change.

    The id alone does not say which change: after a restore, another one may get the same id. `moment`, the change's
    time in microseconds since 1970, tells them apart. It is None in cursors of earlier releases, which are found by id
    alone. An `id` of 0 is the beginning, which is the same in every history.

    `epoch` is that of the history: 0, or another number in a copy of the database. A client that has a change of the
    original may also have seen later ones, which the copy lacks.
    """

    id: int
    moment: int | None = None
    epoch: int = 0


BEGINNING: Final = FeedPlace(0)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """An applied change. The history keeps it for good.

    `id` orders the feed. A later change has a higher id and never becomes visible before an earlier one. Statuses are
    as stored. `cleared` says that the change went back to the synced status, which is then `status`. `changed_at` is
    text if the stored time is outside the years 1 to 9999. `moment` is the same time in microseconds since 1970; an
    infinite one is the largest or smallest bigint. `epoch` is that of the history.
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
    moment: int
    epoch: int = 0

    @property
    def place(self) -> FeedPlace:
        """Its place in the feed."""
        return FeedPlace(self.id, self.moment, self.epoch)


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
    """Changes to make in one transaction: all or none if `atomic`, otherwise every change that can be made.

    `invalid` are the changes of the input that have mistakes and are not made, each with its index. They only tell this
    input from others with the same idempotency key.
    """

    operation: str
    wanted: tuple[WantedStatus, ...]
    atomic: bool
    idempotency_key: UUID | None
    invalid: tuple[tuple[object, ...], ...] = ()


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
    """The outcome of one wanted status. Without a change or a refusal, the order had that status already.

    `order_key` is None if the input does not name an order.
    """

    order_key: int | None
    previous_status: str | None
    change: StatusChange | None
    refusals: tuple[Refusal, ...] = ()


# The refusal of a change that could have been made without the others of its ATOMIC list.
NOT_APPLIED: Final = Refusal(Reason.CHANGE_NOT_APPLIED, "Another change of the list was refused, so none was made.")


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
    position: FeedPlace | None = None
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


# The page of a query that needs nothing from it: nothing was read.
NO_CHANGES: Final = ChangePage((), more_ahead=False, any_behind=False)


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

    async def head(self) -> FeedPlace:
        """The head: the place of the newest change that can be read, or the beginning."""

    async def page(self, window: ChangeWindow, chosen: ChangeFilter, *, until: FeedPlace | None) -> ChangePage:
        """A page of the history, up to and including the change at `until`.

        Raises:
            InputError: CURSOR_INVALID, the history has no change at the window's position.
        """


class ChangeLookup(Protocol):
    """Looks up changes for one operation. Lookups made at the same time share one statement."""

    async def changes(self, ids: Sequence[int]) -> Sequence[StatusChange | None]:
        """The changes with these ids, in order; None for an id that does not exist."""

    async def of_order(self, order_key: int, window: ChangeWindow, *, until: FeedPlace | None) -> ChangePage:
        """A page of the changes of one order. Calls made at the same time with the same window share one statement.

        Raises:
            InputError: CURSOR_INVALID, the history has no change at the window's position.
        """


class ChangeFeed(Protocol):
    """Delivers changes as they are committed."""

    def changes(self, after: FeedPlace, order_keys: frozenset[int] | None) -> AsyncGenerator[StatusChange, None]:
        """Every change after a place in the feed, of these orders or of all: in order, each exactly once.

        The generator does not end until it is closed.

        Raises:
            InputError: CURSOR_INVALID, the history has no change at `after`, or it was replaced meanwhile.
            UnavailableError: if the feed cannot be read; SUBSCRIBER_TOO_SLOW if the subscriber falls behind.
        """
