"""Owns the putting together of administration: what it is made of, and its closing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.ports.administration import Configured
from server.db.engine import create_operations_pool
from server.lakebase.administration import LakebaseAdministration
from server.lakebase.database.audit import Records
from server.lakebase.database.indexes import OrderIndexes
from server.lakebase.database.inspection import Postgres
from server.lakebase.not_configured import NotConfigured
from server.lakebase.operations.store import OperationLog
from server.lakebase.runner import Runner
from server.lakebase.steps.step import Patience
from server.lakebase.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports.administration import Administration
    from server.db.database import Database
    from server.db.migrate import Migrations
    from server.lakebase.login.instances import Instances
    from server.lakebase.platform.loader import PlatformLoader
    from server.settings import Settings
    from server.traffic.draining import Draining

# For one step of an operation: an instance's start, a table's first sync.
_STEP_SECONDS: Final = 7_200.0
# For building one index of a table of a billion orders.
_INDEX_SECONDS: Final = 14_400.0
# How long a step goes on trying while the platform fails: an outage of minutes ends no operation.
_PLATFORM_PATIENCE_SECONDS: Final = 600.0


class Administering:
    """The administration of a process, and the operations that it works on."""

    def __init__(
        self,
        settings: Settings,
        loader: PlatformLoader,
        instances: Instances,
        database: Database,
        migrations: Migrations,
        *,
        ended: Callable[[], None],
    ) -> None:
        self.pool = create_operations_pool(settings, database)
        self._loader = loader
        self._settings = settings
        records = Records(self.pool, settings.app_schema, migrations)
        postgres = Postgres(instances, settings)
        indexes = OrderIndexes(postgres, timeout=_INDEX_SECONDS)

        async def tools() -> Tools:
            return Tools(await loader.get(), instances, postgres, indexes, records)

        log = OperationLog(self.pool, settings.app_schema, migrations)
        self._runner = Runner(
            log,
            records,
            Patience(_STEP_SECONDS, _PLATFORM_PATIENCE_SECONDS, _INDEX_SECONDS),
            tools,
            ended=ended,
        )
        self._lakebase = LakebaseAdministration(
            tools,
            log,
            records,
            self._runner,
            configured_names(settings),
            storage=bool(settings.synced_table_storage_catalog and settings.synced_table_storage_schema),
            hosting=settings.hosting_instance,
            app_schema=settings.app_schema,
        )

    @property
    def port(self) -> Administration:
        """What the schema asks."""
        return self._lakebase if self._settings.administers else NotConfigured()

    def states(self) -> dict[str, int]:
        """How many operations this process works on, by their states."""
        return self._runner.states()

    def look_for_orphans(self) -> None:
        """Take up operations that nobody works on, if there is a platform to work on."""
        if self._settings.administers:
            self._runner.look_for_orphans()

    async def stop_with(self, draining: Draining) -> None:
        """Stop working as soon as the process is about to stop, while requests are still finished."""
        await draining.wait()
        self._runner.stop()

    async def close(self) -> None:
        """Stop working, and let others go on."""
        await self._runner.close()
        await self.pool.dispose()
        await self._loader.close()


def configured_names(settings: Settings) -> Configured:
    """The names that a server with these settings serves."""
    catalog = settings.lakebase_catalog_name
    schema, _, table = settings.orders_table.rpartition(".")
    return Configured(
        instance_name=settings.instance_name,
        catalog_name=catalog,
        database_name=settings.lakebase_database_name if settings.instance_name else None,
        table_name=f"{catalog}.{schema or 'public'}.{table}" if catalog else None,
    )
