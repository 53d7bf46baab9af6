"""Plans the creation, change and deletion of a branch, and the restore of an instance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.administration import OperationKind, PlanAction, branch_path
from schema.ports.branches import EndpointKind
from server.lakebase.operations.operation import required
from server.lakebase.plans.deletions import KEPT_DAYS
from server.lakebase.plans.differences import branch_changes, branch_differences, describe, endpoint_changes, same_name
from server.lakebase.plans.draft import CONFLICTS, EXISTS, step_adder

if TYPE_CHECKING:
    from schema.ports.administration import Configured
    from schema.ports.branches import Branch, BranchChange, BranchSpec
    from schema.ports.instances import Instance
    from server.lakebase.plans.draft import Draft
    from server.lakebase.platform.api import Branching
    from server.lakebase.services import Services

# The fact of an operation that holds the limits of an endpoint which its request leaves out.
ENDPOINT_LIMITS: Final = "endpoint_limits"


class BranchPlans:
    """Adds the steps about one branch to a draft; `hosting` is the instance whose database keeps the operations."""

    def __init__(self, services: Services, configured: Configured, *, hosting: str | None) -> None:
        self._platform = services.platform
        self._postgres = services.postgres
        self._configured = configured
        self._hosting = hosting

    @property
    def _branching(self) -> Branching:
        found: Branching = required(self._platform.branching)
        return found

    async def create(self, draft: Draft) -> None:
        """Plan to create the branch, and its endpoint if the request asks for one."""
        spec: BranchSpec = required(draft.request.branch)
        instance = await self._instance(draft, spec.instance_name)
        await self._create(draft, spec, instance)

    async def _create(self, draft: Draft, spec: BranchSpec, instance: Instance | None) -> None:
        resource = f"branch {spec.instance_name}/{spec.name}"
        found = await self._branching.branch(spec.instance_name, spec.name) if instance else None
        add = step_adder(draft, "create_branch", resource, exists=found is not None and found.deleted_at is None)
        source = f"the branch {spec.source}" if spec.source else "the default branch"
        source = f"the snapshot {spec.snapshot}" if spec.snapshot else source
        moment = f" as of {spec.time or spec.lsn}" if spec.time or spec.lsn else ""
        if found is not None and found.deleted_at is not None:
            add(PlanAction.NOTHING, "cannot be created: a deleted branch keeps its name")
            until = f" until {found.purge_at:%Y-%m-%d %H:%M} UTC" if found.purge_at else " until it is purged"
            draft.refuse(
                Reason.NAME_HELD,
                f"The deleted {resource} keeps its name{until}. Bring it back with undeleteDatabaseBranch, delete it "
                "for good with deleteDatabaseBranch(purge: true), or choose another name.",
                "name",
                purge_at=found.purge_at,
            )
        elif found is not None and (differences := branch_differences(found, spec)):
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Choose another name.",
                "name",
                differences=differences,
            )
        elif found is not None:
            add(PlanAction.NOTHING, f"{EXISTS} ({found.state.value})")
        else:
            add(PlanAction.CREATE, f"is made from {source}{moment}; its storage costs from then on", costs=True)
            await self._check_source(draft, spec, instance)
        if spec.endpoint:
            await self._endpoint(draft, spec, exists=found is not None)

    async def _endpoint(self, draft: Draft, spec: BranchSpec, *, exists: bool) -> None:
        path = branch_path(spec.instance_name, spec.name)
        found = [one for one in await self._platform.endpoints(path) if one.kind is EndpointKind.READ_WRITE]
        resource = f"endpoint of branch {spec.instance_name}/{spec.name}"
        spec = replace(spec, **draft.facts.get(ENDPOINT_LIMITS, {}))
        differences = endpoint_changes(found[0], spec) if exists and found else []
        if differences:
            message = describe(differences)
            draft.add(
                "create_endpoint",
                PlanAction.UPDATE,
                resource,
                message,
                exists=True,
                differences=differences,
                costs=True,
            )
        elif exists and found:
            draft.add("create_endpoint", PlanAction.NOTHING, resource, f"exists ({found[0].state.value})", exists=True)
        else:
            draft.add("create_endpoint", PlanAction.CREATE, resource, "is created", exists=False, costs=True)

    async def _check_source(self, draft: Draft, spec: BranchSpec, instance: Instance | None) -> None:
        """Refuse a source that does not exist, or a moment that is too far back."""
        field = "to" if draft.request.kind is OperationKind.RESTORE else "from.time"
        kept = instance.retention_seconds if instance else None
        if spec.time is not None and kept is not None:
            earliest = datetime.now(UTC) - timedelta(seconds=kept)
            if datetime.fromisoformat(spec.time) < earliest:
                draft.refuse(
                    Reason.SETTING_INVALID,
                    f"The history of {spec.instance_name} goes back to {earliest:%Y-%m-%d %H:%M} UTC, not to "
                    f"{spec.time}.",
                    field,
                )
        if spec.snapshot is not None:
            names = [one.name for one in await self._branching.snapshots(spec.instance_name)]
            if spec.snapshot not in names:
                draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no snapshot {spec.snapshot}.", "from.snapshot")
        elif spec.source is not None:
            source = await self._branching.branch(spec.instance_name, spec.source)
            if source is None or source.deleted_at is not None:
                draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no branch {spec.source}.", "from.branch")

    async def update(self, draft: Draft) -> None:
        """Plan to change the properties that differ."""
        change: BranchChange = required(draft.request.branch_change)
        resource = f"branch {change.instance_name}/{change.name}"
        found = await self._existing(change.instance_name, change.name)
        add = step_adder(draft, "update_branch", resource, exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
            return
        draft.facts["branch_uid"] = found.uid
        differences = branch_changes(found, change)
        add(
            PlanAction.UPDATE if differences else PlanAction.NOTHING,
            describe(differences) + self._default_message(change.instance_name, change.name, default=change.default)
            if differences
            else "is as wanted",
            differences=differences,
        )

    def _default_message(self, instance: str, name: str, *, default: bool) -> str:
        """What a new default branch means for the servers of the instance."""
        if not default:
            return ""
        return (
            "; a server goes on serving the branch that its setting names: to serve this one, set LAKEBASE_ENDPOINT "
            f"to {branch_path(instance, name)}/endpoints/primary"
        )

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the branch, or the purge of a deleted one."""
        instance, name = required(draft.request.instance_name), required(draft.request.branch_name)
        resource, purge = f"branch {instance}/{name}", draft.request.purge
        found = await self._branching.branch(instance, name)
        add = step_adder(draft, "delete_branch", resource, exists=found is not None)
        draft.facts["branch_uid"] = found.uid if found else ""
        draft.facts["hosts_operations"] = same_name(instance, self._hosting) and name == self._configured.branch
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            return
        if found.deleted_at is not None:
            if purge:
                draft.status_changes_lost = None
                add(PlanAction.DELETE, "is deleted already, and is now deleted for good")
            else:
                until = f" until {found.purge_at:%Y-%m-%d %H:%M} UTC" if found.purge_at else ""
                add(PlanAction.NOTHING, f"is deleted already; undeleteDatabaseBranch brings it back{until}")
            return
        draft.status_changes_lost = await self._postgres.count_changes(found.path)
        held = "status changes that cannot be counted"
        if draft.status_changes_lost is not None:
            held = f"status changes: {draft.status_changes_lost:,}"
        end = datetime.now(UTC) + timedelta(days=KEPT_DAYS)
        restorable = f"undeleteDatabaseBranch brings it back for {KEPT_DAYS} days, until {end:%Y-%m-%d %H:%M} UTC"
        add(
            PlanAction.DELETE,
            f"is deleted with all its databases ({held}); {'it cannot be had back' if purge else restorable}",
        )
        await self._refuse_to_delete(draft, found)

    async def _refuse_to_delete(self, draft: Draft, found: Branch) -> None:
        resource = f"branch {found.instance_name}/{found.name}"
        if found.is_default:
            draft.refuse(
                Reason.RESOURCE_IN_USE,
                f"The {resource} is the default branch. It goes with its instance, or after another branch is the "
                "default one.",
                "name",
            )
        if found.is_protected:
            draft.refuse(
                Reason.PROTECTED,
                f"The {resource} is protected. Take the protection off it first, with updateDatabaseBranch(protected: "
                "false).",
                "name",
            )
        others = await self._platform.branches(found.instance_name)
        below = [one.name for one in others if one.source == found.name and one.deleted_at is None]
        draft.refuse_if_used(resource, [f"branch {name}" for name in sorted(below)], "name")

    async def undelete(self, draft: Draft) -> None:
        """Plan to bring a deleted branch back."""
        instance, name = required(draft.request.instance_name), required(draft.request.branch_name)
        resource, found = f"branch {instance}/{name}", await self._branching.branch(instance, name)
        deleted = found is not None and found.deleted_at is not None
        add = step_adder(draft, "undelete_branch", resource, exists=found is not None and not deleted)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND,
                f"There is no deleted {resource}: it is purged, or there never was one.",
                "name",
            )
        elif not deleted:
            add(PlanAction.NOTHING, f"is not deleted ({found.state.value})")
        else:
            draft.facts["branch_uid"] = found.uid
            until = f"; this is possible until {found.purge_at:%Y-%m-%d %H:%M} UTC" if found.purge_at else ""
            add(PlanAction.UNDELETE, f"is brought back with all its databases{until}", costs=True)

    async def restore(self, draft: Draft) -> None:
        """Plan a branch of a moment with an endpoint, which becomes the default branch."""
        spec: BranchSpec = required(draft.request.branch)
        instance = await self._instance(draft, spec.instance_name)
        if instance is not None and not (instance.branch or "").endswith(f"/{spec.name}"):
            # The new endpoint is as large as the present one, except where the request says otherwise.
            named = {"min_cu": spec.min_cu, "max_cu": spec.max_cu, "suspend_after_seconds": spec.suspend_after_seconds}
            draft.facts[ENDPOINT_LIMITS] = {
                name: getattr(instance, name) if wanted is None else wanted for name, wanted in named.items()
            }
        await self._create(draft, spec, instance)
        if instance is None:
            return
        found = await self._existing(spec.instance_name, spec.name)
        present = (instance.branch or "").rpartition("/")[2]
        since = datetime.fromisoformat(required(spec.time))
        later = await self._postgres.count_changes(instance.server, since=since) if present != spec.name else 0
        newer = "those status changes that are newer" if later is None else f"{later:,} newer status change(s)"
        default = found is not None and found.is_default
        draft.add(
            "make_default",
            PlanAction.NOTHING if default else PlanAction.UPDATE,
            f"instance {spec.instance_name}",
            "is the default branch already"
            if default
            else (
                f"the branch {spec.name} becomes its default branch. The branch {present} stays as it is: only there "
                f"are {newer} than {since:%Y-%m-%d %H:%M} UTC, and newer audit, operations and cursors of the feed. "
                f"Catalogs go on showing {present}, and so does a server until LAKEBASE_ENDPOINT is "
                f"{branch_path(spec.instance_name, spec.name)}/endpoints/primary"
            ),
            exists=True,
        )

    async def _existing(self, instance: str, name: str) -> Branch | None:
        """The branch with this name that is not deleted."""
        found = await self._branching.branch(instance, name)
        return None if found is None or found.deleted_at is not None else found

    async def _instance(self, draft: Draft, name: str) -> Instance | None:
        found = await self._platform.instance(name)
        if found is None:
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no instance {name}. Create it first.", "instanceName")
        return found
