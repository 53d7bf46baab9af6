"""Owns the steps that operations are made of: each looks at what is, does what is missing, and looks again.

All of them may be run again at any time, by any process, from the beginning: they find what is done already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.lakebase.plans.differences import catalog_differences
from server.lakebase.steps.checks import (
    UNGONE_SECONDS,
    Absence,
    Once,
    check_uid,
    count_again,
    given,
    gone,
    same,
    sending,
    unless_there,
)
from server.lakebase.steps.instance import create_instance, delete_instance, update_instance
from server.lakebase.steps.synced_table import (
    build_indexes,
    create_synced_table,
    delete_synced_table,
    note_belongings,
    restore_belongings,
    sync_table,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from server.lakebase.steps.step import Step


async def create_catalog(step: Step) -> str:
    """Register the database, or find it registered as it is wanted."""
    spec, platform = given(step.request.catalog), step.tools.platform
    made = Once()

    async def look() -> bool:
        found = await platform.catalog(spec.name)
        if found is not None:
            same(f"catalog {spec.name}", catalog_differences(found, spec))
            return True
        if made.due():
            await step.guard()
            await unless_there(platform.create_catalog(spec))
            made.done()
            await step.report(0.5, "asked for")
        return False

    await step.until(look)
    return "the catalog is there"


async def delete_catalog(step: Step) -> str:
    """Take back the registration that was meant."""
    name = given(step.request.catalog_name)
    asked, absent = Once(UNGONE_SECONDS), Absence()

    async def look() -> bool:
        found = await step.tools.platform.catalog(name)
        if found is None:
            return absent.sure()
        absent.over()
        check_uid(f"catalog {name}", step.facts.get("catalog_uid"), found.uid)
        if asked.due():
            if found.instance_name and found.database_name:
                sent = bool(step.facts.get("catalog_sent"))
                await count_again(step, f"catalog {name}", found.instance_name, found.database_name, sent=sent)
            sending("catalog", step)
            await step.guard()
            await step.tools.platform.delete_catalog(name)
            asked.done()
            await step.report(0.5, "asked for")
        return False

    await step.until(look)
    return gone(step, "catalog")


STEPS: Final[Mapping[str, Callable[[Step], Awaitable[str]]]] = {
    one.__name__: one
    for one in (
        create_instance,
        update_instance,
        delete_instance,
        create_catalog,
        delete_catalog,
        create_synced_table,
        delete_synced_table,
        note_belongings,
        sync_table,
        restore_belongings,
        build_indexes,
    )
}
