"""Plans the creation, deletion, sync and indexing of a synced table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import ApiError, Reason
from schema.ports.administration import PlanAction, SyncPolicy
from server.lakebase.database.inspection import location_of
from server.lakebase.operations.operation import required
from server.lakebase.plans.differences import describe, table_differences
from server.lakebase.plans.draft import CONFLICTS, EXISTS, step_adder

if TYPE_CHECKING:
    from schema.ports.administration import SyncedTableSpec
    from server.lakebase.plans.draft import Draft
    from server.lakebase.services import Services


class SyncedTablePlans:
    """Adds the steps about one synced table to a draft; `storage`: the settings name its pipeline's storage."""

    def __init__(self, services: Services, *, storage: bool, app_schema: str) -> None:
        self._app_schema = app_schema
        self._platform = services.platform
        self._indexes = services.indexes
        self._storage = storage

    async def create(self, draft: Draft) -> None:
        """Plan to create the synced table in an existing catalog, unless it exists as wanted."""
        spec: SyncedTableSpec = required(draft.request.table)
        await self.ensure(draft, spec)
        if draft.steps[0].action is PlanAction.CREATE:
            catalog = await self._platform.catalog(spec.name.split(".")[0])
            if catalog is None and not (spec.instance_name and spec.database_name):
                draft.refuse(
                    Reason.RESOURCE_NOT_FOUND,
                    f"{spec.name.split('.')[0]} is not a database catalog. Create one first, or give instanceName and "
                    "databaseName for a table in another kind of catalog.",
                    "name",
                )
            instance = spec.instance_name or (catalog.instance_name if catalog else None)
            await self._require_available(draft, instance, "instanceName" if spec.instance_name else "name")
        self.after_sync(draft, spec.name)

    async def ensure(self, draft: Draft, spec: SyncedTableSpec) -> None:
        """Plan to create the synced table, unless it exists as wanted; its catalog may not exist yet."""
        if spec.name.split(".")[1].lower() == self._app_schema.lower():
            draft.refuse(
                Reason.NAME_INVALID,
                f"The schema {self._app_schema} is reserved for the server's own tables. Choose another one.",
                draft.name_field("table"),
            )
        resource, found = f"synced table {spec.name}", await self._platform.synced_table(spec.name)
        add = step_adder(draft, "create_synced_table", resource, exists=found is not None)
        if found is not None:
            if not (differences := table_differences(found, spec)):
                add(PlanAction.NOTHING, f"{EXISTS} ({found.state.value})")
                return
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Delete it first, or choose "
                "another name.",
                draft.name_field("table"),
                differences=differences,
            )
            return
        if namesake := await self._platform.namesakes.of_synced_table(spec.name):
            draft.refuse_name(add, resource, namesake, draft.name_field("table"))
            return
        add(PlanAction.CREATE, f"copies {spec.source}, {spec.policy}, by its own pipeline", costs=True)
        if not self._storage and not (spec.storage_catalog and spec.storage_schema):
            draft.refuse(
                Reason.SETTING_INVALID,
                "Give storageCatalog and storageSchema, where the pipeline may keep its own tables, or set "
                "SYNCED_TABLE_STORAGE_CATALOG and SYNCED_TABLE_STORAGE_SCHEMA.",
                "storageCatalog",
            )
        await self._check_source(draft, spec)

    async def _check_source(self, draft: Draft, spec: SyncedTableSpec) -> None:
        source = await self._platform.source(spec.source)
        if source is None:
            draft.refuse(
                Reason.SOURCE_INVALID,
                f"There is no source table {spec.source}, or the server may not see it.",
                "sourceTable",
            )
            return
        wanted = {
            "primaryKey": spec.primary_key,
            "timeseriesKey": (spec.timeseries_key,) if spec.timeseries_key else (),
        }
        for argument, columns in wanted.items():
            if missing := [column for column in columns if column not in source.columns]:
                draft.refuse(
                    Reason.SOURCE_INVALID,
                    f"The source table {spec.source} has no column {', '.join(missing)}. It has: "
                    f"{', '.join(sorted(source.columns))}.",
                    argument,
                )

    async def _require_available(self, draft: Draft, instance: str | None, field: str) -> None:
        found = await self._platform.instance(instance) if instance else None
        if found is not None:
            draft.require_available(found, field)

    async def delete_alone(self, draft: Draft) -> None:
        """Plan the deletion of the synced table, and keep its grants and indexes for the next table of its name."""
        name = required(draft.request.table_name)
        if await self._platform.synced_table(name):
            draft.add(
                "note_belongings",
                PlanAction.NOTHING,
                f"synced table {name}",
                "its grants and indexes are kept, for the next table of this name",
                exists=True,
            )
        await self.delete(draft)

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the synced table."""
        name = required(draft.request.table_name)
        found = await self._platform.synced_table(name)
        add = step_adder(draft, "delete_synced_table", f"synced table {name}", exists=found is not None)
        if found is None:
            draft.facts["table_uid"] = ""
            add(PlanAction.NOTHING, "does not exist")
            return
        await self._require_available(draft, found.instance_name, draft.name_field("table"))
        draft.facts["table_uid"] = await self._platform.identity_of(found)
        add(PlanAction.DELETE, "is deleted with its pipeline and its PostgreSQL table; status changes stay")

    async def refresh(self, draft: Draft) -> None:
        """Plan a sync, and restore the grants and indexes that it takes away."""
        name = required(draft.request.table_name)
        resource, found = f"synced table {name}", await self._platform.synced_table(name)
        if found is None:
            draft.add("sync_table", PlanAction.NOTHING, resource, "does not exist", exists=False)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", draft.name_field("table"))
            return
        await self._require_available(draft, found.instance_name, "name")
        if found.policy is SyncPolicy.CONTINUOUS:
            draft.refuse(
                Reason.SETTING_INVALID, f"The {resource} is synced continuously, so there is no sync to start.", "name"
            )
        draft.add("note_belongings", PlanAction.NOTHING, resource, "its grants and indexes are kept", exists=True)
        draft.add(
            "sync_table",
            PlanAction.SYNC,
            resource,
            "is synced now, which may replace its PostgreSQL table",
            exists=True,
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
            "if it is a table of orders, its missing indexes are built",
            exists=None,
        )

    async def build_indexes(self, draft: Draft) -> None:
        """Plan to build the missing indexes."""
        name = required(draft.request.table_name)
        resource, found = f"synced table {name}", await self._platform.synced_table(name)
        if found is None:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "does not exist", exists=False)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", draft.name_field("table"))
            return
        await self._require_available(draft, found.instance_name, draft.name_field("table"))
        try:
            missing = await self._indexes.missing(location_of(found))
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
