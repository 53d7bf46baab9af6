"""Plans the creation and deletion of a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import ForbiddenError, Reason
from schema.ports.administration import OperationKind, PlanAction
from server.lakebase.operations.operation import required
from server.lakebase.plans.differences import catalog_differences, describe
from server.lakebase.plans.draft import CONFLICTS, EXISTS, step_adder

if TYPE_CHECKING:
    from schema.ports.administration import Catalog, Configured
    from server.lakebase.plans.draft import Draft
    from server.lakebase.services import Services


class CatalogPlans:
    """Adds the steps about one catalog to a draft."""

    def __init__(self, services: Services, configured: Configured) -> None:
        self._platform = services.platform
        self._postgres = services.postgres
        self._configured = configured

    async def create(self, draft: Draft) -> None:
        """Plan to register the database, unless it is registered as wanted."""
        spec = required(draft.request.catalog)
        resource, found = f"catalog {spec.name}", await self._platform.catalog(spec.name)
        add = step_adder(draft, "create_catalog", resource, exists=found is not None)
        if found is not None:
            if not (differences := catalog_differences(found, spec)):
                add(PlanAction.NOTHING, EXISTS)
                return
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Choose another name.",
                draft.name_field("catalog"),
                differences=differences,
            )
            return
        if namesake := await self._platform.namesakes.of_catalog(spec.name):
            draft.refuse_name(add, resource, namesake, draft.name_field("catalog"))
            return
        created = ", which is created if it is missing" if spec.create_database else ""
        add(PlanAction.CREATE, f"registers the database {spec.database_name} of {spec.instance_name}{created}")
        if draft.request.kind is OperationKind.CREATE_CATALOG:
            instance = await self._platform.instance(spec.instance_name)
            if instance is None:
                message = f"There is no instance {spec.instance_name}. Create it first."
                draft.refuse(Reason.RESOURCE_NOT_FOUND, message, "instanceName")
            else:
                draft.require_available(instance, "instanceName")

    async def delete_alone(self, draft: Draft) -> None:
        """Plan the deletion of the catalog, and count the status changes in its database."""
        found = await self.delete(draft)
        if found and found.instance_name and found.database_name:
            # The platform does not document that it keeps the database.
            draft.status_changes_lost = await self._postgres.count_changes(found.instance_name, found.database_name)

    async def delete(self, draft: Draft, *, except_table: str | None = None) -> Catalog | None:
        """Plan the deletion of the catalog, and return it if it exists. `except_table` is deleted before it."""
        name = required(draft.request.catalog_name)
        found = await self._platform.catalog(name)
        add = step_adder(draft, "delete_catalog", f"catalog {name}", exists=found is not None)
        if found is None:
            draft.facts["catalog_uid"] = ""
            add(PlanAction.NOTHING, "does not exist")
            return None
        draft.facts["catalog_uid"] = found.uid
        instance = draft.request.instance_name
        if instance and found.instance_name and found.instance_name != instance:
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The catalog {name} registers a database of {found.instance_name}, not of {instance}.",
                draft.name_field("catalog"),
            )
        add(PlanAction.DELETE, f"no longer registers the database {found.database_name} of {found.instance_name}")
        if tables := [table for table in await self._tables_of(name) if table != except_table]:
            draft.refuse(
                Reason.RESOURCE_IN_USE,
                f"The catalog {name} still holds synced tables: {', '.join(tables)}. Delete them first.",
                draft.name_field("catalog"),
            )
        return found

    async def _tables_of(self, catalog: str) -> list[str]:
        """The known synced tables of a catalog: those that Unity Catalog lists, and the configured one."""
        configured = self._configured.table_name
        try:
            tables = await self._platform.tables_of(catalog)
        except ForbiddenError:
            tables = []
        if configured and configured.split(".")[0] == catalog and configured not in tables:
            tables += [configured] if await self._platform.synced_table(configured) else []
        return sorted(tables)
