"""The steps that create, change, delete and undelete a branch, and take and delete snapshots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from schema.errors import PlatformError, Reason
from schema.ports.administration import branch_path
from schema.ports.branches import BranchSpec, BranchState, EndpointKind, EndpointState
from server.lakebase.operations.operation import required
from server.lakebase.plans.branch import ENDPOINT_LIMITS
from server.lakebase.plans.drafts.differences import branch_changes, branch_differences, describe, endpoint_changes
from server.lakebase.plans.safety_net import SAFETY_NET, way_back
from server.lakebase.steps.checks import (
    DELETE_AGAIN_SECONDS,
    REQUESTED,
    Absence,
    Creation,
    PlatformOperation,
    SentRecently,
    deletion_message,
    note_deletion_sent,
    require_cost_acknowledged,
    require_no_changes_lost,
    require_same,
    require_uid,
)

if TYPE_CHECKING:
    from schema.ports.branches import Branch, Snapshot
    from server.lakebase.platform.api import Branching
    from server.lakebase.steps.step import Step


async def create_branch(step: Step) -> str:
    """Create the branch, or find it as wanted, and wait until it is ready."""
    await _create(step, required(step.request.branch))
    return "the branch is there"


async def create_safety_net(step: Step) -> str:
    """Create the branch that keeps what the next steps take away, or find it. Its message says how to go back to it."""
    net = step.facts.get(SAFETY_NET)
    if net is None:
        return "there was nothing to keep"
    await _create(step, BranchSpec(**net))
    return way_back(net, step.request.kind)


async def _create(step: Step, spec: BranchSpec) -> None:
    branching = _branching(step)
    resource = f"branch {spec.instance_name}/{spec.name}"
    creation = Creation(step, resource)

    async def look() -> bool:
        found = await _existing(step, spec.instance_name, spec.name)
        if found is None:
            require_cost_acknowledged(step, resource)
            await creation.send(lambda: branching.create_branch(spec), REQUESTED, "requested")
            return False
        creation.found()
        require_same(resource, branch_differences(found, spec))
        if found.state is not BranchState.INIT:
            return True
        await creation.check()
        await step.report(0.5, f"the branch is {found.state.value}")
        return False

    await step.until(look)


async def create_endpoint(step: Step) -> str:
    """Create the read-write endpoint of the branch, or give the one that it has its limits; wait until it is there."""
    branching = _branching(step)
    spec = replace(required(step.request.branch), **step.facts.get(ENDPOINT_LIMITS, {}))
    path, resource = branch_path(spec.instance_name, spec.name), f"endpoint of branch {spec.instance_name}/{spec.name}"
    creation, update = Creation(step, resource), SentRecently()
    updating = PlatformOperation(step, f"change of {resource}")

    async def look() -> bool:
        endpoints = await step.services.platform.endpoints(path)
        found = next((one for one in endpoints if one.kind is EndpointKind.READ_WRITE), None)
        if found is None:
            require_cost_acknowledged(step, resource)
            await creation.send(lambda: branching.create_endpoint(spec), REQUESTED, "requested; the platform starts it")
            return False
        creation.found()
        pending = endpoint_changes(found, spec)
        settled = found.state is not EndpointState.INIT and not found.changing
        if settled and not pending:
            return True
        await creation.check()
        if await updating.check(last=True) and settled and update.due():
            require_cost_acknowledged(step, resource)
            await step.guard()
            updating.note(await branching.update_endpoint(found, spec))
            update.sent()
        await step.report(
            0.5, f"requested: {describe(pending)}" if settled and pending else f"the endpoint is {found.state.value}"
        )
        return False

    await step.until(look)
    return f"the endpoint is there: {path}/endpoints/primary"


async def make_default(step: Step) -> str:
    """Make the branch the default one of its instance, after a look that it is ready."""
    spec, branching = required(step.request.branch), _branching(step)
    change, changing = SentRecently(), PlatformOperation(step, f"change of instance {spec.instance_name}")

    async def look() -> bool:
        found = await _existing(step, spec.instance_name, spec.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no branch {spec.name} any more.")
        if found.is_default:
            return True
        if await changing.check(last=True) and found.state is BranchState.READY and change.due():
            await step.guard()
            changing.note(await branching.make_default(spec.instance_name, spec.name))
            change.sent()
            step.services.instances.forget(spec.instance_name)
        await step.report(REQUESTED, "requested")
        return False

    await step.until(look)
    path = branch_path(spec.instance_name, spec.name)
    return f"it is the default branch; to serve it, set LAKEBASE_ENDPOINT to {path}/endpoints/primary"


async def update_branch(step: Step) -> str:
    """Request the properties that differ, and wait until they are as wanted."""
    change, branching = required(step.request.branch_change), _branching(step)
    if change.ttl_seconds:
        # The platform would count a duration from the creation of the branch, and ours counts from now.
        end = datetime.now(UTC) + timedelta(seconds=change.ttl_seconds)
        change = replace(change, ttl_seconds=None, expires_at=step.facts.setdefault("expires_at", end.isoformat()))
    resource = f"branch {change.instance_name}/{change.name}"
    update, updating = SentRecently(), PlatformOperation(step, f"change of {resource}")

    async def look() -> bool:
        found = await _existing(step, change.instance_name, change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no {resource} any more.")
        require_uid(resource, step.facts.get("branch_uid"), found.uid)
        pending = branch_changes(found, change)
        if not pending:
            return True
        if await updating.check(last=True) and update.due():
            await step.guard()
            if any(one.field != "default" for one in pending):
                updating.note(await branching.update_branch(change))
            if change.default and not found.is_default:
                updating.note(await branching.make_default(change.instance_name, change.name))
            update.sent()
        await step.report(0.5, f"requested: {describe(pending)}")
        return False

    await step.until(look)
    return "the branch is as wanted"


async def delete_branch(step: Step) -> str:
    """Delete the branch that was planned for, or purge the deleted one, and wait until it is gone."""
    instance, name = required(step.request.instance_name), required(step.request.branch_name)
    resource, purge, branching = f"branch {instance}/{name}", step.request.purge, _branching(step)
    deletion, absence = SentRecently(DELETE_AGAIN_SECONDS), Absence()
    deleting = PlatformOperation(step, f"deletion of {resource}")

    async def look() -> bool:
        found = await branching.branch(instance, name)
        if found is None or (found.deleted_at is not None and not purge):
            return await deleting.over() and absence.confirmed()
        absence.reset()
        require_uid(resource, step.facts.get("branch_uid"), found.uid)
        if await deleting.check() and deletion.due():
            if found.deleted_at is None and not step.request.discard_status_changes:
                lost = await step.services.postgres.count_changes(found.path)
                require_no_changes_lost(step, resource, lost, sent=bool(step.facts.get("branch_sent")))
            note_deletion_sent(step, "branch")
            if step.facts.get("hosts_operations"):
                await step.detach(deleting=True)
            else:
                await step.guard()
            deleting.note(await branching.delete_branch(instance, name, purge=purge))
            deletion.sent()
            step.services.instances.forget(instance)
        await step.report(0.5, "requested")
        return False

    await step.until(look)
    deleted = None if purge else await branching.branch(instance, name)
    until = deleted.purge_at if deleted else None
    restorable = f"; undeleteDatabaseBranch brings it back until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    return deletion_message(step, "branch") + restorable


async def undelete_branch(step: Step) -> str:
    """Bring the deleted branch back, and wait until it is there."""
    instance, name = required(step.request.instance_name), required(step.request.branch_name)
    resource, branching = f"branch {instance}/{name}", _branching(step)
    undeletion, undeleting = SentRecently(), PlatformOperation(step, f"undeletion of {resource}")

    async def look() -> bool:
        found = await branching.branch(instance, name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"The {resource} is purged: it cannot come back.")
        if found.deleted_at is None and found.state is not BranchState.INIT:
            return True
        if await undeleting.check() and found.deleted_at is not None and undeletion.due():
            require_uid(resource, step.facts.get("branch_uid"), found.uid)
            require_cost_acknowledged(step, resource)
            await step.guard()
            undeleting.note(await branching.undelete_branch(instance, name))
            undeletion.sent()
        await step.report(REQUESTED, "requested; the platform brings it back")
        return False

    await step.until(look)
    return "the branch is back"


async def create_snapshot(step: Step) -> str:
    """Take the snapshot, or find it."""
    spec, branching = required(step.request.snapshot), _branching(step)
    resource = f"snapshot {spec.instance_name}/{spec.name}"
    creation = Creation(step, resource)

    async def look() -> bool:
        if await _snapshot(step, spec.instance_name, spec.name) is not None:
            return True
        require_cost_acknowledged(step, resource)
        await creation.send(lambda: branching.create_snapshot(spec), REQUESTED, "requested")
        return False

    await step.until(look)
    return "the snapshot is taken"


async def delete_snapshot(step: Step) -> str:
    """Delete the snapshot that was planned for, and wait until it is gone."""
    instance, name = required(step.request.instance_name), required(step.request.snapshot_name)
    resource = f"snapshot {instance}/{name}"
    deletion, absence = SentRecently(DELETE_AGAIN_SECONDS), Absence()
    deleting = PlatformOperation(step, f"deletion of {resource}")

    async def look() -> bool:
        found = await _snapshot(step, instance, name)
        if found is None:
            return await deleting.over() and absence.confirmed()
        absence.reset()
        require_uid(resource, step.facts.get("snapshot_uid"), found.uid)
        if await deleting.check() and deletion.due():
            note_deletion_sent(step, "snapshot")
            await step.guard()
            deleting.note(await _branching(step).delete_snapshot(instance, name))
            deletion.sent()
        await step.report(0.5, "requested")
        return False

    await step.until(look)
    return deletion_message(step, "snapshot")


def _branching(step: Step) -> Branching:
    found: Branching = required(step.services.platform.branching)
    return found


async def _existing(step: Step, instance: str, name: str) -> Branch | None:
    """The branch with this name that is not deleted."""
    found = await _branching(step).branch(instance, name)
    return None if found is None or found.deleted_at is not None else found


async def _snapshot(step: Step, instance: str, name: str) -> Snapshot | None:
    found = await _branching(step).snapshots(instance)
    return next((one for one in found if one.name == name), None)
