"""The calls to pipelines, which fill synced tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.lakebase.platform.failures import Action

if TYPE_CHECKING:
    from server.lakebase.platform.sdk_client import SdkClient


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run of a pipeline. A failed run is done, too."""

    id: str
    done: bool
    failed: bool


class Pipelines:
    """The pipelines of the workspace. All methods raise ApiError, as `failures.to_api_error` says."""

    def __init__(self, client: SdkClient) -> None:
        self._client = client

    async def exists(self, pipeline_id: str) -> bool:
        """Whether there is a pipeline with this id."""
        return (
            await self._client.find(Action.GET_PIPELINE, lambda client: client.pipelines.get(pipeline_id)) is not None
        )

    async def start(self, pipeline_id: str) -> None:
        """Start a sync."""
        await self._client.call(Action.START_PIPELINE, lambda client: client.pipelines.start_update(pipeline_id))

    async def latest_run(self, pipeline_id: str) -> PipelineRun | None:
        """The newest run of a pipeline, including the one at its creation; None if there was none."""
        found = await self._client.find(Action.GET_PIPELINE, lambda client: client.pipelines.get(pipeline_id))
        updates = (found and found.latest_updates) or []
        if not updates or not updates[0].update_id:
            return None
        state = updates[0].state.value if updates[0].state else ""
        return PipelineRun(
            updates[0].update_id,
            done=state in {"COMPLETED", "FAILED", "CANCELED"},
            failed=state in {"FAILED", "CANCELED"},
        )
