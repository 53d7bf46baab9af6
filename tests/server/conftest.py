"""Fixtures of in-process tests: the store on a real database, the schema over it, and the statements it sends."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import sqlalchemy as sa

from schema import DocumentCache, DocumentLimits, build_schema
from schema.context import Context, PageLimits
from schema.graph import TABLES
from schema.orders.types import ORDERS
from schema.permissions import Principal, Role
from schema.plans.replay import Failures
from server.changes.feed import PostgresFeed
from server.changes.history import SqlChangeHistory, SqlChangeLookup
from server.changes.sql_writes import WriteStatements
from server.changes.status_writer import SqlStatusWriter
from server.db.app_tables import change_tables
from server.db.database import UrlDatabase
from server.db.driver import Compiled, Driver, compiled
from server.db.engine import (
    Engines,
    connect_feed,
    create_engines,
    create_migration_engine,
    create_operations_pool,
)
from server.db.migrate import Migrations
from server.http.error_response import present
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.home import Home
from server.lakebase.database.lineage import Lineage
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.not_configured import NotConfigured
from server.observability.log_setup import configure_logs
from server.orders.orders_table import OrdersTable
from server.orders.store import ServedOrders
from server.process.graph import Graph
from server.settings import Settings
from server.tables.measuring.measurement import Measurement
from server.tables.reading.reader import Reader
from server.tables.reading.readiness import Readiness
from tests.server.graph_tables import graph, odd_graph
from tests.servers.process import PATIENCE_SECONDS, PATIENT, PATIENT_CONSTANTS
from tests.support.examples import be_patient
from tests.support.late_database import LateDatabase

if TYPE_CHECKING:
    import strawberry

    from server.db.pool import Pool
    from server.local.cluster import Cluster

__all__ = ["graph", "odd_graph"]

Execute = Callable[..., Awaitable[dict[str, Any]]]
OpenStore = Callable[..., tuple[ServedOrders, Context]]
LogLines = Callable[[], list[dict[str, Any]]]

_CATALOG = re.compile(r"pg_catalog\.|current_schema|standard_conforming_strings|transaction isolation", re.IGNORECASE)


be_patient()
# Patient like the server of a black-box test: on a busy machine anything may take long.
PATIENCE = {name.lower(): float(seconds) for name, seconds in PATIENT.items()}


def patient_settings(url: str, **settings: Any) -> Settings:
    """Settings for this database, with long timeouts except for those that the test chooses."""
    return Settings(database_url=url, **{**PATIENCE, **settings})


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """Configure the log as the server does."""
    configure_logs(Settings(database_url="postgresql://127.0.0.1/orders"))


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> LogLines:
    """A function that returns the lines of the log so far, as the processors of the log get them."""
    # structlog's own capture misses every logger that an earlier test has used.
    return lambda: [record.msg for record in caplog.records if isinstance(record.msg, dict)]


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Long timeouts as in a black-box test's server, and for an operation's statements, migrations and the close too."""
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in PATIENT_CONSTANTS.items():
            patch.setattr(constant, value)
        for patience in (
            "server.db.engine._OPERATION_SECONDS",
            "server.db.migrate._PATIENCE_SECONDS",
            "server.changes.status_writer._CLOSE_SECONDS",
        ):
            patch.setattr(patience, PATIENCE_SECONDS)
        yield


@asynccontextmanager
async def engines_of(settings: Settings) -> AsyncIterator[Engines]:
    """The pools of these settings, disposed of at the end of the block."""
    engines = create_engines(
        settings, UrlDatabase(settings.database_url.get_secret_value() if settings.database_url else "")
    )
    yield engines
    await engines.dispose()


@pytest.fixture(scope="session")
async def engines(orders_url: str) -> AsyncIterator[Engines]:
    """The pools, as the server makes them."""
    async with engines_of(patient_settings(orders_url)) as engines:
        yield engines


@pytest.fixture(scope="session")
async def database(orders_url: str, cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """The test's own connection, with the rights of the pipeline that fills the table."""
    assert cluster.running()
    connection = await asyncpg.connect(orders_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def audit_pool(orders_url: str) -> AsyncIterator[Pool]:
    """A pool without a database: the audit waits in memory. It would write in the background, between two tests too."""
    pool = create_operations_pool(patient_settings(orders_url), LateDatabase(orders_url))
    yield pool
    await pool.dispose()


@pytest.fixture(scope="session")
def open_store(engines: Engines, audit_pool: Pool, orders_url: str) -> OpenStore:
    """Make a store, and a context with it, on the table and the app schema that the test chooses."""
    settings = patient_settings(orders_url)

    def open_(  # noqa: PLR0913 # a test names those that it needs
        table: str = "public.orders_synced",
        *,
        engines: Engines = engines,
        app_schema: str = "no_changes",
        roles: frozenset[Role] = frozenset({Role.ADMIN}),
        retention: float = 3600,
        feed_url: str = orders_url,
        feed: Mapping[str, Any] = MappingProxyType({}),
        aggregate_ttl: float = 0.0,
        tables: Mapping[str, str] = MappingProxyType({}),
        hidden: Collection[str] = (),
        **limits: int,
    ) -> tuple[ServedOrders, Context]:
        changes, readiness = change_tables(app_schema), Readiness()
        orders = OrdersTable(table, changes)
        measurement = Measurement(engines.aggregates, ORDERS, orders.qualified_name, changes=app_schema)
        orders.looked_up = measurement.renew
        migrations = Migrations(
            create_migration_engine(settings, UrlDatabase(orders_url)), app_schema, made=orders.forget
        )
        absent = LateDatabase(orders_url)
        unmade = Migrations(create_migration_engine(settings, absent), app_schema)
        own = OwnTables(audit_pool, app_schema, unmade, Home(absent, app_schema))
        audit = AuditLog(AuditTable(own))
        store = ServedOrders(
            engines, Reader(orders, readiness), aggregate_ttl=aggregate_ttl, statistics=measurement.statistics
        )
        graph = Graph(tables, engines, readiness, None, orders, store, hidden=hidden)
        history = SqlChangeHistory(engines.pages, changes, migrations)
        return store, Context(
            principal=Principal("tester", roles),
            tables=graph.store,
            orders=store,
            groups=graph.groups,
            new_lookup=graph.new_lookup,
            statuses=SqlStatusWriter(
                engines.writes, orders, WriteStatements(changes), migrations, readiness, retention=retention
            ),
            history=history,
            new_change_lookup=lambda: SqlChangeLookup(history),
            feed=PostgresFeed(
                lambda: connect_feed(settings, UrlDatabase(feed_url)),
                history,
                migrations,
                schema=app_schema,
                **{"buffer": 1000, "catch_up_seconds": PATIENCE_SECONDS, **feed},
            ),
            lakebase=NotConfigured(audit, Lineage(absent, own, Home(absent, app_schema)).copy_of),
            limits=PageLimits(**limits),
            statistics=graph.statistics,
        )

    return open_


@pytest.fixture(scope="session")
def execute(open_store: OpenStore) -> Execute:
    """Run a document against a table, and return the response as the server would send it."""
    schema = build_schema(tables=TABLES, limits=DocumentLimits(root_mutations=10))

    async def execute_(
        document: str, *, table: str = "public.orders_synced", context: Context | None = None, **variables: object
    ) -> dict[str, Any]:
        result = await schema.execute(
            document, variable_values=variables, context_value=context or open_store(table)[1]
        )
        return present(result, is_admin=True)[0]

    return execute_


@pytest.fixture(scope="session")
def planned_schema() -> tuple[DocumentCache, strawberry.Schema]:
    """A schema that plans its documents, and the cache that has the plans."""
    documents = DocumentCache()
    return documents, build_schema(tables=TABLES, documents=documents, plans=True)


@pytest.fixture(params=["ordinary", "fast"])
def answer_either_way(
    request: pytest.FixtureRequest,
    open_store: OpenStore,
    statements: list[str],
    planned_schema: tuple[DocumentCache, strawberry.Schema],
) -> Execute:
    """Run a document on the ordinary path; or plan it so, then forget its statements and answer it from the plan."""
    documents, schema = planned_schema

    async def execute_(
        document: str, *, table: str = "public.orders_synced", context: Context | None = None, **variables: object
    ) -> dict[str, Any]:
        context = context or open_store(table)[1]
        result = await schema.execute(document, variable_values=variables, context_value=context)
        if request.param == "ordinary":
            return present(result, is_admin=True)[0]
        statements.clear()
        known = documents.get(document)
        assert known
        planned = known.plans[None]
        assert planned
        pieces = await planned.write(context, variables, Failures())
        assert pieces
        return {"data": json.loads("".join(pieces))}

    return execute_


@pytest.fixture
def statements(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements sent during the test, except catalog lookups."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not _CATALOG.search(statement):
            seen.append(" ".join(statement.split()))

    for pool in (engines.pages, engines.aggregates, engines.writes):
        sa.event.listen(pool.engine.sync_engine, "before_cursor_execute", note)

    sent = Driver.rows

    async def note_and_send(
        driver: Driver, statement: sa.ClauseElement | Compiled, parameters: dict[str, Any], **counting: Any
    ) -> Any:
        note(None, None, (statement if isinstance(statement, Compiled) else compiled(statement)).text)
        return await sent(driver, statement, parameters, **counting)

    # Statements sent through the driver directly have no such event.
    monkeypatch.setattr(Driver, "rows", note_and_send)
    yield seen
    for pool in (engines.pages, engines.aggregates, engines.writes):
        sa.event.remove(pool.engine.sync_engine, "before_cursor_execute", note)
