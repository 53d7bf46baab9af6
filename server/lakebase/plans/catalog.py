"""Owns the plans about catalogs: what making and deleting one comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import ForbiddenError, Reason
from schema.ports.administration import OperationKind, PlanAction
from server.lakebase.plans.differences import catalog_differences, said
from server.lakebase.plans.draft import ALREADY, adder, given

if TYPE_CHECKING:
    from schema.ports.administration import Catalog, Configured
    from server.lakebase.plans.draft import Draft
    from server.lakebase.tools import Tools


class CatalogPlans:
    """Plans about one catalog."""

    def __init__(self, tools: Tools, configured: Configured) -> None:
        self._platform = tools.platform
        self._postgres = tools.postgres
        self._configured = configured

    async def create(self, draft: Draft) -> None:
        """Registers the database, or finds it registered as wanted."""
        spec = given(draft.request.catalog)
        resource, found = f"catalog {spec.name}", await self._platform.catalog(spec.name)
        add = adder(draft, "create_catalog", resource, exists=found is not None)
        if found is not None:
            if not (differences := catalog_differences(found, spec)):
                add(PlanAction.NOTHING, ALREADY)
                return
            add(PlanAction.NOTHING, "exists and is otherwise", differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists and is otherwise: {said(differences)}. Take another name.",
                draft.name_field("catalog"),
                differences=differences,
            )
            return
        made = ", which is made where it is missing" if spec.create_database else ""
        add(PlanAction.CREATE, f"registers the database {spec.database_name} of {spec.instance_name}{made}")
        if draft.request.kind is OperationKind.CREATE_CATALOG:
            instance = await self._platform.instance(spec.instance_name)
            if instance is None:
                message = f"There is no instance {spec.instance_name}: make it first."
                draft.refuse(Reason.RESOURCE_NOT_FOUND, message, "instanceName")
            else:
                draft.need_running(instance, "instanceName")

    async def delete_alone(self, draft: Draft) -> None:
        """Takes the registration back, and has the changes counted that its database holds."""
        found = await self.delete(draft)
        if found and found.instance_name and found.database_name:
            # Nowhere is it said that the platform leaves the database alone.
            draft.status_changes_lost = await self._postgres.count_changes(found.instance_name, found.database_name)

    async def delete(self, draft: Draft, *, besides: str | None = None) -> Catalog | None:
        """Takes the registration back; `besides` is a synced table that goes before it. The catalog, if it is there."""
        name = given(draft.request.catalog_name)
        found = await self._platform.catalog(name)
        add = adder(draft, "delete_catalog", f"catalog {name}", exists=found is not None)
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
        if tables := [table for table in await self._tables_of(name) if table != besides]:
            draft.refuse(
                Reason.RESOURCE_IN_USE,
                f"The catalog {name} still holds synced tables: {', '.join(tables)}. Delete them first.",
                draft.name_field("catalog"),
            )
        return found

    async def _tables_of(self, catalog: str) -> list[str]:
        """What is known of a catalog's synced tables: from Unity Catalog's list, and the one that is served."""
        configured = self._configured.table_name
        try:
            tables = await self._platform.tables_of(catalog)
        except ForbiddenError:
            tables = []
        if configured and configured.split(".")[0] == catalog and configured not in tables:
            tables += [configured] if await self._platform.synced_table(configured) else []
        return sorted(tables)
