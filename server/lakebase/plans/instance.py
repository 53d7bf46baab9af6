"""Plans the creation, change and deletion of an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.administration import InstanceChange, InstanceState, PlanAction
from server.lakebase.operations.operation import required
from server.lakebase.plans.differences import describe, instance_differences, pending_changes, same_name
from server.lakebase.plans.draft import CONFLICTS, EXISTS, step_adder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.administration import Configured, Difference, Instance, InstanceSpec
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
        self._platform = services.platform
        self._postgres = services.postgres
        self._dependents = dependents
        self._configured = configured
        self._hosting = hosting

    async def create(self, draft: Draft) -> None:
        """Plan to create the instance, or to start it if it exists as wanted and is stopped."""
        spec: InstanceSpec = required(draft.request.instance)
        resource, found = f"instance {spec.name}", await self._platform.instance(spec.name)
        add = step_adder(draft, "create_instance", resource, exists=found is not None)
        if found is None and (namesake := await self._platform.namesakes.of_instance(spec.name)):
            draft.refuse_name(add, resource, namesake, draft.name_field("instance"))
        elif found is None:
            made = spec.with_defaults()
            add(PlanAction.CREATE, f"is created with {_properties(made)}", costs=True)
            _require_nodes(draft, nodes=made.node_count, secondaries=spec.readable_secondaries, named=True)
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
            draft.awaits_platform = found.state is not InstanceState.AVAILABLE

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
        draft.facts["hosts_operations"] = same_name(change.name, self._hosting)
        self._reserve_served_resources(draft, change.name)
        differences = pending_changes(found, change)
        nodes = change.node_count or found.node_count or 1
        secondaries = found.readable_secondaries if change.readable_secondaries is None else change.readable_secondaries
        _require_nodes(draft, nodes=nodes, secondaries=secondaries, named=bool(change.readable_secondaries))
        if found.state is InstanceState.DELETING:
            draft.refuse(Reason.RESOURCE_NOT_READY, f"The {resource} is being deleted.", "name")
        if not differences:
            add(PlanAction.NOTHING, "is as wanted")
            draft.awaits_platform = found.state not in {InstanceState.AVAILABLE, InstanceState.STOPPED}
        elif change.stopped and not found.stopped:
            add(
                PlanAction.STOP,
                f"{describe(differences)}; its databases cannot be reached until it is started",
                differences=differences,
                costs=_costs_more(found, change),
            )
        elif change.stopped is False and found.stopped:
            add(PlanAction.START, "is started", differences=differences, costs=True)
        else:
            message = describe(differences) + _restart(found, differences)
            add(PlanAction.UPDATE, message, differences=differences, costs=_costs_more(found, change))

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the instance. It is refused while anything depends on the instance."""
        name = required(draft.request.instance_name)
        found = await self._platform.instance(name)
        add = step_adder(draft, "delete_instance", f"instance {name}", exists=found is not None)
        draft.facts["hosts_operations"] = same_name(name, self._hosting)
        self._reserve_served_resources(draft, name)
        if found is None:
            draft.facts["instance_uid"] = ""
            add(PlanAction.NOTHING, "does not exist")
            return
        draft.facts["instance_uid"] = found.uid
        if found.state is InstanceState.DELETING:
            add(PlanAction.NOTHING, "is being deleted already")
            draft.awaits_platform = True
            return
        draft.status_changes_lost = await self._postgres.count_changes(name)
        if draft.facts["hosts_operations"] and not same_name(name, self._configured.instance_name):
            # The served database is in another branch, which goes with the instance. Its changes were not counted.
            draft.status_changes_lost = None
        held = "status changes that cannot be counted" if draft.status_changes_lost is None else "status changes: "
        held += "" if draft.status_changes_lost is None else f"{draft.status_changes_lost:,}"
        add(
            PlanAction.DELETE,
            f"is deleted for good, with all its databases ({held}, and the audit; export-changes saves both)",
        )
        draft.refuse_if_used(
            f"instance {name}", await self._dependents.of_instance(found), draft.name_field("instance")
        )

    def _reserve_served_resources(self, draft: Draft, name: str) -> None:
        """Keep other operations off the configured catalog and table while their instance changes."""
        catalog, table = self._configured.catalog_name, self._configured.table_name
        if catalog and table and same_name(name, self._configured.instance_name):
            draft.reserve(f"catalog {catalog}", f"synced table {table}")


def _costs_more(found: Instance, change: InstanceChange) -> bool:
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


def _properties(spec: InstanceSpec) -> str:
    nodes = "1 node" if spec.node_count == 1 else f"{spec.node_count} nodes"
    secondaries = ", readable secondaries" if spec.readable_secondaries else ""
    return f"{spec.capacity}, {nodes}{secondaries}, {spec.retention_days} days of retention"
