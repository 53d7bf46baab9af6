"""Owns the application: routes, middleware, and what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from schema import build_schema
from server.graphiql import STATIC
from server.graphql import GraphQLEndpoint, NoteOperation
from server.health import livez, readyz
from server.lifespan import context_of, lifespan_of
from server.middleware import CanonicalLog

if TYPE_CHECKING:
    from starlette.requests import Request

    from server.settings import Settings

GRAPHQL_PATH = "/api/graphql"


def create_app(settings: Settings) -> Starlette:
    """The application. Nothing is connected to before it is started."""
    schema = build_schema(hidden_order_fields=settings.hidden_order_fields, extensions=[NoteOperation])
    return Starlette(
        routes=[
            Route("/", _home),
            Route(GRAPHQL_PATH, GraphQLEndpoint(schema, context_of)),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(CanonicalLog)],
        lifespan=lifespan_of(settings),
    )


async def _home(_request: Request) -> RedirectResponse:
    return RedirectResponse(GRAPHQL_PATH)
