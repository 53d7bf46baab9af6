"""Owns what is asked of the platform: each call of the Provisioned API that we make, in the schema's own terms."""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from databricks.sdk.service import database as api
from databricks.sdk.service import iam
from google.protobuf.duration_pb2 import Duration

from schema.errors import ApiError, PlatformError, Reason
from schema.ports.administration import Catalog, Instance, InstancePage, InstanceState, SyncedTable
from server.lakebase.platform.conversions import (
    Whereabouts,
    read_endpoint,
    read_instance,
    read_moment,
    read_synced_table,
)
from server.lakebase.platform.failures import Action
from server.lakebase.platform.sdk_client import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from databricks.sdk import WorkspaceClient

    from schema.ports.administration import CatalogSpec, InstanceChange, InstanceSpec, SyncedTableSpec
    from server.settings import Settings

# Two threads of their own, so that a login never waits behind admin work that hangs.
_CREDENTIAL_THREADS: Final = 2
_MAX_LISTED: Final = 100
_ASKING_SECONDS: Final = 8.0
_SCIM: Final = "/api/2.0/preview/scim/v2"
_CLIENT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
# What would end the text of a filter; nobody is called so.
_UNQUOTABLE: Final = frozenset('"\\')
# What may stand in a path: the SDK does not escape it.
_NAME: Final = re.compile(r"\w{1,255}(\.\w{1,255}){2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credential:
    """A password for PostgreSQL, when it ends by the platform's clock, and how long it lives at the most."""

    token: str
    expires_at: datetime | None
    longest_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of Unity Catalog: its columns' names."""

    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One update of a pipeline; `done` with `failed` or without."""

    id: str
    done: bool
    failed: bool


class Platform:
    """The Provisioned API (`w.database`), with Unity Catalog and pipelines beside it.

    Of the Autoscaling API (`w.postgres`) there is what logins take. Whatever may be missing is None. All of it raises
    ApiError, as `failures.meaning_of` says.
    """

    def __init__(self, settings: Settings) -> None:
        self._workspace = Workspace(settings)
        self._logins = Workspace(settings, threads=_CREDENTIAL_THREADS)
        # Steps look again before each attempt to delete; the SDK, which sends it again by itself, does not.
        self._deletions = Workspace(settings, threads=_CREDENTIAL_THREADS, retry_seconds=1)
        # A caller waits for it, and there is an answer from before or another time.
        self._people = Workspace(settings, retry_seconds=1)
        self._storage = (settings.synced_table_storage_catalog, settings.synced_table_storage_schema)

    def close(self) -> None:
        """Begin no further calls."""
        self._workspace.close()
        self._logins.close()
        self._deletions.close()
        self._people.close()

    async def user_name(self) -> str:
        """The user that the server's identity is to PostgreSQL: an e-mail, or a service principal's client id."""
        me = await self._logins.call(Action.GET_IDENTITY, lambda client: client.current_user.me())
        if not me.user_name:
            raise PlatformError(Reason.CONTROL_PLANE_REFUSED, "The platform does not say who the server is.")
        return me.user_name

    async def groups_of(self, user: str) -> frozenset[str]:
        """The names of the groups of a user, by e-mail, or of a service principal, by client id. Nobody has none."""
        if _UNQUOTABLE & set(user):
            return frozenset()
        kind, attribute = (
            ("ServicePrincipals", "applicationId") if _CLIENT_ID.fullmatch(user) else ("Users", "userName")
        )

        def work(client: WorkspaceClient) -> frozenset[str]:
            # The SDK's own method asks for page after page until one is empty.
            query = {"filter": f'{attribute} eq "{user}"', "attributes": "groups"}
            answer = client.api_client.do("GET", f"{_SCIM}/{kind}", query=query, headers={"Accept": "application/json"})
            found = iam.ListUsersResponse.from_dict(answer).resources or []
            # More than one would be the answer to another question.
            groups = (found[0].groups or []) if len(found) == 1 else []
            return frozenset(group.display for group in groups if group.display)

        return await self._people.call(Action.GET_GROUPS, work)

    async def credential(self, instance: str) -> Credential:
        """A new password for the instance."""
        minted = await self._logins.call(
            Action.MINT_CREDENTIAL,
            lambda client: client.database.generate_database_credential(
                instance_names=[instance], request_id=str(uuid.uuid4())
            ),
        )
        if not minted.token:
            raise PlatformError(Reason.CONTROL_PLANE_REFUSED, "The platform gave a credential without a token.")
        return Credential(minted.token, read_moment(minted.expiration_time))

    async def endpoint_credential(self, path: str, *, seconds: int) -> Credential:
        """A new password for the endpoint, good for so many seconds."""
        ttl = Duration()
        ttl.FromSeconds(seconds)
        minted = await self._logins.call(
            Action.MINT_CREDENTIAL, lambda client: client.postgres.generate_database_credential(path, ttl=ttl)
        )
        if not minted.token:
            raise PlatformError(Reason.CONTROL_PLANE_REFUSED, "The platform gave a credential without a token.")
        ends = minted.expire_time
        return Credential(minted.token, ends.ToDatetime(UTC) if ends else None, longest_seconds=seconds)

    async def find_endpoint(self, path: str) -> Whereabouts | None:
        """Where the endpoint is, by the threads that logins have."""
        found = await self._found(Action.GET_ENDPOINT, lambda client: client.postgres.get_endpoint(path), self._logins)
        return found and read_endpoint(found)

    async def find_instance(self, name: str) -> Whereabouts | None:
        """Where the instance is, by the threads that logins have."""
        found = await self._instance(self._logins, name)
        if found is None:
            return None
        stopped = found.state is InstanceState.STOPPED
        return Whereabouts(found.host, found.read_only_host, found.state.value, stopped=stopped)

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name."""
        return await self._instance(self._workspace, name)

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of instances, of at most 100."""

        def work(client: WorkspaceClient) -> InstancePage:
            # The SDK's own method walks all pages; a page of ours is one of the platform's.
            query: dict[str, Any] = {"page_size": min(size, _MAX_LISTED), **({"page_token": token} if token else {})}
            answer = client.api_client.do(
                "GET", "/api/2.0/database/instances", query=query, headers={"Accept": "application/json"}
            )
            page = api.ListDatabaseInstancesResponse.from_dict(answer)
            return InstancePage(
                [read_instance(one) for one in page.database_instances or []], page.next_page_token or None
            )

        return await self._workspace.call(Action.LIST_INSTANCES, work)

    async def create_instance(self, spec: InstanceSpec) -> None:
        """Ask for a new instance; it takes minutes until it is AVAILABLE."""
        wanted = api.DatabaseInstance(
            name=spec.name,
            capacity=spec.capacity,
            node_count=spec.node_count,
            enable_readable_secondaries=spec.readable_secondaries,
            retention_window_in_days=spec.retention_days,
        )
        await self._workspace.call(
            Action.CREATE_INSTANCE, lambda client: client.database.create_database_instance(wanted).response
        )

    async def update_instance(self, change: InstanceChange) -> None:
        """Ask for changes; what is None stays."""
        values: dict[str, Any] = {
            "capacity": change.capacity,
            "node_count": change.node_count,
            "enable_readable_secondaries": change.readable_secondaries,
            "retention_window_in_days": change.retention_days,
            "stopped": change.stopped,
        }
        given = {name: value for name, value in values.items() if value is not None}
        wanted = api.DatabaseInstance(name=change.name, **given)
        await self._workspace.call(
            Action.UPDATE_INSTANCE,
            lambda client: client.database.update_database_instance(change.name, wanted, ",".join(given)),
        )

    async def delete_instance(self, name: str) -> None:
        """Ask for its deletion, for good: there is no other."""
        await self._delete(
            Action.DELETE_INSTANCE, lambda client: client.database.delete_database_instance(name, purge=True)
        )

    async def catalog(self, name: str) -> Catalog | None:
        """The catalog with this name, if it is one of a database."""
        found = await self._found(Action.GET_CATALOG, lambda client: client.database.get_database_catalog(name))
        return found and Catalog(found.name, found.uid, found.database_instance_name, found.database_name)

    async def create_catalog(self, spec: CatalogSpec) -> None:
        """Register a database."""
        wanted = api.DatabaseCatalog(
            name=spec.name,
            database_instance_name=spec.instance_name,
            database_name=spec.database_name,
            create_database_if_not_exists=spec.create_database,
        )
        await self._workspace.call(
            Action.CREATE_CATALOG, lambda client: client.database.create_database_catalog(wanted)
        )

    async def delete_catalog(self, name: str) -> None:
        """Take the registration back."""
        await self._delete(Action.DELETE_CATALOG, lambda client: client.database.delete_database_catalog(name))

    async def tables_of(self, catalog: str) -> list[str]:
        """The synced tables in a catalog: Unity Catalog lists its tables, and each is asked whether it is synced.

        Of a catalog of very many tables only some can be asked in time; the platform itself knows them all.
        """

        def work(client: WorkspaceClient) -> list[str]:
            listed = client.tables.list_summaries(catalog, max_results=_MAX_LISTED)
            return [table.full_name for table, _ in zip(listed, range(_MAX_LISTED), strict=False) if table.full_name]

        names = [name for name in await self._workspace.call(Action.LIST_TABLES, work) if _NAME.fullmatch(name)]
        asked = {name: asyncio.create_task(self._is_synced(name)) for name in names}
        if asked:
            _, late = await asyncio.wait(asked.values(), timeout=_ASKING_SECONDS)
            for task in late:
                task.cancel()
        return [name for name, task in asked.items() if task.done() and not task.cancelled() and task.result()]

    async def _is_synced(self, name: str) -> bool:
        try:
            return await self.synced_table(name) is not None
        except ApiError:
            # Another kind of table, or one that is not shown, or it is not told now.
            return False

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name."""
        found = await self._found(Action.GET_TABLE, lambda client: client.database.get_synced_database_table(name))
        return found and read_synced_table(found, self._workspace.host)

    async def table_uid(self, name: str) -> str | None:
        """What tells a table from another of the same name: Unity Catalog's id of it. None where it is not told."""
        found = await self._found(Action.GET_TABLE, lambda client: client.tables.get(name))
        return found.table_id if found else None

    async def source(self, name: str) -> SourceTable | None:
        """A table of Unity Catalog."""
        found = await self._found(Action.GET_SOURCE, lambda client: client.tables.get(name))
        return found and SourceTable(frozenset(column.name for column in found.columns or [] if column.name))

    async def create_synced_table(self, spec: SyncedTableSpec) -> None:
        """Ask for a synced table with a pipeline of its own; the first sync takes as long as the rows do."""
        wanted = api.SyncedDatabaseTable(
            name=spec.name,
            database_instance_name=spec.instance_name,
            logical_database_name=spec.database_name,
            spec=api.SyncedTableSpec(
                source_table_full_name=spec.source,
                primary_key_columns=list(spec.primary_key),
                timeseries_key=spec.timeseries_key,
                scheduling_policy=api.SyncedTableSchedulingPolicy(spec.policy),
                # The two control planes differ in what they take where it is left out.
                create_database_objects_if_missing=True,
                new_pipeline_spec=api.NewPipelineSpec(
                    storage_catalog=spec.storage_catalog or self._storage[0],
                    storage_schema=spec.storage_schema or self._storage[1],
                ),
            ),
        )
        await self._workspace.call(
            Action.CREATE_TABLE, lambda client: client.database.create_synced_database_table(wanted)
        )

    async def delete_synced_table(self, name: str) -> None:
        """Ask for its deletion, that of its PostgreSQL table with it."""
        await self._delete(
            Action.DELETE_TABLE, lambda client: client.database.delete_synced_database_table(name, purge_data=True)
        )

    async def start_pipeline(self, pipeline_id: str) -> None:
        """Begin a sync."""
        await self._workspace.call(Action.START_PIPELINE, lambda client: client.pipelines.start_update(pipeline_id))

    async def latest_run(self, pipeline_id: str) -> PipelineRun | None:
        """The newest update of a pipeline, that of its creation included."""
        found = await self._found(Action.GET_PIPELINE, lambda client: client.pipelines.get(pipeline_id))
        updates = (found and found.latest_updates) or []
        if not updates or not updates[0].update_id:
            return None
        state = updates[0].state.value if updates[0].state else ""
        return PipelineRun(
            updates[0].update_id,
            done=state in {"COMPLETED", "FAILED", "CANCELED"},
            failed=state in {"FAILED", "CANCELED"},
        )

    async def _instance(self, workspace: Workspace, name: str) -> Instance | None:
        try:
            return read_instance(
                await workspace.call(Action.GET_INSTANCE, lambda client: client.database.get_database_instance(name))
            )
        except PlatformError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND:
                return None
            raise

    async def _found(
        self, action: Action, work: Callable[[WorkspaceClient], Any], workspace: Workspace | None = None
    ) -> Any:
        try:
            return await (workspace or self._workspace).call(action, work)
        except PlatformError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND:
                return None
            raise

    async def _delete(self, action: Action, work: Callable[[WorkspaceClient], None]) -> None:
        """What is gone already is what was wanted."""
        try:
            await self._deletions.call(action, work)
        except PlatformError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND:
                return
            if error.reason is Reason.SPEC_CONFLICT:
                raise PlatformError(Reason.RESOURCE_IN_USE, error.message) from error
            raise
