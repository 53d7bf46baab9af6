"""The steps that create, change and delete an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import PlatformError, Reason
from schema.ports.administration import InstanceChange, InstanceState
from server.lakebase.operations.operation import required
from server.lakebase.plans.differences import describe, instance_differences, pending_changes
from server.lakebase.steps.checks import (
    DELETE_AGAIN_SECONDS,
    REQUESTED,
    Absence,
    Creation,
    SentRecently,
    deletion_message,
    note_deletion_sent,
    require_cost_acknowledged,
    require_no_changes_lost,
    require_same,
    require_uid,
)

if TYPE_CHECKING:
    from server.lakebase.steps.step import Step

_SETTLED: Final = frozenset({InstanceState.AVAILABLE, InstanceState.STOPPED})


async def create_instance(step: Step) -> str:
    """Create the instance, or find it as wanted; start it if it is stopped; wait until it is available."""
    spec, platform = required(step.request.instance), step.services.platform
    creation, start = Creation(step, f"instance {spec.name}"), SentRecently()

    async def look() -> bool:
        found = await platform.instance(spec.name)
        if found is None:
            require_cost_acknowledged(step, f"instance {spec.name}")
            await creation.send(lambda: platform.create_instance(spec), REQUESTED, "requested; the platform starts it")
            step.services.instances.forget(spec.name)
            return False
        creation.found()
        require_same(f"instance {spec.name}", instance_differences(found, spec))
        if found.state is InstanceState.STOPPED and start.due():
            require_cost_acknowledged(step, f"instance {spec.name}")
            await step.guard()
            await platform.update_instance(InstanceChange(spec.name, stopped=False))
            start.sent()
        if found.state is InstanceState.AVAILABLE:
            return True
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return "the instance is available"


async def update_instance(step: Step) -> str:
    """Request the properties that differ, and wait until they are as wanted."""
    change, platform = required(step.request.change), step.services.platform
    update = SentRecently()

    async def look() -> bool:
        found = await platform.instance(change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no instance {change.name} any more.")
        require_uid(f"instance {change.name}", step.facts.get("instance_uid"), found.uid)
        pending = pending_changes(found, change)
        settled = found.state in _SETTLED
        if settled and not pending:
            return True
        if settled and update.due():
            if change.stopped and step.facts.get("hosts_operations"):
                await step.detach(deleting=False)
            else:
                await step.guard()
            await platform.update_instance(change)
            update.sent()
            step.services.instances.forget(change.name)
        await step.report(0.5, f"the instance is {found.state.value}; {describe(pending)}")
        return False

    await step.until(look)
    return "the instance is as wanted"


async def delete_instance(step: Step) -> str:
    """Delete the instance that was planned for, and wait until it is gone."""
    name = required(step.request.instance_name)
    deletion, absence = SentRecently(DELETE_AGAIN_SECONDS), Absence()

    async def look() -> bool:
        found = await step.services.platform.instance(name)
        if found is None:
            return absence.confirmed()
        absence.reset()
        require_uid(f"instance {name}", step.facts.get("instance_uid"), found.uid)
        if found.state is not InstanceState.DELETING and deletion.due():
            sent = bool(step.facts.get("instance_sent"))
            await require_no_changes_lost(step, f"instance {name}", name, sent=sent)
            note_deletion_sent(step, "instance")
            if step.facts.get("hosts_operations"):
                await step.detach(deleting=True)
            else:
                await step.guard()
            await step.services.platform.delete_instance(name)
            deletion.sent()
            step.services.instances.forget(name)
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return deletion_message(step, "instance")
