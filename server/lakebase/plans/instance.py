"""Plans the creation, change and deletion of an instance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.administration import PlanAction, branch_name
from schema.ports.instances import NEVER, Flavour, InstanceChange, InstanceState, limits_mistake
from server.lakebase.operations.operation import required
from server.lakebase.plans.deletions import WAKES, WAS_DELETED, changes_in, in_words, name_held, total, undeletable
from server.lakebase.plans.differences import describe, instance_differences, pending_changes, same_name
from server.lakebase.plans.draft import CONFLICTS, EXISTS, step_adder
from server.lakebase.plans.safety_net import net_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schema.ports.administration import Configured, Difference
    from schema.ports.instances import Instance, InstanceSpec
    from server.lakebase.plans.dependents import Dependents
    from server.lakebase.plans.draft import Draft
    from server.lakebase.services import Services

# Changes of these properties restart the instance.
_RESTARTING: Final = frozenset({"capacity", "nodeCount", "enableReadableSecondaries"})


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
        _require_nodes(draft, nodes=made.node_count, secondaries=spec.readable_secondaries, named=True)
        _require_limits(draft, made.min_cu, made.max_cu, "autoscaling.minCu" if spec.max_cu is None else None)

    async def update(self, draft: Draft) -> None:
        """Plan to change the properties that differ."""
        change: InstanceChange = required(draft.request.change)
        resource, found = f"instance {change.name}", await self._platform.instance(change.name)
        add = step_adder(draft, "update_instance", resource, exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
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
        _require_nodes(draft, nodes=nodes, secondaries=secondaries, named=bool(change.readable_secondaries))
        _require_limits(
            draft,
            found.min_cu if change.min_cu is None else change.min_cu,
            found.max_cu if change.max_cu is None else change.max_cu,
            "autoscaling.minCu" if change.max_cu is None else None,
        )
        if found.state is InstanceState.DELETING:
            draft.refuse(Reason.RESOURCE_NOT_READY, f"The {resource} is being deleted.", "name")
        if not differences:
            add(PlanAction.NOTHING, "is as wanted")
            draft.awaits_platform = not found.settled
        elif change.stopped and not found.stopped:
            add(
                PlanAction.STOP,
                f"{describe(differences)}; {_databases(found)} cannot be reached until it is started",
                differences=differences,
                costs=_costs_more(found, change),
            )
        elif change.stopped is False and found.stopped:
            add(PlanAction.START, "is started", differences=differences, costs=True)
        else:
            message = describe(differences) + _restart(found, differences)
            add(PlanAction.UPDATE, message, differences=differences, costs=_costs_more(found, change))

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
        wakes = f"; {WAKES}" if found.flavour is Flavour.AUTOSCALING else ""
        held = f"({in_words(changes)}, and the audit; export-changes saves both{wakes})"
        if kept:
            message = f"is deleted with all its databases {held}; {undeletable('Instance')}"
        else:
            message = f"is deleted for good, with all its databases {held}; nothing can bring it back"
        add(PlanAction.DELETE, message)
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
            add(PlanAction.DELETE, "is deleted already, and is now deleted for good; nothing can bring it back")
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
            add(PlanAction.UNDELETE, f"is brought back with all its databases{until}", costs=True)

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


def _require_limits(draft: Draft, least: float | None, most: float | None, field: str | None) -> None:
    """Refuse limits of autoscaling that do not fit together; `field` is the one that the request names."""
    if least is None or most is None:
        return
    message = limits_mistake(least, most)
    if message:
        draft.refuse(Reason.SETTING_INVALID, message, field or "autoscaling.maxCu")


def _costs_more(found: Instance, change: InstanceChange) -> bool:
    # A larger size costs more at once, or when there is more to do. Staying awake for longer costs without any work. A
    # longer history costs storage.
    limits = ((change.min_cu, found.min_cu), (change.max_cu, found.max_cu))
    if any(wanted is not None and (known is None or wanted > known) for wanted, known in limits):
        return True
    awake, before = change.suspend_after_seconds, found.suspend_after_seconds
    if awake is not None and before != NEVER and (awake == NEVER or before is None or awake > before):
        return True
    if change.retention_days and change.retention_days > (found.retention_days or 0):
        return True
    larger = _units(change.capacity) > _units(found.capacity) if change.capacity else False
    nodes = (change.node_count or 0) > (found.node_count or 1)
    return larger or nodes or bool(change.readable_secondaries and not found.readable_secondaries)


def _require_nodes(draft: Draft, *, nodes: int | None, secondaries: bool | None, named: bool) -> None:
    """Refuse readable secondaries without a second node; `named`: the request itself asks for the secondaries."""
    if secondaries and (nodes or 1) < 2:  # noqa: PLR2004 # the primary and a replica
        draft.refuse(
            Reason.SETTING_INVALID,
            f"Readable secondaries need a nodeCount of 2 or more; it is {nodes}.",
            "enableReadableSecondaries" if named else "nodeCount",
        )


def _restart(found: Instance, differences: Sequence[Difference]) -> str:
    """What a change does to the connections of an instance that runs."""
    restarts = _RESTARTING & {one.field for one in differences}
    return "; the instance restarts, which ends all connections" if restarts and not found.stopped else ""


def _units(capacity: str | None) -> float:
    """CU_4 as 4. An unknown capacity is 0, so that any change from it counts as larger."""
    try:
        return float((capacity or "").removeprefix("CU_"))
    except ValueError:
        return 0.0


def size_in_words(spec: InstanceSpec) -> str:
    """The size of an instance or of an endpoint."""
    nodes = "1 node" if spec.node_count == 1 else f"{spec.node_count} nodes"
    secondaries = ", readable secondaries" if spec.readable_secondaries else ""
    size = spec.capacity
    if spec.min_cu is not None:
        seconds = spec.suspend_after_seconds
        sleep = "never asleep" if seconds == NEVER else f"asleep after {seconds:,} idle seconds"
        size = f"{spec.min_cu:g} to {spec.max_cu:g} CU, {sleep}"
    return f"{size}, {nodes}{secondaries}"
