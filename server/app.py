"""Owns the application: routes, middleware, and what they are given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from schema import build_schema
from schema.context import Context, FeedPosition
from server.auth import LocalAuthentication
from server.graphiql import STATIC
from server.graphql import GraphQLEndpoint, NoteOperation
from server.health import livez, readyz
from server.lifespan import lifespan_of
from server.middleware import CanonicalLog
from server.stream import GraphQLStream
from server.websocket import GraphQLSocket

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

    from server.draining import Draining
    from server.settings import Settings

GRAPHQL_PATH = "/api/graphql"
STREAM_PATH = f"{GRAPHQL_PATH}/stream"


def create_app(settings: Settings, draining: Draining) -> Starlette:
    """The application. Nothing is connected to before it is started."""
    schema = build_schema(hidden_order_fields=settings.hidden_order_fields, extensions=[NoteOperation])
    authentication = LocalAuthentication(settings.local_roles)

    def new_context(connection: HTTPConnection) -> Context:
        context: Context = connection.state["context"]
        return replace(context, principal=authentication.principal(connection), position=FeedPosition())

    middleware = [Middleware(CanonicalLog)]
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(settings.allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["content-type", "last-event-id", "x-request-id"],
                expose_headers=["x-request-id", "retry-after"],
            )
        )
    app = Starlette(
        routes=[
            Route("/", _home),
            Route(GRAPHQL_PATH, GraphQLEndpoint(schema, new_context)),
            WebSocketRoute(
                GRAPHQL_PATH, GraphQLSocket(schema, new_context, draining, origins=settings.allowed_origins)
            ),
            Route(STREAM_PATH, GraphQLStream(schema, new_context, draining, origins=settings.allowed_origins)),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=middleware,
        lifespan=lifespan_of(settings),
    )
    app.state.draining = draining
    return app


async def _home(_request: Request) -> RedirectResponse:
    return RedirectResponse(GRAPHQL_PATH)
