"""The ASGI application: it finds a request's route, authenticates the caller, and turns the outcome into a reply."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

import asyncpg
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from server.local.cluster import ClusterError
from server.local.platform.calls import Call
from server.local.platform.rest.errors import PlatformError
from server.local.platform.rest.exchange import Exchange, error_response, read
from server.local.platform.routes import PUBLIC, ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from re import Pattern

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from server.local.platform.calls import Handler, Route
    from server.local.platform.hooks import Hooks
    from server.local.platform.identities.credentials import Identity
    from server.local.platform.service import Platform

_log = logging.getLogger(__name__)
# A record for each call. Only the plain platform writes them: with the tests' hooks a call may have another outcome.
CALLS = logging.getLogger(f"{__name__}.calls")


class App:
    """The REST API as an ASGI application. A call that has begun is completed even if its client disconnects."""

    def __init__(self, platform: Platform, hooks: Hooks) -> None:
        self._platform = platform
        self._hooks = hooks
        self._routes = list(_compiled(ROUTES))
        self._extra_routes = list(_compiled(hooks.routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            # The platform has no WebSockets. uvicorn refuses the connection when the application raises.
            raise NotImplementedError(scope["type"])
        exchange = await read(scope, receive, send)
        if exchange is None:
            return
        if found := _match(self._extra_routes, exchange):
            await exchange.reply(await self._respond(exchange, *found, operator_only=True))
            return
        template, params, handler = _match(self._routes, exchange) or ("(unknown)", {}, _unknown)
        await self._hooks.answer(
            exchange, template, lambda: self._respond(exchange, template, params, handler, operator_only=False)
        )

    async def _respond(
        self, exchange: Exchange, template: str, params: dict[str, str], handler: Handler, *, operator_only: bool
    ) -> Response:
        response = await self._handled(exchange, template, params, handler, operator_only=operator_only)
        values = {"method": exchange.method, "path": exchange.path, "status": response.status_code}
        CALLS.info("platform call", extra={"values": values})
        return response

    async def _handled(
        self, exchange: Exchange, template: str, params: dict[str, str], handler: Handler, *, operator_only: bool
    ) -> Response:
        try:
            identity = self._authenticate(exchange, public=template in PUBLIC, operator_only=operator_only)
            outcome = handler(Call(self._platform, exchange, params, identity))
            value = await outcome if inspect.isawaitable(outcome) else outcome
        except PlatformError as error:
            return JSONResponse(error.body(), error.status)
        except asyncpg.InvalidCatalogNameError as error:
            return error_response(404, "NOT_FOUND", str(error))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ClusterError, OSError) as error:
            _log.warning("%s %s failed: %s", exchange.method, exchange.path, error)
            return error_response(503, "TEMPORARILY_UNAVAILABLE", "The database instance does not answer.")
        except Exception:  # noqa: BLE001 # the platform answers even a bug of its own
            _log.exception("%s %s failed", exchange.method, exchange.path)
            return error_response(500, "INTERNAL_ERROR", "An internal error occurred.")
        return JSONResponse(value or {})

    def _authenticate(self, exchange: Exchange, *, public: bool, operator_only: bool) -> Identity | None:
        scheme, _, bearer = exchange.header("authorization").partition(" ")
        identity = self._platform.credentials.identity(bearer) if scheme.lower() == "bearer" else None
        if identity is None and not public:
            message = "Credential was not sent or was of an unsupported type for this API."
            raise PlatformError(401, "UNAUTHENTICATED", message)
        if operator_only and bearer != self._platform.store.state.operator_token:
            raise PlatformError(403, "PERMISSION_DENIED", "Only the operator's token gives access.")
        return identity


def _compiled(routes: Iterable[Route]) -> Iterable[tuple[str, str, Pattern[str], Handler]]:
    return ((method, template, compile_path(template)[0], handler) for method, template, handler in routes)


def _match(
    routes: Iterable[tuple[str, str, Pattern[str], Handler]], exchange: Exchange
) -> tuple[str, dict[str, str], Handler] | None:
    """The path's template, the parameters in the path, and the handler."""
    for method, template, pattern, handler in routes:
        if method == exchange.method and (match := pattern.match(exchange.path)):
            return template, match.groupdict(), handler
    return None


def _unknown(call: Call) -> None:
    raise PlatformError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{call.exchange.method} {call.exchange.path}'")
