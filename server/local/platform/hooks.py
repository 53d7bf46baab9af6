"""The hooks by which a program extends the local platform. Tests add faults, controls and counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.responses import Response

    from server.local.platform.calls import Route
    from server.local.platform.events import Event
    from server.local.platform.rest.exchange import Exchange


class Hooks:
    """The plain platform's hooks, which add nothing. A subclass overrides what it needs.

    Attributes:
        routes: more routes, open to the operator's token alone. `answer` is not called for them.
    """

    routes: Sequence[Route] = ()

    async def answer(self, exchange: Exchange, template: str, respond: Callable[[], Awaitable[Response]]) -> None:
        """Answer a request.

        Args:
            exchange: the request, and the ASGI callables to reply with.
            template: the template of its path, for example `/api/2.0/database/instances/{name}`.
            respond: handles the request and returns the platform's reply.
        """
        del template
        await exchange.reply(await respond())

    def observe(self, event: Event, endpoint: str) -> None:
        """Take note of an event; `endpoint` is a uid, or empty where the event concerns no single endpoint."""
