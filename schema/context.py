"""The context of an operation: the ports that its resolvers may use, its caller, and the limits of its pages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import strawberry

from schema.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.permissions import Principal
    from schema.ports.administration import Administration
    from schema.ports.changes import ChangeFeed, ChangeHistory, ChangeLookup, FeedPlace, StatusWriter
    from schema.ports.orders import OrderLookup, OrderStore


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How many orders a page has: by default, and at most."""

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


@dataclass(frozen=True)
class Context:
    """The context that every resolver of an operation receives.

    Attributes:
        feed_position: how far the operation's subscription has come; None if the transport does not ask.
        head: the head of the feed at the start of the operation, if the operation selects it.
        charge: called once with the cost of the operation, before anything is executed. If it raises an `ApiError`,
            that is the answer. None if there is nothing to charge, or if it has been charged already.
        tells_cost: whether the answer includes the operation's cost.
        explores: whether the caller may see the schema, and suggestions from it in error messages.
        turns: the turns of heavy work, which all callers share.
    """

    principal: Principal
    orders: OrderStore
    new_lookup: Callable[[], OrderLookup]
    statuses: StatusWriter
    history: ChangeHistory
    new_change_lookup: Callable[[], ChangeLookup]
    feed: ChangeFeed
    lakebase: Administration
    limits: PageLimits
    feed_position: FeedPosition | None = None
    head: FeedPlace | None = None
    charge: Callable[[int], None] | None = None
    tells_cost: bool = False
    explores: bool = False
    turns: Turns = field(default_factory=Turns)

    @cached_property
    def lookup(self) -> OrderLookup:
        """The operation's lookup of single orders."""
        return self.new_lookup()

    @cached_property
    def change_lookup(self) -> ChangeLookup:
        """The operation's lookup of changes."""
        return self.new_change_lookup()

    @cached_property
    def page_reads(self) -> dict[tuple[int, ...], bool]:
        """Whether connections of the operation need their pages, by their fields (schema/relay/selection.py)."""
        return {}

    def for_caller(self, principal: Principal, *, tells_cost: bool, explores: bool) -> Context:
        """The context of a caller."""
        # Does what `replace` does: `replace` is slow enough to matter in every request.
        own = object.__new__(Context)
        own.__dict__.update(self.__dict__, principal=principal, tells_cost=tells_cost, explores=explores)
        return own

    def for_operation(self) -> Context:
        """The context with new lookups: a lookup must not outlive its operation, and a WebSocket runs many."""
        return replace(self)


Info = strawberry.Info[Context, None]
