"""Plans the creation and deletion of a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import Reason
from schema.ports.admin.instances import InstanceState
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.plans import PlanAction
from schema.ports.admin.tables import branch_path
from server.lakebase.database.inspection import FIRST_BRANCH, FIRST_DATABASE
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.differences import catalog_differences, describe, same_name
from server.lakebase.plans.drafts.draft import CONFLICTS, EXISTS, step_adder

if TYPE_CHECKING:
    from schema.ports.admin.tables import CatalogSpec
    from server.lakebase.plans.drafts.dependents import Dependents
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.plans.drafts.originals import Originals
    from server.lakebase.platform.api import Platform
    from server.lakebase.services import Services


async def require_branch(draft: Draft, platform: Platform, instance: str, branch: str | None) -> None:
    """Refuse a branch that the instance does not have. An instance that is to be created has only its first branch."""
    if branch is None:
        return
    branches = await platform.branches(instance)
    names = [one.name for one in branches if one.deleted_at is None] or [FIRST_BRANCH]
    if branch not in names:
        draft.refuse(
            Reason.RESOURCE_NOT_FOUND,
            f"The instance {instance} has no branch {branch}. It has: {', '.join(sorted(names))}.",
            "branch",
        )


class CatalogPlans:
    """Adds the steps about one catalog to a draft."""

    def __init__(self, services: Services, dependents: Dependents, originals: Originals) -> None:
        self._originals = originals
        self._platform = services.platform
        self._postgres = services.postgres
        self._dependents = dependents

    async def create(self, draft: Draft) -> None:
        """Plan to register the database, unless it is registered as wanted."""
        spec: CatalogSpec = required(draft.request.catalog)
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
        created = "; the database is created if it is missing" if spec.create_database else ""
        place = f"the branch {spec.branch} of {spec.instance_name}" if spec.branch else spec.instance_name
        add(PlanAction.CREATE, f"registers the database {spec.database_name} of {place}{created}")
        if draft.request.kind is OperationKind.CREATE_CATALOG:
            instance = await self._platform.instance(spec.instance_name)
            draft.require_available(spec.instance_name, instance, "instanceName")
            if spec.branch:
                # It must not be deleted meanwhile.
                draft.reserve(f"branch {spec.instance_name}/{spec.branch}")
        await require_branch(draft, self._platform, spec.instance_name, spec.branch)
        if not spec.create_database and await self._lacks_database(spec):
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND,
                f"The instance {spec.instance_name} has no database {spec.database_name}. Send this with "
                "createDatabase: true, or choose another one.",
                "databaseName",
            )

    async def _lacks_database(self, spec: CatalogSpec) -> bool:
        """Whether the database certainly does not exist. A new instance has only its first database."""
        instance = await self._platform.instance(spec.instance_name)
        if instance is None:
            return spec.database_name != FIRST_DATABASE
        if instance.state is not InstanceState.AVAILABLE:
            return False
        server = branch_path(instance.name, spec.branch) if spec.branch else instance.server
        return server is not None and await self._postgres.has_database(server, spec.database_name) is False

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the catalog. Alone it counts the status changes: its database may go with it."""
        name = required(draft.request.catalog_name)
        found = await self._platform.catalog(name)
        add = step_adder(draft, "delete_catalog", f"catalog {name}", exists=found is not None)
        if found is None:
            draft.facts["catalog_uid"] = ""
            add(PlanAction.NOTHING, "does not exist")
            return
        draft.facts["catalog_uid"] = found.uid
        instance = draft.request.instance_name
        if instance and found.instance_name and not same_name(found.instance_name, instance):
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The catalog {name} registers a database of {found.instance_name}, not of {instance}.",
                draft.name_field("catalog"),
            )
        if draft.request.kind is OperationKind.TEARDOWN:
            await self._originals.guard_catalog(draft, found)
        message = f"no longer registers the database {found.database_name} of {found.instance_name}"
        if draft.request.kind is OperationKind.DELETE_CATALOG:
            message += "; the platform does not document that it keeps the database"
            if found.database_name:
                draft.status_changes_lost = await self._postgres.count_changes(found.server, found.database_name)
        add(PlanAction.DELETE, message)
        draft.refuse_if_used(f"catalog {name}", await self._dependents.of_catalog(name), draft.name_field("catalog"))
