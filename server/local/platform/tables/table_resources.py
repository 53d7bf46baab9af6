"""The synced tables as REST resources of the Postgres API, whose messages, states and deletions differ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from server.local.platform.projects.operations import CREATE, DELETE
from server.local.platform.rest.bodies import TableSpecBody
from server.local.platform.rest.errors import PlatformError, absent, invalid
from server.local.platform.tables import syncs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.identities.credentials import Identity
    from server.local.platform.options import Options
    from server.local.platform.projects.operations import Operations
    from server.local.platform.rest.postgres_bodies import SyncedTableBody
    from server.local.platform.state.projects import Operation
    from server.local.platform.state.store import Store
    from server.local.platform.state.tables import SyncedTable
    from server.local.platform.tables.synced_tables import SyncedTables

DELETING = "DELETING"
_PHASE = "PROVISIONING_PHASE_MAIN"


class TableResources:
    """The same synced tables. What a client asked for is not told on reads, and deletions keep PostgreSQL's table."""

    def __init__(
        self,
        store: Store,
        options: Options,
        operations: Operations,
        synced_tables: SyncedTables,
        sync_runner: syncs.Syncs,
    ) -> None:
        self._store = store
        self._options = options
        self._operations = operations
        self._tables = synced_tables
        self._syncs = sync_runner
        operations.outcomes["synced_tables"] = self._outcome

    def get(self, name: str) -> dict[str, Any]:
        """The SyncedTable with this name."""
        return self._as_json(self._find(name))

    def create(self, body: SyncedTableBody, query: Mapping[str, str], creator: Identity) -> dict[str, Any]:
        """Begin to create a synced table. The operation ends before its first sync does."""
        name, spec = query.get("synced_table_id", ""), body.spec
        if not name:
            raise invalid("Field 'synced_table_id' is required, expected non-default value (not \"\")!")
        if spec.extra_columns:
            raise invalid("spec.extra_columns: are not supported here.")
        branch, database = self._tables.target(name, spec.branch, spec.postgres_database)
        fields = spec.model_dump(include=set(TableSpecBody.model_fields))
        table = self._tables.add(name, branch, database, TableSpecBody.model_validate(fields), creator)
        return self._operations.begin(f"synced_tables/{table.name}", CREATE)

    def delete(self, name: str) -> dict[str, Any]:
        """Begin to delete a synced table: it lingers, and holds its name meanwhile. PostgreSQL's table stays."""
        table = self._find(name)
        table.catalog_state = DELETING
        self._store.save()
        return self._operations.begin(f"synced_tables/{table.name}", DELETE)

    async def _outcome(self, operation: Operation) -> dict[str, Any] | None:
        name = operation.resource.partition("/")[2]
        table = self._store.state.synced_tables.get(name)
        if operation.verb == DELETE:
            if table is not None and table.catalog_state == DELETING:
                await self._syncs.cancel(table)
                await asyncio.sleep(self._options.deletion_delay)
                self._tables.remove(table)
            return None
        while table is not None and table.detailed_state == syncs.PROVISIONING:
            await self._store.changed()
        if table is None:
            raise absent("synced table")
        if table.detailed_state == syncs.OFFLINE_FAILED:
            raise PlatformError(400, "BAD_REQUEST", table.message)
        return self._as_json(table)

    def _find(self, name: str) -> SyncedTable:
        table = self._store.state.synced_tables.get(name.lower())
        if table is None:
            raise absent("synced table")
        return table

    def _as_json(self, table: SyncedTable) -> dict[str, Any]:
        status: dict[str, Any] = {
            "detailed_state": table.detailed_state,
            "message": table.message,
            "project": table.branch.partition("/branches/")[0],
            "unity_catalog_provisioning_state": table.catalog_state,
        }
        if table.detailed_state != syncs.PROVISIONING:
            status["pipeline_id"] = table.pipeline
        if table.detailed_state in (syncs.INITIAL_SNAPSHOT, syncs.TRIGGERED_UPDATE):
            progress = self._tables.progress(table)
            status["provisioning_phase"] = progress.pop("provisioning_phase", _PHASE)
            status["ongoing_sync_progress"] = progress
        if last := table.last_sync:
            commit = last["delta_table_sync_info"]
            status["last_sync"] = {
                "delta_table_sync_info": {
                    "delta_commit_version": commit["delta_commit_version"],
                    "delta_commit_time": commit["delta_commit_timestamp"],
                },
                "sync_start_time": last["sync_start_timestamp"],
                "sync_end_time": last["sync_end_timestamp"],
            }
            status["last_sync_time"] = last["sync_end_timestamp"]
            status["last_processed_commit_version"] = commit["delta_commit_version"]
        return {
            "name": f"synced_tables/{table.name}",
            "synced_table_id": table.name,
            "uid": table.uid,
            "create_time": table.create_time,
            "status": status,
        }
