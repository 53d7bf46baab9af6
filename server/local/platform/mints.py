"""Owns the count of requests for credentials that are in flight at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from server.local.platform.rest.exchange import Exchange


class Mints:
    """How many requests for credentials were in flight at once at most, since the start of the process.

    One is in flight until it is answered or its client has gone away, whatever fault it meets meanwhile.
    """

    def __init__(self) -> None:
        self._in_flight: set[Exchange] = set()
        self.at_once = 0

    async def watch(self, exchange: Exchange, answer: Awaitable[None]) -> None:
        """Answer the exchange, and count it while that takes."""
        self._in_flight.add(exchange)
        self.at_once = max(self.at_once, len(self._in_flight))
        gone = asyncio.create_task(exchange.gone())
        gone.add_done_callback(lambda _: self._in_flight.discard(exchange))
        try:
            await answer
        finally:
            # Before the client can have sent its next one.
            self._in_flight.discard(exchange)
            gone.cancel()
