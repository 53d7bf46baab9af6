"""The steps that create, sync and delete a synced table, and keep its grants and indexes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from schema.errors import PlatformError, Reason
from schema.ports.admin.tables import SYNC_FAILED, SyncState
from server.db.database import DatabaseAbsentError
from server.lakebase.database.inspection import TableLocation, location_of
from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.differences import same_name, table_differences
from server.lakebase.plans.drafts.draft import MADE_FROM, SYNCED_TABLE
from server.lakebase.steps.calls import DELETE_AGAIN_SECONDS, REQUESTED, Absence, Call, Creation, RunStart
from server.lakebase.steps.checks import (
    deletion_message,
    note_deletion_sent,
    require_cost_acknowledged,
    require_one_of_ids,
    require_same,
)

if TYPE_CHECKING:
    from schema.ports.admin.tables import SyncedTable, SyncedTableSpec
    from server.lakebase.steps.step import Step

_ONLINE: Final = frozenset({SyncState.ONLINE, SyncState.ONLINE_NO_PENDING_UPDATE, SyncState.ONLINE_CONTINUOUS_UPDATE})


async def create_synced_table(step: Step) -> str:
    """Create the synced table, or find it as wanted; wait until its first sync is done."""
    spec, platform = _wanted(step), step.services.platform
    new = _made_from(step, spec)
    creation, restart = Creation(step, f"synced table {spec.name}"), RunStart(step)

    async def look() -> bool:
        found = await platform.synced_table(spec.name)
        if found is None:
            require_cost_acknowledged(step, f"synced table {spec.name}")
            await creation.send(
                lambda: platform.create_synced_table(new), REQUESTED, "requested; the platform creates its pipeline"
            )
            return False
        creation.found()
        require_same(f"synced table {spec.name}", table_differences(found, spec))
        if found.state in _ONLINE:
            return True
        if found.state in SYNC_FAILED:
            # The failed run that this step finds is restarted once. If the next run fails too, so does the step.
            run = await platform.pipelines.latest_run(found.pipeline_id) if found.pipeline_id else None
            if not found.pipeline_id or run is None:
                raise _sync_failed(found)
            if run.failed and run.id != step.facts.setdefault("failed_run", run.id):
                raise _sync_failed(found)
            if run.id == step.facts["failed_run"]:
                pipeline = found.pipeline_id
                await restart.send(lambda: platform.pipelines.start(pipeline))
        await step.report(_sync_progress(found), _sync_message(found))
        return False

    await step.until(look)
    return "the rows are synced"


async def delete_synced_table(step: Step) -> str:
    """Delete the synced table that was planned for, and its PostgreSQL table, which the platform may leave behind."""
    name, platform = _table_name(step), step.services.platform
    deletion = Call(step, f"deletion of synced table {name}", again=DELETE_AGAIN_SECONDS, repeated=True)
    absence = Absence()

    async def look() -> bool:
        found = await platform.synced_table(name)
        # The platform may still be freeing its name.
        if found is None and not (await deletion.over() and absence.confirmed()):
            return False
        if found is None:
            place = step.facts.get("place")
            if place and await step.services.postgres.drop_table(TableLocation(*place)):
                await step.report(0.9, "the platform left its PostgreSQL table behind, which is dropped now")
            return True
        absence.reset()
        if await deletion.due():
            require_one_of_ids(f"synced table {name}", step.facts.get("table_ids"), await platform.ids_of(found))
            if found.server and found.database_name:
                table = location_of(found)
                step.facts["place"] = [table.instance, table.database, table.schema, table.table]
            note_deletion_sent(step, "table")
            await deletion.send(lambda: platform.delete_synced_table(name))
        await step.report(0.5, f"the synced table is {found.state.value}")
        return False

    await step.until(look)
    return deletion_message(step, "table")


async def keep_grants_and_indexes(step: Step) -> str:
    """Keep the table's grants and indexes before a sync or a deletion takes them away."""
    name, messages = _table_name(step), ["there is nothing to keep"]

    async def look() -> bool:
        found = await step.services.platform.synced_table(name)
        if found is not None and found.server and found.database_name:
            try:
                present = await step.services.postgres.grants_and_indexes(location_of(found))
            except DatabaseAbsentError:
                if await _may_be_reached_later(step, found):
                    raise
                return True
            await step.services.grants_and_indexes.add(name, present)
            messages.append(f"kept: {len(present.grants)} grants, {len(present.indexes)} indexes")
        return True

    await step.until(look)
    return messages[-1]


async def _may_be_reached_later(step: Step, found: SyncedTable) -> bool:
    """Whether the database of a table that cannot be reached now is there: its instance is stopped, or is starting.

    A table outlives its branch or instance in Unity Catalog. A branch without an endpoint keeps its PostgreSQL table.
    """
    platform = step.services.platform
    if found.branch is not None:
        return bool(await platform.endpoints(required(found.server)))
    return found.instance_name is None or await platform.instance(found.instance_name) is not None


async def sync_table(step: Step) -> str:
    """Start a sync, or find one under way, and wait until it is done."""
    name, platform = _table_name(step), step.services.platform
    start = RunStart(step)

    async def look() -> bool:
        found = await platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name} any more.")
        if not found.pipeline_id:
            await step.report(None, "the platform has not named its pipeline yet")
            return False
        run = await platform.pipelines.latest_run(found.pipeline_id)
        before = step.facts.setdefault("run_before", run.id if run and run.done else "")
        if run is None or run.id == before:
            pipeline = found.pipeline_id
            refusal = await start.send(lambda: platform.pipelines.start(pipeline))
            await step.report(REQUESTED, refusal or "requested; the pipeline starts")
            return False
        if run.done and (run.failed or found.state in SYNC_FAILED):
            raise _sync_failed(found)
        if run.done and found.state in _ONLINE:
            return True
        await step.report(_sync_progress(found), _sync_message(found))
        return False

    await step.until(look)
    return "the rows are synced"


async def restore_grants_and_indexes(step: Step) -> str:
    """Restore the grants and indexes that were kept before the table was replaced."""
    name, messages = _table_name(step), ["there is nothing to restore"]

    async def look() -> bool:
        kept = await step.services.grants_and_indexes.get(name)
        if not kept:
            return True
        found = await step.services.platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name} any more.")
        await step.guard()
        table, postgres = location_of(found), step.services.postgres
        broken = await step.services.indexes.broken(table)
        await step.report(None, "the grants and indexes that were kept are being restored")
        statements = [*broken, *kept.grants, *kept.indexes]
        await step.interruptible(postgres.run_each(table, statements, seconds=step.index_seconds))
        # PostgreSQL only warns if a role may not grant a right, so the result is compared with what was kept.
        missing = kept.without(await postgres.grants_and_indexes(table))
        await step.services.grants_and_indexes.replace(name, missing)
        messages.append(f"restored: {len(kept) - len(missing)} of {len(kept)} grants and indexes")
        if missing:
            messages[-1] += f"; the table's owner has to run: {'; '.join((*missing.grants, *missing.indexes))}"
        return True

    await step.until(look)
    return messages[-1]


async def build_indexes(step: Step) -> str:
    """Build the missing indexes of a table, if it is of a kind that is served.

    If the server's role may not build them, the step still succeeds, and its message has the statements to run.
    """
    name, messages = _table_name(step), ["all indexes exist"]

    async def look() -> bool:
        found = await step.services.platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name}.")
        await step.guard()
        table = location_of(found)
        if not await step.services.indexes.apply_to(table):
            messages.append("no table with these columns is served, so no index is built")
            return True
        building = step.services.indexes.build(table, step.report, text=step.request.text)
        refused = await step.interruptible(building)
        if refused:
            messages.append(f"the server may not build indexes; the table's owner has to run: {'; '.join(refused)}")
        return True

    await step.until(look)
    return messages[-1]


def _table_name(step: Step) -> str:
    return step.resource.removeprefix(SYNCED_TABLE)


def _wanted(step: Step) -> SyncedTableSpec:
    """What the request says about the table."""
    request, name = step.request, _table_name(step)
    found = next((one for one in (request.table, *request.others) if one and same_name(one.name, name)), None)
    spec: SyncedTableSpec = required(found)
    return spec


def _made_from(step: Step, spec: SyncedTableSpec) -> SyncedTableSpec:
    """The same with the source and the key that the plan has found, if the table has to be created."""
    found = step.facts.get(MADE_FROM)
    return replace(spec, source=found["source"], primary_key=tuple(found["primary_key"])) if found else spec


def _sync_failed(found: SyncedTable) -> PlatformError:
    page = f" Its pipeline: {found.pipeline_url}" if found.pipeline_url else ""
    cause = (found.message or "the platform does not say why").rstrip(". ")
    return PlatformError(Reason.SYNC_FAILED, f"The sync of {found.name} failed: {cause}.{page}")


def _sync_progress(found: SyncedTable) -> float:
    if found.progress is not None:
        return 0.1 + 0.9 * min(max(found.progress, 0.0), 1.0)
    return REQUESTED


def _sync_message(found: SyncedTable) -> str:
    if found.rows_total:
        return f"{found.rows_synced or 0:,} of {found.rows_total:,} rows are synced"
    return f"the synced table is {found.state.value}"
