"""Owns the steps that make, sync and delete a synced table, and see to what stands on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import ForbiddenError, PlatformError, Reason
from schema.ports.administration import SyncState
from server.lakebase.database.inspection import TableLocation, place_of
from server.lakebase.plans.differences import table_differences
from server.lakebase.steps.checks import (
    ASKED,
    UNGONE_SECONDS,
    Absence,
    Once,
    acknowledged,
    check_uid,
    given,
    gone,
    same,
    sending,
    unless_there,
)

if TYPE_CHECKING:
    from schema.ports.administration import SyncedTable
    from server.lakebase.steps.step import Step

_ONLINE: Final = frozenset({SyncState.ONLINE, SyncState.ONLINE_NO_PENDING_UPDATE, SyncState.ONLINE_CONTINUOUS_UPDATE})
_SYNC_FAILED: Final = frozenset({SyncState.OFFLINE_FAILED, SyncState.ONLINE_PIPELINE_FAILED})


async def create_synced_table(step: Step) -> str:
    """Make the synced table, or find it as it is wanted; wait for its first sync to be done."""
    spec, platform = given(step.request.table), step.tools.platform
    made, restarted = Once(), Once()

    async def look() -> bool:
        found = await platform.synced_table(spec.name)
        if found is None:
            if made.due():
                acknowledged(step, f"synced table {spec.name}")
                await step.guard()
                await unless_there(platform.create_synced_table(spec))
                made.done()
                await step.report(ASKED, "asked for; the platform makes its pipeline")
            return False
        same(f"synced table {spec.name}", table_differences(found, spec))
        if found.state in _ONLINE:
            return True
        if found.state in _SYNC_FAILED:
            # One that has failed is given another chance; one that fails after that has failed.
            run = await platform.latest_run(found.pipeline_id) if found.pipeline_id else None
            if not found.pipeline_id or run is None:
                raise _failed(found)
            if run.failed and run.id != step.facts.setdefault("failed_run", run.id):
                raise _failed(found)
            if run.id == step.facts["failed_run"] and restarted.due():
                await step.guard()
                await unless_there(platform.start_pipeline(found.pipeline_id))
                restarted.done()
        await step.report(_synced_part(found), _progress(found))
        return False

    await step.until(look)
    return "the rows are there"


async def delete_synced_table(step: Step) -> str:
    """Delete the synced table that was meant, and the PostgreSQL table, which the platform may leave behind."""
    name, platform = given(step.request.table_name), step.tools.platform
    asked, absent = Once(UNGONE_SECONDS), Absence()

    async def look() -> bool:
        found = await platform.synced_table(name)
        if found is None and not absent.sure():
            return False
        if found is None:
            place = step.facts.get("place")
            if place and await step.tools.postgres.drop_table(TableLocation(*place)):
                await step.report(0.9, "the platform had left its PostgreSQL table, which is dropped")
            return True
        absent.over()
        if asked.due():
            check_uid(f"synced table {name}", step.facts.get("table_uid"), await _table_uid(step, found))
            if found.instance_name and found.database_name:
                place = place_of(found)
                step.facts["place"] = [place.instance, place.database, place.schema, place.table]
            sending("table", step)
            await step.guard()
            await platform.delete_synced_table(name)
            asked.done()
        await step.report(0.5, f"the synced table is {found.state.value}")
        return False

    await step.until(look)
    return gone(step, "table")


async def note_belongings(step: Step) -> str:
    """Note the grants and indexes on the table, which go with it."""
    name, said_ = given(step.request.table_name), ["there is nothing to note"]

    async def look() -> bool:
        found = await step.tools.platform.synced_table(name)
        if found is not None and found.instance_name and found.database_name:
            belongings = await step.tools.postgres.belongings(place_of(found))
            await step.tools.records.note_belongings(name, belongings)
            said_.append(f"noted: grants {len(belongings.grants)}, indexes {len(belongings.indexes)}")
        return True

    await step.until(look)
    return said_[-1]


async def sync_table(step: Step) -> str:
    """Sync now, and wait for the end of it. A sync that is found under way is that one."""
    name, platform = given(step.request.table_name), step.tools.platform
    started = Once()

    async def look() -> bool:
        found = await platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name} any more.")
        if not found.pipeline_id:
            await step.report(None, "the platform has not told its pipeline yet")
            return False
        run = await platform.latest_run(found.pipeline_id)
        before = step.facts.setdefault("run_before", run.id if run and run.done else "")
        if run is None or run.id == before:
            if started.due():
                await step.guard()
                await unless_there(platform.start_pipeline(found.pipeline_id))
                started.done()
        elif run.done and (run.failed or found.state in _SYNC_FAILED):
            raise _failed(found)
        elif run.done and found.state in _ONLINE:
            return True
        await step.report(_synced_part(found), _progress(found))
        return False

    await step.until(look)
    return "the rows are synced"


async def restore_belongings(step: Step) -> str:
    """Put the grants and indexes back that were noted before the table was replaced."""
    name = step.request.table_name or given(step.request.table).name
    said_ = ["there is nothing to put back"]

    async def look() -> bool:
        kept = await step.tools.records.belongings(name)
        if not kept.grants and not kept.indexes:
            return True
        found = await step.tools.platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name} any more.")
        await step.guard()
        place, postgres = place_of(found), step.tools.postgres
        broken = await step.tools.indexes.broken(place)
        statements = [*broken, *kept.grants, *kept.indexes]
        await postgres.run_each(place, statements, seconds=step.index_seconds)
        # A GRANT of what one may not grant is no error to PostgreSQL: what counts is what is there afterwards.
        missing = kept.without(await postgres.belongings(place))
        await step.tools.records.put_back(name, missing)
        wanted, left = len(kept.grants) + len(kept.indexes), [*missing.grants, *missing.indexes]
        said_.append(f"put back: {wanted - len(left)} of {wanted} grants and indexes")
        if left:
            said_[-1] += f"; the owner of the table has to run: {'; '.join(left)}"
        return True

    await step.until(look)
    return said_[-1]


async def build_indexes(step: Step) -> str:
    """Build the indexes that orders need. A role that may not build them is no failure: it is said who may."""
    name = step.request.table_name or given(step.request.table).name
    said_ = ["all indexes are there"]

    async def look() -> bool:
        found = await step.tools.platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name}.")
        await step.guard()
        if not await step.tools.indexes.apply_to(place_of(found)):
            said_.append("it is no table of orders: nothing is built")
            return True
        refused = await step.tools.indexes.build(place_of(found), step.report)
        if refused:
            said_.append(f"the server may not build indexes; the owner of the table has to run: {'; '.join(refused)}")
        return True

    await step.until(look)
    return said_[-1]


async def _table_uid(step: Step, found: SyncedTable) -> str | None:
    try:
        return await step.tools.platform.table_uid(found.name) or found.pipeline_id
    except ForbiddenError:
        return found.pipeline_id


def _failed(found: SyncedTable) -> PlatformError:
    page = f" Its pipeline: {found.pipeline_url}" if found.pipeline_url else ""
    why = (found.message or "the platform does not say why").rstrip(". ")
    return PlatformError(Reason.SYNC_FAILED, f"The sync of {found.name} has failed: {why}.{page}")


def _synced_part(found: SyncedTable) -> float:
    if found.progress is not None:
        return 0.1 + 0.9 * min(max(found.progress, 0.0), 1.0)
    return ASKED


def _progress(found: SyncedTable) -> str:
    if found.rows_total:
        return f"{found.rows_synced or 0:,} of {found.rows_total:,} rows are synced"
    return f"the synced table is {found.state.value}"
