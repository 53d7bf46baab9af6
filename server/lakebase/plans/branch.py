"""Plans the creation, change and deletion of a branch, and the restore of an instance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from schema.ports.administration import OperationKind, PlanAction, branch_path
from schema.ports.branches import EndpointKind
from schema.ports.instances import Flavour, InstanceSpec
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.deletions import KEPT_DAYS, missing, refuse_to_delete, refuse_to_expire
from server.lakebase.plans.drafts.differences import (
    branch_changes,
    branch_conflicts,
    describe,
    describe_changes,
    endpoint_changes,
    same_name,
)
from server.lakebase.plans.drafts.draft import CONFLICTS, EXISTS, in_utc, step_adder, term
from server.lakebase.plans.instance import autoscaling

if TYPE_CHECKING:
    from schema.ports.administration import Configured
    from schema.ports.branches import Branch, BranchChange, BranchSpec
    from schema.ports.instances import Instance
    from server.lakebase.plans.drafts.draft import Draft
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
        elif found is not None and (differences := branch_conflicts(found, spec)):
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
            add(PlanAction.CREATE, _creation(spec, instance), costs=True)
            await self._check_source(draft, spec, instance)
            if spec.endpoint and ENDPOINT_LIMITS not in draft.facts:
                # The platform may give the branch an endpoint by itself, and its size would be the platform's choice.
                draft.facts[ENDPOINT_LIMITS] = _limits(
                    InstanceSpec(
                        spec.instance_name,
                        min_cu=spec.min_cu,
                        max_cu=spec.max_cu,
                        suspend_after_seconds=spec.suspend_after_seconds,
                    ).with_defaults(Flavour.AUTOSCALING)
                )
        if spec.endpoint:
            await self._endpoint(draft, spec, exists=found is not None)

    async def _endpoint(self, draft: Draft, spec: BranchSpec, *, exists: bool) -> None:
        path = branch_path(spec.instance_name, spec.name)
        found = [one for one in await self._platform.endpoints(path) if one.kind is EndpointKind.READ_WRITE]
        resource = f"endpoint of branch {spec.instance_name}/{spec.name}"
        given, spec = (spec.min_cu, spec.max_cu), replace(spec, **draft.facts.get(ENDPOINT_LIMITS, {}))
        now = (found[0].min_cu, found[0].max_cu) if exists and found else (None, None)
        draft.require_limits(
            given,
            (now[0] if spec.min_cu is None else spec.min_cu, now[1] if spec.max_cu is None else spec.max_cu),
            "autoscaling" if draft.request.kind is OperationKind.RESTORE else "endpoint",
        )
        differences = endpoint_changes(found[0], spec) if exists and found else []
        if differences:
            message = describe_changes(differences)
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
            limits = (spec.min_cu, spec.max_cu, spec.suspend_after_seconds)
            size = "" if None in limits else f" with {autoscaling(*limits)}"
            draft.add("create_endpoint", PlanAction.CREATE, resource, f"is created{size}", exists=False, costs=True)

    async def _check_source(self, draft: Draft, spec: BranchSpec, instance: Instance | None) -> None:
        """Refuse a source that does not exist, or a moment that is too far back."""
        field = "to" if draft.request.kind is OperationKind.RESTORE else "from.time"
        draft.require_history(instance, spec.time, field)
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
            describe_changes(differences)
            + self._default_message(change.instance_name, change.name, default=change.default)
            if differences
            else "is as wanted",
            differences=differences,
        )
        if differences:
            refuse_to_expire(draft, found, change)

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
                add(
                    PlanAction.DELETE,
                    "is deleted already, and is now deleted for good: neither it nor its status changes, which cannot "
                    "be counted now, can be had back",
                )
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
        refuse_to_delete(draft, found, await self._platform.branches(instance))

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
            present_limits = _limits(instance)
            named = {name: wanted for name, wanted in _limits(spec).items() if wanted is not None}
            draft.facts[ENDPOINT_LIMITS] = {**present_limits, **named}
        await self._create(draft, spec, instance)
        if instance is None:
            return
        found = await self._existing(spec.instance_name, spec.name)
        present = _default(instance)
        since = datetime.fromisoformat(required(spec.time))
        later = await self._postgres.count_changes(instance.server, since=since) if present != spec.name else 0
        newer = "status changes that cannot be counted" if later is None else f"status changes: {later:,}"
        default = found is not None and found.is_default
        draft.add(
            "make_default",
            PlanAction.NOTHING if default else PlanAction.UPDATE,
            f"instance {spec.instance_name}",
            "is the default branch already"
            if default
            else (
                f"the branch {spec.name} becomes its default branch. The branch {present} stays as it is, and alone "
                f"has what is newer than {in_utc(since)} ({newer}), with the newer audit, operations and cursors of "
                f"the feed. Catalogs go on showing {present}, and servers go on serving it: to serve the new branch, "
                f"set LAKEBASE_ENDPOINT to {branch_path(spec.instance_name, spec.name)}/endpoints/primary"
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
            message = await missing(self._platform, name)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, message, "instanceName")
        return found


def _creation(spec: BranchSpec, instance: Instance | None) -> str:
    """What is created, in words."""
    default = f"the default branch {_default(instance)}" if instance and instance.branch else "the default branch"
    source = f"the branch {spec.source}" if spec.source else default
    source = f"the snapshot {spec.snapshot}" if spec.snapshot else source
    moment = f" as it was at {in_utc(spec.time)}" if spec.time else f" as it was at {spec.lsn}" if spec.lsn else ""
    protected = ", and is protected" if spec.protected else ""
    return (
        f"is made from {source}{moment}{protected}; its storage costs from then on"
        f"{term(spec.expires_at, spec.ttl_seconds)}"
    )


def _default(instance: Instance) -> str:
    """The name of the default branch."""
    return (instance.branch or "").rpartition("/")[2]


def _limits(of: BranchSpec | Instance | InstanceSpec) -> dict[str, Any]:
    """The limits of an endpoint by their names."""
    return {"min_cu": of.min_cu, "max_cu": of.max_cu, "suspend_after_seconds": of.suspend_after_seconds}
