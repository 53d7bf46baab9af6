"""The context of an operation: the ports that its resolvers may use, its caller, and the limits of its pages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import strawberry

from schema.ports.statistics import NO_STATISTICS
from schema.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schema.permissions import Principal
    from schema.ports.admin.administration import Administration
    from schema.ports.changes import ChangeFeed, ChangeHistory, ChangeLookup, FeedPlace, StatusWriter
    from schema.ports.columns import Columns, Table
    from schema.ports.freshness import FreshnessSource
    from schema.ports.groups import OrderGroupStore
    from schema.ports.orders import OrderStore
    from schema.ports.statistics import TableStatistics
    from schema.ports.tables import RowLookup, TableStore


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How many rows a page has: by default, and at most."""

    default: int = 50
    maximum: int = 1000


@dataclass(slots=True)
class FeedPosition:
    """How far a subscription has come in the feed, for a transport that gives its events ids.

    Attributes:
        resume: the cursor to resume from, if the client sent it to the transport. It overrides the argument `after`.
        reached: the cursor of the newest event, or of the start of the subscription; set once `begun` is set.
        begun: set when the subscription has started.
    """

    resume: str | None = None
    reached: str | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)


async def _same(principal: Principal) -> Principal:
    return principal


@dataclass(frozen=True, slots=True)
class EventTerms:
    """What all events of a subscription have in common.

    Attributes:
        selection: equal for subscriptions that select the same of an event, and so get equal answers.
        cost: what it costs to resolve an event, in points.
    """

    selection: bytes = b""
    cost: int = 0


class Account(Protocol):
    """The points of a caller."""

    def pay(self, points: int) -> None:
        """Take points for work that is about to be done.

        Raises:
            RateLimitedError: there are too few. None is taken.
        """

    def settle(self, points: int) -> None:
        """Take points for work that has been done. If there are too few, the caller owes the rest."""


@dataclass(frozen=True)
class Context:
    """The context that every resolver of an operation receives.

    Attributes:
        feed_position: how far the operation's subscription has come; None if the transport does not ask.
        head: the head of the feed at the start of the operation, if the operation selects it.
        charge: called with the cost of the operation, before anything is executed, and with the cost of each event of
            a subscription. If it raises an `ApiError`, that is the answer. None if there is nothing to charge, or if it
            has been charged already.
        event_terms: the terms of its events, if the operation is a subscription; set at its start.
        account: pays for what is not in the cost of the operation; None if callers do not pay.
        statistics: what is known of a table before it is read. It returns at once.
        freshness: knows how fresh the served tables are; None without a platform that syncs them.
        tells_cost: whether the answer includes the operation's cost.
        explores: whether the caller may see the schema, and suggestions from it in error messages.
        renew: gives a principal the roles that it has now. The default is for callers that always have the same.
        turns: the turns of heavy work, which all callers share.
    """

    principal: Principal
    tables: TableStore
    orders: OrderStore
    groups: OrderGroupStore
    new_lookup: Callable[[], RowLookup]
    statuses: StatusWriter
    history: ChangeHistory
    new_change_lookup: Callable[[], ChangeLookup]
    feed: ChangeFeed
    lakebase: Administration
    limits: PageLimits
    feed_position: FeedPosition | None = None
    head: FeedPlace | None = None
    charge: Callable[[int], None] | None = None
    event_terms: EventTerms = EventTerms()
    account: Account | None = None
    statistics: Callable[[Table], TableStatistics] = lambda _table: NO_STATISTICS
    freshness: FreshnessSource | None = None
    tells_cost: bool = False
    explores: bool = False
    renew: Callable[[Principal], Awaitable[Principal]] = _same
    turns: Turns = field(default_factory=Turns)

    @cached_property
    def lookup(self) -> RowLookup:
        """The operation's lookup of rows."""
        return self.new_lookup()

    @cached_property
    def change_lookup(self) -> ChangeLookup:
        """The operation's lookup of changes."""
        return self.new_change_lookup()

    @cached_property
    def page_reads(self) -> dict[tuple[int, ...], bool]:
        """Whether connections of the operation need their pages, by their fields (schema/relay/selection.py)."""
        return {}

    @cached_property
    def readings(self) -> dict[tuple[int, ...], tuple[Columns, bool, bool] | None]:
        """What connections of the operation need of their pages, by their fields (schema/tables/pages.py)."""
        return {}

    @cached_property
    def selected_columns(self) -> dict[tuple[int, ...], Columns]:
        """The columns that fields of the operation select of a row, by these fields (schema/tables/rows.py)."""
        return {}

    def for_caller(self, principal: Principal, *, tells_cost: bool, explores: bool) -> Context:
        """The context of a caller."""
        # Does what `replace` does: `replace` is slow enough to matter in every request.
        own = object.__new__(Context)
        own.__dict__.update(self.__dict__, principal=principal, tells_cost=tells_cost, explores=explores)
        return own

    async def check_roles(self) -> None:
        """Check that the caller still has the roles with which the operation began, before another event is sent.

        Raises:
            ForbiddenError: ROLE_MISSING.
            UnavailableError: the roles cannot be determined now.
        """
        now = await self.renew(self.principal)
        for role in self.principal.roles:
            now.demand(role)

    def for_operation(self) -> Context:
        """The context with new lookups: a lookup must not outlive its operation, and a WebSocket runs many."""
        return replace(self)


Info = strawberry.Info[Context, None]
