"""The JSON of projects, branches, endpoints and snapshots. As on the platform, `spec` is empty in every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.local.platform.compute.lifecycle import AVAILABLE, FAILING_OVER, INIT, STARTING, UPDATING
from server.local.platform.rest.values import duration
from server.local.platform.state.times import stamp

if TYPE_CHECKING:
    from server.local.platform.compute.copies import Copies
    from server.local.platform.compute.watch import Watch
    from server.local.platform.state.projects import Branch, Compute, Project, Snapshot, Source

# The endpoint's state by ours. That of an AVAILABLE endpoint is ACTIVE, or IDLE while it is suspended.
_STATES = {STARTING: "INIT", FAILING_OVER: "INIT", UPDATING: "ACTIVE"}
_SIZE_LIMIT = 8 << 40


class Views:
    """Shows what the state holds, with the sizes of the data and the times of the last activity."""

    def __init__(self, copies: Copies, watch: Watch) -> None:
        self._copies = copies
        self._watch = watch

    def project(self, project: Project) -> dict[str, Any]:
        """A Project."""
        defaults = project.defaults
        settings: dict[str, Any] = {
            "autoscaling_limit_min_cu": defaults.min_cu,
            "autoscaling_limit_max_cu": defaults.max_cu,
            "pg_settings": defaults.pg_settings,
            **_suspension(defaults.suspend_after, "no_suspension"),
        }
        status = {
            "project_id": project.id,
            "display_name": project.display_name,
            "owner": project.creator,
            "pg_version": 16,
            "default_branch": f"{project.name}/branches/{project.default_branch}",
            "history_retention_duration": duration(project.retention_seconds),
            "enable_pg_native_login": project.native_login,
            "custom_tags": project.custom_tags,
            "default_endpoint_settings": settings,
            "branch_logical_size_limit_bytes": _SIZE_LIMIT,
            "synthetic_storage_size_bytes": sum(self._copies.size(one.uid) for one in project.branches.values()),
        }
        if project.budget_policy_id:
            status["budget_policy_id"] = project.budget_policy_id
        return {
            "name": project.name,
            "project_id": project.id,
            "uid": project.uid,
            **_times(project, "create_time", "update_time", "delete_time", "purge_time"),
            "status": status,
        }

    def branch(self, project: Project, branch: Branch) -> dict[str, Any]:
        """A Branch."""
        status: dict[str, Any] = {
            "branch_id": branch.id,
            "current_state": "DELETED" if branch.delete_time else branch.state,
            "default": branch.id == project.default_branch,
            "is_protected": branch.is_protected,
            "logical_size_bytes": self._copies.size(branch.uid),
            "state_change_time": branch.delete_time or branch.update_time,
            **_times(branch, "expire_time", "delete_time", "purge_time"),
            **_source(project, branch.source),
        }
        if branch.state == INIT:
            status["pending_state"] = "READY"
        return {
            "name": project.branch_name(branch),
            "branch_id": branch.id,
            "parent": project.name,
            "uid": branch.uid,
            **_times(branch, "create_time", "update_time"),
            "status": status,
        }

    def endpoint(self, compute: Compute) -> dict[str, Any]:
        """An Endpoint."""
        endpoint = compute.endpoint
        hosts = {"host": endpoint.address}
        if not endpoint.read_write:
            hosts["read_only_host"] = endpoint.address
        elif endpoint.readable_secondaries:
            hosts["read_only_host"] = endpoint.secondary_address
        is_active = endpoint.state == AVAILABLE and not endpoint.suspended
        status: dict[str, Any] = {
            "endpoint_id": endpoint.id,
            "endpoint_type": "ENDPOINT_TYPE_READ_WRITE" if endpoint.read_write else "ENDPOINT_TYPE_READ_ONLY",
            "current_state": _STATES.get(endpoint.state, "ACTIVE" if is_active else "IDLE"),
            "disabled": endpoint.disabled,
            "hosts": hosts,
            "autoscaling_limit_min_cu": endpoint.min_cu,
            "autoscaling_limit_max_cu": endpoint.max_cu,
            "group": {
                "min": endpoint.nodes,
                "max": endpoint.nodes,
                "enable_readable_secondaries": endpoint.readable_secondaries,
            },
            "settings": {"pg_settings": endpoint.pg_settings},
            **_suspension(self._watch.suspend_after(compute)),
        }
        if endpoint.state in _STATES:
            status["pending_state"] = "ACTIVE" if compute.is_wanted else "IDLE"
        if last := self._watch.last_active(compute):
            status["last_active_time"] = stamp(last)
        return {
            "name": compute.name,
            "endpoint_id": endpoint.id,
            "parent": compute.project.branch_name(compute.branch),
            "uid": endpoint.uid,
            **_times(endpoint, "create_time", "update_time"),
            "status": status,
        }

    def snapshot(self, project: Project, snapshot: Snapshot) -> dict[str, Any]:
        """A Snapshot."""
        status: dict[str, Any] = {
            "source_branch": snapshot.source.name,
            "full_size_bytes": snapshot.size,
            **_times(snapshot, "expire_time"),
        }
        if snapshot.expire_time is None:
            status["no_expiry"] = True
        return {
            "name": f"{project.name}/snapshots/{snapshot.id}",
            "snapshot_id": snapshot.id,
            "uid": snapshot.uid,
            **_times(snapshot, "create_time"),
            "status": status,
        }


def _times(resource: Any, *names: str) -> dict[str, str]:
    return {name: value for name in names if (value := getattr(resource, name)) is not None}


def _suspension(seconds: float | None, never: str = "") -> dict[str, Any]:
    if seconds:
        return {"suspend_timeout_duration": duration(seconds)}
    return {never: True} if never and seconds == 0 else {}


def _source(project: Project, source: Source | None) -> dict[str, str]:
    # A child instance's original is another project, which a branch does not name.
    if source is None or not source.name.startswith(f"{project.name}/"):
        return {}
    if "/snapshots/" in source.name:
        return {"source_snapshot": source.name}
    found = {"source_branch": source.name}
    if source.time is not None:
        found["source_branch_time"] = source.time
    if source.lsn is not None:
        found["source_branch_lsn"] = source.lsn
    return found
