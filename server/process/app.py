"""The application: its routes, its middleware, and the objects that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.routing import Route, WebSocketRoute

from schema import DocumentCache, build_schema
from server.auth.local import LoopbackHosts
from server.auth.operators import OperatorAccess
from server.graphql.answers import answer_of_event
from server.graphql.documents.persisted import Documents, RememberDocument
from server.graphql.endpoint import GraphQLEndpoint
from server.graphql.export.endpoint import ExportEndpoint
from server.graphql.export.pages import Exporter
from server.graphql.extensions import AdmissionGate, NoteOperation, QueryDeadline
from server.graphql.fast_path import FastPath
from server.graphql.gateway import Gateway
from server.graphql.graphiql.page import GraphiQL
from server.graphql.introspection import IntrospectionAnswers, IntrospectionPolicy, IntrospectionTurns
from server.graphql.sse import GraphQLStream
from server.graphql.websocket import GraphQLSocket
from server.graphql.websocket_connection import SocketLimits
from server.http.caching import Caching
from server.http.compression import Compression
from server.http.consistency import Consistency, ConsistencyTokens
from server.http.cors import Cors
from server.http.error_boundary import ErrorBoundary, fault, http_exception
from server.http.metrics_endpoint import MetricsEndpoint
from server.http.origins import Origins
from server.http.request_middleware import (
    EXPORT_PATH,
    GRAPHQL_PATH,
    METRICS_PATH,
    STREAM_PATH,
    WATCHED,
    RequestMiddleware,
)
from server.observability.tracing import tracing
from server.process.health import livez, readyz
from server.process.lifespan import lifespan_of
from server.traffic.admission import WAIT_SECONDS, Admission
from server.traffic.events import Events
from server.traffic.rate_limit import ChargeMistakes, RateLimit
from server.traffic.subscription_limits import CountSubscriptions, Subscriptions
from server.wire.sending import SEND_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from server.settings import Settings
    from server.traffic.draining import Draining


def create_app(settings: Settings, draining: Draining, admission: Admission | None = None) -> Starlette:
    """Make the application. It opens no connection before its lifespan starts.

    Args:
        settings: the settings.
        draining: says when the process is about to stop.
        admission: admits operations. The process passes the one that its connections ask too, before they read.
    """
    admission = admission or Admission(settings.requests_in_flight, wait_seconds=WAIT_SECONDS)
    cache = DocumentCache()
    documents = Documents.of(settings, cache)
    limits = settings.document_limits
    answers = IntrospectionAnswers()
    rates = RateLimit.of(settings)
    subscriptions = Subscriptions(settings.max_subscriptions_per_caller, draining)
    events = Events(answer_of_event)
    schema = build_schema(
        tables=settings.tables,
        hidden_fields=settings.hidden_fields,
        extensions=[
            *([] if rates is None else [lambda: ChargeMistakes(rates)]),
            lambda: CountSubscriptions(subscriptions),
            NoteOperation,
            IntrospectionPolicy,
            lambda: IntrospectionTurns(answers),
            lambda: AdmissionGate(admission),
            lambda: QueryDeadline(settings.request_timeout),
            lambda: RememberDocument(documents),
        ],
        documents=cache,
        plans=settings.fast_path,
        limits=limits,
        executor=events.executor(),
    )
    fast = FastPath(cache, seconds=settings.request_timeout, limit=settings.limit_cost) if settings.fast_path else None
    gateway = Gateway(
        schema,
        documents=documents,
        consistency=Consistency(ConsistencyTokens.of(settings), secure=settings.auth_mode != "local"),
        origins=Origins(settings.allowed_origins, forwarded=settings.auth_mode == "databricks-app"),
        explored_by=settings.explored_by,
        rates=rates,
    )
    middleware = [*tracing.start(WATCHED), Middleware(RequestMiddleware), Middleware(Cors, settings.allowed_origins)]
    compression, operators = Compression(settings.compress_from_bytes), OperatorAccess(settings.metrics_token)
    graphiql = GraphiQL(gateway, compression, settings.tables)
    endpoint = GraphQLEndpoint(
        gateway,
        graphiql,
        fast=fast,
        admission=admission,
        compression=compression,
        caching=Caching(settings.cache_seconds),
    )
    exporter = Exporter(schema, gateway, fast=fast, cache=cache, limits=limits, admission=admission)
    app = _Application(
        GRAPHQL_PATH,
        endpoint,
        routes=[
            Route("/", _home),
            # For requests that miss the shortcut because their path has a slash at its end or a root path.
            Route(GRAPHQL_PATH, endpoint),
            WebSocketRoute(
                GRAPHQL_PATH,
                # A browser cannot set headers on a WebSocket, so the client sends its token in the `connection_init`.
                GraphQLSocket(gateway, draining, limits=SocketLimits.of(settings), by_init=settings.auth_mode == "jwt"),
            ),
            Route(
                STREAM_PATH,
                GraphQLStream(
                    gateway,
                    draining,
                    lasting_seconds=settings.subscription_timeout,
                    send_seconds=SEND_SECONDS,
                ),
            ),
            Route(
                EXPORT_PATH,
                ExportEndpoint(
                    gateway,
                    exporter,
                    admission=admission,
                    draining=draining,
                    compression=compression,
                    seconds=settings.export_seconds,
                ),
            ),
            Route(METRICS_PATH, MetricsEndpoint(operators.check, compression)),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/static/{name:path}", graphiql.file),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: http_exception, Exception: fault},
        # Innermost, so that their responses get the other middleware's headers. The endpoint masks its own faults.
        guards=[Middleware(ErrorBoundary), *([Middleware(LoopbackHosts)] if settings.auth_mode == "local" else [])],
        lifespan=lifespan_of(settings),
    )
    app.state.draining, app.state.admission, app.state.operators = draining, admission, operators
    app.state.events, app.state.exporter = events, exporter
    # By the functions that empty them.
    app.state.caches = (cache.clear, answers.clear)
    return app


class _Application(Starlette):
    """Starlette, with a shortcut past the router for the one path that nearly every request has.

    Args:
        path: this path.
        endpoint: serves the path over HTTP, inside `middleware`.
        middleware: runs for every request.
        guards: run inside `middleware` for all other paths. The endpoint makes the same checks itself.
        options: Starlette's own.
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
        # Starlette would redirect to the `Host` and the scheme of the request, which the client or a proxy chooses.
        self.router.redirect_slashes = False
        self._path = path
        self._direct = endpoint
        for layer in reversed(middleware):
            self._direct = layer.cls(self._direct, *layer.args, **layer.kwargs)
        # Outermost, so that it catches the middleware's exceptions too.
        self._direct, self._routed = ErrorBoundary(self._direct), ErrorBoundary(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a WebSocket, or the lifespan."""
        if scope["type"] == "http" and scope["path"] == self._path:
            scope["app"] = self
            await self._direct(scope, receive, send)
            return
        if scope["type"] != "lifespan":
            # A slash at the end changes nothing. The scope itself is changed, because the connection uses it too.
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self._routed(scope, receive, send)


async def _home(_request: Request) -> RedirectResponse:
    return RedirectResponse(GRAPHQL_PATH)
