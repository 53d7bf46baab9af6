"""CORS: with which methods and headers a page of an allowed origin may call, and which response headers it may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.middleware.cors import CORSMiddleware

from server.http.client import COST_HEADER
from server.http.consistency import HEADER as CONSISTENCY_HEADER

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_log = structlog.get_logger(__name__)
_OK: Final = 200
# Two hours, the longest time for which Chromium caches a preflight.
_PREFLIGHT_SECONDS: Final = 7_200
# A header's name or an origin is cut to this length in the log, and at most this many names are logged.
_LOGGED_CHARACTERS: Final = 100
_LOGGED_HEADERS: Final = 10
# The headers that the server reads.
_READ: Final = ("authorization", "content-type", "last-event-id", "x-request-id", COST_HEADER, CONSISTENCY_HEADER)
# Headers that libraries add to every request of a page. They give the page no right that it lacks without them. Headers
# that name a caller, a host or an address are missing here on purpose: only proxies may send them.
_HARMLESS: Final = (
    # Clients of GraphQL that name themselves or the operation, or ask for a preflight on purpose.
    "apollo-require-preflight",
    "apollographql-client-name",
    "apollographql-client-version",
    "graphql-client-name",
    "graphql-client-version",
    "graphql-preflight",
    "x-apollo-operation-id",
    "x-apollo-operation-name",
    "x-requested-with",
    # Traces and error reports: W3C, Sentry, Datadog, Zipkin.
    "b3",
    "baggage",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "x-datadog-origin",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-trace-id",
    # What event stream clients and caches of scripts send.
    "cache-control",
    "if-none-match",
    "pragma",
)


# Clients also send other properties of theirs, with this beginning.
_HARMLESS_BEGINNING: Final = "x-graphql-client-"


class _AllowedHeaders(list[str]):
    """The names of allowed request headers, which Starlette looks up in lower case."""

    def __contains__(self, name: object) -> bool:
        """Whether a page may send the header."""
        return super().__contains__(name) or str(name).startswith(_HARMLESS_BEGINNING)


class Cors(CORSMiddleware):
    """Starlette's middleware for the origins in ALLOWED_ORIGINS. It logs what is wrong with a refused preflight.

    A browser shows a page neither that response nor the reason, so the log is the only place that has it.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=sorted(allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=[*_READ, *_HARMLESS],
            # No cookies: clients authenticate with a header. The platform's proxy reads its own cookies.
            allow_credentials=False,
            max_age=_PREFLIGHT_SECONDS,
            expose_headers=["x-request-id", "retry-after", "www-authenticate", CONSISTENCY_HEADER],
        )
        self.allow_headers = _AllowedHeaders(self.allow_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. If no origin is allowed, only preflights need an answer."""
        if self.allow_origins or scope.get("method") == "OPTIONS":
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight, and log what is wrong with it: its origin, its method, or some of its headers."""
        response = super().preflight_response(request_headers)
        asked = request_headers.get("access-control-request-headers")
        if response.status_code != _OK:
            _log.info("preflight refused", **self._wrong(request_headers))
        elif asked:
            # All of them are allowed. Starlette's answer has no names that only begin as one that is allowed.
            answered = response.headers["access-control-allow-headers"]
            response.headers["access-control-allow-headers"] = f"{answered}, {asked}"
        return response

    def _wrong(self, given: Headers) -> dict[str, Any]:
        wrong: dict[str, Any] = {}
        if not self.is_allowed_origin(given["origin"]):
            wrong["origin"] = given["origin"][:_LOGGED_CHARACTERS]
        if given["access-control-request-method"] not in self.allow_methods:
            wrong["method"] = given["access-control-request-method"][:_LOGGED_CHARACTERS]
        asked = given.get("access-control-request-headers")
        names = [] if asked is None else [name.strip().lower() for name in asked.split(",")]
        if refused := [name[:_LOGGED_CHARACTERS] for name in names if name not in self.allow_headers]:
            wrong["headers"] = refused[:_LOGGED_HEADERS]
        if "access-control-request-private-network" in given:
            wrong["private_network"] = True
        return wrong
