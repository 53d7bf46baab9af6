"""What exports read with: the served tables and the history of changes, through a pool of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from server.changes.history import SqlChangeHistory, SqlChangeLookup
from server.db.engine import create_exports_pool

if TYPE_CHECKING:
    from schema.context import Context
    from server.db.app_tables import ChangeTables
    from server.db.database import Database
    from server.db.migrate import Migrations
    from server.process.graph import Graph
    from server.settings import Settings


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
