"""The steps that create, change, delete and undelete a branch, and take and delete snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from schema.errors import PlatformError, Reason
from schema.ports.admin.branches import BranchSpec, BranchState, EndpointState
from schema.ports.admin.tables import branch_path
from server.lakebase.operations.operation import required
from server.lakebase.plans.branch import ENDPOINT_LIMITS
from server.lakebase.plans.drafts.deletions import STEP_SECONDS, count_changes, kept_branch
from server.lakebase.plans.drafts.differences import branch_changes, branch_differences, describe, endpoint_changes
from server.lakebase.plans.drafts.draft import SOURCE
from server.lakebase.plans.safety_net import SAFETY_NET, way_back
from server.lakebase.steps.calls import DELETE_AGAIN_SECONDS, REQUESTED, Absence, Call, Creation
from server.lakebase.steps.checks import (
    deletion_message,
    note_deletion_sent,
    require_cost_acknowledged,
    require_no_changes_lost,
    require_not_undeleted,
    require_same,
    require_uid,
)

if TYPE_CHECKING:
    from schema.ports.admin.branches import Branch, Snapshot
    from server.lakebase.steps.step import Step


async def create_branch(step: Step) -> str:
    """Create the branch, or find it as wanted, and wait until it is ready."""
    spec = required(step.request.branch)
    # The plan has looked for the default branch.
    await _create(step, replace(spec, source=step.facts.get(SOURCE, spec.source)))
    return "the branch is there"


async def create_safety_net(step: Step) -> str:
    """Create the branch that keeps what the next steps take away, or find it. Its message says how to go back to it."""
    net = step.facts.get(SAFETY_NET)
    if net is None:
        return "there was nothing to keep"
    await _create(step, BranchSpec(**net))
    return way_back(net, step.request.kind)


async def _create(step: Step, spec: BranchSpec) -> None:
    branching = step.services.branching
    resource = f"branch {spec.instance_name}/{spec.name}"
    creation = Creation(step, resource)

    async def look() -> bool:
        found = await step.services.existing_branch(spec.instance_name, spec.name)
        if found is None:
            require_cost_acknowledged(step, resource)
            await creation.send(lambda: branching.create_branch(spec), REQUESTED, "requested")
            return False
        creation.found()
        require_same(resource, branch_differences(found, spec, created=True))
        if found.state is not BranchState.INIT:
            return True
        await creation.check()
        await step.report(0.5, f"the branch is {found.state.value}")
        return False

    await step.until(look)


async def create_endpoint(step: Step) -> str:
    """Create the read-write endpoint of the branch, or give the one that it has its limits; wait until it is there."""
    branching = step.services.branching
    spec = replace(required(step.request.branch), **step.facts.get(ENDPOINT_LIMITS, {}))
    path, resource = branch_path(spec.instance_name, spec.name), f"endpoint of branch {spec.instance_name}/{spec.name}"
    creation, update = Creation(step, resource), Call(step, f"change of {resource}")
    paths: list[str] = []

    async def look() -> bool:
        found = await step.services.main_endpoint(path)
        if found is None:
            require_cost_acknowledged(step, resource)
            await creation.send(lambda: branching.create_endpoint(spec), REQUESTED, "requested; the platform starts it")
            return False
        creation.found()
        paths.append(found.path)
        pending = endpoint_changes(found, spec)
        settled = found.state is not EndpointState.INIT and not found.changing
        if settled and not pending:
            return True
        await creation.check()
        if await update.due() and settled:
            require_cost_acknowledged(step, resource)
            await update.send(lambda: branching.update_endpoint(found, spec))
        await step.report(
            0.5, f"requested: {describe(pending)}" if settled and pending else f"the endpoint is {found.state.value}"
        )
        return False

    await step.until(look)
    return f"the endpoint is there: {paths[-1]}"


async def make_default(step: Step) -> str:
    """Make the branch the default one of its instance, after a look that it is ready."""
    spec, services = required(step.request.branch), step.services
    change = Call(step, f"change of instance {spec.instance_name}")

    async def look() -> bool:
        found = await services.existing_branch(spec.instance_name, spec.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no branch {spec.name} any more.")
        if found.is_default:
            return True
        if await change.due() and found.state is not BranchState.INIT:
            await change.send(lambda: services.branching.make_default(spec.instance_name, spec.name))
            services.instances.forget(spec.instance_name)
            await step.report(REQUESTED, "requested")
        return False

    await step.until(look)
    endpoint = await services.main_endpoint(branch_path(spec.instance_name, spec.name))
    serve = f"; to serve it, set LAKEBASE_ENDPOINT to {endpoint.path}" if endpoint else ""
    return f"it is the default branch{serve}"


async def update_branch(step: Step) -> str:
    """Request the properties that differ, and wait until they are as wanted."""
    change, services = required(step.request.branch_change), step.services
    if change.ttl_seconds:
        # The platform would count a duration from the creation of the branch, and ours counts from now.
        end = datetime.now(UTC) + timedelta(seconds=change.ttl_seconds)
        change = replace(change, ttl_seconds=None, expires_at=step.facts.setdefault("expires_at", end.isoformat()))
    resource = f"branch {change.instance_name}/{change.name}"
    update = Call(step, f"change of {resource}")
    switch = Call(step, f"change of the default branch of {change.instance_name}")

    async def look() -> bool:
        found = await services.existing_branch(change.instance_name, change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no {resource} any more.")
        require_uid(resource, step.facts.get("branch_uid"), found.uid)
        pending = branch_changes(found, change)
        if not pending:
            return True
        updated, switched = await update.due(), await switch.due()
        if updated and any(one.field != "default" for one in pending):
            await update.send(lambda: services.branching.update_branch(change))
        if switched and any(one.field == "default" for one in pending):
            await switch.send(lambda: services.branching.make_default(change.instance_name, change.name))
            services.instances.forget(change.instance_name)
        await step.report(0.5, f"requested: {describe(pending)}")
        return False

    await step.until(look)
    return "the branch is as wanted"


async def delete_branch(step: Step) -> str:
    """Delete the branch that was planned for, or purge the deleted one, and wait until it is gone."""
    instance, name = required(step.request.instance_name), required(step.request.branch_name)
    resource, purge, services = f"branch {instance}/{name}", step.request.purge, step.services
    deletion = Call(step, f"deletion of {resource}", again=DELETE_AGAIN_SECONDS, repeated=True)
    absence = Absence()
    guard = partial(step.detach, deleting=True) if step.facts.get("hosts_operations") else None

    async def look() -> bool:
        found = await services.branching.branch(instance, name)
        if found is None or (found.deleted_at is not None and not purge):
            return await deletion.over() and absence.confirmed()
        absence.reset()
        require_uid(resource, step.facts.get("branch_uid"), found.uid)
        if found.deleted_at is None:
            require_not_undeleted(step, resource)
        if await deletion.due():
            if found.deleted_at is None:
                await _require_deletable(step, found)
            note_deletion_sent(step, "branch")
            await deletion.send(lambda: services.branching.delete_branch(instance, name, purge=purge), guard=guard)
            services.instances.forget(instance)
        await step.report(0.5, "requested")
        return False

    await step.until(look)
    deleted = None if purge else await step.services.branching.branch(instance, name)
    until = deleted.purge_at if deleted else None
    restorable = f"; undeleteDatabaseBranch brings it back until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    return deletion_message(step, "branch") + restorable


async def _require_deletable(step: Step, found: Branch) -> None:
    """Continue only if the branch may still be deleted, and no status change is lost against the operator's will."""
    for reason, message in kept_branch(found).items():
        raise PlatformError(reason, message)
    if not step.request.discard_status_changes:
        lost = await count_changes(step.services, found.path, seconds=STEP_SECONDS)
        resource = f"branch {found.instance_name}/{found.name}"
        require_no_changes_lost(step, resource, lost, sent=bool(step.facts.get("branch_sent")))


async def undelete_branch(step: Step) -> str:
    """Bring the deleted branch back, and wait until it is there."""
    instance, name = required(step.request.instance_name), required(step.request.branch_name)
    resource, branching = f"branch {instance}/{name}", step.services.branching
    undeletion = Call(step, f"undeletion of {resource}", repeated=True)

    async def look() -> bool:
        found = await branching.branch(instance, name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"The {resource} is purged: it cannot come back.")
        if found.deleted_at is None and found.state is not BranchState.INIT:
            return True
        if await undeletion.due() and found.deleted_at is not None:
            require_uid(resource, step.facts.get("branch_uid"), found.uid)
            require_cost_acknowledged(step, resource)
            try:
                await undeletion.send(lambda: branching.undelete_branch(instance, name))
            except PlatformError:
                # Another client may have brought it back since the look.
                again = await branching.branch(instance, name)
                if again is None or again.deleted_at is not None:
                    raise
        await step.report(REQUESTED, "requested; the platform brings it back")
        return False

    await step.until(look)
    return "the branch is back"


async def create_snapshot(step: Step) -> str:
    """Take the snapshot, or find it."""
    spec, branching = required(step.request.snapshot), step.services.branching
    spec = replace(spec, source=step.facts.get(SOURCE, spec.source))
    resource = f"snapshot {spec.instance_name}/{spec.name}"
    creation = Creation(step, resource)

    async def look() -> bool:
        if await _snapshot(step, spec.instance_name, spec.name) is not None:
            creation.found()
            return await creation.over()
        require_cost_acknowledged(step, resource)
        await creation.send(lambda: branching.create_snapshot(spec), REQUESTED, "requested")
        return False

    await step.until(look)
    return "the snapshot is taken"


async def delete_snapshot(step: Step) -> str:
    """Delete the snapshot that was planned for, and wait until it is gone."""
    instance, name = required(step.request.instance_name), required(step.request.snapshot_name)
    resource = f"snapshot {instance}/{name}"
    deletion = Call(step, f"deletion of {resource}", again=DELETE_AGAIN_SECONDS, repeated=True)
    absence = Absence()

    async def look() -> bool:
        found = await _snapshot(step, instance, name)
        if found is None:
            return await deletion.over() and absence.confirmed()
        absence.reset()
        require_uid(resource, step.facts.get("snapshot_uid"), found.uid)
        if await deletion.due():
            note_deletion_sent(step, "snapshot")
            await deletion.send(lambda: step.services.branching.delete_snapshot(instance, name))
        await step.report(0.5, "requested")
        return False

    await step.until(look)
    return deletion_message(step, "snapshot")


async def _snapshot(step: Step, instance: str, name: str) -> Snapshot | None:
    found = await step.services.branching.snapshots(instance)
    return next((one for one in found if one.name == name), None)
