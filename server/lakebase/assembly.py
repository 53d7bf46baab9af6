"""Assembles the administration of a process from its parts, and closes it."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from typing import TYPE_CHECKING, Final

from schema.errors import UnavailableError
from schema.graph import TABLES
from schema.ports.admin.administration import Configured
from schema.ports.admin.instances import Flavour
from schema.ports.admin.tables import ServedTable
from schema.tables.registry import ORDERS_NAME, REGISTERED
from server.db.engine import create_operations_pool
from server.lakebase.administration import LakebaseAdministration
from server.lakebase.database.asked_for import AskedForStore
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.audit_table import AuditTable
from server.lakebase.database.grants_and_indexes import GrantsAndIndexesStore
from server.lakebase.database.home import Home
from server.lakebase.database.indexes import TableIndexes
from server.lakebase.database.inspection import Postgres
from server.lakebase.database.lineage import Lineage
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.freshness import PlatformFreshness
from server.lakebase.not_configured import NotConfigured
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import OperationTable
from server.lakebase.retention import Retention
from server.lakebase.runner import Runner
from server.lakebase.services import Services
from server.lakebase.steps.step import StepTimeouts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schema.ports.admin.administration import Administration
    from server.db.database import Database
    from server.db.migrate import Migrations
    from server.lakebase.login.instances import Instances
    from server.lakebase.platform.loader import PlatformLoader
    from server.settings import Settings
    from server.traffic.draining import Draining

# For one step of an operation, such as an instance's start or a table's first sync.
_STEP_SECONDS: Final = 7_200.0
# For building one index of a table of a billion orders.
_INDEX_SECONDS: Final = 14_400.0
# How long a step keeps trying while the platform fails, so that an outage of minutes ends no operation.
_PLATFORM_PATIENCE_SECONDS: Final = 600.0
# At a stop, operations that ended in memory have this long to be written to the database.
_CLOSE_SECONDS: Final = 1.0


class AdministrationRuntime:
    """The administration of one process: its connection pool, its parts, and the operations it runs.

    `ended` is awaited at the end of every operation, which may have created, replaced, stopped or deleted the database.
    """

    def __init__(
        self,
        settings: Settings,
        loader: PlatformLoader,
        instances: Instances,
        database: Database,
        migrations: Migrations,
        *,
        ended: Callable[[], Awaitable[None]],
    ) -> None:
        self.pool = create_operations_pool(settings, database)
        self._loader = loader
        self._settings = settings
        self._using: asyncio.Task[None] | None = None
        home = Home(database, settings.app_schema)
        tables = OwnTables(self.pool, settings.app_schema, migrations, home)
        self.lineage = Lineage(database, tables, home)
        audit_table = AuditTable(tables)
        operation_table = OperationTable(self.pool, settings.app_schema, migrations, home)
        self._audit, self._store = AuditLog(audit_table), OperationStore(operation_table)
        self._retention = Retention(audit_table, operation_table, days=settings.admin_retention)
        grants_and_indexes, asked = GrantsAndIndexesStore(tables), AskedForStore(tables)
        self._asked, self._configured = asked, configured_names(settings)
        postgres = Postgres(instances, settings)
        served = [REGISTERED[name].table for name in (ORDERS_NAME, *settings.tables)]
        indexes = TableIndexes(postgres, served, timeout=_INDEX_SECONDS)

        async def services() -> Services:
            platform = (await loader.get()).remembering(asked)
            return Services(platform, instances, postgres, indexes, grants_and_indexes)

        self._runner = Runner(
            self._store,
            self._audit,
            StepTimeouts(_STEP_SECONDS, _PLATFORM_PATIENCE_SECONDS, _INDEX_SECONDS),
            services,
            answered=self._use_database,
            database_changed=ended,
        )
        self._administration = LakebaseAdministration(
            services,
            self._store,
            self._audit,
            self._runner,
            self._configured,
            self.lineage,
            hosting=settings.hosting_instance,
            app_schema=settings.app_schema,
        )
        # An address in the settings may be that of any database, whatever the synced tables of the platform tell.
        self.freshness = (
            None
            if settings.hosting_instance is None
            else PlatformFreshness(loader, self._configured, asked, settings.served_name)
        )

    @property
    def port(self) -> Administration:
        """The administration that the schema calls."""
        return self._administration if self._settings.administers else NotConfigured(self._audit, self.lineage.copy_of)

    def states(self) -> dict[str, int]:
        """The number of operations that this process runs, by state."""
        return self._runner.states()

    def start(self) -> None:
        """Ask the platform in a moment how fresh the served tables are. The first caller then finds an answer."""
        if self.freshness is not None:
            self.freshness.start()

    def look_at_syncs(self) -> None:
        """Ask the platform how fresh the served tables are, unless it was asked a moment ago."""
        if self.freshness is not None:
            self.freshness.ask()

    def look_for_orphans(self) -> None:
        """Resume operations that no process holds, if there is a platform, and write what waits for the database."""
        if self._settings.administers:
            self._runner.look_for_orphans()
        elif self._using is None or self._using.done():
            self._using = asyncio.create_task(self._use_database(), name="audit", context=Context())

    def note_connection(self) -> None:
        """Write what waits in memory for the database, which has just accepted a connection."""
        if self._audit.waits or self._store.waits:
            self.look_for_orphans()

    async def _use_database(self) -> None:
        """Write the home and the audit that waits, and delete what is too old, while the database is in use anyway.

        This also reads what the platform was asked for: looks at the freshness use only what is in memory of it.
        """
        await self.lineage.record()
        if self.freshness is not None and self._configured.flavour is Flavour.AUTOSCALING:
            await self._asked.load(self._configured.table_names)
        await self._audit.flush()
        await self._retention.prune()

    async def stop_with(self, draining: Draining) -> None:
        """Stop operations as soon as the process begins to stop, while requests are still being finished."""
        await draining.wait()
        self._runner.stop()

    async def close(self) -> None:
        """Stop operations, release their leases, write what waits for the database, and close connections."""
        await self._runner.close()
        with contextlib.suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._store.write_down_ended()
        if self._using is not None:
            self._using.cancel()
        await self._audit.close()
        if self.freshness is not None:
            await self.freshness.close()
        await self.pool.dispose()
        await self._loader.close()


def configured_names(settings: Settings) -> Configured:
    """The names of the instance, catalog, database and tables that the settings name.

    The catalog and the tables belong to the instance. There are none if the server serves another project.
    """
    elsewhere = settings.lakebase_endpoint is not None and settings.instance_name is None
    catalog = None if elsewhere else settings.lakebase_catalog_name
    schema, _, table = settings.orders_table.rpartition(".")
    return Configured(
        instance_name=settings.instance_name,
        catalog_name=catalog,
        database_name=settings.lakebase_database_name if settings.instance_name else None,
        table_name=f"{catalog}.{schema or 'public'}.{table}" if catalog else None,
        flavour=settings.flavour,
        branch=settings.branch,
        others=tuple(ServedTable(f"{catalog}.{place}", TABLES[name]) for name, place in settings.tables.items())
        if catalog
        else (),
    )
