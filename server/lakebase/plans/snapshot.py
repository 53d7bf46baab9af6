"""Plans to take and to delete a snapshot of a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import Reason
from schema.ports.admin.plans import PlanAction
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.deletions import missing
from server.lakebase.plans.drafts.differences import describe, in_utc, snapshot_differences
from server.lakebase.plans.drafts.draft import CONFLICTS, EXISTS, SOURCE, step_adder, term

if TYPE_CHECKING:
    from schema.ports.admin.branches import SnapshotSpec
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.services import Services


class SnapshotPlans:
    """Adds the step about one snapshot to a draft."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._platform = services.platform

    async def create(self, draft: Draft) -> None:
        """Plan to take the snapshot. Only a branch that was not made from another one can have snapshots."""
        spec: SnapshotSpec = required(draft.request.snapshot)
        resource = f"snapshot {spec.instance_name}/{spec.name}"
        found = [one for one in await self._services.branching.snapshots(spec.instance_name) if one.name == spec.name]
        add = step_adder(draft, "create_snapshot", resource, exists=bool(found))
        if found and (differences := snapshot_differences(found[0], spec)):
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Choose another name.",
                "name",
                differences=differences,
            )
            return
        if found:
            add(PlanAction.NOTHING, f"{EXISTS}; the platform does not tell of which moment" if spec.time else EXISTS)
            return
        source = await self._source(draft, spec)
        moment = f" as it was at {in_utc(spec.time)}" if spec.time else ""
        add(
            PlanAction.CREATE,
            f"is taken of the branch {source or 'that is the default one'}{moment}; it costs by its size"
            f"{term(spec.expires_at, spec.ttl_seconds)}",
            costs=True,
        )

    async def _source(self, draft: Draft, spec: SnapshotSpec) -> str | None:
        """The branch to take the snapshot of. The step does not look for it again."""
        instance = await self._platform.instance(spec.instance_name)
        if instance is None:
            message = await missing(self._platform, spec.instance_name)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, message, "instanceName")
            return spec.source
        branches = [one for one in await self._platform.branches(spec.instance_name) if one.deleted_at is None]
        source = next((one for one in branches if (one.name == spec.source if spec.source else one.is_default)), None)
        if source is None:
            message = f"There is no branch {spec.source}." if spec.source else "There is no default branch."
            draft.refuse(Reason.RESOURCE_NOT_FOUND, message, "branch")
        elif source.source:
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The branch {source.name} was made from {source.source}. Only a branch that was not made from another "
                "one can have snapshots.",
                "branch",
            )
        draft.require_history(instance, spec.time, "time")
        if source is not None:
            draft.facts[SOURCE] = source.name
        return source.name if source else spec.source

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the snapshot."""
        instance, name = required(draft.request.instance_name), required(draft.request.snapshot_name)
        found = [one for one in await self._services.branching.snapshots(instance) if one.name == name]
        add = step_adder(draft, "delete_snapshot", f"snapshot {instance}/{name}", exists=bool(found))
        draft.facts["snapshot_uid"] = found[0].uid if found else ""
        if found:
            add(PlanAction.DELETE, "is deleted for good; branches that were made from it stay")
        else:
            add(PlanAction.NOTHING, "does not exist")
