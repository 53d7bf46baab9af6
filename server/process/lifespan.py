"""The lifespan: the objects that live as long as the process, created in order and closed in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypedDict

from schema.context import Context, PageLimits
from schema.errors import UnavailableError
from schema.orders.types import ORDERS
from schema.permissions import NOBODY
from server.auth.authentication import authentication_of
from server.changes.feed import PostgresFeed
from server.changes.history import SqlChangeHistory, SqlChangeLookup
from server.changes.sql_writes import WriteStatements
from server.changes.status_writer import SqlStatusWriter
from server.db.app_tables import change_tables
from server.db.engine import connect_feed, create_engines, create_migration_engine, warn_of_limit
from server.db.migrate import Migrations
from server.http.caching import reuses
from server.lakebase.assembly import AdministrationRuntime
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.observability.exposition import Sampler
from server.observability.request_record import note_cost
from server.observability.sinks import slow_statements
from server.observability.tracing import tracing
from server.orders.orders_table import OrdersTable
from server.orders.store import ServedOrders
from server.process.exports import ExportReads
from server.process.graph import Graph
from server.process.served_database import create_replicas, served_database, token_state
from server.process.shutdown import end_worker
from server.tables.measuring.measurement import Measurement
from server.tables.reading.reader import Reader
from server.tables.reading.readiness import Readiness
from server.tables.sql.json import json_page, json_rows
from server.tables.sql.nested import nested_page, nested_rows
from server.traffic.memory import MemoryGuard, limit_of, resident_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.applications import Starlette

    from server.auth.authentication import Authentication
    from server.db.app_tables import ChangeTables
    from server.db.engine import Engines
    from server.lakebase.database.lineage import Lineage
    from server.settings import Settings
    from server.tables.reading.replicas import Replicas

# How long counts and statistics over all orders are reused.
_AGGREGATES_SECONDS: Final = 5.0
# Changes that wait for a slow subscriber before SUBSCRIBER_TOO_SLOW: some megabytes.
_FEED_BUFFER: Final = 10_000
# How often the feed looks for changes whose NOTIFY was missed.
_FEED_CATCH_UP_SECONDS: Final = 30.0
# How long a worker that replaces another waits until it is ready. Meanwhile the other one serves.
_REPLACEMENT_SECONDS = 3.0
# Compiled statements of plans.
_STATEMENTS: Final = (json_page, json_rows, nested_page, nested_rows)
# The garbage collector looks for cycles after this many new objects.
_YOUNG_OBJECTS = 10_000


class State(TypedDict):
    """The objects in `request.state`. The context has no caller: each request makes its own from it."""

    readiness: Readiness
    table_states: Callable[[], dict[str, str]]
    migrations: Migrations
    replicas: Replicas
    token_state: Callable[[], str]
    copy_state: Callable[[], str]
    authentication: Authentication
    context: Context
    export_context: Callable[[Context], Context]
    sampler: Sampler
    memory: MemoryGuard


def lifespan_of(settings: Settings) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    """The lifespan of an application with these settings.

    It does not need the database. If the database is asleep or absent, the server starts anyway, and is not ready.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tracing.close)
            slow_statements.from_seconds = settings.slow_statement
            loader = PlatformLoader(settings)
            instances = Instances(settings, loader)
            database = served_database(settings, instances)
            app.state.admission.wakes = lambda: database.wake_up.under_way
            engines = create_engines(settings, database)
            stack.push_async_callback(engines.dispose)
            replicas = create_replicas(settings, instances, engines)
            stack.push_async_callback(replicas.close)
            readiness = Readiness()
            tables = change_tables(settings.app_schema)
            table, measurement = _measured_table(settings, tables, engines)
            # The orders table looks for its overlay again as soon as the migrations have created it.
            migrations = Migrations(
                create_migration_engine(settings, database),
                settings.app_schema,
                made=lambda: _tables_made(table, administering.lineage),
            )
            history = SqlChangeHistory(
                engines.pages,
                tables,
                migrations,
                lambda: administering.lineage.epoch(),  # noqa: PLW0108 # it is assembled later
            )
            orders = ServedOrders(
                engines,
                Reader(table, readiness, replicas),
                aggregate_ttl=_AGGREGATES_SECONDS,
                statistics=measurement.statistics,
            )
            graph = Graph(settings.tables, engines, readiness, replicas, table, orders, hidden=settings.hidden_fields)
            exports = ExportReads(settings, database, graph, history, tables, migrations)
            writer = SqlStatusWriter(
                engines.writes,
                table,
                WriteStatements(tables),
                migrations,
                readiness,
                retention=settings.idempotency_retention,
                # A client's own cache, too, may hold a response from before the change.
                tokens=lambda: replicas.expected or reuses(settings.cache_seconds),
                epoch=history.epoch,
            )
            feed = PostgresFeed(
                lambda: connect_feed(settings, database),
                history,
                migrations,
                schema=settings.app_schema,
                buffer=_FEED_BUFFER,
                catch_up_seconds=_FEED_CATCH_UP_SECONDS,
                hold_seconds=lambda: replicas.hold_seconds,
                keeps_awake=settings.subscribers_keep_awake,
            )
            readiness.used = feed.note_use
            for close in (
                writer.close,
                exports.pool.dispose,
                measurement.close,
                graph.close,
                feed.close,
                readiness.close,
                migrations.close,
                app.state.events.close,
            ):
                stack.push_async_callback(close)

            async def ended() -> None:
                # An operation may have created the database, or replaced, stopped or deleted it.
                administering.pool.discard()
                migrations.forget()
                graph.forget()
                replicas.forget()
                readiness.check_now()
                await readiness.recheck()

            administering = AdministrationRuntime(settings, loader, instances, database, migrations, ended=ended)
            stack.push_async_callback(administering.close)
            administering.start()
            stopping = asyncio.create_task(administering.stop_with(app.state.draining), name="stop operations")
            stack.callback(stopping.cancel)
            for pool in (*engines.all, exports.pool):
                pool.opened = administering.note_connection

            readiness.watch(
                lambda: _check_readiness(settings, engines, migrations, administering, replicas, orders, graph),
                look_up=database.look_up,
            )
            database.wake_up.down = readiness.doubt
            guard = MemoryGuard(
                limit_of(settings),
                app.state.admission,
                # The statements of plans hold on to them.
                caches=(*app.state.caches, *(made.cache_clear for made in _STATEMENTS)),
                # A single process could only end: its platform decides, by /livez.
                give_up=partial(end_worker, app.state.draining) if settings.workers > 1 else lambda: None,
            )
            sampler = Sampler(
                pools=lambda: (*engines.all, exports.pool, administering.pool, *replicas.pools),
                feed_subscribers=lambda: feed.subscribers,
                operations_at_work=administering.states,
                memory=lambda: (resident_bytes(), guard.limit_bytes),
                ready=lambda: {"orders": readiness.reason is None, "changes": migrations.missing is None},
                scraped=administering.look_at_syncs,
            )
            sampler.start()
            stack.push_async_callback(sampler.close)
            if settings.workers > 1:
                await readiness.settled(seconds=_REPLACEMENT_SECONDS)
            _ease_collection()
            stack.enter_context(guard)
            authentication = authentication_of(settings, loader.groups_of)
            yield {
                "readiness": readiness,
                "replicas": replicas,
                "token_state": lambda: token_state(settings, instances),
                "copy_state": lambda: administering.lineage.state,
                "table_states": graph.states,
                "migrations": migrations,
                "authentication": authentication,
                "sampler": sampler,
                "memory": guard,
                "export_context": exports.context,
                "context": Context(
                    principal=NOBODY,
                    tables=graph.store,
                    orders=orders,
                    groups=graph.groups,
                    new_lookup=graph.new_lookup,
                    statuses=writer,
                    history=history,
                    new_change_lookup=lambda: SqlChangeLookup(history),
                    feed=feed,
                    lakebase=administering.port,
                    limits=PageLimits(settings.page_size_default, settings.page_size_max),
                    charge=note_cost,
                    renew=authentication.renewed,
                    statistics=graph.statistics,
                    freshness=administering.freshness,
                ),
            }

    return lifespan


def _tables_made(table: OrdersTable, lineage: Lineage) -> None:
    """Look again for what depends on the server's own tables, which are new or may be."""
    table.forget()
    lineage.forget()


def _ease_collection() -> None:
    """Make the garbage collector find little to do."""
    # The objects created so far live as long as the process: it need not visit them again.
    gc.collect()
    gc.freeze()
    # Reference counts free a request's objects. Searching for cycles every few requests takes noticeable time.
    gc.set_threshold(_YOUNG_OBJECTS)


def _measured_table(settings: Settings, tables: ChangeTables, engines: Engines) -> tuple[OrdersTable, Measurement]:
    """The orders table, which is measured again when it is another one."""
    table = OrdersTable(settings.orders_table, tables, hidden=settings.hidden_fields)
    measurement = Measurement(engines.aggregates, ORDERS, table.qualified_name, changes=tables.schema)
    table.looked_up = measurement.renew
    return table, measurement


async def _check_readiness(
    settings: Settings,
    engines: Engines,
    migrations: Migrations,
    administering: AdministrationRuntime,
    replicas: Replicas,
    orders: ServedOrders,
    graph: Graph,
) -> None:
    """Check whether orders can be read, and prepare the parts for changes, administration and replicas.

    Raises:
        UnavailableError: orders cannot be read.
    """
    # First, so that a ready server can also write. This gives up soon if the database does not answer.
    with contextlib.suppress(UnavailableError):
        await migrations.ensure()
    administering.look_for_orphans()
    replicas.discover()
    await orders.probe()
    await graph.probe()
    # A warning for the operator. If it fails, orders can still be read.
    with contextlib.suppress(Exception):
        await warn_of_limit(settings, engines.pages)
