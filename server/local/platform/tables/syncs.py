"""The syncs: each runs through its phases, is retried after a lost connection, and resumed after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.platform.compute import sql
from server.local.platform.compute.lifecycle import STARTING, UPDATING
from server.local.platform.rest.errors import PlatformError
from server.local.platform.state.tables import Commit
from server.local.platform.state.times import now
from server.local.platform.tables.sources import GeneratorError
from server.local.platform.tables.table_copy import Progress, TableCopy

if TYPE_CHECKING:
    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.options import Options
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.state.projects import Branch, Project
    from server.local.platform.state.store import Store
    from server.local.platform.state.tables import SyncedTable

PROVISIONING = "SYNCED_TABLE_PROVISIONING"
PROVISIONING_RESOURCES = "SYNCED_TABLE_PROVISIONING_PIPELINE_RESOURCES"
INITIAL_SNAPSHOT = "SYNCED_TABLE_PROVISIONING_INITIAL_SNAPSHOT"
UPDATING_RESOURCES = "SYNCED_TABLE_ONLINE_UPDATING_PIPELINE_RESOURCES"
TRIGGERED_UPDATE = "SYNCED_TABLE_ONLINE_TRIGGERED_UPDATE"
ONLINE = "SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE"
OFFLINE_FAILED = "SYNCED_TABLE_OFFLINE_FAILED"
PIPELINE_FAILED = "SYNCED_TABLE_ONLINE_PIPELINE_FAILED"
RUNNING = (PROVISIONING, PROVISIONING_RESOURCES, INITIAL_SNAPSHOT, UPDATING_RESOURCES, TRIGGERED_UPDATE)

# The attempts to make one copy if its connection is lost.
_ATTEMPTS = 3
# Between two attempts.
_RETRY_SECONDS = 0.2
_CONNECTION_LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError)
_log = logging.getLogger(__name__)


class Syncs:
    """The running syncs, at most one for each table. The keys of `progress` are uids of tables."""

    def __init__(self, store: Store, options: Options, lifecycle: Lifecycle, lookup: Lookup) -> None:
        self._store = store
        self._lookup = lookup
        self._options = options
        self._lifecycle = lifecycle
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # By branch: syncs that begin at once would create the same database, role and schema.
        self._preparing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.progress: dict[str, Progress] = {}

    def open(self) -> None:
        """Start every sync again that was running when the platform stopped."""
        for table in self._store.state.synced_tables.values():
            if table.detailed_state in RUNNING:
                self.begin(table)

    async def close(self) -> None:
        """Cancel every sync. `open` starts them again in the next process."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def begin(self, table: SyncedTable) -> None:
        """Start to sync the table, from the phase that its state names."""
        self.progress.pop(table.uid, None)
        task = self._tasks[table.uid] = asyncio.create_task(self._run(table))
        task.add_done_callback(lambda done: self._tasks.pop(table.uid, None) if done is task else None)

    async def cancel(self, table: SyncedTable) -> None:
        """Cancel the sync of the table if one is running."""
        task = self._tasks.get(table.uid)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.progress.pop(table.uid, None)

    async def drop(self, table: SyncedTable) -> None:
        """Drop the PostgreSQL table of a synced table.

        Raises:
            PlatformError: INVALID_STATE if the instance is not available, ABORTED if the table is in use.
        """
        try:
            connection = await self._lifecycle.connect(*self._branch(table), table.database)
        except asyncpg.InvalidCatalogNameError:
            return
        try:
            await TableCopy(connection, table, self._options).drop()
        except (asyncpg.LockNotAvailableError, asyncpg.DependentObjectsStillExistError) as error:
            raise PlatformError(409, "ABORTED", f"The table of '{table.name}' was not dropped: {error}") from None
        finally:
            connection.terminate()

    async def _run(self, table: SyncedTable) -> None:
        try:
            if table.detailed_state == PROVISIONING:
                await asyncio.sleep(self._options.provisioning_delay)
                self._enter(table, PROVISIONING_RESOURCES, "Waiting for the pipeline's resources.")
            if table.detailed_state in (PROVISIONING_RESOURCES, UPDATING_RESOURCES):
                self._update(table, "WAITING_FOR_RESOURCES")
                await asyncio.sleep(self._options.resources_delay)
                first = table.detailed_state == PROVISIONING_RESOURCES
                self._enter(table, INITIAL_SNAPSHOT if first else TRIGGERED_UPDATE, "Copying the rows of the source.")
            self._update(table, "RUNNING")
            await self._sync(table)
        except (PlatformError, GeneratorError, asyncpg.PostgresError, *_CONNECTION_LOST) as error:
            _log.warning("the sync of %s failed: %s", table.name, error)
            self._fail(table, str(error) or type(error).__name__)

    async def _sync(self, table: SyncedTable) -> None:
        start = now()
        commit = self._store.state.commits.get(table.spec["source_table_full_name"], Commit())
        for attempt in range(_ATTEMPTS):
            try:
                await self._copy(table)
                break
            except _CONNECTION_LOST:
                if attempt == _ATTEMPTS - 1:
                    raise
                # The endpoint is being restarted or was suspended. If it was stopped, `connect` raises.
                await asyncio.sleep(_RETRY_SECONDS)
        table.last_sync = {
            "delta_table_sync_info": {
                "delta_commit_version": str(commit.version),
                "delta_commit_timestamp": commit.time,
            },
            "sync_start_timestamp": start,
            "sync_end_timestamp": now(),
        }
        table.synced_once = True
        table.catalog_state = "ACTIVE"
        self._enter(table, ONLINE, "The table is online and holds the latest snapshot.")
        self._finish_update(table)

    async def _copy(self, table: SyncedTable) -> None:
        project, branch = self._branch(table)
        while branch.primary and branch.primary.state in (STARTING, UPDATING):
            await self._store.changed()
        if table.spec.get("create_database_objects_if_missing"):
            connection = await self._lifecycle.connect(project, branch)
            try:
                async with self._preparing[table.branch]:
                    await sql.make_database(connection, table.database)
            finally:
                connection.terminate()
        connection = await self._lifecycle.connect(project, branch, table.database)
        try:
            copy = TableCopy(connection, table, self._options)
            async with self._preparing[table.branch]:
                writer = await copy.prepare()
            self.progress[table.uid] = Progress(copy.rows, started=time.monotonic())
            await copy.sync(self.progress[table.uid], writer)
        finally:
            connection.terminate()

    def _branch(self, table: SyncedTable) -> tuple[Project, Branch]:
        return self._lookup.branch_named(table.branch, "spec.branch")

    def _enter(self, table: SyncedTable, state: str, message: str) -> None:
        table.detailed_state = state
        table.message = message
        self._store.save()

    def _fail(self, table: SyncedTable, message: str) -> None:
        if not table.synced_once:
            table.catalog_state = "FAILED"
        self._enter(table, PIPELINE_FAILED if table.synced_once else OFFLINE_FAILED, f"The sync failed: {message}")
        self._finish_update(table)

    def _update(self, table: SyncedTable, state: str) -> None:
        pipeline = self._store.state.pipelines.get(table.pipeline)
        if pipeline and pipeline.updates:
            pipeline.updates[-1].state = state
            self._store.save()

    def _finish_update(self, table: SyncedTable) -> None:
        """End the update with its last table. It fails if one of them has failed."""
        states = {t.detailed_state for t in self._store.state.synced_tables.values() if t.pipeline == table.pipeline}
        if not states & set(RUNNING):
            self._update(table, "COMPLETED" if states == {ONLINE} else "FAILED")


def progress_json(progress: Progress | None, total: int) -> dict[str, Any]:
    """The progress of a sync, or of one that has not begun to copy."""
    return (progress or Progress(total)).as_json()
