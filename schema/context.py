"""Owns what a resolver may reach: the ports of one operation, and the limits of paging."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import strawberry

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.permissions import Principal
    from schema.ports.administration import Administration
    from schema.ports.changes import ChangeFeed, ChangeHistory, ChangeLookup, StatusWriter
    from schema.ports.orders import OrderLookup, OrderStore


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How many orders a page holds where the caller does not say, and at most."""

    default: int = 50
    maximum: int = 1000


@dataclass(slots=True)
class FeedPosition:
    """Where the feed of one subscription stands, for a transport that names its events.

    `resume` is the cursor that the transport was given to go on from; `reached` that of the last event, or where the
    feed began, once `begun` is set.
    """

    resume: str | None = None
    reached: str | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Context:
    """What every resolver of one operation is given.

    `head` is the newest change at the start of the operation, where the operation asks for it. `charge` is told the
    cost of the operation, once, before anything of it is run; what it raises, an `ApiError`, is the answer.
    `tells_cost` is that the answer is to say what the operation costs.
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
    position: FeedPosition = field(default_factory=FeedPosition)
    head: int | None = None
    charge: Callable[[int], None] | None = None
    tells_cost: bool = False
    explores: bool = False

    @cached_property
    def lookup(self) -> OrderLookup:
        """This operation's lookup of single orders."""
        return self.new_lookup()

    @cached_property
    def change_lookup(self) -> ChangeLookup:
        """This operation's lookup of changes."""
        return self.new_change_lookup()

    def of(self, principal: Principal, *, tells_cost: bool, explores: bool) -> Context:
        """The same for whoever is asking, with a position of its own."""
        # As `replace` does it, which is felt for every request.
        own = object.__new__(Context)
        own.__dict__.update(
            self.__dict__, principal=principal, position=FeedPosition(), tells_cost=tells_cost, explores=explores
        )
        return own

    def for_operation(self) -> Context:
        """The same with a lookup of its own: a WebSocket has one context for all of its operations."""
        return replace(self)


Info = strawberry.Info[Context, None]
