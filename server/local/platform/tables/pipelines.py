"""The pipelines that fill synced tables, as REST resources."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.rest.errors import PlatformError, not_found
from server.local.platform.state.tables import Pipeline, SyncedTable, Update
from server.local.platform.state.times import now_milliseconds
from server.local.platform.tables import syncs

if TYPE_CHECKING:
    from server.local.platform.rest.bodies import UpdateBody
    from server.local.platform.state.store import Store


class Pipelines:
    """The pipelines. Each runs one update at a time."""

    def __init__(self, store: Store, sync_runner: syncs.Syncs) -> None:
        self._store = store
        self._syncs = sync_runner

    def get(self, pipeline_id: str) -> dict[str, Any]:
        """A GetPipelineResponse, with the newest update first."""
        pipeline = self._find(pipeline_id)
        states = {table.detailed_state for table in self._tables(pipeline)}
        failed = states & {syncs.OFFLINE_FAILED, syncs.PIPELINE_FAILED}
        return {
            "pipeline_id": pipeline.id,
            "name": pipeline.name,
            "state": "RUNNING" if states & set(syncs.RUNNING) else "FAILED" if failed else "IDLE",
            "health": "UNHEALTHY" if failed else "HEALTHY",
            "creator_user_name": pipeline.creator,
            "run_as_user_name": pipeline.creator,
            "spec": {"id": pipeline.id, "name": pipeline.name, "continuous": False, "serverless": True},
            "latest_updates": [
                {"update_id": update.id, "state": update.state, "creation_time": str(update.created)}
                for update in reversed(pipeline.updates[-5:])
            ],
        }

    def start(self, pipeline_id: str, body: UpdateBody) -> dict[str, Any]:
        """Start to sync every table of the pipeline again.

        Raises:
            PlatformError: CONFLICT while an update is running.
        """
        pipeline = self._find(pipeline_id)
        tables = self._tables(pipeline)
        if any(table.detailed_state in syncs.RUNNING for table in tables):
            active = pipeline.updates[-1].id if pipeline.updates else ""
            raise PlatformError(
                409, "CONFLICT", f"An active update {active} already exists for pipeline {pipeline.id}."
            )
        update = Update(
            id=str(uuid.uuid4()),
            state="CREATED" if tables else "COMPLETED",
            created=now_milliseconds(),
            full_refresh=body.full_refresh,
            cause=body.cause,
        )
        pipeline.updates.append(update)
        for table in tables:
            table.detailed_state = syncs.UPDATING_RESOURCES if table.synced_once else syncs.PROVISIONING_RESOURCES
            table.message = "Waiting for the pipeline's resources."
            if body.full_refresh:
                table.last_sync = None
        self._store.save()
        for table in tables:
            self._syncs.begin(table)
        return {"update_id": update.id}

    def get_update(self, pipeline_id: str, update_id: str) -> dict[str, Any]:
        """A GetUpdateResponse."""
        for update in self.updates(pipeline_id):
            if update["update_id"] == update_id:
                return {"update": update}
        raise not_found(f"The specified update {update_id} was not found in pipeline {pipeline_id}.")

    def updates(self, pipeline_id: str) -> list[dict[str, Any]]:
        """All updates of the pipeline, newest first."""
        pipeline = self._find(pipeline_id)
        return [
            {
                "pipeline_id": pipeline.id,
                "update_id": update.id,
                "state": update.state,
                "cause": update.cause,
                "full_refresh": update.full_refresh,
                "creation_time": str(update.created),
            }
            for update in reversed(pipeline.updates)
        ]

    def delete(self, pipeline_id: str) -> None:
        """Delete the pipeline. Its synced tables are no longer synced."""
        del self._store.state.pipelines[self._find(pipeline_id).id]
        self._store.save()

    def _find(self, pipeline_id: str) -> Pipeline:
        pipeline = self._store.state.pipelines.get(pipeline_id)
        if pipeline is None:
            raise not_found(f"The specified pipeline {pipeline_id} was not found.")
        return pipeline

    def _tables(self, pipeline: Pipeline) -> list[SyncedTable]:
        return [table for table in self._store.state.synced_tables.values() if table.pipeline == pipeline.id]
