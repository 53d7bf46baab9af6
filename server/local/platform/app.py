"""Owns the HTTP side: a request is matched, counted, authenticated, done, and its outcome put into words."""

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
from server.local.platform.routes import MINTS, PUBLIC, ROUTES

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from server.local.platform.calls import Handler
    from server.local.platform.identities.credentials import Identity
    from server.local.platform.service import Platform

_LOCAL = "/local/"
_log = logging.getLogger(__name__)


class App:
    """The ASGI application. What was begun is done, even when the client goes away."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._routes = [(method, template, compile_path(template)[0], act) for method, template, act in ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            # A WebSocket, say: the platform has none, and to uvicorn an exception is a refusal.
            raise NotImplementedError(scope["type"])
        exchange = await read(scope, receive, send)
        if exchange is None:
            return
        template, params, handler = self._matched(exchange)
        if exchange.path.startswith(_LOCAL):
            await exchange.reply(await self._done(exchange, template, params, handler))
            return
        self._platform.requests[f"{exchange.method} {template}"] += 1
        answer = self._platform.faults.answer(exchange, lambda: self._done(exchange, template, params, handler))
        await (self._platform.mints.watch(exchange, answer) if template in MINTS else answer)

    def _matched(self, exchange: Exchange) -> tuple[str, dict[str, str], Handler]:
        for method, template, pattern, handler in self._routes:
            if method == exchange.method and (match := pattern.match(exchange.path)):
                return template, match.groupdict(), handler
        return "(unknown)", {}, _unknown

    async def _done(self, exchange: Exchange, template: str, params: dict[str, str], handler: Handler) -> Response:
        try:
            identity = self._identity(exchange, template)
            outcome = handler(Call(self._platform, exchange, params, identity))
            value = await outcome if inspect.isawaitable(outcome) else outcome
        except PlatformError as error:
            return JSONResponse(error.body(), error.status)
        except asyncpg.InvalidCatalogNameError as error:
            return error_response(404, "NOT_FOUND", str(error))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ClusterError, OSError) as error:
            _log.warning("%s %s failed: %s", exchange.method, exchange.path, error)
            return error_response(503, "TEMPORARILY_UNAVAILABLE", "The database instance does not answer.")
        except Exception:  # noqa: BLE001 # as the platform: a defect of ours is an answer too
            _log.exception("%s %s failed", exchange.method, exchange.path)
            return error_response(500, "INTERNAL_ERROR", "An internal error occurred.")
        return JSONResponse(value or {})

    def _identity(self, exchange: Exchange, template: str) -> Identity | None:
        scheme, _, bearer = exchange.header("authorization").partition(" ")
        identity = self._platform.credentials.identity(bearer) if scheme.lower() == "bearer" else None
        if identity is None and template not in PUBLIC:
            message = "Credential was not sent or was of an unsupported type for this API."
            raise PlatformError(401, "UNAUTHENTICATED", message)
        if template.startswith(_LOCAL) and bearer != self._platform.store.state.operator_token:
            raise PlatformError(403, "PERMISSION_DENIED", "Only the operator's token opens this.")
        return identity


def _unknown(call: Call) -> None:
    raise PlatformError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{call.exchange.method} {call.exchange.path}'")
