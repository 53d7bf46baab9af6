"""Converts the SDK's objects to the schema's own. What the platform does not report is None or UNKNOWN."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from databricks.sdk.service import database as api
from databricks.sdk.service import postgres

from schema.ports.admin.instances import Instance, InstanceState
from schema.ports.admin.tables import SyncedTable, SyncPolicy, SyncState

if TYPE_CHECKING:
    from enum import Enum

# The two control planes spell the prefix differently, one of them wrongly.
_STATE_PREFIXES: Final = ("SYNCED_TABLED_", "SYNCED_TABLE_")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """The address of an instance or endpoint. `host` is None until it has one; `state` is the platform's name.

    `endpoint` is the path of the endpoint, with which a credential is asked for.
    """

    host: str | None
    read_only_host: str | None
    state: str
    stopped: bool
    endpoint: str | None = None


def read_address(found: postgres.Endpoint) -> DatabaseAddress:
    """The address of an endpoint of the Autoscaling API. An IDLE endpoint wakes at the first connection."""
    status = found.status or postgres.EndpointStatus()
    hosts = status.hosts or postgres.EndpointHosts()
    state = status.current_state.value if status.current_state else InstanceState.UNKNOWN.value
    return DatabaseAddress(hosts.host, hosts.read_only_host, state, stopped=bool(status.disabled), endpoint=found.name)


def read_instance(found: api.DatabaseInstance) -> Instance:
    """An instance of the Provisioned API, with its effective properties where the platform reports them."""
    return Instance(
        name=found.name,
        uid=found.uid,
        state=_enum(InstanceState, found.state),
        capacity=found.effective_capacity or found.capacity,
        node_count=_first(found.effective_node_count, found.node_count),
        readable_secondaries=_first(found.effective_enable_readable_secondaries, found.enable_readable_secondaries),
        retention_days=_first(found.effective_retention_window_in_days, found.retention_window_in_days),
        stopped=_first(found.effective_stopped, found.stopped),
        postgres_version=found.pg_version,
        creator=found.creator,
        created_at=parse_time(found.creation_time),
        host=found.read_write_dns,
        read_only_host=found.read_only_dns,
        children=tuple(one.name for one in found.child_instance_refs or [] if one.name),
    )


def read_synced_table(found: api.SyncedDatabaseTable, workspace: str) -> SyncedTable:
    """A synced table, with the progress of the sync under way; `workspace` is the address that shows its pipeline."""
    spec = found.spec or api.SyncedTableSpec()
    status = found.data_synchronization_status or api.SyncedTableStatus()
    last = status.last_sync or api.SyncedTablePosition()
    delta = last.delta_table_sync_info or api.DeltaTableSyncInfo()
    catalog_state = found.unity_catalog_provisioning_state
    return SyncedTable(
        name=found.name,
        uid=None,
        instance_name=found.effective_database_instance_name or found.database_instance_name,
        database_name=found.effective_logical_database_name or found.logical_database_name,
        source=spec.source_table_full_name,
        primary_key=None if spec.primary_key_columns is None else tuple(spec.primary_key_columns),
        timeseries_key=spec.timeseries_key,
        policy=SyncPolicy(spec.scheduling_policy.value) if spec.scheduling_policy else None,
        last_sync_started_at=parse_time(last.sync_start_timestamp),
        last_sync_finished_at=parse_time(last.sync_end_timestamp),
        source_version=delta.delta_commit_version,
        source_committed_at=parse_time(delta.delta_commit_timestamp),
        **read_sync(status, _progress(status), catalog_state, workspace),
    )


def read_sync(status: Any, progress: Any, catalog_state: Enum | None, workspace: str) -> dict[str, Any]:
    """The properties of a synced table that both APIs tell in the same words: its state, its progress, its pipeline.

    Args:
        status: the status of the table.
        progress: the progress of the sync under way.
        catalog_state: the state of its registration in Unity Catalog.
        workspace: the address that shows its pipeline.
    """
    state, pipeline = status.detailed_state.value if status.detailed_state else "", status.pipeline_id
    for prefix in _STATE_PREFIXES:
        state = state.removeprefix(prefix)
    return {
        "state": SyncState(state) if state in SyncState.__members__ else SyncState.UNKNOWN,
        "message": status.message,
        "catalog_state": catalog_state.value if catalog_state else None,
        "progress": progress.sync_progress_completion,
        "rows_synced": progress.synced_row_count,
        "rows_total": progress.total_row_count,
        "estimated_completion_seconds": progress.estimated_completion_time_seconds,
        "pipeline_id": pipeline,
        "pipeline_url": f"{workspace}/pipelines/{pipeline}" if workspace and pipeline else None,
    }


def _progress(status: api.SyncedTableStatus) -> api.SyncedTablePipelineProgress:
    """The progress of the sync that the status describes."""
    triggered, initial = status.triggered_update_status, status.provisioning_status
    continuous = status.continuous_update_status
    return (
        (triggered and triggered.triggered_update_progress)
        or (initial and initial.initial_pipeline_sync_progress)
        or (continuous and continuous.initial_pipeline_sync_progress)
        or api.SyncedTablePipelineProgress()
    )


def _enum(kind: type[InstanceState], value: Enum | None) -> InstanceState:
    return kind(value.value) if value is not None and value.value in kind.__members__ else kind.UNKNOWN


def _first(effective: Any, requested: Any) -> Any:
    return requested if effective is None else effective


def parse_time(text: str | None) -> datetime | None:
    """A time as the platform writes it, in UTC if it has no zone; None if it cannot be parsed."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except (ValueError, TypeError):
        return None
    return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def known_ids(table: str | None, pipeline: str | None) -> dict[str, str]:
    """The ids of a synced table that are told, as `Platform.ids_of` returns them."""
    return {kind: id_ for kind, id_ in (("table", table), ("pipeline", pipeline)) if id_}
