"""A call of a route's handler: what the handler is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.local.platform.rest.bodies import page
from server.local.platform.rest.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.local.platform.identities.credentials import Identity
    from server.local.platform.rest.exchange import Exchange
    from server.local.platform.service import Platform

    # Returns the body of the reply, or an awaitable of it. None becomes an empty object.
    Handler = Callable[["Call"], dict[str, Any] | Awaitable[dict[str, Any] | None] | None]
    # Method, path template, handler.
    Route = tuple[str, str, Handler]


@dataclass(frozen=True)
class Call:
    """The arguments of a handler. `params` are the path's; `identity` is None on a public path without a token."""

    platform: Platform
    exchange: Exchange
    params: dict[str, str]
    identity: Identity | None

    def __getitem__(self, name: str) -> str:
        return self.params[name]

    @property
    def caller(self) -> Identity:
        """The authenticated caller.

        Raises:
            PlatformError: UNAUTHENTICATED.
        """
        if self.identity is None:
            raise PlatformError(401, "UNAUTHENTICATED", "Credential was not sent.")
        return self.identity

    @property
    def query(self) -> dict[str, str]:
        """The query parameters."""
        return self.exchange.query

    @property
    def body(self) -> bytes:
        """The raw body."""
        return self.exchange.body


def listing(call: Call, name: str, items: list[dict[str, Any]], limit: int = 100) -> dict[str, Any]:
    """The page of the items that the query asks for, as a reply that holds them under this name."""
    found = page(items, call.query, limit)
    return {name: found.pop("items"), **found}
