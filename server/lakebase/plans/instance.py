"""Owns the plans about instances: what making, changing and deleting one comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import Reason
from schema.ports.administration import InstanceChange, InstanceState, PlanAction
from server.lakebase.plans.differences import change_differences, instance_differences, said
from server.lakebase.plans.draft import ALREADY, adder, given

if TYPE_CHECKING:
    from schema.ports.administration import Catalog, Configured, Instance, InstanceSpec
    from server.lakebase.plans.draft import Draft
    from server.lakebase.tools import Tools


class InstancePlans:
    """Plans about one instance. `hosting` is the instance on which operations are kept."""

    def __init__(self, tools: Tools, configured: Configured, *, hosting: str | None) -> None:
        self._platform = tools.platform
        self._postgres = tools.postgres
        self._configured = configured
        self._hosting = hosting

    async def create(self, draft: Draft) -> None:
        """Makes the instance, or finds it as wanted, and starts it where it is stopped."""
        spec = given(draft.request.instance)
        resource, found = f"instance {spec.name}", await self._platform.instance(spec.name)
        add = adder(draft, "create_instance", resource, exists=found is not None)
        if found is None:
            add(PlanAction.CREATE, f"is made with {_shape(spec)}", costs=True)
        elif differences := instance_differences(found, spec):
            add(PlanAction.NOTHING, "exists and is otherwise", differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists and is otherwise: {said(differences)}. Change it with updateDatabaseInstance, "
                "or take another name.",
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
            add(PlanAction.NOTHING, f"{ALREADY} ({found.state.value})")

    async def update(self, draft: Draft) -> None:
        """Changes what is otherwise than wanted."""
        change: InstanceChange = given(draft.request.change)
        resource, found = f"instance {change.name}", await self._platform.instance(change.name)
        add = adder(draft, "update_instance", resource, exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
            return
        draft.facts["instance_uid"] = found.uid
        draft.facts["hosts_operations"] = change.name == self._hosting
        self._hold_what_stands_on_it(draft, change.name)
        differences = change_differences(found, change)
        nodes = change.node_count or found.node_count or 1
        secondaries = found.readable_secondaries if change.readable_secondaries is None else change.readable_secondaries
        if secondaries and nodes < 2:  # noqa: PLR2004 # the primary, and one that can be read from
            draft.refuse(
                Reason.SETTING_INVALID,
                f"Readable secondaries need a nodeCount of 2 or more; it is {nodes}.",
                "enableReadableSecondaries" if change.readable_secondaries else "nodeCount",
            )
        if found.state is InstanceState.DELETING:
            draft.refuse(Reason.RESOURCE_NOT_READY, f"The {resource} is being deleted.", "name")
        if not differences:
            add(PlanAction.NOTHING, "is as wanted")
        elif change.stopped and not found.stopped:
            add(
                PlanAction.STOP,
                f"{said(differences)}; what it serves is not served until it is started",
                differences=differences,
                costs=_costs_more(found, change),
            )
        elif change.stopped is False and found.stopped:
            add(PlanAction.START, "is started", differences=differences, costs=True)
        else:
            add(PlanAction.UPDATE, said(differences), differences=differences, costs=_costs_more(found, change))

    async def delete_alone(self, draft: Draft) -> None:
        """Deletes the instance, unless the configured catalog stands on it."""
        await self.delete(draft)
        catalog = await self._configured_catalog()
        if catalog and catalog.instance_name == draft.request.instance_name:
            draft.refuse(
                Reason.RESOURCE_IN_USE,
                f"The catalog {catalog.name} registers a database of this instance. Delete that first, or use "
                "teardownLakebase.",
                "name",
            )

    async def delete(self, draft: Draft) -> None:
        """Deletes the instance, and has the changes counted that it holds."""
        name = given(draft.request.instance_name)
        found = await self._platform.instance(name)
        add = adder(draft, "delete_instance", f"instance {name}", exists=found is not None)
        draft.facts["hosts_operations"] = name == self._hosting
        self._hold_what_stands_on_it(draft, name)
        if found is None:
            draft.facts["instance_uid"] = ""
            add(PlanAction.NOTHING, "does not exist")
            return
        draft.facts["instance_uid"] = found.uid
        if found.state is InstanceState.DELETING:
            add(PlanAction.NOTHING, "is being deleted already")
            return
        draft.status_changes_lost = await self._postgres.count_changes(name)
        held = "status changes that cannot be counted" if draft.status_changes_lost is None else "status changes: "
        held += "" if draft.status_changes_lost is None else f"{draft.status_changes_lost:,}"
        add(
            PlanAction.DELETE,
            f"is deleted for good, with all its databases ({held}); catalogs on it, which the platform does not list, "
            "have to be deleted before",
        )

    def _hold_what_stands_on_it(self, draft: Draft, name: str) -> None:
        """Nothing else is to be at work on what is served while its instance is changed."""
        if name == self._configured.instance_name:
            draft.hold(f"catalog {self._configured.catalog_name}", f"synced table {self._configured.table_name}")

    async def _configured_catalog(self) -> Catalog | None:
        name = self._configured.catalog_name
        return await self._platform.catalog(name) if name else None


def _costs_more(found: Instance, change: InstanceChange) -> bool:
    larger = _units(change.capacity) > _units(found.capacity) if change.capacity else False
    nodes = (change.node_count or 0) > (found.node_count or 1)
    return larger or nodes or bool(change.readable_secondaries and not found.readable_secondaries)


def _units(capacity: str | None) -> float:
    """CU_4 as 4; what is not known is none, so that any change from it counts as larger."""
    try:
        return float((capacity or "").removeprefix("CU_"))
    except ValueError:
        return 0.0


def _shape(spec: InstanceSpec) -> str:
    nodes = f"{spec.node_count} node{'s' if spec.node_count > 1 else ''}"
    secondaries = ", readable secondaries" if spec.readable_secondaries else ""
    return f"{spec.capacity}, {nodes}{secondaries}, {spec.retention_days} days of retention"
