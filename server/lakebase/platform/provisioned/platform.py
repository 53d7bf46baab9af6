"""Administration by the Provisioned API (`w.database`). Databricks makes new instances by the other one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from databricks.sdk.service import database as api

from schema.errors import ForbiddenError, PlatformError, Reason
from schema.ports.admin.instances import Flavour, InstancePage
from schema.ports.admin.tables import Catalog
from server.lakebase.platform.api import OperationOutcome
from server.lakebase.platform.conversions import known_ids, read_instance, read_synced_table
from server.lakebase.platform.failures import Action
from server.lakebase.platform.sdk_client import list_page
from server.lakebase.platform.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from databricks.sdk import WorkspaceClient

    from schema.ports.admin.branches import Branch, Endpoint
    from schema.ports.admin.instances import Instance, InstanceChange, InstanceSpec
    from schema.ports.admin.tables import CatalogSpec, SyncedTable, SyncedTableSpec
    from server.lakebase.platform.api import AskedFor


class ProvisionedPlatform(Workspace):
    """The `Platform` of the flavour PROVISIONED."""

    flavour = Flavour.PROVISIONED
    branching = None

    def remembering(self, asked: AskedFor) -> ProvisionedPlatform:  # noqa: ARG002 # this API tells everything itself
        """The platform as it is."""
        return self

    async def outcome_of(self, operation: str) -> OperationOutcome:  # noqa: ARG002 # the port's signature
        """Always done: this API has no operations."""
        return OperationOutcome(done=True, failure=None)

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name."""
        found = await self._client.find(Action.GET_INSTANCE, lambda client: client.database.get_database_instance(name))
        return read_instance(found) if found else None

    async def deleted_instance(self, name: str) -> None:
        """Always None: this API deletes for good."""

    async def in_full(self, instances: Sequence[Instance]) -> Sequence[Instance]:
        """The instances as they are: a page has everything."""
        return instances

    async def branches(self, instance: str) -> Sequence[Branch]:  # noqa: ARG002 # the port's signature
        """Always empty: this API has no branches."""
        return ()

    async def endpoints(self, branch: str) -> Sequence[Endpoint]:  # noqa: ARG002 # as above
        """Always empty, as there are no branches."""
        return ()

    async def undelete_instance(self, name: str) -> None:
        """Always refused.

        Raises:
            PlatformError: RESOURCE_NOT_FOUND.
        """
        raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"The instance {name} was deleted for good.")

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of instances, at most 100."""

        def request(client: WorkspaceClient) -> InstancePage:
            answer = list_page(client, "/api/2.0/database/instances", size, token)
            page = api.ListDatabaseInstancesResponse.from_dict(answer)
            return InstancePage(
                [read_instance(one) for one in page.database_instances or []], page.next_page_token or None
            )

        return await self._client.call(Action.LIST_INSTANCES, request)

    async def create_instance(self, spec: InstanceSpec) -> None:
        """Request a new instance. It takes minutes until it is AVAILABLE."""
        spec = spec.with_defaults(self.flavour)
        wanted = api.DatabaseInstance(
            name=spec.name,
            capacity=spec.capacity,
            node_count=spec.node_count,
            enable_readable_secondaries=spec.readable_secondaries,
            retention_window_in_days=spec.retention_days,
        )
        await self._client.call(
            Action.CREATE_INSTANCE, lambda client: client.database.create_database_instance(wanted).response
        )

    async def update_instance(self, change: InstanceChange) -> None:
        """Request a change of an instance. Properties that are None stay as they are."""
        properties: dict[str, Any] = {
            "capacity": change.capacity,
            "node_count": change.node_count,
            "enable_readable_secondaries": change.readable_secondaries,
            "retention_window_in_days": change.retention_days,
            "stopped": change.stopped,
        }
        changed = {name: value for name, value in properties.items() if value is not None}
        wanted = api.DatabaseInstance(name=change.name, **changed)
        await self._client.call(
            Action.UPDATE_INSTANCE,
            lambda client: client.database.update_database_instance(change.name, wanted, ",".join(changed)),
        )

    async def delete_instance(self, name: str, *, purge: bool) -> None:  # noqa: ARG002 # the port's signature
        """Request the deletion of an instance, for good: this API has no other kind."""
        await self._delete(
            Action.DELETE_INSTANCE, lambda client: client.database.delete_database_instance(name, purge=True)
        )

    async def catalog(self, name: str) -> Catalog | None:
        """The database catalog with this name; None if it is another kind of catalog."""
        found = await self._client.find(Action.GET_CATALOG, lambda client: client.database.get_database_catalog(name))
        return Catalog(found.name, found.uid, found.database_instance_name, found.database_name) if found else None

    async def create_catalog(self, spec: CatalogSpec) -> None:
        """Request a catalog that registers a database."""
        wanted = api.DatabaseCatalog(
            name=spec.name,
            database_instance_name=spec.instance_name,
            database_name=spec.database_name,
            create_database_if_not_exists=spec.create_database,
        )
        await self._client.call(Action.CREATE_CATALOG, lambda client: client.database.create_database_catalog(wanted))

    async def delete_catalog(self, name: str) -> None:
        """Request the deletion of a catalog."""
        await self._delete(Action.DELETE_CATALOG, lambda client: client.database.delete_database_catalog(name))

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name."""
        found = await self._client.find(
            Action.GET_TABLE, lambda client: client.database.get_synced_database_table(name)
        )
        return read_synced_table(found, self._client.host) if found else None

    async def ids_of(self, table: SyncedTable) -> dict[str, str]:
        """The ids of the table, if Unity Catalog shows it to the server, and of its pipeline."""
        uid = None
        with contextlib.suppress(ForbiddenError):
            uid = await self.unity.table_uid(table.name)
        return known_ids(uid, table.pipeline_id)

    async def is_registered(self, table: str) -> bool:
        """Whether this name of Unity Catalog is of a PostgreSQL table that was registered by itself, without a sync."""
        found = await self._client.find(Action.GET_TABLE, lambda client: client.database.get_database_table(table))
        return found is not None

    async def create_synced_table(self, spec: SyncedTableSpec) -> None:
        """Request a synced table with its own pipeline. The first sync takes as long as the rows need."""
        spec, (storage_catalog, storage_schema) = spec.with_defaults(), self.storage_of(spec)
        wanted = api.SyncedDatabaseTable(
            name=spec.name,
            database_instance_name=spec.instance_name,
            logical_database_name=spec.database_name,
            spec=api.SyncedTableSpec(
                source_table_full_name=spec.source,
                primary_key_columns=list(spec.primary_key or ()),
                timeseries_key=spec.timeseries_key,
                scheduling_policy=api.SyncedTableSchedulingPolicy(spec.policy),
                # Set explicitly, because the two control planes have different defaults.
                create_database_objects_if_missing=True,
                new_pipeline_spec=api.NewPipelineSpec(storage_catalog=storage_catalog, storage_schema=storage_schema),
            ),
        )
        await self._client.call(
            Action.CREATE_TABLE, lambda client: client.database.create_synced_database_table(wanted)
        )

    async def delete_synced_table(self, name: str) -> None:
        """Request the deletion of a synced table and of its PostgreSQL table."""
        await self._delete(
            Action.DELETE_TABLE, lambda client: client.database.delete_synced_database_table(name, purge_data=True)
        )
