"""Owns what lives as long as the process: made in order, closed in the reverse order."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from schema.context import Context, PageLimits
from server.db.engine import create_engines
from server.db.reader import Reader
from server.db.tables import OrdersTable
from server.orders import SqlOrderLookup, SqlOrderStore
from server.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.applications import Starlette
    from starlette.requests import Request

    from server.settings import Settings


class State(TypedDict):
    """What requests reach by `request.state`."""

    readiness: Readiness
    context: Context


def lifespan_of(settings: Settings) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    """The lifespan of an application with these settings.

    It connects to nothing: a database that is cold or absent makes the server not ready, never not started.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            engines = create_engines(settings)
            stack.push_async_callback(engines.dispose)
            readiness = Readiness()
            table = OrdersTable(settings.orders_table, hidden=settings.hidden_order_fields)
            reader = Reader(table, readiness)
            store = SqlOrderStore(engines, reader, aggregate_ttl=settings.aggregate_ttl)
            stack.push_async_callback(readiness.close)
            readiness.watch(store.probe)
            context = Context(
                orders=store,
                new_lookup=lambda: SqlOrderLookup(engines, reader),
                limits=PageLimits(settings.page_size_default, settings.page_size_max),
            )
            yield {"readiness": readiness, "context": context}

    return lifespan


def context_of(request: Request[Any]) -> Context:
    """The context for a request's operation."""
    state: State = request.state
    return state["context"]
