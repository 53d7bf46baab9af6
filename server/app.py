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
from server.consistency import HEADER, Consistency, ConsistencyTokens
from server.extensions import NoteOperation, QueryDeadline
from server.graphiql import STATIC
from server.graphql import GraphQLEndpoint
from server.health import livez, readyz
from server.lifespan import lifespan_of
from server.middleware import CanonicalLog
from server.stream import GraphQLStream
from server.websocket import GraphQLSocket

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

    from server.settings import Settings

GRAPHQL_PATH = "/api/graphql"
STREAM_PATH = f"{GRAPHQL_PATH}/stream"


def create_app(settings: Settings) -> Starlette:
    """The application. Nothing is connected to before it is started."""
    schema = build_schema(
        hidden_order_fields=settings.hidden_order_fields,
        extensions=[NoteOperation, lambda: QueryDeadline(settings.request_timeout)],
    )
    consistency = Consistency(ConsistencyTokens.of(settings), secure=settings.auth_mode != "local")
    authentication = LocalAuthentication(settings.local_roles)

    def new_context(connection: HTTPConnection) -> Context:
        context: Context = connection.state["context"]
        return replace(context, principal=authentication.principal(connection), position=FeedPosition())

    origins = settings.allowed_origins
    middleware = [Middleware(CanonicalLog)]
    if origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(origins),
                allow_methods=["GET", "POST"],
                allow_headers=["content-type", "last-event-id", "x-request-id", HEADER],
                expose_headers=["x-request-id", "retry-after", HEADER],
            )
        )
    return Starlette(
        routes=[
            Route("/", _home),
            Route(GRAPHQL_PATH, GraphQLEndpoint(schema, new_context, consistency=consistency)),
            WebSocketRoute(GRAPHQL_PATH, GraphQLSocket(schema, new_context, origins=origins, consistency=consistency)),
            Route(STREAM_PATH, GraphQLStream(schema, new_context, origins=origins, consistency=consistency)),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=middleware,
        lifespan=lifespan_of(settings),
    )


async def _home(_request: Request) -> RedirectResponse:
    return RedirectResponse(GRAPHQL_PATH)
