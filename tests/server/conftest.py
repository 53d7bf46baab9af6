"""Owns what in-process tests share: the store on a real database, the schema over it, and the statements it sends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import sqlalchemy as sa

from schema import build_schema
from schema.context import Context, PageLimits
from server.db.engine import Engines, create_engines
from server.db.reader import Reader
from server.db.tables import OrdersTable
from server.logs import configure_logs
from server.orders import SqlOrderLookup, SqlOrderStore
from server.presentation import present
from server.readiness import Readiness
from server.settings import Settings

if TYPE_CHECKING:
    from server.local.cluster import Cluster

Execute = Callable[..., Awaitable[dict[str, Any]]]
OpenStore = Callable[..., tuple[SqlOrderStore, Context]]

_CATALOG = re.compile(r"pg_catalog\.|current_schema|standard_conforming_strings|transaction isolation", re.IGNORECASE)


@pytest.fixture(scope="session", autouse=True)
def _logs(orders_url: str) -> None:
    """The log in the server's form."""
    configure_logs(Settings(database_url=orders_url))


@pytest.fixture(scope="session")
async def engines(orders_url: str) -> AsyncIterator[Engines]:
    """The pools, as the server makes them."""
    engines = create_engines(Settings(database_url=orders_url, pool_timeout=5))
    yield engines
    await engines.dispose()


@pytest.fixture(scope="session")
async def database(orders_url: str, cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, as the pipeline that fills the table has it."""
    assert cluster.running()
    connection = await asyncpg.connect(orders_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def open_store(engines: Engines) -> OpenStore:
    """Make a store, and a context around it, on a table of the test's choice."""

    def open_(table: str = "public.orders_synced", **limits: int) -> tuple[SqlOrderStore, Context]:
        reader = Reader(OrdersTable(table), Readiness())
        store = SqlOrderStore(engines, reader, aggregate_ttl=0.2)
        return store, Context(store, lambda: SqlOrderLookup(engines, reader), PageLimits(**limits))

    return open_


@pytest.fixture(scope="session")
def execute(open_store: OpenStore) -> Execute:
    """Run a document against a table and give the answer as it would go out."""
    schema = build_schema()

    async def execute_(
        document: str, *, table: str = "public.orders_synced", context: Context | None = None, **variables: object
    ) -> dict[str, Any]:
        result = await schema.execute(
            document, variable_values=variables, context_value=context or open_store(table)[1]
        )
        return present(result)[0]

    return execute_


@pytest.fixture
def statements(engines: Engines) -> Iterator[list[str]]:
    """The statements sent during the test, look-ups in the catalog left out."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not _CATALOG.search(statement):
            seen.append(" ".join(statement.split()))

    for engine in (engines.pages, engines.aggregates):
        sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield seen
    for engine in (engines.pages, engines.aggregates):
        sa.event.remove(engine.sync_engine, "before_cursor_execute", note)
