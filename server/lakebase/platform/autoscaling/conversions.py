"""Converts the Postgres API's objects to the schema's own. Its reads have everything in `status`, and no `spec`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from databricks.sdk.service import postgres as api

from schema.ports.admin.branches import Branch, BranchState, Endpoint, EndpointKind, EndpointState, Snapshot
from schema.ports.admin.instances import NEVER, Flavour, Instance, InstanceState
from schema.ports.admin.tables import SyncedTable, SyncPolicy
from server.lakebase.platform.conversions import read_sync

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import Enum

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

EnumT = TypeVar("EnumT", bound="Enum")
# Falling asleep and waking are not changes: the endpoint accepts connections meanwhile.
_AWAKE_OR_NOT: Final = frozenset({api.EndpointStatusState.ACTIVE, api.EndpointStatusState.IDLE})
_DAY_SECONDS: Final = 86_400
_KIND_PREFIX: Final = "ENDPOINT_TYPE_"


def last_part(path: str | None) -> str | None:
    """The name at the end of a path: P of `projects/P`."""
    return path.rpartition("/")[2] if path else None


def project_of(path: str) -> str:
    """The project in the path of anything below it."""
    return path.split("/")[1]


def read_project(found: api.Project) -> Instance:
    """A project as an instance. Its state is not known without its endpoint, unless it is deleted."""
    status = found.status or api.ProjectStatus()
    retention = _seconds(status.history_retention_duration)
    deleted_at = read_time(found.delete_time)
    return Instance(
        name=found.project_id or status.project_id or last_part(found.name) or "",
        uid=found.uid,
        state=InstanceState.DELETED if deleted_at else InstanceState.UNKNOWN,
        capacity=None,
        node_count=None,
        readable_secondaries=None,
        retention_days=None if retention is None else retention // _DAY_SECONDS,
        stopped=None,
        postgres_version=str(status.pg_version) if status.pg_version else None,
        creator=None,
        created_at=read_time(found.create_time),
        host=None,
        read_only_host=None,
        flavour=Flavour.AUTOSCALING,
        last_active_at=read_time(status.compute_last_active_time),
        storage_bytes=status.synthetic_storage_size_bytes,
        owner=status.owner,
        retention_seconds=retention,
        deleted_at=deleted_at,
        purge_at=read_time(found.purge_time),
        branch=status.default_branch,
    )


def with_endpoint(instance: Instance, branch: str | None, endpoint: Endpoint | None) -> Instance:
    """The same instance with the path of its default branch and that branch's read-write endpoint, if there are any."""
    if endpoint is None:
        return replace(instance, state=InstanceState.STARTING, branch=branch)
    return replace(
        instance,
        state=_instance_state(endpoint),
        node_count=endpoint.size,
        readable_secondaries=endpoint.readable_secondaries,
        stopped=endpoint.disabled,
        host=endpoint.host,
        read_only_host=endpoint.read_only_host,
        min_cu=endpoint.min_cu,
        max_cu=endpoint.max_cu,
        suspend_after_seconds=endpoint.suspend_after_seconds,
        suspended=endpoint.suspended,
        last_active_at=instance.last_active_at or endpoint.last_active_at,
        branch=branch,
        endpoint=endpoint.path,
    )


def _instance_state(endpoint: Endpoint) -> InstanceState:
    """The state of an instance by its endpoint. One that is asleep accepts connections, which wake it."""
    if endpoint.state is EndpointState.INIT and not endpoint.disabled:
        return InstanceState.STARTING
    if endpoint.changing:
        return InstanceState.UPDATING
    if endpoint.disabled:
        return InstanceState.STOPPED
    return InstanceState.UNKNOWN if endpoint.state is EndpointState.UNKNOWN else InstanceState.AVAILABLE


def read_endpoint(found: api.Endpoint) -> Endpoint:
    """An endpoint. The platform reports no suspension if the endpoint never falls asleep."""
    status = found.status or api.EndpointStatus()
    hosts = status.hosts or api.EndpointHosts()
    kind = status.endpoint_type.value.removeprefix(_KIND_PREFIX) if status.endpoint_type else ""
    suspension = _seconds(status.suspend_timeout_duration)
    return Endpoint(
        path=found.name or "",
        name=last_part(found.name) or "",
        uid=found.uid,
        kind=EndpointKind(kind) if kind in EndpointKind.__members__ else EndpointKind.UNKNOWN,
        state=_member(EndpointState, status.current_state, EndpointState.UNKNOWN),
        changing=status.pending_state is not None and not {status.pending_state, status.current_state} <= _AWAKE_OR_NOT,
        host=hosts.host,
        read_only_host=hosts.read_only_host,
        min_cu=status.autoscaling_limit_min_cu,
        max_cu=status.autoscaling_limit_max_cu,
        size=status.group.max if status.group else 1,
        readable_secondaries=bool(status.group and status.group.enable_readable_secondaries),
        suspend_after_seconds=NEVER if suspension is None else suspension,
        disabled=bool(status.disabled),
        last_active_at=read_time(status.last_active_time),
    )


def read_branch(found: api.Branch) -> Branch:
    """A branch."""
    status, path = found.status or api.BranchStatus(), found.name or ""
    deleted_at = read_time(status.delete_time)
    if deleted_at is None and status.current_state is api.BranchStatusState.DELETED:
        deleted_at = read_time(status.state_change_time or found.update_time) or datetime.now(UTC)
    return Branch(
        path=path,
        name=last_part(path) or "",
        instance_name=project_of(path),
        uid=found.uid,
        state=_member(BranchState, status.current_state, BranchState.UNKNOWN),
        is_default=bool(status.default),
        is_protected=bool(status.is_protected),
        source=last_part(status.source_branch),
        source_time=read_time(status.source_branch_time),
        source_snapshot=last_part(status.source_snapshot),
        created_at=read_time(found.create_time),
        expires_at=read_time(status.expire_time),
        deleted_at=deleted_at,
        purge_at=read_time(status.purge_time),
        size_bytes=status.logical_size_bytes,
        source_lsn=status.source_branch_lsn,
    )


def read_snapshot(found: api.Snapshot) -> Snapshot:
    """A snapshot."""
    status, path = found.status or api.SnapshotStatus(), found.name or ""
    return Snapshot(
        path=path,
        name=last_part(path) or "",
        instance_name=project_of(path),
        uid=found.uid,
        source=last_part(status.source_branch),
        created_at=read_time(found.create_time),
        expires_at=read_time(status.expire_time),
        full_size_bytes=status.full_size_bytes,
        diff_size_bytes=status.diff_size_bytes,
    )


def read_synced_table(
    found: api.SyncedTable, name: str, workspace: str, asked: Mapping[str, Any] | None
) -> SyncedTable:
    """A synced table, with the progress of the sync under way.

    Args:
        found: what the platform tells.
        name: catalog.schema.table.
        workspace: the address that shows its pipeline.
        asked: its properties as they were asked for; None if that is not known.
    """
    status, asked = found.status or api.SyncedTableSyncedTableStatus(), asked or {}
    progress = status.ongoing_sync_progress or api.SyncedTablePipelineProgress()
    last = status.last_sync or api.SyncedTablePosition()
    delta = last.delta_table_sync_info or api.DeltaTableSyncInfo()
    key = asked.get("primary_key")
    return SyncedTable(
        name=name,
        uid=found.uid,
        instance_name=last_part(status.project) or asked.get("instance_name"),
        database_name=asked.get("database_name"),
        source=asked.get("source"),
        primary_key=None if key is None else tuple(key),
        timeseries_key=asked.get("timeseries_key"),
        # A later release of this server may have stored one that this release does not know.
        policy=SyncPolicy(asked["policy"]) if asked.get("policy") in SyncPolicy.__members__ else None,
        last_sync_started_at=read_time(last.sync_start_time),
        last_sync_finished_at=read_time(last.sync_end_time) or read_time(status.last_sync_time),
        source_version=delta.delta_commit_version or status.last_processed_commit_version,
        source_committed_at=read_time(delta.delta_commit_time),
        **read_sync(status, progress, status.unity_catalog_provisioning_state, workspace),
        branch=asked.get("branch"),
        flavour=Flavour.AUTOSCALING,
    )


def read_time(moment: Timestamp | None) -> datetime | None:
    """A time of the platform, in UTC."""
    return moment.ToDatetime(UTC) if moment else None


def _seconds(duration: Duration | None) -> int | None:
    return duration.ToSeconds() if duration else None


def _member(kind: type[EnumT], value: Enum | None, unknown: EnumT) -> EnumT:
    return kind(value.value) if value is not None and value.value in kind.__members__ else unknown
