"""Owns the plans about synced tables: what making, deleting, syncing and indexing one comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import ApiError, ForbiddenError, Reason
from schema.ports.administration import PlanAction, SyncPolicy
from server.lakebase.database.inspection import place_of
from server.lakebase.plans.differences import said, table_differences
from server.lakebase.plans.draft import ALREADY, adder, given

if TYPE_CHECKING:
    from schema.ports.administration import SyncedTable, SyncedTableSpec
    from server.lakebase.plans.draft import Draft
    from server.lakebase.tools import Tools


class TablePlans:
    """Plans about one synced table. `storage` is whether the settings say where its pipeline may keep tables."""

    def __init__(self, tools: Tools, *, storage: bool, app_schema: str) -> None:
        self._app_schema = app_schema
        self._platform = tools.platform
        self._indexes = tools.indexes
        self._storage = storage

    async def create(self, draft: Draft) -> None:
        """Makes the synced table in a catalog that is there, or finds it as wanted."""
        spec: SyncedTableSpec = given(draft.request.table)
        await self.ensure(draft, spec)
        if draft.steps[0].action is PlanAction.CREATE:
            catalog = await self._platform.catalog(spec.name.split(".")[0])
            if catalog is None and not (spec.instance_name and spec.database_name):
                draft.refuse(
                    Reason.RESOURCE_NOT_FOUND,
                    f"{spec.name.split('.')[0]} is no catalog of a database. Make that first, or, in another kind of "
                    "catalog, say instanceName and databaseName.",
                    "name",
                )
            instance = spec.instance_name or (catalog.instance_name if catalog else None)
            await self._need_running(draft, instance, "instanceName" if spec.instance_name else "name")
        self.after_sync(draft, spec.name)

    async def ensure(self, draft: Draft, spec: SyncedTableSpec) -> None:
        """Makes the synced table, or finds it as wanted, wherever its catalog comes from."""
        if spec.name.split(".")[1].lower() == self._app_schema.lower():
            draft.refuse(
                Reason.NAME_INVALID,
                f"The schema {self._app_schema} is for the server's own tables: take another.",
                draft.name_field("table"),
            )
        resource, found = f"synced table {spec.name}", await self._platform.synced_table(spec.name)
        add = adder(draft, "create_synced_table", resource, exists=found is not None)
        if found is not None:
            if not (differences := table_differences(found, spec)):
                add(PlanAction.NOTHING, f"{ALREADY} ({found.state.value})")
                return
            add(PlanAction.NOTHING, "exists and is otherwise", differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists and is otherwise: {said(differences)}. Delete it first, or take another name.",
                draft.name_field("table"),
                differences=differences,
            )
            return
        add(PlanAction.CREATE, f"copies {spec.source}, {spec.policy}, by a pipeline of its own", costs=True)
        if not self._storage and not (spec.storage_catalog and spec.storage_schema):
            draft.refuse(
                Reason.SETTING_INVALID,
                "Say storageCatalog and storageSchema, where its pipeline may keep tables, or set "
                "SYNCED_TABLE_STORAGE_CATALOG and SYNCED_TABLE_STORAGE_SCHEMA.",
                "storageCatalog",
            )
        await self._check_source(draft, spec)

    async def _check_source(self, draft: Draft, spec: SyncedTableSpec) -> None:
        source = await self._platform.source(spec.source)
        if source is None:
            draft.refuse(
                Reason.SOURCE_INVALID, f"There is no source table {spec.source}, or it is not shown.", "sourceTable"
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

    async def _need_running(self, draft: Draft, instance: str | None, field: str) -> None:
        found = await self._platform.instance(instance) if instance else None
        if found is not None:
            draft.need_running(found, field)

    async def delete_alone(self, draft: Draft) -> None:
        """Deletes the synced table, and notes what stands on it for the next of its name."""
        name = given(draft.request.table_name)
        if await self._platform.synced_table(name):
            draft.add(
                "note_belongings",
                PlanAction.NOTHING,
                f"synced table {name}",
                "its grants and indexes are noted, for a table of this name that is made again",
                exists=True,
            )
        await self.delete(draft)

    async def delete(self, draft: Draft) -> None:
        """Deletes the synced table."""
        name = given(draft.request.table_name)
        found = await self._platform.synced_table(name)
        add = adder(draft, "delete_synced_table", f"synced table {name}", exists=found is not None)
        if found is None:
            draft.facts["table_uid"] = ""
            add(PlanAction.NOTHING, "does not exist")
            return
        await self._need_running(draft, found.instance_name, draft.name_field("table"))
        draft.facts["table_uid"] = await self._table_uid(found)
        add(PlanAction.DELETE, "is deleted, its pipeline and its PostgreSQL table with it; status changes stay")

    async def _table_uid(self, found: SyncedTable) -> str | None:
        try:
            return await self._platform.table_uid(found.name) or found.pipeline_id
        except ForbiddenError:
            return found.pipeline_id

    async def refresh(self, draft: Draft) -> None:
        """Syncs now, and puts back what that takes away."""
        name = given(draft.request.table_name)
        resource, found = f"synced table {name}", await self._platform.synced_table(name)
        if found is None:
            draft.add("sync_table", PlanAction.NOTHING, resource, "does not exist", exists=False)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", draft.name_field("table"))
            return
        await self._need_running(draft, found.instance_name, "name")
        if found.policy is SyncPolicy.CONTINUOUS:
            draft.refuse(
                Reason.SETTING_INVALID, f"The {resource} is synced all the time: there is nothing to start.", "name"
            )
        draft.add("note_belongings", PlanAction.NOTHING, resource, "its grants and indexes are noted", exists=True)
        draft.add("sync_table", PlanAction.SYNC, resource, "is synced now, which may replace the table", exists=True)
        self.after_sync(draft, name)

    def after_sync(self, draft: Draft, name: str) -> None:
        """Puts back what a sync takes away, and builds what is missing."""
        resource = f"synced table {name}"
        draft.add(
            "restore_belongings", PlanAction.UPDATE, resource, "noted grants and indexes are put back", exists=None
        )
        draft.add(
            "build_indexes",
            PlanAction.BUILD,
            resource,
            "if it is a table of orders, the indexes that it needs are there afterwards",
            exists=None,
        )

    async def build_indexes(self, draft: Draft) -> None:
        """Builds the indexes that are missing."""
        name = given(draft.request.table_name)
        resource, found = f"synced table {name}", await self._platform.synced_table(name)
        if found is None:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "does not exist", exists=False)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", draft.name_field("table"))
            return
        await self._need_running(draft, found.instance_name, draft.name_field("table"))
        try:
            missing = await self._indexes.missing(place_of(found))
        except ApiError as error:
            draft.add(
                "build_indexes", PlanAction.BUILD, resource, f"it is not known which: {error.message}", exists=None
            )
            return
        if missing:
            message = f"missing: {'; '.join(missing)}"
            draft.add("build_indexes", PlanAction.BUILD, resource, message, exists=False)
        else:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "all indexes are there", exists=True)
