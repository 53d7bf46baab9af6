"""Assembles the administration of a process from its parts, and closes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.ports.administration import Configured
from server.db.engine import create_operations_pool
from server.lakebase.administration import LakebaseAdministration
from server.lakebase.database.audit import AuditLog
from server.lakebase.database.grants_and_indexes import GrantsAndIndexesStore
from server.lakebase.database.indexes import OrderIndexes
from server.lakebase.database.inspection import Postgres
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.not_configured import NotConfigured
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import OperationTable
from server.lakebase.runner import Runner
from server.lakebase.services import Services
from server.lakebase.steps.step import StepTimeouts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schema.ports.administration import Administration
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
        tables = OwnTables(self.pool, settings.app_schema, migrations)
        audit, grants_and_indexes = AuditLog(tables), GrantsAndIndexesStore(tables)
        postgres = Postgres(instances, settings)
        indexes = OrderIndexes(postgres, timeout=_INDEX_SECONDS)

        async def services() -> Services:
            return Services(await loader.get(), instances, postgres, indexes, grants_and_indexes)

        store = OperationStore(OperationTable(self.pool, settings.app_schema, migrations))
        self._runner = Runner(
            store,
            audit,
            StepTimeouts(_STEP_SECONDS, _PLATFORM_PATIENCE_SECONDS, _INDEX_SECONDS),
            services,
            database_changed=ended,
        )
        self._administration = LakebaseAdministration(
            services,
            store,
            audit,
            self._runner,
            configured_names(settings),
            storage=bool(settings.synced_table_storage_catalog and settings.synced_table_storage_schema),
            hosting=settings.hosting_instance,
            app_schema=settings.app_schema,
        )

    @property
    def port(self) -> Administration:
        """The administration that the schema calls."""
        return self._administration if self._settings.administers else NotConfigured()

    def states(self) -> dict[str, int]:
        """The number of operations that this process runs, by state."""
        return self._runner.states()

    def look_for_orphans(self) -> None:
        """Resume operations that no process holds, if a platform is configured."""
        if self._settings.administers:
            self._runner.look_for_orphans()

    async def stop_with(self, draining: Draining) -> None:
        """Stop operations as soon as the process begins to stop, while requests are still being finished."""
        await draining.wait()
        self._runner.stop()

    async def close(self) -> None:
        """Stop operations, release their leases and close connections."""
        await self._runner.close()
        await self.pool.dispose()
        await self._loader.close()


def configured_names(settings: Settings) -> Configured:
    """The names of the instance, catalog, database and table that the settings name."""
    catalog = settings.lakebase_catalog_name
    schema, _, table = settings.orders_table.rpartition(".")
    return Configured(
        instance_name=settings.instance_name,
        catalog_name=catalog,
        database_name=settings.lakebase_database_name if settings.instance_name else None,
        table_name=f"{catalog}.{schema or 'public'}.{table}" if catalog else None,
    )
