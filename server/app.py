"""Owns the application: routes, middleware, and what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from schema import build_schema, new_plans
from server.auth.local import LoopbackHosts
from server.graphiql.page import STATIC
from server.graphql.endpoint import GraphQLEndpoint
from server.graphql.extensions import Admitted, NoteOperation, QueryDeadline
from server.graphql.fast_path import FastPath
from server.graphql.introspection import IntrospectionPolicy
from server.graphql.persisted_documents import Documents, RememberDocument
from server.graphql.request import COST_HEADER, asks_for_cost
from server.graphql.sse import GraphQLStream
from server.graphql.websocket import GraphQLSocket
from server.graphql.websocket_connection import SocketLimits
from server.health import livez, readyz
from server.http.caching import Caching
from server.http.compression import Compression
from server.http.consistency import HEADER, Consistency, ConsistencyTokens
from server.http.error_boundary import Masked, fault, http_exception
from server.http.metrics_endpoint import MetricsEndpoint
from server.http.origins import Origins
from server.http.paths import GRAPHQL_PATH, METRICS_PATH, STREAM_PATH, WATCHED
from server.http.request_middleware import CanonicalLog
from server.lifespan import lifespan_of
from server.observability.tracing import tracing
from server.traffic.admission import WAIT_SECONDS, Admission
from server.traffic.rate_limit import ChargeMistakes, RateLimit
from server.traffic.subscription_limits import CountSubscriptions, Subscriptions
from server.wire.connections import SEND_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import HTTPConnection, Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from schema.context import Context
    from server.auth.authentication import Authentication
    from server.settings import Settings
    from server.traffic.draining import Draining

# Chromium takes no longer for true.
_PREFLIGHT_SECONDS = 7_200


def create_app(settings: Settings, draining: Draining, admission: Admission | None = None) -> Starlette:
    """The application. Nothing is connected to before it is started.

    Args:
        settings: how it is set.
        draining: the word that the process is about to stop.
        admission: who admits operations; whoever is asked before, for connections, has to be the same one.
    """
    admission = admission or Admission(settings.requests_in_flight, wait_seconds=WAIT_SECONDS)
    documents = Documents.of(settings)
    plans = new_plans() if settings.fast_path else None
    rates, subscriptions = RateLimit.of(settings), Subscriptions(settings.max_subscriptions_per_caller)
    schema = build_schema(
        hidden_order_fields=settings.hidden_order_fields,
        extensions=[
            *([] if rates is None else [lambda: ChargeMistakes(rates)]),
            lambda: CountSubscriptions(subscriptions),
            NoteOperation,
            lambda: IntrospectionPolicy(settings.explored_by),
            lambda: Admitted(admission),
            lambda: QueryDeadline(settings.request_timeout),
            lambda: RememberDocument(documents),
        ],
        plans=plans,
        limits=settings.document_limits,
    )
    fast = FastPath(plans, seconds=settings.request_timeout, limit=settings.limit_cost) if plans else None
    consistency = Consistency(ConsistencyTokens.of(settings), secure=settings.auth_mode != "local")
    origins = Origins(settings.allowed_origins, forwarded=settings.auth_mode == "databricks-app")

    async def new_context(connection: HTTPConnection, init: Mapping[str, object] | None = None) -> Context:
        state = connection.scope["state"]
        authentication: Authentication = state["authentication"]
        context: Context = state["context"]
        principal = await authentication.principal(connection, init)
        own = context.of(principal, tells_cost=asks_for_cost(connection.scope))
        return own if rates is None else rates.charging(own)

    middleware = [*tracing.start(WATCHED), Middleware(CanonicalLog)]
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(settings.allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=[
                    "authorization",
                    "content-type",
                    "last-event-id",
                    "x-request-id",
                    COST_HEADER,
                    HEADER,
                ],
                # None of them is needed: who calls is said in a header. The platform's proxy reads cookies of its own.
                allow_credentials=False,
                max_age=_PREFLIGHT_SECONDS,
                expose_headers=["x-request-id", "retry-after", "www-authenticate", HEADER],
            )
        )
    compression = Compression(settings.compress_from_bytes)
    endpoint = GraphQLEndpoint(
        schema,
        new_context,
        consistency=consistency,
        documents=documents,
        explored_by=settings.explored_by,
        fast=fast,
        admission=admission,
        compression=compression,
        caching=Caching(settings.cache_seconds),
        origins=origins,
    )
    app = _Application(
        GRAPHQL_PATH,
        endpoint,
        routes=[
            Route("/", _home),
            # What the shortcut does not lead there: a path with a slash at its end, or below a root path.
            Route(GRAPHQL_PATH, endpoint),
            WebSocketRoute(
                GRAPHQL_PATH,
                # A browser cannot set the headers of a WebSocket.
                GraphQLSocket(
                    schema,
                    new_context,
                    draining,
                    origins=origins,
                    consistency=consistency,
                    documents=documents,
                    limits=SocketLimits.of(settings),
                    by_init=settings.auth_mode == "jwt",
                ),
            ),
            Route(
                STREAM_PATH,
                GraphQLStream(
                    schema,
                    new_context,
                    draining,
                    origins=origins,
                    consistency=consistency,
                    documents=documents,
                    lasting_seconds=settings.subscription_timeout,
                    send_seconds=SEND_SECONDS,
                ),
            ),
            Route(METRICS_PATH, MetricsEndpoint(new_context, compression, token=settings.metrics_token)),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: http_exception, Exception: fault},
        # Masked within all others, so that what it answers carries their headers too; the endpoint masks by itself.
        guards=[Middleware(Masked), *([Middleware(LoopbackHosts)] if settings.auth_mode == "local" else [])],
        lifespan=lifespan_of(settings),
    )
    app.state.draining, app.state.admission = draining, admission
    return app


class _Application(Starlette):
    """Starlette, whose routes are not asked in turn for the one path that nearly every request is for.

    Args:
        path: the path.
        endpoint: what serves it over HTTP, within the same middleware.
        guards: middleware, within the other, for everything else: the endpoint asks itself.
    """

    def __init__(
        self,
        path: str,
        endpoint: ASGIApp,
        *,
        middleware: Sequence[Middleware],
        guards: Sequence[Middleware],
        **options: Any,
    ) -> None:
        super().__init__(middleware=[*middleware, *guards], **options)
        self._path = path
        self._direct = endpoint
        for layer in reversed(middleware):
            self._direct = layer.cls(self._direct, *layer.args, **layer.kwargs)
        # And around all of them, for what one of them raises.
        self._direct, self._routed = Masked(self._direct), Masked(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the process's life."""
        if scope["type"] == "http" and scope["path"] == self._path:
            scope["app"] = self
            await self._direct(scope, receive, send)
        else:
            await self._routed(scope, receive, send)


async def _home(_request: Request) -> RedirectResponse:
    return RedirectResponse(GRAPHQL_PATH)
