"""Plans the creation, change and deletion of a branch, and the restore of an instance."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.admin.branches import NEW_ENDPOINT, endpoint_spec
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.plans import PlanAction
from schema.ports.admin.tables import branch_name, branch_path
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.deletions import (
    WAKES,
    WAS_DELETED,
    count_changes,
    in_words,
    kept_branch,
    missing,
    name_held,
    refuse_to_expire,
    undeletable,
)
from server.lakebase.plans.drafts.differences import (
    branch_changes,
    branch_differences,
    describe,
    describe_changes,
    endpoint_changes,
    in_utc,
    same_name,
)
from server.lakebase.plans.drafts.draft import CONFLICTS, EXISTS, SOURCE, step_adder, term
from server.lakebase.plans.drafts.sizes import size_in_words

if TYPE_CHECKING:
    from schema.ports.admin.administration import Configured
    from schema.ports.admin.branches import Branch, BranchChange, BranchSpec
    from schema.ports.admin.instances import Instance
    from server.lakebase.plans.drafts.dependents import Dependents
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.services import Services

# The fact of an operation that holds the limits of an endpoint which its request leaves out.
ENDPOINT_LIMITS: Final = "endpoint_limits"
_LIMITS: Final = ("min_cu", "max_cu", "suspend_after_seconds", "readable_secondaries")


class BranchPlans:
    """Adds the steps about one branch to a draft; `hosting` is the instance whose database keeps the operations."""

    def __init__(
        self, services: Services, dependents: Dependents, configured: Configured, *, hosting: str | None
    ) -> None:
        self._services = services
        self._platform = services.platform
        self._dependents = dependents
        self._configured = configured
        self._hosting = hosting

    async def create(self, draft: Draft) -> None:
        """Plan to create the branch, and its endpoint if the request asks for one."""
        spec: BranchSpec = required(draft.request.branch)
        instance = await self._instance(draft, spec.instance_name)
        await self._create(draft, spec, instance)

    async def _create(self, draft: Draft, spec: BranchSpec, instance: Instance | None) -> Branch | None:
        """Plan to create the branch, unless it exists as wanted; return it if it exists."""
        resource = f"branch {spec.instance_name}/{spec.name}"
        found = await self._services.branching.branch(spec.instance_name, spec.name) if instance else None
        existing = found if found and found.deleted_at is None else None
        add = step_adder(draft, "create_branch", resource, exists=existing is not None)
        if found is not None and existing is None:
            add(PlanAction.NOTHING, "cannot be created: a deleted branch keeps its name")
            draft.refuse(Reason.NAME_HELD, name_held(resource, found.purge_at), "name", purge_at=found.purge_at)
        elif existing is not None and (differences := branch_differences(existing, spec)):
            add(PlanAction.NOTHING, CONFLICTS, differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists with other properties: {describe(differences)}. Choose another name.",
                "name",
                differences=differences,
            )
        elif existing is not None:
            add(PlanAction.NOTHING, f"{EXISTS} ({existing.state.value})")
        else:
            default = branch_name(instance.branch) if instance and instance.branch else None
            add(PlanAction.CREATE, _creation(spec, default), costs=True)
            await self._check_source(draft, spec, instance)
            # The step does not look for the default branch again: another one may be the default by then.
            draft.facts[SOURCE] = spec.source if spec.source or spec.snapshot else default
        if spec.endpoint:
            await self._endpoint(draft, spec, existing)
        return existing

    async def _endpoint(self, draft: Draft, spec: BranchSpec, branch: Branch | None) -> None:
        """Plan the endpoint of a new branch, or of the one that exists."""
        found = await self._services.main_endpoint(branch.path) if branch else None
        resource = f"endpoint of branch {spec.instance_name}/{spec.name}"
        add = step_adder(draft, "create_endpoint", resource, exists=found is not None)
        given, spec = (spec.min_cu, spec.max_cu), replace(spec, **draft.facts.get(ENDPOINT_LIMITS, {}))
        made = endpoint_spec(spec)
        now = (found.min_cu, found.max_cu) if found else (made.min_cu, made.max_cu)
        least, most = (known if wanted is None else wanted for wanted, known in zip(_limits(spec), now, strict=True))
        draft.require_limits(given, (least, most), "autoscaling" if _restores(draft) else "endpoint")
        if branch is None:
            # The platform may give the branch an endpoint by itself, and its size would be the platform's choice.
            sizes = {name: getattr(made, name) for name in _LIMITS}
            draft.facts.setdefault(ENDPOINT_LIMITS, {**sizes, "node_count": made.node_count})
        if found is None:
            add(PlanAction.CREATE, f"is created with {size_in_words(made)}", costs=True)
        elif differences := endpoint_changes(found, spec):
            add(PlanAction.UPDATE, describe_changes(differences), differences=differences, costs=True)
        else:
            add(PlanAction.NOTHING, f"exists ({found.state.value})")

    async def _check_source(self, draft: Draft, spec: BranchSpec, instance: Instance | None) -> None:
        """Refuse a source that does not exist, or a moment that is too far back."""
        restores = _restores(draft)
        draft.require_history(instance, spec.time, "to" if restores else "from.time")
        if spec.snapshot is not None:
            names = [one.name for one in await self._services.branching.snapshots(spec.instance_name)]
            if spec.snapshot not in names:
                draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no snapshot {spec.snapshot}.", "from.snapshot")
        elif spec.source is not None and not await self._services.existing_branch(spec.instance_name, spec.source):
            field = "instanceName" if restores else "from.branch"
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no branch {spec.source}.", field)

    async def update(self, draft: Draft) -> None:
        """Plan to change the properties that differ."""
        change: BranchChange = required(draft.request.branch_change)
        resource = f"branch {change.instance_name}/{change.name}"
        found = await self._services.existing_branch(change.instance_name, change.name)
        add = step_adder(draft, "update_branch", resource, exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
            return
        draft.facts["branch_uid"] = found.uid
        differences = branch_changes(found, change)
        if not differences:
            add(PlanAction.NOTHING, "is as wanted")
            return
        message = describe_changes(differences)
        if change.default and not found.is_default:
            message += await self._new_default(draft, found)
        add(PlanAction.UPDATE, message, differences=differences)
        refuse_to_expire(draft, found, change)

    async def _new_default(self, draft: Draft, found: Branch) -> str:
        """What a new default branch means for the servers of the instance. It needs an endpoint, as the instance's."""
        endpoint = await self._services.main_endpoint(found.path)
        if endpoint is None:
            draft.refuse(
                Reason.RESOURCE_NOT_READY,
                f"The branch {found.instance_name}/{found.name} has no read-write endpoint, so the instance would have "
                f'none. Give it one first, with createDatabaseBranch(name: "{found.name}", endpoint: {{}}).',
                "default",
            )
            return ""
        return (
            "; a server goes on serving the branch that its setting names: to serve this one, set LAKEBASE_ENDPOINT "
            f"to {endpoint.path}"
        )

    async def delete(self, draft: Draft) -> None:
        """Plan the deletion of the branch, or the purge of a deleted one."""
        instance, name = required(draft.request.instance_name), required(draft.request.branch_name)
        resource, purge = f"branch {instance}/{name}", draft.request.purge
        found = await self._services.branching.branch(instance, name)
        add = step_adder(draft, "delete_branch", resource, exists=found is not None)
        serves = same_name(instance, self._hosting) and name == self._configured.branch
        draft.facts["branch_uid"] = found.uid if found else ""
        draft.facts["hosts_operations"] = serves
        draft.facts[WAS_DELETED] = found is not None and found.deleted_at is not None
        if serves:
            draft.reserve_served(self._configured)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            return
        if found.deleted_at is not None:
            if purge:
                draft.status_changes_lost = None
                add(
                    PlanAction.DELETE,
                    "is deleted already, and is now deleted for good; nothing can bring back the branch or its status "
                    "changes, which cannot be counted now",
                )
            else:
                until = f" until {found.purge_at:%Y-%m-%d %H:%M} UTC" if found.purge_at else ""
                add(PlanAction.NOTHING, f"is deleted already; undeleteDatabaseBranch brings it back{until}")
            return
        draft.status_changes_lost = await count_changes(self._services, found.path)
        sentences = [
            f"is deleted {'for good, with' if purge else 'with'} all its databases",
            f"It holds {in_words({'': draft.status_changes_lost})} ({WAKES})",
            *(["This server serves it, so orders cannot be read afterwards"] if serves else []),
            "Nothing can bring it back" if purge else undeletable("Branch"),
        ]
        add(PlanAction.DELETE, ". ".join(sentences))
        for reason, message in kept_branch(found).items():
            draft.refuse(reason, message, "name")
        others = await self._platform.branches(found.instance_name)
        below = [f"branch {one.name}" for one in others if one.source == found.name and one.deleted_at is None]
        draft.refuse_if_used(resource, [*sorted(below), *await self._dependents.of_branch(found)], "name")

    async def undelete(self, draft: Draft) -> None:
        """Plan to bring a deleted branch back."""
        instance, name = required(draft.request.instance_name), required(draft.request.branch_name)
        resource, found = f"branch {instance}/{name}", await self._services.branching.branch(instance, name)
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
        if instance is None:
            await self._create(draft, spec, None)
            return
        default = branch_name(instance.branch) if instance.branch else None
        serves = same_name(instance.name, self._hosting) and self._configured.branch is not None
        restored = self._configured.branch if serves else default
        if restored is not None and restored != spec.name:
            spec = replace(spec, source=restored)
            await self._keep_size(draft, spec)
        found = await self._create(draft, spec, instance)
        done = found is not None and found.is_default
        draft.add(
            "make_default",
            PlanAction.NOTHING if done else PlanAction.UPDATE,
            f"instance {spec.instance_name}",
            f"the branch {spec.name} is its default branch already"
            if done
            else await self._restored(spec, default, found),
            exists=True,
        )

    async def _keep_size(self, draft: Draft, spec: BranchSpec) -> None:
        """Note that the new endpoint is as large as that of the source, except where the request says otherwise."""
        present = await self._services.main_endpoint(branch_path(spec.instance_name, required(spec.source)))
        if present is None:
            return
        wanted = {name: getattr(spec, name) for name in _LIMITS}
        limits = {name: getattr(present, name) if given is None else given for name, given in wanted.items()}
        nodes = max(2, present.size or 0) if limits["readable_secondaries"] else present.size
        draft.facts[ENDPOINT_LIMITS] = {**limits, "node_count": nodes}

    async def _restored(self, spec: BranchSpec, default: str | None, found: Branch | None) -> str:
        """What the restore keeps where, and what shows it."""
        endpoint = await self._services.main_endpoint(found.path) if found else None
        path = endpoint.path if endpoint else f"{branch_path(spec.instance_name, spec.name)}/endpoints/{NEW_ENDPOINT}"
        message = f"the branch {spec.name} becomes its default branch in place of {default}."
        if spec.source is not None:
            since = datetime.fromisoformat(required(spec.time))
            moment = in_utc(since)
            server = branch_path(spec.instance_name, spec.source)
            count = await count_changes(self._services, server, since=since)
            newer = "status changes that cannot be counted" if count is None else f"status changes: {count:,}"
            message += (
                f" The branch {spec.source} stays as it is. Only it has what is newer than {moment} ({newer}), the "
                f"audit, operations and cursors of the feed included. Catalogs and servers go on showing {spec.source}."
            )
        return f"{message} To serve the branch {spec.name}, set LAKEBASE_ENDPOINT to {path}"

    async def _instance(self, draft: Draft, name: str) -> Instance | None:
        found = await self._platform.instance(name)
        if found is None:
            draft.refuse(Reason.RESOURCE_NOT_FOUND, await missing(self._platform, name), "instanceName")
        return found


def _restores(draft: Draft) -> bool:
    return draft.request.kind is OperationKind.RESTORE


def _limits(spec: BranchSpec) -> tuple[float | None, float | None]:
    return spec.min_cu, spec.max_cu


def _creation(spec: BranchSpec, default: str | None) -> str:
    """What is created, in words; `default` is the default branch."""
    source = f"the branch {spec.source}" if spec.source else f"the default branch {default or ''}".rstrip()
    source = f"the snapshot {spec.snapshot}" if spec.snapshot else source
    moment = f" as it was at {in_utc(spec.time)}" if spec.time else f" as it was at {spec.lsn}" if spec.lsn else ""
    protected = ", and is protected" if spec.protected else ""
    return (
        f"is made from {source}{moment}{protected}; its storage costs from then on"
        f"{term(spec.expires_at, spec.ttl_seconds)}"
    )
