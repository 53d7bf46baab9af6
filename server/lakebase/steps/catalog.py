"""The steps that create and delete a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.differences import catalog_differences
from server.lakebase.steps.calls import DELETE_AGAIN_SECONDS, Absence, Call, Creation
from server.lakebase.steps.checks import (
    deletion_message,
    note_deletion_sent,
    require_no_changes_lost,
    require_same,
    require_uid,
)

if TYPE_CHECKING:
    from server.lakebase.steps.step import Step


async def create_catalog(step: Step) -> str:
    """Register the database, or find it registered as wanted."""
    spec, platform = required(step.request.catalog), step.services.platform
    creation = Creation(step, f"catalog {spec.name}")

    async def look() -> bool:
        found = await platform.catalog(spec.name)
        if found is not None:
            require_same(f"catalog {spec.name}", catalog_differences(found, spec))
            return True
        await creation.send(lambda: platform.create_catalog(spec), 0.5, "requested")
        return False

    await step.until(look)
    return "the catalog exists"


async def delete_catalog(step: Step) -> str:
    """Delete the catalog that was planned for, and wait until it is gone."""
    name = required(step.request.catalog_name)
    deletion = Call(step, f"deletion of catalog {name}", again=DELETE_AGAIN_SECONDS, repeated=True)
    absence = Absence()

    async def look() -> bool:
        found = await step.services.platform.catalog(name)
        if found is None:
            # The platform may still be freeing its name.
            return await deletion.over() and absence.confirmed()
        absence.reset()
        require_uid(f"catalog {name}", step.facts.get("catalog_uid"), found.uid)
        if await deletion.due():
            if found.database_name and not step.request.discard_status_changes:
                lost = await step.services.postgres.count_changes(found.server, found.database_name)
                require_no_changes_lost(step, f"catalog {name}", lost, sent=bool(step.facts.get("catalog_sent")))
            note_deletion_sent(step, "catalog")
            await deletion.send(lambda: step.services.platform.delete_catalog(name))
            await step.report(0.5, "requested")
        return False

    await step.until(look)
    return deletion_message(step, "catalog")
