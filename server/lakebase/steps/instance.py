"""The steps that create, change, delete and undelete an instance."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from schema.errors import PlatformError, Reason
from schema.ports.admin.instances import Flavour, InstanceChange, InstanceState
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.deletions import STEP_SECONDS, changes_in, name_held, total
from server.lakebase.plans.drafts.differences import describe, instance_differences, pending_changes
from server.lakebase.plans.safety_net import net_of
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
    from schema.ports.admin.instances import Instance
    from server.lakebase.steps.step import Step


async def create_instance(step: Step) -> str:
    """Create the instance, or find it as wanted; start it if it is stopped; wait until it is available."""
    spec, platform = required(step.request.instance), step.services.platform
    creation, start = Creation(step, f"instance {spec.name}"), Call(step, f"start of instance {spec.name}")
    messages = ["the instance is available"]

    async def create() -> str | None:
        try:
            return await platform.create_instance(spec)
        except PlatformError as error:
            # A deleted instance may hold the name since the plan was made.
            if error.reason is Reason.SPEC_CONFLICT and (deleted := await platform.deleted_instance(spec.name)):
                held = name_held(f"instance {spec.name}", deleted.purge_at)
                raise PlatformError(Reason.NAME_HELD, held) from error
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
        if found.state is InstanceState.AVAILABLE:
            return True
        over = await creation.check()
        if await start.due() and found.state is InstanceState.STOPPED:
            require_cost_acknowledged(step, f"instance {spec.name}")
            await start.send(lambda: platform.update_instance(InstanceChange(spec.name, stopped=False)))
        elif over and found.state is InstanceState.UNKNOWN:
            # The platform has a state that this server does not know, and says that the creation is over.
            messages.append("the instance is there; its state is UNKNOWN")
            return True
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return messages[-1]


async def update_instance(step: Step) -> str:
    """Request the properties that differ, and wait until they are as wanted."""
    change, platform = required(step.request.change), step.services.platform
    parts = [(Call(step, f"change of {what}"), part) for what, part in _parts(change, platform.flavour)]

    async def look() -> bool:
        found = await platform.instance(change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no instance {change.name} any more.")
        require_uid(f"instance {change.name}", step.facts.get("instance_uid"), found.uid)
        if found.settled and not pending_changes(found, change):
            return True
        for call, part in parts:
            if await call.due() and found.settled and pending_changes(found, part):
                stops_itself = part.stopped and step.facts.get("hosts_operations")
                guard = partial(step.detach, deleting=False) if stops_itself else None
                await call.send(partial(platform.update_instance, part), guard=guard)
                step.services.instances.forget(change.name)
        await step.report(0.5, f"the instance is {found.state.value}; {describe(pending_changes(found, change))}")
        return False

    await step.until(look)
    return "the instance is as wanted"


def _parts(change: InstanceChange, flavour: Flavour) -> list[tuple[str, InstanceChange]]:
    """The calls of a change, and what they change. The history is the project's, and the rest its endpoint's."""
    if flavour is Flavour.PROVISIONED:
        return [(f"instance {change.name}", change)]
    return [
        (f"the history of instance {change.name}", InstanceChange(change.name, retention_days=change.retention_days)),
        (f"the endpoint of instance {change.name}", replace(change, retention_days=None)),
    ]


async def delete_instance(step: Step) -> str:
    """Delete the instance that was planned for, or purge the deleted one, and wait until it is gone."""
    name, purge = required(step.request.instance_name), step.request.purge
    platform = step.services.platform
    deletion = Call(step, f"deletion of instance {name}", again=DELETE_AGAIN_SECONDS, repeated=True)
    absence = Absence()
    guard = partial(step.detach, deleting=True) if step.facts.get("hosts_operations") else None
    kept: list[Instance] = []

    async def look() -> bool:
        found = await platform.instance(name)
        if found is None:
            kept[:] = filter(None, [await platform.deleted_instance(name)])
            if not (purge and kept):
                # The platform may still be freeing its name.
                return await deletion.over() and absence.confirmed()
            found = kept[0]
        absence.reset()
        require_uid(f"instance {name}", step.facts.get("instance_uid"), found.uid)
        if found.state is not InstanceState.DELETED:
            require_not_undeleted(step, f"instance {name}")
        if await deletion.due() and found.state is not InstanceState.DELETING:
            sent = bool(step.facts.get("instance_sent"))
            if found.state is not InstanceState.DELETED and not step.request.discard_status_changes:
                lost = total(await changes_in(step.services, found, net=net_of(step.facts), seconds=STEP_SECONDS))
                require_no_changes_lost(step, f"instance {name}", lost, sent=sent)
            note_deletion_sent(step, "instance")
            await deletion.send(lambda: platform.delete_instance(name, purge=purge), guard=guard)
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
    undeletion = Call(step, f"undeletion of instance {name}", repeated=True)

    async def look() -> bool:
        found = await platform.instance(name)
        if found is not None and (found.settled or found.state is not InstanceState.STARTING):
            return True
        if await undeletion.due() and found is None:
            deleted = await platform.deleted_instance(name)
            if deleted is None:
                # Another client may have brought it back between the two looks.
                if await platform.instance(name) is not None:
                    return False
                raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"The instance {name} is purged: it cannot come back.")
            require_uid(f"instance {name}", step.facts.get("instance_uid"), deleted.uid)
            require_cost_acknowledged(step, f"instance {name}")
            try:
                await undeletion.send(lambda: platform.undelete_instance(name))
            except PlatformError:
                # Another client may have brought it back since the look.
                if await platform.instance(name) is None:
                    raise
            step.services.instances.forget(name)
        await step.report(REQUESTED, "requested; the platform brings it back")
        return False

    await step.until(look)
    return "the instance is back"
