"""Owns the call of a handler: what it is given, and what it may answer."""

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

    # What is done, at once or in a while; None is answered with an empty object.
    Handler = Callable[["Call"], dict[str, Any] | Awaitable[dict[str, Any] | None] | None]


@dataclass(frozen=True)
class Call:
    """A call of a handler: the exchange, the parameters of its path, and who calls (None on public paths)."""

    platform: Platform
    exchange: Exchange
    params: dict[str, str]
    identity: Identity | None

    def __getitem__(self, name: str) -> str:
        return self.params[name]

    @property
    def caller(self) -> Identity:
        """Who calls, where that is certain."""
        if self.identity is None:
            raise PlatformError(401, "UNAUTHENTICATED", "Credential was not sent.")
        return self.identity

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query."""
        return self.exchange.query

    @property
    def body(self) -> bytes:
        """The body as it came."""
        return self.exchange.body


def listed(call: Call, name: str, items: list[dict[str, Any]], limit: int = 100) -> dict[str, Any]:
    """A page of the items, under the name that the reply gives them."""
    found = page(items, call.query, limit)
    return {name: found.pop("items"), **found}
