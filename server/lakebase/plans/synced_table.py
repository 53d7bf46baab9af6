"""Plans the creation, deletion, sync and indexing of a synced table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from schema.errors import ApiError, Reason
from schema.ports.admin.instances import InstanceState
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.plans import PlanAction
from schema.ports.admin.tables import ORDERS_SOURCE, SYNC_FAILED, SyncPolicy
from server.lakebase.database.inspection import location_of
from server.lakebase.database.trigrams import NoTrigramsError
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.differences import describe, same_name, table_differences
from server.lakebase.plans.drafts.draft import CONFLICTS, EXISTS, MADE_FROM, step_adder
from server.lakebase.plans.new_table import NewTableChecks

if TYPE_CHECKING:
    from schema.ports.admin.administration import Configured
    from schema.ports.admin.tables import SyncedTable, SyncedTableSpec
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.plans.drafts.originals import Originals
    from server.lakebase.services import Services


# The platform's state, in Unity Catalog, of a synced table whose deletion takes its time.
_BEING_DELETED: Final = "DELETING"
_SYNCED_AGAIN: Final = "its pipeline is started again, and costs while it runs"
# The platform does not document whether a sync keeps the table, empties it or replaces it.
_AWAY: Final = "its PostgreSQL table may be missing or incomplete until the sync has ended"


class SyncedTablePlans:
    """Adds the steps about one synced table to a draft."""

    def __init__(self, services: Services, configured: Configured, originals: Originals, *, app_schema: str) -> None:
        self._app_schema = app_schema
        self._platform = services.platform
        self._postgres = services.postgres
        self._checks = NewTableChecks(services)
        self._indexes = services.indexes
        self._configured = configured
        self._originals = originals

    async def create(self, draft: Draft, spec: SyncedTableSpec) -> None:
        """Plan to create the synced table, unless it exists as wanted, and to build its indexes."""
        if same_name(spec.name.split(".")[1], self._app_schema):
            draft.refuse(
                Reason.NAME_INVALID,
                f"The schema {self._app_schema} is reserved for the server's own tables. Choose another one.",
                draft.name_field("table"),
            )
        found = await self._platform.synced_table(spec.name)
        new = await self._new(draft, spec, found)
        await (self._create(draft, new) if found is None else self._keep(draft, spec, found))
        self.after_sync(draft, spec.name)

    async def _new(self, draft: Draft, spec: SyncedTableSpec, found: SyncedTable | None) -> SyncedTableSpec:
        """The spec with its defaults. Those of a served table follow from its declaration."""
        served = next((one.table for one in self._configured.others if same_name(one.name, spec.name)), None)
        if served is not None:
            source = spec.source or (found and found.source) or await self._beside_orders(served.source)
            key = spec.primary_key or tuple(column.stored for column in served.key if column.stored)
            # Even if it is there now: the step may find that it is gone.
            draft.facts[MADE_FROM] = {"source": source, "primary_key": list(key)}
            spec = replace(spec, source=source, primary_key=key)
        return spec.with_defaults()

    async def _beside_orders(self, source: str) -> str:
        """The source table of this name in the schema of the one that the orders are copied from."""
        orders = await self._platform.synced_table(required(self._configured.table_name))
        return f"{((orders and orders.source) or ORDERS_SOURCE).rpartition('.')[0]}.{source}"

    async def _keep(self, draft: Draft, spec: SyncedTableSpec, found: SyncedTable) -> None:
        resource = f"synced table {spec.name}"
        add = step_adder(draft, "create_synced_table", resource, exists=True)
        if found.catalog_state == _BEING_DELETED:
            add(PlanAction.NOTHING, "is being deleted")
            draft.refuse(
                Reason.RESOURCE_NOT_READY,
                f"The {resource} is being deleted. Wait until it is gone.",
                draft.name_field("table"),
            )
        elif differences := table_differences(found, spec):
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Delete it first, or choose "
                "another name.",
                draft.name_field("table"),
                differences=differences,
            )
        elif found.state in SYNC_FAILED:
            add(
                PlanAction.SYNC, f"{EXISTS}, but its sync has failed ({found.state.value}): {_SYNCED_AGAIN}", costs=True
            )
        else:
            add(PlanAction.NOTHING, f"{EXISTS} ({found.state.value})")

    async def _create(self, draft: Draft, spec: SyncedTableSpec) -> None:
        resource = f"synced table {spec.name}"
        add = step_adder(draft, "create_synced_table", resource, exists=False)
        if namesake := await self._platform.namesakes.of_synced_table(spec.name):
            draft.refuse_name(add, resource, namesake, draft.name_field("table"))
            return
        leftover = await self._checks.place(draft, spec)
        add(
            PlanAction.CREATE,
            f"copies {spec.source}, {spec.policy}, by its own pipeline; it cannot be read until its first sync has "
            f"ended{leftover}",
            costs=True,
        )
        await self._checks.storage(draft, spec)
        await self._checks.source(draft, spec)

    async def _require_available(self, draft: Draft, instance: str | None, field: str) -> None:
        if instance:
            draft.require_available(instance, await self._platform.instance(instance), field)

    async def delete_alone(self, draft: Draft) -> None:
        """Plan the deletion of the synced table, and keep its grants and indexes for the next table of its name."""
        name: str = required(draft.request.table_name)
        if await self._platform.synced_table(name):
            draft.add(
                "note_belongings",
                PlanAction.NOTHING,
                f"synced table {name}",
                "its grants and indexes are kept, for the next table of this name",
                exists=True,
            )
        await self.delete(draft, name)

    async def delete(self, draft: Draft, name: str) -> None:
        """Plan the deletion of the synced table."""
        found = await self._platform.synced_table(name)
        add = step_adder(draft, "delete_synced_table", f"synced table {name}", exists=found is not None)
        if found is None:
            draft.facts["table_ids"] = {}
            add(PlanAction.NOTHING, "does not exist")
            return
        if found.catalog_state == _BEING_DELETED:
            add(PlanAction.NOTHING, "is being deleted already")
            draft.facts["table_ids"], draft.awaits_platform = await self._platform.ids_of(found) or None, True
            return
        host = await self._platform.instance(found.instance_name) if found.instance_name else None
        if host:
            # Without its instance the table can still be deleted from Unity Catalog.
            draft.require_available(host.name, host, draft.name_field("table"))
        instance = draft.request.instance_name
        if draft.request.kind is OperationKind.TEARDOWN:
            await self._originals.guard_table(draft, found)
        if instance and found.instance_name and not same_name(found.instance_name, instance):
            message = f"The synced table {name} is in the instance {found.instance_name}, not in {instance}."
            draft.refuse(Reason.SETTING_INVALID, message, "tableName")
        draft.facts["table_ids"] = await self._platform.ids_of(found) or None
        add(PlanAction.DELETE, self._deletion(draft, found))
        if host and host.state is InstanceState.AVAILABLE and found.database_name:
            # The platform could not drop the PostgreSQL table.
            dependents = await self._postgres.dependents(location_of(found))
            draft.refuse_if_used(f"synced table {name}", dependents, draft.name_field("table"))

    def _deletion(self, draft: Draft, found: SyncedTable) -> str:
        parts = ["is deleted with its pipeline and its PostgreSQL table"]
        if not (found.server and found.database_name):
            parts = ["is deleted with its pipeline; its PostgreSQL table stays if the platform leaves it behind"]
        if same_name(found.name, self._configured.table_name):
            parts.append("orders cannot be read until it is created and synced again")
        elif any(same_name(found.name, one.name) for one in self._configured.others):
            parts.append("the API's fields of this table fail until it is created and synced again")
        if draft.request.kind is OperationKind.DELETE_SYNCED_TABLE:
            parts.append("status changes stay, and so do its schema and its database")
        return "; ".join(parts)

    async def refresh(self, draft: Draft, name: str) -> None:
        """Plan a sync, and restore the grants and indexes that it takes away."""
        resource, found = f"synced table {name}", await self._platform.synced_table(name)
        if found is None:
            _refuse_absent(draft, "sync_table", resource)
            return
        await self._originals.guard_table(draft, found)
        await self._require_available(draft, found.instance_name, "name")
        if found.policy is SyncPolicy.CONTINUOUS:
            draft.refuse(
                Reason.SETTING_INVALID, f"The {resource} is synced continuously, so there is no sync to start.", "name"
            )
        if found.pipeline_id and not await self._platform.pipelines.exists(found.pipeline_id):
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND,
                f"The pipeline of the {resource} is gone. Delete the synced table, and create it again.",
                "name",
            )
        draft.add("note_belongings", PlanAction.NOTHING, resource, "its grants and indexes are kept", exists=True)
        draft.add(
            "sync_table",
            PlanAction.SYNC,
            resource,
            f"is synced now: {_SYNCED_AGAIN}; {_AWAY}",
            exists=True,
            costs=True,
        )
        self.after_sync(draft, name)

    def after_sync(self, draft: Draft, name: str) -> None:
        """Plan to restore grants and indexes after a sync, and to build missing indexes."""
        resource = f"synced table {name}"
        draft.add(
            "restore_belongings",
            PlanAction.UPDATE,
            resource,
            "the grants and indexes that were kept are restored",
            exists=None,
        )
        draft.add(
            "build_indexes",
            PlanAction.BUILD,
            resource,
            "its missing indexes are built, if a table with its columns is served",
            exists=None,
        )

    async def build_indexes(self, draft: Draft, name: str) -> None:
        """Plan to build the missing indexes."""
        resource, found = f"synced table {name}", await self._platform.synced_table(name)
        if found is None:
            _refuse_absent(draft, "build_indexes", resource)
            return
        await self._originals.guard_table(draft, found)
        await self._require_available(draft, found.instance_name, draft.name_field("table"))
        try:
            missing = await self._indexes.missing(location_of(found), text=draft.request.text)
        except NoTrigramsError as error:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "its text cannot be indexed", exists=False)
            draft.refuse(Reason.SETTING_INVALID, error.message, "text")
            return
        except ApiError as error:
            draft.add(
                "build_indexes",
                PlanAction.BUILD,
                resource,
                f"it is not known which indexes are missing: {error.message}",
                exists=None,
            )
            return
        if missing:
            message = f"missing: {'; '.join(missing)}"
            draft.add("build_indexes", PlanAction.BUILD, resource, message, exists=False)
        else:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "all indexes exist", exists=True)


def _refuse_absent(draft: Draft, step: str, resource: str) -> None:
    draft.skip(step, resource)
    draft.absent = True
    draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", draft.name_field("table"))
