"""What exports read with: the served tables and the history of changes, through a pool of their own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from schema.context import Context, PageLimits
from schema.permissions import Principal, Role
from server.changes.history import SqlChangeHistory, SqlChangeLookup
from server.db.app_tables import change_tables
from server.db.engine import create_engines, create_exports_pool, create_migration_engine
from server.db.migrate import Migrations
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.orders.orders_table import OrdersTable
from server.orders.store import ServedOrders
from server.process.graph import Graph
from server.process.served_database import served_database
from server.tables.reading.reader import Reader
from server.tables.reading.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.db.app_tables import ChangeTables
    from server.db.database import Database
    from server.settings import Settings

# The caller of an export from a shell. Whoever runs the command can log in to the database anyway.
_SHELL: Final = Principal("shell", frozenset({Role.READER}))
# The ports that no field of a connection for readers uses.
_UNUSED: Final[Any] = None
# The counts for the progress bar are made once.
_COUNTS_SECONDS: Final = 5.0


class ExportReads:
    """The pool of exports, so that they take no connection from pages, and what reads through it.

    Only the primary is read: an export of minutes would find its replica replaced.

    Args:
        settings: the settings.
        database: the served database.
        graph: the served tables.
        history: the history of changes, for its epoch.
        tables: the server's own tables.
        migrations: create them.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        graph: Graph,
        history: SqlChangeHistory,
        tables: ChangeTables,
        migrations: Migrations,
    ) -> None:
        self.pool = create_exports_pool(settings, database)
        self._history = SqlChangeHistory(self.pool, tables, migrations, history.epoch)
        self._store, self._new_lookup = graph.through(self.pool)

    def context(self, context: Context) -> Context:
        """The context of a caller, which reads through the pool of exports."""
        history = self._history
        return replace(
            context,
            tables=self._store,
            new_lookup=self._new_lookup,
            history=history,
            new_change_lookup=lambda: SqlChangeLookup(history),
        )


class _NoAdministration:
    """Stands for the administration where a shell calls: admin fields are refused, and no refusal is audited."""

    async def note_refused(self, *_: object, **__: object) -> None:
        """Do nothing."""


@asynccontextmanager
async def shell_context(settings: Settings) -> AsyncIterator[Context]:
    """The context of an export from a shell, which reads the database that the settings name."""
    database = served_database(settings, Instances(settings, PlatformLoader(settings)))
    engines, readiness = create_engines(settings, database), Readiness()
    tables = change_tables(settings.app_schema)
    table = OrdersTable(settings.orders_table, tables, hidden=settings.hidden_fields)
    migrations = Migrations(create_migration_engine(settings, database), settings.app_schema)
    history = SqlChangeHistory(engines.pages, tables, migrations)
    orders = ServedOrders(engines, Reader(table, readiness), aggregate_ttl=_COUNTS_SECONDS)
    graph = Graph(settings.tables, engines, readiness, None, table, orders, hidden=settings.hidden_fields)
    exports = ExportReads(settings, database, graph, history, tables, migrations)
    context = Context(
        principal=_SHELL,
        tables=graph.store,
        orders=orders,
        groups=graph.groups,
        new_lookup=graph.new_lookup,
        statuses=_UNUSED,
        history=history,
        new_change_lookup=lambda: SqlChangeLookup(history),
        feed=_UNUSED,
        lakebase=_NoAdministration(),  # type: ignore[arg-type] # admin fields are refused before they use it
        limits=PageLimits(settings.page_size_default, settings.page_size_max),
        explores=True,
    )
    try:
        yield exports.context(context)
    finally:
        await graph.close()
        await readiness.close()
        await asyncio.gather(exports.pool.dispose(), engines.dispose(), migrations.close())
