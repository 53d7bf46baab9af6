"""Owns the questions about status changes, as Protocols, and the values they are put in."""

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
    """One applied change, as it is kept for good.

    `id` is its place in the feed: later changes have higher ones, and nobody ever sees a higher one before a lower.
    Statuses are as stored. `cleared` says that it went back to the synced status, which `status` then is.
    """

    id: int
    order_key: int
    previous_status: str | None
    status: str | None
    cleared: bool
    synced_status: str | None
    version: int
    changed_by: str
    changed_at: datetime
    note: str | None


@dataclass(frozen=True, slots=True)
class WantedStatus:
    """What an order's status is to become, and what it has to be for that. A status of None is the synced one."""

    order_key: int
    status: str | None
    expected_status: str | None = None
    expected_version: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Changes that are made in one transaction: all or none of them where `atomic`, else each that can be."""

    operation: str
    wanted: tuple[WantedStatus, ...]
    atomic: bool
    idempotency_key: UUID | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a change was not made, with what the order was then. `field` is the argument below the change's own input."""

    reason: Reason
    message: str
    field: str | None = None
    current_status: str | None = None
    current_version: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one wanted status. Without change and refusal the order had that status already."""

    order_key: int
    previous_status: str | None
    change: StatusChange | None
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """As many outcomes as statuses wanted, in their order, or a refusal of the whole request."""

    outcomes: tuple[Outcome, ...]
    replayed: bool = False
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class ChangeWindow:
    """At most `size` changes next to a place in the feed; `backward` takes those before it."""

    size: int
    position: int | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes to take; None takes all. An empty set takes none."""

    order_keys: frozenset[int] | None = None
    changed_by: str | None = None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes, oldest first, whether more follow in the direction of travel, and whether any lie behind."""

    changes: Sequence[StatusChange]
    more_ahead: bool
    any_behind: bool


class StatusWriter(Protocol):
    """Where statuses are changed."""

    async def write(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Make the changes and commit them, then answer.

        Raises:
            UnavailableError: nothing was written.
            OutcomeUnknownError: the reply to the commit was lost.
        """


class ChangeHistory(Protocol):
    """Where changes are read, all of them, in the order of the feed.

    Every method raises `schema.errors.UnavailableError` where the store does not answer.
    """

    async def head(self) -> int:
        """The id of the newest change that can be read; 0 where there is none."""

    async def page(self, window: ChangeWindow, chosen: ChangeFilter, *, until: int | None) -> ChangePage:
        """A page of the history, up to the change `until`."""


class ChangeLookup(Protocol):
    """Finds changes for one operation, putting all that are asked for at once into one statement."""

    async def changes(self, ids: Sequence[int]) -> Sequence[StatusChange | None]:
        """The changes with these ids: as many, in their order."""

    async def of_order(self, order_key: int, window: ChangeWindow, *, until: int | None) -> ChangePage:
        """A page of the changes of one order; all orders asked for at once with one window are one statement."""


class ChangeFeed(Protocol):
    """Where changes are heard of as they are committed."""

    def changes(self, after: int, order_keys: frozenset[int] | None) -> AsyncGenerator[StatusChange, None]:
        """Every change after that place, of these orders or all: none left out, none twice, in order.

        It ends only when it is closed.

        Raises:
            UnavailableError: the feed cannot be read, or SUBSCRIBER_TOO_SLOW.
        """
