"""Owns the steps that operations are made of: each looks at what is, does what is missing, and looks again.

All of them may be run again at any time, by any process, from the beginning: they find what is done already.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from schema.errors import ForbiddenError, PlatformError, Reason
from schema.lakebase_ports import InstanceChange, InstanceState, SyncState
from server.lakebase.comparison import (
    catalog_differences,
    change_differences,
    instance_differences,
    said,
    table_differences,
)
from server.lakebase.postgres import Place, place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from schema.lakebase_ports import Difference, SyncedTable
    from server.lakebase.stepping import Step

# What has been asked for may not be shown for a moment, and is not asked for again before this. Making it again would
# be refused; deleting it again does no harm.
_UNSEEN_SECONDS: Final = 20.0
_UNGONE_SECONDS: Final = 3.0
_SETTLED: Final = frozenset({InstanceState.AVAILABLE, InstanceState.STOPPED})
_ONLINE: Final = frozenset({SyncState.ONLINE, SyncState.ONLINE_NO_PENDING_UPDATE, SyncState.ONLINE_CONTINUOUS_UPDATE})
_SYNC_FAILED: Final = frozenset({SyncState.OFFLINE_FAILED, SyncState.ONLINE_PIPELINE_FAILED})
_ASKED: Final = 0.05


class _Absence:
    """What is not found may be merely not shown for a moment: it is gone where it is not found twice in a row."""

    def __init__(self) -> None:
        self._looks = 0

    def sure(self) -> bool:
        """It has not been found, again: whether it is certain now that it is gone."""
        self._looks += 1
        return self._looks > 1

    def over(self) -> None:
        """It has been found."""
        self._looks = 0


class _Once:
    """Something that is asked for, and not again while its effect may merely not be visible yet."""

    def __init__(self, seconds: float = _UNSEEN_SECONDS) -> None:
        self._seconds = seconds
        self._at: float | None = None

    def due(self) -> bool:
        """Whether to ask (again)."""
        return self._at is None or time.monotonic() - self._at > self._seconds

    def done(self) -> None:
        """It has been asked for."""
        self._at = time.monotonic()


async def create_instance(step: Step) -> str:
    """Make the instance, or find it as it is wanted; start it where it is stopped; wait until it is available."""
    spec, platform = _given(step.request.instance), step.tools.platform
    made, started = _Once(), _Once()

    async def look() -> bool:
        found = await platform.instance(spec.name)
        if found is None:
            if made.due():
                await step.guard()
                await _unless_there(platform.create_instance(spec))
                made.done()
                step.tools.instances.forget(spec.name)
                await step.report(_ASKED, "asked for; the platform starts it")
            return False
        _same(f"instance {spec.name}", instance_differences(found, spec))
        if found.state is InstanceState.STOPPED and started.due():
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
    change, platform = _given(step.request.change), step.tools.platform
    asked = _Once()

    async def look() -> bool:
        found = await platform.instance(change.name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no instance {change.name} any more.")
        _check_uid(f"instance {change.name}", step.facts.get("instance_uid"), found.uid)
        missing = change_differences(found, change)
        settled = found.state in _SETTLED
        if settled and not missing:
            return True
        if settled and asked.due():
            await (step.detach if change.stopped and step.facts.get("hosts_operations") else step.guard)()
            await platform.update_instance(change)
            asked.done()
            step.tools.instances.forget(change.name)
        await step.report(0.5, f"the instance is {found.state.value}; {said(missing)}")
        return False

    await step.until(look)
    return "the instance is as wanted"


async def delete_instance(step: Step) -> str:
    """Delete the instance that was meant, and wait until it is gone."""
    name = _given(step.request.instance_name)
    asked, absent = _Once(_UNGONE_SECONDS), _Absence()

    async def look() -> bool:
        found = await step.tools.platform.instance(name)
        if found is None:
            return absent.sure()
        absent.over()
        _check_uid(f"instance {name}", step.facts.get("instance_uid"), found.uid)
        if found.state is not InstanceState.DELETING and asked.due():
            await _count_again(step, name)
            _sending("instance", step)
            await (step.detach if step.facts.get("hosts_operations") else step.guard)()
            await step.tools.platform.delete_instance(name)
            asked.done()
            step.tools.instances.forget(name)
        await step.report(0.5, f"the instance is {found.state.value}")
        return False

    await step.until(look)
    return _gone(step, "instance")


async def create_catalog(step: Step) -> str:
    """Register the database, or find it registered as it is wanted."""
    spec, platform = _given(step.request.catalog), step.tools.platform
    made = _Once()

    async def look() -> bool:
        found = await platform.catalog(spec.name)
        if found is not None:
            _same(f"catalog {spec.name}", catalog_differences(found, spec))
            return True
        if made.due():
            await step.guard()
            await _unless_there(platform.create_catalog(spec))
            made.done()
            await step.report(0.5, "asked for")
        return False

    await step.until(look)
    return "the catalog is there"


async def delete_catalog(step: Step) -> str:
    """Take back the registration that was meant."""
    name = _given(step.request.catalog_name)
    asked, absent = _Once(_UNGONE_SECONDS), _Absence()

    async def look() -> bool:
        found = await step.tools.platform.catalog(name)
        if found is None:
            return absent.sure()
        absent.over()
        _check_uid(f"catalog {name}", step.facts.get("catalog_uid"), found.uid)
        if asked.due():
            _sending("catalog", step)
            await step.guard()
            await step.tools.platform.delete_catalog(name)
            asked.done()
            await step.report(0.5, "asked for")
        return False

    await step.until(look)
    return _gone(step, "catalog")


async def create_synced_table(step: Step) -> str:
    """Make the synced table, or find it as it is wanted; wait for its first sync to be done."""
    spec, platform = _given(step.request.table), step.tools.platform
    made, restarted = _Once(), _Once()

    async def look() -> bool:
        found = await platform.synced_table(spec.name)
        if found is None:
            if made.due():
                await step.guard()
                await _unless_there(platform.create_synced_table(spec))
                made.done()
                await step.report(_ASKED, "asked for; the platform makes its pipeline")
            return False
        _same(f"synced table {spec.name}", table_differences(found, spec))
        if found.state in _ONLINE:
            return True
        if found.state in _SYNC_FAILED:
            # One that had failed before is given another chance; one that fails after that has failed.
            if not found.pipeline_id or step.facts.get("restarted"):
                raise _failed(found)
            if restarted.due():
                step.facts["restarted"] = True
                await step.guard()
                await platform.start_pipeline(found.pipeline_id)
                restarted.done()
        await step.report(_synced_part(found), _progress(found))
        return False

    await step.until(look)
    return "the rows are there"


async def delete_synced_table(step: Step) -> str:
    """Delete the synced table that was meant, and the PostgreSQL table, which the platform may leave behind."""
    name, platform = _given(step.request.table_name), step.tools.platform
    asked, absent = _Once(_UNGONE_SECONDS), _Absence()

    async def look() -> bool:
        found = await platform.synced_table(name)
        if found is None and not absent.sure():
            return False
        if found is None:
            place = step.facts.get("place")
            if place and await step.tools.postgres.drop_table(Place(*place)):
                await step.report(0.9, "the platform had left its PostgreSQL table, which is dropped")
            return True
        absent.over()
        if asked.due():
            _check_uid(f"synced table {name}", step.facts.get("table_uid"), await _table_uid(step, found))
            if found.instance_name and found.database_name:
                place = place_of(found)
                step.facts["place"] = [place.instance, place.database, place.schema, place.table]
            _sending("table", step)
            await step.guard()
            await platform.delete_synced_table(name)
            asked.done()
        await step.report(0.5, f"the synced table is {found.state.value}")
        return False

    await step.until(look)
    return _gone(step, "table")


async def note_belongings(step: Step) -> str:
    """Note the grants and indexes on the table, which go with it."""
    name, said_ = _given(step.request.table_name), ["there is nothing to note"]

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
    name, platform = _given(step.request.table_name), step.tools.platform
    started = _Once()

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
                await platform.start_pipeline(found.pipeline_id)
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
    name = step.request.table_name or _given(step.request.table).name
    said_ = ["there is nothing to put back"]

    async def look() -> bool:
        kept = await step.tools.records.belongings(name)
        if not kept.grants and not kept.indexes:
            return True
        found = await step.tools.platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name} any more.")
        await step.guard()
        place, statements = place_of(found), [*kept.grants, *kept.indexes]
        broken = await step.tools.indexes.broken(place)
        await step.tools.postgres.run_each(place, broken, seconds=step.index_seconds)
        problems = await step.tools.postgres.run_each(place, statements, seconds=step.index_seconds)
        if not problems:
            await step.tools.records.forget_belongings(name)
        said_.append(f"put back: {len(statements) - len(problems)} of {len(statements)} grants and indexes")
        if problems:
            said_[-1] += f"; the owner of the table has to run: {'; '.join(problems)}"
        return True

    await step.until(look)
    return said_[-1]


async def build_indexes(step: Step) -> str:
    """Build the indexes that orders need. A role that may not build them is no failure: it is said who may."""
    name = step.request.table_name or _given(step.request.table).name
    said_ = ["all indexes are there"]

    async def look() -> bool:
        found = await step.tools.platform.synced_table(name)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no synced table {name}.")
        await step.guard()
        refused = await step.tools.indexes.build(place_of(found), step.report)
        if refused:
            said_.append(f"the server may not build indexes; the owner of the table has to run: {'; '.join(refused)}")
        return True

    await step.until(look)
    return said_[-1]


def _given(value: Any) -> Any:
    """What the request of this kind of operation always has."""
    if value is None:
        raise ValueError("the request lacks what its kind needs")
    return value


async def _unless_there(creating: Awaitable[None]) -> None:
    """Somebody else may have made it, or we ourselves, whose reply was lost: what is there is looked at next."""
    try:
        await creating
    except PlatformError as error:
        if error.reason is not Reason.SPEC_CONFLICT:
            raise


def _same(what: str, differences: list[Difference]) -> None:
    if differences:
        raise PlatformError(
            Reason.SPEC_CONFLICT, f"The {what} exists and is otherwise: {said(differences)}. It was left alone."
        )


def _check_uid(what: str, planned: str | None, found: str | None) -> None:
    if planned and found and planned != found:
        raise PlatformError(
            Reason.NAMESAKE_FOUND,
            f"The {what} is another than the one that was planned for: that one is gone. This one was left alone.",
        )


def _gone(step: Step, kind: str) -> str:
    return f"the {kind} is gone" if step.facts.get(f"{kind}_sent") else f"there was no {kind}"


def _sending(kind: str, step: Step) -> None:
    """Remember, before it is sent, that it may have been."""
    step.facts[f"{kind}_sent"] = True


async def _count_again(step: Step, instance: str) -> None:
    """Changes that were made since the plan are not to be lost either."""
    if step.request.discard_status_changes or step.facts.get("instance_sent"):
        return
    count = await step.tools.postgres.count_changes(instance)
    if count != 0:
        held = "status changes that cannot be counted" if count is None else f"{count:,} status changes"
        raise PlatformError(
            Reason.STATUS_CHANGES_AT_STAKE, f"The instance holds {held}, which would be lost. It was left alone."
        )


async def _table_uid(step: Step, found: SyncedTable) -> str | None:
    try:
        return await step.tools.platform.table_uid(found.name) or found.pipeline_id
    except ForbiddenError:
        return found.pipeline_id


def _failed(found: SyncedTable) -> PlatformError:
    page = f" Its pipeline: {found.pipeline_url}" if found.pipeline_url else ""
    return PlatformError(
        Reason.SYNC_FAILED,
        f"The sync of {found.name} has failed: {found.message or 'the platform does not say why'}.{page}",
    )


def _synced_part(found: SyncedTable) -> float:
    if found.progress is not None:
        return 0.1 + 0.9 * min(max(found.progress, 0.0), 1.0)
    return _ASKED


def _progress(found: SyncedTable) -> str:
    if found.rows_total:
        return f"{found.rows_synced or 0:,} of {found.rows_total:,} rows are synced"
    return f"the synced table is {found.state.value}"


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
