"""The platform's administration calls: one method for each, in the schema's own types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from databricks.sdk.service import database as api

from schema.errors import ForbiddenError, PlatformError, Reason
from schema.ports.administration import Catalog, InstancePage
from server.lakebase.platform.conversions import read_instance, read_synced_table
from server.lakebase.platform.failures import Action
from server.lakebase.platform.login_api import LoginApi
from server.lakebase.platform.namesakes import Namesakes
from server.lakebase.platform.sdk_client import SdkClient
from server.lakebase.platform.unity import UnityCatalog

if TYPE_CHECKING:
    from collections.abc import Callable

    from databricks.sdk import WorkspaceClient

    from schema.ports.administration import (
        CatalogSpec,
        Instance,
        InstanceChange,
        InstanceSpec,
        SyncedTable,
        SyncedTableSpec,
    )
    from server.settings import Settings

_DELETION_THREADS: Final = 2
# The largest page that the platform gives.
_MAX_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run of a pipeline. A failed run is done, too."""

    id: str
    done: bool
    failed: bool


class Platform:
    """The control plane: the Provisioned API (`w.database`), and pipelines beside it.

    `logins` holds the calls for logins, which exist for the Autoscaling API (`w.postgres`) too, `unity` those to Unity
    Catalog, and `namesakes` finds out whether something else has a name. A method that reads a resource returns None if
    there is no such resource. All methods raise ApiError, as `failures.to_api_error` says.
    """

    def __init__(self, settings: Settings) -> None:
        self.logins = LoginApi(settings)
        self._client = SdkClient(settings)
        self.unity = UnityCatalog(self._client)
        self.namesakes = Namesakes(self._client)
        # Steps look again before they repeat a deletion. The SDK would not look, so it gets no time to repeat one.
        self._deletion_client = SdkClient(settings, threads=_DELETION_THREADS, retry_seconds=1)
        self._storage = (settings.synced_table_storage_catalog, settings.synced_table_storage_schema)

    def close(self) -> None:
        """Begin no further calls."""
        self.logins.close()
        self._client.close()
        self._deletion_client.close()

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name."""
        found = await self._client.find(Action.GET_INSTANCE, lambda client: client.database.get_database_instance(name))
        return read_instance(found) if found else None

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of instances, at most 100."""

        def request(client: WorkspaceClient) -> InstancePage:
            # Not by the SDK's own method, which fetches all pages: one page of ours is one page of the platform.
            query: dict[str, Any] = {"page_size": min(size, _MAX_LISTED), **({"page_token": token} if token else {})}
            answer = client.api_client.do(
                "GET", "/api/2.0/database/instances", query=query, headers={"Accept": "application/json"}
            )
            page = api.ListDatabaseInstancesResponse.from_dict(answer)
            return InstancePage(
                [read_instance(one) for one in page.database_instances or []], page.next_page_token or None
            )

        return await self._client.call(Action.LIST_INSTANCES, request)

    async def create_instance(self, spec: InstanceSpec) -> None:
        """Request a new instance. It takes minutes until it is AVAILABLE."""
        spec = spec.with_defaults()
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

    async def delete_instance(self, name: str) -> None:
        """Request the deletion of an instance, for good: the platform has no other kind."""
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

    async def identity_of(self, table: SyncedTable) -> str | None:
        """An id that a later synced table of the same name does not have: the table's, or else its pipeline's."""
        try:
            return await self.unity.table_uid(table.name) or table.pipeline_id
        except ForbiddenError:
            return table.pipeline_id

    async def is_registered(self, table: str) -> bool:
        """Whether this name of Unity Catalog is of a PostgreSQL table that was registered by itself, without a sync."""
        found = await self._client.find(Action.GET_TABLE, lambda client: client.database.get_database_table(table))
        return found is not None

    def storage_of(self, spec: SyncedTableSpec) -> tuple[str | None, str | None]:
        """The catalog and schema in which a synced table's pipeline would keep its own tables."""
        return spec.storage_catalog or self._storage[0], spec.storage_schema or self._storage[1]

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

    async def has_pipeline(self, pipeline_id: str) -> bool:
        """Whether there is a pipeline with this id."""
        return (
            await self._client.find(Action.GET_PIPELINE, lambda client: client.pipelines.get(pipeline_id)) is not None
        )

    async def start_pipeline(self, pipeline_id: str) -> None:
        """Start a sync."""
        await self._client.call(Action.START_PIPELINE, lambda client: client.pipelines.start_update(pipeline_id))

    async def latest_run(self, pipeline_id: str) -> PipelineRun | None:
        """The newest run of a pipeline, including the one at its creation; None if there was none."""
        found = await self._client.find(Action.GET_PIPELINE, lambda client: client.pipelines.get(pipeline_id))
        updates = (found and found.latest_updates) or []
        if not updates or not updates[0].update_id:
            return None
        state = updates[0].state.value if updates[0].state else ""
        return PipelineRun(
            updates[0].update_id,
            done=state in {"COMPLETED", "FAILED", "CANCELED"},
            failed=state in {"FAILED", "CANCELED"},
        )

    async def _delete(self, action: Action, request: Callable[[WorkspaceClient], None]) -> None:
        """Send a deletion. It succeeds if the resource is gone already."""
        try:
            await self._deletion_client.call(action, request)
        except PlatformError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND:
                return
            if error.reason is Reason.SPEC_CONFLICT:
                raise PlatformError(Reason.RESOURCE_IN_USE, error.message) from error
            raise
