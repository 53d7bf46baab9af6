"""Owns the steps that make, change and delete an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import PlatformError, Reason
from schema.ports.administration import InstanceChange, InstanceState
from server.lakebase.plans.differences import change_differences, instance_differences, said
from server.lakebase.steps.checks import (
    ASKED,
    UNGONE_SECONDS,
    Absence,
    Once,
    acknowledged,
    check_uid,
    count_again,
    given,
    gone,
    same,
    sending,
    unless_there,
)

if TYPE_CHECKING:
    from server.lakebase.steps.step import Step

_SETTLED: Final = frozenset({InstanceState.AVAILABLE, InstanceState.STOPPED})


async def create_instance(step: Step) -> str:
    """Make the instance, or find it as it is wanted; start it where it is stopped; wait until it is available."""
    spec, platform = given(step.request.instance), step.tools.platform
    made, started = Once(), Once()

    async def look() -> bool:
        found = await platform.instance(spec.name)
        if found is None:
            if made.due():
                acknowledged(step, f"instance {spec.name}")
                await step.guard()
                await unless_there(platform.create_instance(spec))
                made.done()
                step.tools.instances.forget(spec.name)
                await step.report(ASKED, "asked for; the platform starts it")
            return False
        same(f"instance {spec.name}", instance_differences(found, spec))
        if found.state is InstanceState.STOPPED and started.due():
            acknowledged(step, f"instance {spec.name}")
            await step.guard()
            await platform.update_instance(InstanceChange(spec.name, stopped=False))
            started.done()
        if found.state is InstanceState.AVAILABLE:
            return True
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return "the instance is available"


async def update_instance(step: Step) -> str:
    """Ask for what is otherwise than wanted, and wait until it is so."""
    change, platform = given(step.request.change), step.tools.platform
    asked = Once()

    async def look() -> bool:
        found = await platform.instance(change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no instance {change.name} any more.")
        check_uid(f"instance {change.name}", step.facts.get("instance_uid"), found.uid)
        missing = change_differences(found, change)
        settled = found.state in _SETTLED
        if settled and not missing:
            return True
        if settled and asked.due():
            await (step.detach(going=False) if change.stopped and step.facts.get("hosts_operations") else step.guard())
            await platform.update_instance(change)
            asked.done()
            step.tools.instances.forget(change.name)
        await step.report(0.5, f"the instance is {found.state.value}; {said(missing)}")
        return False

    await step.until(look)
    return "the instance is as wanted"


async def delete_instance(step: Step) -> str:
    """Delete the instance that was meant, and wait until it is gone."""
    name = given(step.request.instance_name)
    asked, absent = Once(UNGONE_SECONDS), Absence()

    async def look() -> bool:
        found = await step.tools.platform.instance(name)
        if found is None:
            return absent.sure()
        absent.over()
        check_uid(f"instance {name}", step.facts.get("instance_uid"), found.uid)
        if found.state is not InstanceState.DELETING and asked.due():
            await count_again(step, f"instance {name}", name, sent=bool(step.facts.get("instance_sent")))
            sending("instance", step)
            await (step.detach(going=True) if step.facts.get("hosts_operations") else step.guard())
            await step.tools.platform.delete_instance(name)
            asked.done()
            step.tools.instances.forget(name)
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return gone(step, "instance")
