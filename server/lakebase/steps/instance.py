"""The steps that create, change, delete and undelete an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import PlatformError, Reason
from schema.ports.instances import InstanceChange, InstanceState
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.deletions import changes_in, name_held, total
from server.lakebase.plans.drafts.differences import describe, instance_differences, pending_changes
from server.lakebase.plans.safety_net import net_of
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
    from schema.ports.instances import Instance
    from server.lakebase.steps.step import Step

_SETTLED: Final = frozenset({InstanceState.AVAILABLE, InstanceState.STOPPED})


async def create_instance(step: Step) -> str:
    """Create the instance, or find it as wanted; start it if it is stopped; wait until it is available."""
    spec, platform = required(step.request.instance), step.services.platform
    creation, start = Creation(step, f"instance {spec.name}"), SentRecently()
    starting = PlatformOperation(step, f"start of instance {spec.name}")

    async def create() -> str | None:
        try:
            return await platform.create_instance(spec)
        except PlatformError as error:
            # A deleted instance may hold the name since the plan was made.
            if error.reason is Reason.SPEC_CONFLICT and (deleted := await platform.deleted_instance(spec.name)):
                raise PlatformError(Reason.NAME_HELD, name_held(deleted)) from error
            raise

    async def look() -> bool:
        found = await platform.instance(spec.name)
        if found is None:
            require_cost_acknowledged(step, f"instance {spec.name}")
            await creation.send(create, REQUESTED, "requested; the platform starts it")
            step.services.instances.forget(spec.name)
            return False
        creation.found()
        require_same(f"instance {spec.name}", instance_differences(found, spec))
        if found.state is InstanceState.STOPPED and start.due():
            require_cost_acknowledged(step, f"instance {spec.name}")
            await step.guard()
            starting.note(await platform.update_instance(InstanceChange(spec.name, stopped=False)))
            start.sent()
        if found.state is InstanceState.AVAILABLE:
            return True
        await creation.check()
        await starting.check(last=True)
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return "the instance is available"


async def update_instance(step: Step) -> str:
    """Request the properties that differ, and wait until they are as wanted."""
    change, platform = required(step.request.change), step.services.platform
    update, updating = SentRecently(), PlatformOperation(step, f"change of instance {change.name}")

    async def look() -> bool:
        found = await platform.instance(change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no instance {change.name} any more.")
        require_uid(f"instance {change.name}", step.facts.get("instance_uid"), found.uid)
        pending = pending_changes(found, change)
        settled = found.state in _SETTLED
        if settled and not pending:
            return True
        over = await updating.check(last=True)
        if settled and over and update.due():
            if change.stopped and step.facts.get("hosts_operations"):
                await step.detach(deleting=False)
            else:
                await step.guard()
            updating.note(await platform.update_instance(change))
            update.sent()
            step.services.instances.forget(change.name)
        await step.report(0.5, f"the instance is {found.state.value}; {describe(pending)}")
        return False

    await step.until(look)
    return "the instance is as wanted"


async def delete_instance(step: Step) -> str:
    """Delete the instance that was planned for, or purge the deleted one, and wait until it is gone."""
    name, purge = required(step.request.instance_name), step.request.purge
    platform = step.services.platform
    deletion, absence = SentRecently(DELETE_AGAIN_SECONDS), Absence()
    deleting = PlatformOperation(step, f"deletion of instance {name}")
    kept: list[Instance] = []

    async def look() -> bool:
        found = await platform.instance(name)
        if found is None:
            kept[:] = filter(None, [await platform.deleted_instance(name)])
            if not (purge and kept):
                # The platform may still be freeing its name.
                return await deleting.over() and absence.confirmed()
            found = kept[0]
        absence.reset()
        require_uid(f"instance {name}", step.facts.get("instance_uid"), found.uid)
        over = await deleting.check()
        if found.state is not InstanceState.DELETING and over and deletion.due():
            sent = bool(step.facts.get("instance_sent"))
            if found.state is not InstanceState.DELETED and not step.request.discard_status_changes:
                lost = total(await changes_in(step.services, found, net=net_of(step.facts)))
                require_no_changes_lost(step, f"instance {name}", lost, sent=sent)
            note_deletion_sent(step, "instance")
            if step.facts.get("hosts_operations"):
                await step.detach(deleting=True)
            else:
                await step.guard()
            deleting.note(await platform.delete_instance(name, purge=purge))
            deletion.sent()
            step.services.instances.forget(name)
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    until = kept[0].purge_at if kept else None
    restorable = f"; undeleteDatabaseInstance brings it back until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    return deletion_message(step, "instance") + restorable


async def undelete_instance(step: Step) -> str:
    """Bring the deleted instance back, and wait until it is there."""
    name, platform = required(step.request.instance_name), step.services.platform
    undeletion, undeleting = SentRecently(), PlatformOperation(step, f"undeletion of instance {name}")

    async def look() -> bool:
        found = await platform.instance(name)
        if found is not None and found.state is not InstanceState.STARTING:
            return True
        over = await undeleting.check()
        if found is None and over and undeletion.due():
            deleted = await platform.deleted_instance(name)
            if deleted is None:
                raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"The instance {name} is purged: it cannot come back.")
            require_uid(f"instance {name}", step.facts.get("instance_uid"), deleted.uid)
            require_cost_acknowledged(step, f"instance {name}")
            await step.guard()
            undeleting.note(await platform.undelete_instance(name))
            undeletion.sent()
            step.services.instances.forget(name)
        await step.report(REQUESTED, "requested; the platform brings it back")
        return False

    await step.until(look)
    return "the instance is back"
