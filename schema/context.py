"""The context of an operation: the ports that its resolvers may use, and the limits of paging."""

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
    """The default and the maximum size of a page."""

    default: int = 50
    maximum: int = 1000


@dataclass(slots=True)
class FeedPosition:
    """The position of one subscription in the feed, for a transport whose events have ids.

    `resume` is the cursor that the client sent to the transport to resume after. `reached` is the cursor of the last
    event or, before the first event, of the place where the subscription started. It is set once `begun` is.
    """

    resume: str | None = None
    reached: str | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)


def free(_cost: int) -> None:
    """Charge nothing."""


@dataclass(frozen=True)
class Context:
    """What the resolvers of one operation share.

    `head` is the newest change in the feed at the start of the operation, if the operation asks for it. `charge` is
    called once with the cost of the operation, before any of it runs; an `ApiError` that it raises is the answer.
    `tells_cost` says whether the answer reports the cost.
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
    charge: Callable[[int], None] = free
    tells_cost: bool = False

    @cached_property
    def lookup(self) -> OrderLookup:
        """This operation's lookup of single orders."""
        return self.new_lookup()

    @cached_property
    def change_lookup(self) -> ChangeLookup:
        """This operation's lookup of changes."""
        return self.new_change_lookup()

    def of(self, principal: Principal, *, tells_cost: bool = False) -> Context:
        """This context for the operations of a principal, with its own feed position."""
        # What `dataclasses.replace` does, which is slow enough to notice at every request.
        own = object.__new__(Context)
        own.__dict__.update(self.__dict__, principal=principal, position=FeedPosition(), tells_cost=tells_cost)
        return own

    def for_operation(self) -> Context:
        """A copy with its own lookups, for a WebSocket, whose operations share one context."""
        return replace(self)


Info = strawberry.Info[Context, None]
