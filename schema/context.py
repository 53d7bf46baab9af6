"""Owns what a resolver may reach: the ports of one operation, and the limits of paging."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import strawberry

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports import OrderLookup, OrderStore


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How many orders a page holds where the caller does not say, and at most."""

    default: int = 50
    maximum: int = 1000


@dataclass(frozen=True)
class Context:
    """What every resolver of one operation is given."""

    orders: OrderStore
    new_lookup: Callable[[], OrderLookup]
    limits: PageLimits

    @cached_property
    def lookup(self) -> OrderLookup:
        """This operation's lookup of single orders."""
        return self.new_lookup()

    def for_operation(self) -> Context:
        """The same with a lookup of its own: a WebSocket has one context for all of its operations."""
        return replace(self)


Info = strawberry.Info[Context, None]
