"""Plans the creation, change and deletion of an instance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schema.errors import Reason
from schema.ports.admin.instances import Flavour, InstanceChange, InstanceState
from schema.ports.admin.plans import PlanAction
from schema.ports.admin.tables import branch_name
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.deletions import (
    WAKES,
    WAS_DELETED,
    changes_in,
    in_words,
    missing,
    name_held,
    total,
    undeletable,
)
from server.lakebase.plans.drafts.differences import (
    describe,
    describe_changes,
    instance_differences,
    pending_changes,
    same_name,
)
from server.lakebase.plans.drafts.draft import CONFLICTS, EXISTS, step_adder
from server.lakebase.plans.drafts.sizes import costs_more, lost_history, require_nodes, restart_in_words, size_in_words
from server.lakebase.plans.safety_net import net_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schema.ports.admin.administration import Configured
    from schema.ports.admin.instances import Instance, InstanceSpec
    from schema.ports.admin.plans import Difference
    from server.lakebase.plans.drafts.dependents import Dependents
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.services import Services


class InstancePlans:
    """Adds the steps about one instance to a draft; `hosting` is the instance whose database keeps the operations."""

    def __init__(
        self, services: Services, dependents: Dependents, configured: Configured, *, hosting: str | None
    ) -> None:
        self._services = services
        self._platform = services.platform
        self._dependents = dependents
        self._configured = configured
        self._hosting = hosting

    async def create(self, draft: Draft) -> None:
        """Plan to create the instance, or to start it if it exists as wanted and is stopped."""
        spec: InstanceSpec = required(draft.request.instance)
        resource, found = f"instance {spec.name}", await self._platform.instance(spec.name)
        add = step_adder(draft, "create_instance", resource, exists=found is not None)
        if found is None:
            await self._create(draft, spec, add)
        elif differences := instance_differences(found, spec):
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Change it with "
                "updateDatabaseInstance, or choose another name.",
                draft.name_field("instance"),
                differences=differences,
            )
        elif found.state is InstanceState.STOPPED:
            add(PlanAction.START, "exists as wanted, and is started", costs=True)
        elif found.state is InstanceState.DELETING:
            add(PlanAction.NOTHING, "is being deleted")
            draft.refuse(
                Reason.RESOURCE_NOT_READY,
                f"The {resource} is being deleted. Wait until it is gone.",
                draft.name_field("instance"),
            )
        else:
            add(PlanAction.NOTHING, f"{EXISTS} ({found.state.value})")
            draft.awaits_platform = found.state not in {InstanceState.AVAILABLE, InstanceState.UNKNOWN}

    async def _create(self, draft: Draft, spec: InstanceSpec, add: Callable[..., None]) -> None:
        resource, field, flavour = f"instance {spec.name}", draft.name_field("instance"), self._platform.flavour
        if flavour is Flavour.PROVISIONED and (namesake := await self._platform.namesakes.of_instance(spec.name)):
            draft.refuse_name(add, resource, namesake, field)
            return
        if deleted := await self._platform.deleted_instance(spec.name):
            add(PlanAction.NOTHING, "cannot be created: a deleted instance keeps its name")
            draft.refuse(Reason.NAME_HELD, name_held(resource, deleted.purge_at), field, purge_at=deleted.purge_at)
            return
        made = spec.with_defaults(flavour)
        add(
            PlanAction.CREATE,
            f"is created with {size_in_words(made)}, {made.retention_days} days of retention",
            costs=True,
        )
        require_nodes(draft, nodes=made.node_count, secondaries=spec.readable_secondaries, named=True)
        draft.require_limits((spec.min_cu, spec.max_cu), (made.min_cu, made.max_cu))

    async def update(self, draft: Draft) -> None:
        """Plan to change the properties that differ."""
        change: InstanceChange = required(draft.request.change)
        resource, found = f"instance {change.name}", await self._platform.instance(change.name)
        add = step_adder(draft, "update_instance", resource, exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(Reason.RESOURCE_NOT_FOUND, await missing(self._platform, change.name), "name")
            return
        draft.facts["instance_uid"] = found.uid
        draft.facts["hosts_operations"] = same_name(change.name, self._hosting) and self._is_served(found)
        self._reserve_served(draft, change.name)
        if found.flavour is Flavour.AUTOSCALING and found.endpoint is None and _changes_endpoint(change):
            add(PlanAction.NOTHING, "cannot be changed: it has no read-write endpoint")
            draft.refuse(Reason.RESOURCE_NOT_READY, _without_endpoint(found), "name")
            return
        differences = pending_changes(found, change)
        nodes = change.node_count or found.node_count or 1
        secondaries = found.readable_secondaries if change.readable_secondaries is None else change.readable_secondaries
        require_nodes(draft, nodes=nodes, secondaries=secondaries, named=bool(change.readable_secondaries))
        draft.require_limits((change.min_cu, change.max_cu), (found.min_cu, found.max_cu))
        if found.state is InstanceState.DELETING:
            draft.refuse(Reason.RESOURCE_NOT_READY, f"The {resource} is being deleted.", "name")
        place = self._place(found)
        if not differences:
            add(PlanAction.NOTHING, f"is as wanted{place}")
            draft.awaits_platform = not found.settled
        elif change.stopped and not found.stopped:
            switched = _switched("stopped", differences)
            add(
                PlanAction.STOP,
                f"{switched}; {_databases(found)} cannot be reached until it is started{place}",
                differences=differences,
                costs=costs_more(found, change),
            )
        elif change.stopped is False and found.stopped:
            add(PlanAction.START, f"{_switched('started', differences)}{place}", differences=differences, costs=True)
        else:
            message = (
                describe_changes(differences)
                + restart_in_words(found, differences)
                + lost_history(found, change)
                + place
            )
            add(PlanAction.UPDATE, message, differences=differences, costs=costs_more(found, change))

    def _place(self, found: Instance) -> str:
        """Which branch's endpoint a change is of, if this server serves another branch."""
        default, served = (found.branch or "").rpartition("/")[2], self._configured.branch
        if not (default and served and same_name(found.name, self._configured.instance_name)) or default == served:
            return ""
        return f"; this is the endpoint of the default branch {default}, and this server serves the branch {served}"

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the instance, or the purge of a deleted one.

        It is refused while anything depends on the instance, or protects it.
        """
        name = required(draft.request.instance_name)
        found = await self._platform.instance(name)
        add = step_adder(draft, "delete_instance", f"instance {name}", exists=found is not None)
        draft.facts["hosts_operations"] = same_name(name, self._hosting)
        self._reserve_served(draft, name)
        if found is None:
            await self._purge(draft, name)
            return
        draft.facts["instance_uid"] = found.uid
        if found.state is InstanceState.DELETING:
            add(PlanAction.NOTHING, "is being deleted already")
            draft.awaits_platform = True
            return
        changes = await changes_in(self._services, found, net=net_of(draft.facts))
        draft.status_changes_lost = total(changes)
        kept = found.flavour is Flavour.AUTOSCALING and not draft.request.purge
        hosts = draft.facts["hosts_operations"]
        audit = " and the audit" if hosts else ""
        wakes = f" ({WAKES})" if found.flavour is Flavour.AUTOSCALING else ""
        sentences = [
            f"is deleted {'with' if kept else 'for good, with'} all its databases{audit}",
            f"It holds {in_words(changes)}{wakes}",
            *(["export-changes saves the changes and the audit"] if hosts else []),
            undeletable("Instance") if kept else "Nothing can bring it back",
        ]
        add(PlanAction.DELETE, ". ".join(sentences))
        await self._refuse_if_protected(draft, name)
        draft.refuse_if_used(
            f"instance {name}", await self._dependents.of_instance(found), draft.name_field("instance")
        )

    async def _purge(self, draft: Draft, name: str) -> None:
        """Plan to purge the deleted instance of this name, if there is one and this is asked for."""
        deleted = await self._platform.deleted_instance(name)
        draft.facts["instance_uid"] = deleted.uid if deleted else ""
        draft.facts[WAS_DELETED] = deleted is not None
        add = step_adder(draft, "delete_instance", f"instance {name}", exists=deleted is not None)
        if deleted is None:
            add(PlanAction.NOTHING, "does not exist")
        elif draft.request.purge:
            # Nobody can count the status changes of a deleted instance.
            draft.status_changes_lost = None
            add(
                PlanAction.DELETE,
                "is deleted already, and is now deleted for good; nothing can bring back the instance or its status "
                "changes, which cannot be counted now",
            )
        else:
            until = f" until {deleted.purge_at:%Y-%m-%d %H:%M} UTC" if deleted.purge_at else ""
            add(PlanAction.NOTHING, f"is deleted already; undeleteDatabaseInstance brings it back{until}")

    async def _refuse_if_protected(self, draft: Draft, name: str) -> None:
        """Refuse the deletion if a branch of the instance is protected. The platform would refuse it."""
        protected = [one.name for one in await self._platform.branches(name) if one.is_protected]
        if protected:
            draft.refuse(
                Reason.PROTECTED,
                f"The instance {name} has protected branches: {', '.join(sorted(protected))}. Take the protection off "
                "them first, with updateDatabaseBranch(protected: false).",
                draft.name_field("instance"),
            )

    async def undelete(self, draft: Draft) -> None:
        """Plan to bring a deleted instance back."""
        name = required(draft.request.instance_name)
        found = await self._platform.instance(name)
        deleted = None if found else await self._platform.deleted_instance(name)
        if found is None and deleted is None:
            # Another client may have brought it back between the two looks.
            found = await self._platform.instance(name)
        add = step_adder(draft, "undelete_instance", f"instance {name}", exists=found is not None)
        self._reserve_served(draft, name)
        if found is not None:
            add(PlanAction.NOTHING, f"is not deleted ({found.state.value})")
        elif deleted is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND,
                f"There is no deleted instance {name}: it is purged, or there never was one.",
                "name",
            )
        else:
            draft.facts["instance_uid"] = deleted.uid
            until = f"; this is possible until {deleted.purge_at:%Y-%m-%d %H:%M} UTC" if deleted.purge_at else ""
            add(
                PlanAction.UNDELETE,
                f"is brought back with all its databases, and without catalogs and synced tables{until}",
                costs=True,
            )

    def _reserve_served(self, draft: Draft, name: str) -> None:
        if same_name(name, self._configured.instance_name):
            draft.reserve_served(self._configured)

    def _is_served(self, found: Instance) -> bool:
        """Whether this server serves the default branch of its instance. Only that one's endpoint is changed."""
        return found.branch is None or branch_name(found.branch) == self._configured.branch


def _changes_endpoint(change: InstanceChange) -> bool:
    """Whether a change is one of an endpoint. The history is that of the whole project."""
    return replace(change, retention_days=None) != InstanceChange(change.name)


def _without_endpoint(found: Instance) -> str:
    branch = branch_name(found.branch) if found.branch else None
    create = f', with createDatabaseBranch(name: "{branch}", endpoint: {{}})' if branch else ""
    return (
        f"The instance {found.name} has no read-write endpoint that could be changed. Wait if it is being created; "
        f"otherwise give its default branch an endpoint first{create}."
    )


def _databases(found: Instance) -> str:
    return f"the databases of its default branch {branch_name(found.branch)}" if found.branch else "its databases"


def _switched(how: str, differences: Sequence[Difference]) -> str:
    """That the instance is stopped or started, and what else changes, in words."""
    others = [one for one in differences if one.field != "stopped"]
    return f"is {how}{f', and {describe_changes(others)}' if others else ''}"
