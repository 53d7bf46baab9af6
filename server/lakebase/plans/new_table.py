"""Checks what a new synced table needs: a place in PostgreSQL and in Unity Catalog, storage, and a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import Reason
from schema.ports.admin.instances import InstanceState
from schema.ports.admin.tables import SyncPolicy, branch_path
from server.lakebase.database.inspection import TableLocation, is_pipeline
from server.lakebase.operations.operation import required
from server.lakebase.plans.catalog import require_branch
from server.lakebase.plans.drafts.differences import same_name

if TYPE_CHECKING:
    from schema.ports.admin.instances import Instance
    from schema.ports.admin.tables import SyncedTableSpec
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.services import Services


class NewTableChecks:
    """Refuses, in the draft, what the platform would refuse. The specs have their defaults."""

    def __init__(self, services: Services) -> None:
        self._platform = services.platform
        self._postgres = services.postgres

    async def place(self, draft: Draft, spec: SyncedTableSpec) -> str:
        """Check catalog, schema, instance and database; return what the plan says about a leftover table."""
        if created := draft.request.catalog:
            # The same request creates them, as far as they do not exist.
            instance = await self._platform.instance(created.instance_name)
            return await self._leftover(draft, spec, instance, created.database_name, created.branch)
        catalog, schema, _ = spec.name.split(".")
        registered = await self._platform.catalog(catalog)
        if registered is not None:
            for field, given, known in (
                ("instanceName", spec.instance_name, registered.instance_name),
                ("databaseName", spec.database_name, registered.database_name),
                ("branch", spec.branch, registered.branch),
            ):
                if given and known and not same_name(given, known):
                    message = f"The catalog {catalog} registers {known}, not {given}. Give none of these."
                    draft.refuse(Reason.SETTING_INVALID, message, field)
            name, database, field = registered.instance_name, registered.database_name, "name"
            branch = registered.branch
        elif spec.instance_name and spec.database_name:
            await self._check_schema(draft, catalog, schema, "name", "name")
            name, database, field = spec.instance_name, spec.database_name, "instanceName"
            branch = spec.branch
            await require_branch(draft, self._platform, spec.instance_name, branch)
        else:
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND,
                f"{catalog} is not a database catalog. Create one first, or give instanceName and databaseName for a "
                "table in another kind of catalog.",
                "name",
            )
            return ""
        instance = await self._platform.instance(name) if name else None
        if name:
            draft.require_available(name, instance, field)
        return await self._leftover(draft, spec, instance, database, branch)

    async def _leftover(
        self, draft: Draft, spec: SyncedTableSpec, instance: Instance | None, database: str | None, branch: str | None
    ) -> str:
        """What the plan says about a PostgreSQL table with this name. A table that no pipeline has made is refused."""
        if instance is None or database is None or instance.state is not InstanceState.AVAILABLE:
            return ""
        _, schema, table = spec.name.lower().split(".")
        server = branch_path(instance.name, branch) if branch else instance.server
        owner = await self._postgres.owner(TableLocation(server, database, schema, table)) if server else None
        if owner is None:
            return ""
        if is_pipeline(owner):
            return "; the PostgreSQL table that an earlier synced table of this name left behind is replaced"
        draft.refuse(
            Reason.SPEC_CONFLICT,
            f"The database {database} has a table {schema}.{table} already, which {owner} owns and no pipeline has "
            "made. The sync would fail: rename that table, or choose another name.",
            draft.name_field("table"),
        )
        return ""

    async def storage(self, draft: Draft, spec: SyncedTableSpec) -> None:
        """Check the catalog and schema in which the pipeline keeps its own tables."""
        catalog, schema = self._platform.storage_of(spec)
        if not (catalog and schema):
            draft.refuse(
                Reason.SETTING_INVALID,
                "Give storageCatalog and storageSchema, where the pipeline may keep its own tables, or set "
                "SYNCED_TABLE_STORAGE_CATALOG and SYNCED_TABLE_STORAGE_SCHEMA.",
                "storageSchema" if catalog else "storageCatalog",
            )
            return
        created = draft.request.catalog
        if (created and same_name(created.name, catalog)) or await self._platform.catalog(catalog):
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The pipeline keeps its own tables in a standard catalog; {catalog} registers a database.",
                "storageCatalog",
            )
            return
        await self._check_schema(draft, catalog, schema, "storageCatalog", "storageSchema")

    async def _check_schema(
        self, draft: Draft, catalog: str, schema: str, catalog_field: str, schema_field: str
    ) -> None:
        """Refuse a schema of a standard catalog in which no pipeline can create tables, or that does not exist."""
        takes_tables = await self._platform.unity.takes_tables(catalog)
        if takes_tables is None:
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no catalog {catalog}. Create it first.", catalog_field)
        elif not takes_tables:
            message = f"The catalog {catalog} is of a kind in which no pipeline can create tables. Choose another one."
            draft.refuse(Reason.SETTING_INVALID, message, catalog_field)
        elif not await self._platform.unity.has_schema(catalog, schema):
            message = f"There is no schema {catalog}.{schema}. Create it first."
            draft.refuse(Reason.RESOURCE_NOT_FOUND, message, schema_field)

    async def source(self, draft: Draft, spec: SyncedTableSpec) -> None:
        """Check the source table, its columns, and its change data feed if the policy needs one."""
        source = await self._platform.unity.source(required(spec.source))
        if source is None or source.in_postgres:
            message = f"There is no source table {spec.source}, or the server may not see it."
            if source is not None:
                message = f"{spec.source} is itself a table of PostgreSQL, so it cannot be a source."
            draft.refuse(Reason.SOURCE_INVALID, message, "sourceTable")
            return
        wanted = {
            "primaryKey": required(spec.primary_key),
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
        if spec.policy != SyncPolicy.SNAPSHOT.value and source.change_feed is False:
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The policy {spec.policy} needs a change data feed, and the source table {spec.source} has none. Use "
                "SNAPSHOT, or set the property delta.enableChangeDataFeed of a Delta table.",
                "policy",
            )
