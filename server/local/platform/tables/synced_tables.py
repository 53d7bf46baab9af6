"""The synced tables as REST resources: requests are checked here, and `syncs.py` copies the rows."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.compute.lifecycle import available
from server.local.platform.rest.bodies import SyncedTableBody, TableSpecBody, boolean, database_name, table_parts
from server.local.platform.rest.errors import invalid, not_found
from server.local.platform.rest.values import branch_parts
from server.local.platform.state.tables import Pipeline, SyncedTable, Update
from server.local.platform.state.times import now, now_milliseconds
from server.local.platform.tables import syncs
from server.local.platform.tables.sources import SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.identities.credentials import Identity
    from server.local.platform.instances.instances import Instances
    from server.local.platform.options import Options
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.state.store import Store
    from server.local.platform.state.tables import Catalog
    from server.local.platform.tables.unity import UnityCatalog

# PostgreSQL truncates longer names.
_MAX_NAME = 63


class SyncedTables:
    """The synced tables. Only SNAPSHOT is supported, because the tables of `samples` have no change data feed.

    One whose branch is deleted stays, and its syncs fail: the platform's documentation does not say what happens.
    """

    def __init__(
        self,
        store: Store,
        options: Options,
        instances: Instances,
        lookup: Lookup,
        unity: UnityCatalog,
        sync_runner: syncs.Syncs,
    ) -> None:
        self._store = store
        self._options = options
        self._instances = instances
        self._lookup = lookup
        self._unity = unity
        self._syncs = sync_runner

    def create(self, body: SyncedTableBody, creator: Identity) -> dict[str, Any]:
        """Start to create a synced table."""
        catalog, schema, _ = self._free_name(body.name)
        registered = self._registered(catalog, schema)
        if registered is None:
            if not body.database_instance_name:
                raise invalid("database_instance_name is required in a standard catalog.")
            compute = self._instances.find(body.database_instance_name)
            branch, database = compute.project.branch_name(compute.branch), body.logical_database_name
        else:
            instance = branch_parts(registered.branch, "")[0]
            _check_same("database_instance_name", body.database_instance_name, instance, catalog)
            _check_same("logical_database_name", body.logical_database_name, registered.database, catalog)
            self._instances.find(instance)
            branch, database = registered.branch, registered.database
        return self.as_json(self.add(str(body.name), branch, database_name(database), body.spec, creator))

    def add(
        self, name: str, branch_name: str, database: str, spec: TableSpecBody | None, creator: Identity
    ) -> SyncedTable:
        """Add a synced table on a branch, and start to sync it."""
        full_name = ".".join(self._free_name(name))
        project, branch = self._lookup.ready_branch(branch_name, "spec.branch")
        available(project, branch)
        checked = self._checked(spec)
        pipeline = self._pipeline(checked, full_name, creator)
        table = SyncedTable(
            name=full_name,
            uid=str(uuid.uuid4()),
            create_time=now(),
            creator=creator.name,
            branch=branch_name,
            database=database,
            spec=checked.model_dump(exclude_none=True),
            pipeline=pipeline.id,
            detailed_state=syncs.PROVISIONING,
            catalog_state="PROVISIONING",
            message="The synced table is being created.",
        )
        state = self._store.state
        state.pipelines[pipeline.id] = pipeline
        state.synced_tables[full_name] = table
        pipeline.updates.append(Update(id=str(uuid.uuid4()), state="CREATED", created=now_milliseconds()))
        self._store.save()
        self._syncs.begin(table)
        return table

    def get(self, name: str) -> dict[str, Any]:
        """The SyncedDatabaseTable with this name."""
        return self.as_json(self.find(name))

    async def delete(self, name: str, query: Mapping[str, str]) -> None:
        """Delete a synced table. Its PostgreSQL table stays, unless `purge_data` is true.

        A pipeline that has no table left is deleted too, unless the option `keep_pipelines` is set.
        """
        table = self.find(name)
        purge = boolean(query, "purge_data")
        before = table.catalog_state
        table.catalog_state = "DELETING"
        try:
            await self._syncs.cancel(table)
            if purge:
                await self._syncs.drop(table)
        except BaseException:
            table.catalog_state = before
            if table.detailed_state in syncs.RUNNING:
                self._syncs.begin(table)
            raise
        self.remove(table)

    def remove(self, table: SyncedTable) -> None:
        """Forget a synced table, with its pipeline if that has no other."""
        state = self._store.state
        # Another call may have deleted it meanwhile.
        if state.synced_tables.get(table.name) is table:
            del state.synced_tables[table.name]
            if not self._options.keep_pipelines and not any(
                other.pipeline == table.pipeline for other in state.synced_tables.values()
            ):
                state.pipelines.pop(table.pipeline, None)
            self._store.save()

    def as_json(self, table: SyncedTable) -> dict[str, Any]:
        """A SyncedDatabaseTable as the platform returns it."""
        status: dict[str, Any] = {"detailed_state": table.detailed_state, "message": table.message}
        if table.detailed_state != syncs.PROVISIONING:
            status["pipeline_id"] = table.pipeline
        if table.last_sync:
            status["last_sync"] = table.last_sync
        progress = self.progress(table)
        processed = {}
        if table.last_sync:
            processed = {
                "last_processed_commit_version": table.last_sync["delta_table_sync_info"]["delta_commit_version"],
                "timestamp": table.last_sync["sync_end_timestamp"],
            }
        match table.detailed_state:
            case syncs.PROVISIONING | syncs.PROVISIONING_RESOURCES | syncs.UPDATING_RESOURCES:
                pass
            case syncs.INITIAL_SNAPSHOT:
                status["provisioning_status"] = {"initial_pipeline_sync_progress": progress}
            case syncs.TRIGGERED_UPDATE:
                status["triggered_update_status"] = {"triggered_update_progress": progress, **processed}
            case syncs.OFFLINE_FAILED | syncs.PIPELINE_FAILED:
                status["failed_status"] = processed
            case _:
                status["triggered_update_status"] = processed
        instance = branch_parts(table.branch, "")[0]
        return {
            "name": table.name,
            "database_instance_name": instance,
            "logical_database_name": table.database,
            "effective_database_instance_name": instance,
            "effective_logical_database_name": table.database,
            "spec": table.spec,
            "data_synchronization_status": status,
            "unity_catalog_provisioning_state": table.catalog_state,
        }

    def progress(self, table: SyncedTable) -> dict[str, Any]:
        """The SyncedTablePipelineProgress of a table's sync."""
        source = SOURCES[table.spec["source_table_full_name"]]
        return syncs.progress_json(self._syncs.progress.get(table.uid), source.rows(self._options.scale))

    def find(self, name: str) -> SyncedTable:
        """The synced table with this name."""
        table = self._store.state.synced_tables.get(name.lower())
        if table is None:
            raise not_found(f"Synced database table '{name}' not found.")
        return table

    def _free_name(self, name: str | None) -> tuple[str, str, str]:
        """The parts of the name of a table that there is not yet."""
        catalog, schema, table = table_parts(name)
        if max(len(schema), len(table)) > _MAX_NAME:
            raise invalid(f"Table name '{name}' is invalid: PostgreSQL's names have up to {_MAX_NAME} characters.")
        self._unity.check_table_free(f"{catalog}.{schema}.{table}")
        return catalog, schema, table

    def _registered(self, catalog: str, schema: str) -> Catalog | None:
        """The catalog if it registers a database; None if it is one in which anybody creates tables."""
        registered = self._store.state.catalogs.get(catalog)
        if registered is None:
            self._unity.catalog(catalog)
            if not self._unity.is_standard(catalog):
                raise invalid(f"name: catalog '{catalog}' does not accept tables.")
            self._unity.schema(f"{catalog}.{schema}")
        return registered

    def target(self, name: str, branch: str | None, database: str | None) -> tuple[str, str]:
        """The branch and the database of a new table: its catalog's, or in a standard catalog those that are given."""
        catalog, schema, _ = self._free_name(name)
        registered = self._registered(catalog, schema)
        if registered is None:
            return branch or "", database_name(database)
        _check_same("spec.branch", branch, registered.branch, catalog)
        _check_same("spec.postgres_database", database, registered.database, catalog)
        return registered.branch, registered.database

    def _checked(self, spec: TableSpecBody | None) -> TableSpecBody:
        if spec is None or not spec.source_table_full_name or not spec.scheduling_policy:
            raise invalid("spec: source_table_full_name and scheduling_policy are required.")
        self._unity.table(spec.source_table_full_name)
        spec.source_table_full_name = spec.source_table_full_name.lower()
        source = SOURCES.get(spec.source_table_full_name)
        if source is None:
            raise invalid(f"spec: '{spec.source_table_full_name}' cannot be a source table.")
        if not spec.primary_key_columns:
            raise invalid("spec: primary_key_columns is required.")
        overrides = spec.type_overrides or []
        named = [*spec.primary_key_columns, *([spec.timeseries_key] if spec.timeseries_key else [])]
        for column in (*named, *(override.get("column_name") for override in overrides)):
            if column not in source.columns:
                raise invalid(f"spec: column '{column}' does not exist in '{spec.source_table_full_name}'.")
        for override in overrides:
            size = override.get("size")
            if override.get("pg_type") != "PG_SPECIFIC_TYPE_VARCHAR" or not isinstance(size, int) or size < 1:
                raise invalid("spec: type_overrides supports only PG_SPECIFIC_TYPE_VARCHAR with a size here.")
        if spec.scheduling_policy != "SNAPSHOT":
            raise invalid(
                f"spec: scheduling_policy {spec.scheduling_policy} needs a change data feed, which"
                f" '{spec.source_table_full_name}' does not have (delta.enableChangeDataFeed); use SNAPSHOT."
            )
        if bool(spec.existing_pipeline_id) == (spec.new_pipeline_spec is not None):
            raise invalid("spec: exactly one of existing_pipeline_id and new_pipeline_spec is required.")
        return spec

    def _pipeline(self, spec: TableSpecBody, name: str, creator: Identity) -> Pipeline:
        if spec.new_pipeline_spec is not None:
            self._unity.check_storage(spec.new_pipeline_spec.storage_catalog, spec.new_pipeline_spec.storage_schema)
            return Pipeline(id=str(uuid.uuid4()), name=f"Synced table: {name}", creator=creator.name)
        pipeline = self._store.state.pipelines.get(spec.existing_pipeline_id or "")
        if pipeline is None:
            raise not_found(f"The specified pipeline {spec.existing_pipeline_id} was not found.")
        return pipeline


def _check_same(field: str, given: str | None, known: str, catalog: str) -> None:
    if given not in (None, "", known):
        raise invalid(f"{field}: '{given}' differs from the catalog's: '{catalog}' registers '{known}'.")
