"""The calls to catalogs and synced tables of the Postgres API. Its reads tell little of their specs."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import TYPE_CHECKING, Self

from databricks.sdk.service import postgres as api

from schema.ports.admin.instances import Flavour
from schema.ports.admin.tables import Catalog, branch_path
from server.lakebase.platform.autoscaling.conversions import last_part, read_synced_table, read_time
from server.lakebase.platform.autoscaling.projects import ProjectCalls
from server.lakebase.platform.conversions import known_ids
from server.lakebase.platform.failures import Action

if TYPE_CHECKING:
    from schema.ports.admin.tables import CatalogSpec, SyncedTable, SyncedTableSpec
    from server.lakebase.platform.api import AskedFor, OperationOutcome
    from server.settings import Settings


class TableCalls(ProjectCalls):
    """The calls of an `AutoscalingPlatform` about catalogs and synced tables."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._asked: AskedFor | None = None
        # The synced tables that are being created, by the platform's operation.
        self._creations: dict[str | None, str] = {}

    def remembering(self, asked: AskedFor) -> Self:
        """The same platform. It remembers the specs of synced tables, and adds them to what it reads."""
        same = copy.copy(self)
        same._asked = asked  # noqa: SLF001 # the copy is of this class
        return same

    async def outcome_of(self, operation: str) -> OperationOutcome:
        """The outcome of one of the platform's operations. If it was a failed creation, its spec is forgotten."""
        outcome = await super().outcome_of(operation)
        created = self._creations.pop(operation, None) if outcome.done else None
        if created and outcome.failure and self._asked:
            await self._asked.forget(created)
        return outcome

    async def catalog(self, name: str) -> Catalog | None:
        """The database catalog with this name; None if it is another kind of catalog."""
        found = await self._client.find(
            Action.GET_CATALOG, lambda client: client.postgres.get_catalog(f"catalogs/{name}")
        )
        if found is None:
            return None
        status = found.status or api.CatalogCatalogStatus(postgres_database=None)
        project = status.project or (status.branch or "").partition("/branches/")[0]
        return Catalog(
            name,
            found.uid,
            last_part(project),
            status.postgres_database,
            last_part(status.branch),
            Flavour.AUTOSCALING,
        )

    async def create_catalog(self, spec: CatalogSpec) -> str | None:
        """Request a catalog that registers a database of a branch; of the default branch if the spec names none."""
        branch = await self._branch_path(spec.instance_name, spec.branch)
        wanted = api.Catalog(
            spec=api.CatalogCatalogSpec(
                postgres_database=spec.database_name,
                branch=branch,
                # Set explicitly, because the two control planes have different defaults.
                create_database_if_missing=spec.create_database,
            )
        )
        return await self._client.call(
            Action.CREATE_CATALOG, lambda client: client.postgres.create_catalog(wanted, spec.name).name()
        )

    async def delete_catalog(self, name: str) -> str | None:
        """Request the deletion of a catalog."""
        return await self._delete(
            Action.DELETE_CATALOG, lambda client: client.postgres.delete_catalog(f"catalogs/{name}").name()
        )

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name, with its place as it was asked for, or as its catalog tells."""
        found = await self._client.find(
            Action.GET_TABLE, lambda client: client.postgres.get_synced_table(f"synced_tables/{name}")
        )
        if found is None:
            return None
        asked = await self._asked.of(name.lower(), found.uid, read_time(found.create_time)) if self._asked else None
        if asked is None or not (asked.get("branch") and asked.get("database_name")):
            # Whatever is in a catalog that registers a database is in that database. The catalog may have been hidden
            # when the table was asked for.
            registered = await self.catalog(name.partition(".")[0])
            if registered is not None:
                asked = {
                    **(asked or {}),
                    "instance_name": registered.instance_name,
                    "branch": registered.branch,
                    "database_name": registered.database_name,
                }
        return read_synced_table(found, name, self._client.host, asked)

    async def ids_of(self, table: SyncedTable) -> dict[str, str]:
        """The ids of the table and of its pipeline."""
        return known_ids(table.uid, table.pipeline_id)

    async def is_registered(self, table: str) -> bool:  # noqa: ARG002 # the port's signature
        """Always False: this API registers no tables by themselves."""
        return False

    async def create_synced_table(self, spec: SyncedTableSpec) -> str | None:
        """Request a synced table with its own pipeline, where its catalog or else the spec says."""
        spec, (storage_catalog, storage_schema) = spec.with_defaults(), self.storage_of(spec)
        registered = await self.catalog(spec.name.partition(".")[0])
        instance, database, branch = spec.instance_name, spec.database_name, spec.branch
        if registered is not None:
            instance, database, branch = registered.instance_name, registered.database_name, registered.branch
        path = await self._branch_path(instance, branch) if instance else None
        wanted = api.SyncedTable(
            spec=api.SyncedTableSyncedTableSpec(
                branch=path,
                postgres_database=database,
                source_table_full_name=spec.source,
                primary_key_columns=list(spec.primary_key or ()),
                timeseries_key=spec.timeseries_key,
                scheduling_policy=api.SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy(spec.policy),
                # Set explicitly, because the two control planes have different defaults.
                create_database_objects_if_missing=True,
                new_pipeline_spec=api.NewPipelineSpec(storage_catalog=storage_catalog, storage_schema=storage_schema),
            )
        )
        asked = {
            "source": spec.source,
            "primary_key": list(spec.primary_key or ()),
            "timeseries_key": spec.timeseries_key,
            "policy": spec.policy,
            "instance_name": instance,
            "database_name": database,
            "branch": last_part(path),
        }
        name = spec.name.lower()
        async with self._asked.asking(name, asked) if self._asked else nullcontext():
            operation = await self._once.call(
                Action.CREATE_TABLE, lambda client: client.postgres.create_synced_table(wanted, spec.name).name()
            )
        self._creations[operation] = name
        return operation

    async def delete_synced_table(self, name: str) -> str | None:
        """Request the deletion of a synced table. Its PostgreSQL table stays."""
        return await self._delete(
            Action.DELETE_TABLE, lambda client: client.postgres.delete_synced_table(f"synced_tables/{name}").name()
        )

    async def _branch_path(self, instance: str, branch: str | None) -> str:
        return branch_path(instance, branch) if branch else await self.default_branch(instance)
