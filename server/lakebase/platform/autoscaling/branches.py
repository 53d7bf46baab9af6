"""The calls to branches and snapshots of a project."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from databricks.sdk.service import postgres as api
from google.protobuf.timestamp_pb2 import Timestamp

from schema.ports.admin.branches import NEW_ENDPOINT, endpoint_change, endpoint_spec
from schema.ports.admin.tables import branch_path
from server.lakebase.platform.autoscaling.conversions import read_branch, read_snapshot
from server.lakebase.platform.autoscaling.projects import ProjectCalls, all_of, duration, mask, new_endpoint
from server.lakebase.platform.failures import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from databricks.sdk import WorkspaceClient

    from schema.ports.admin.branches import Branch, BranchChange, BranchSpec, Endpoint, Snapshot, SnapshotSpec


class BranchCalls(ProjectCalls):
    """The calls of an `AutoscalingPlatform` about branches and snapshots."""

    @property
    def branching(self) -> Self:
        """These calls."""
        return self

    async def branch(self, instance: str, name: str) -> Branch | None:
        """The branch with this name, also one that is deleted and not purged, if the platform shows it."""
        path = branch_path(instance, name)
        found = await self._client.find(Action.GET_BRANCH, lambda client: client.postgres.get_branch(path))
        if found is not None and found.name:
            return read_branch(found)
        return next((one for one in await self.branches(instance) if one.name == name), None)

    async def create_branch(self, spec: BranchSpec) -> str | None:
        """Request a new branch, without an endpoint."""
        wanted = api.BranchSpec(is_protected=spec.protected or None, **_term(spec.expires_at, spec.ttl_seconds))
        if spec.snapshot:
            wanted.source_snapshot = f"projects/{spec.instance_name}/snapshots/{spec.snapshot}"
        else:
            source = spec.source and branch_path(spec.instance_name, spec.source)
            wanted.source_branch = source or await self.default_branch(spec.instance_name)
            wanted.source_branch_time = _timestamp(spec.time)
            wanted.source_branch_lsn = spec.lsn
        parent = f"projects/{spec.instance_name}"
        return await self._client.call(
            Action.CREATE_BRANCH,
            lambda client: client.postgres.create_branch(parent, api.Branch(spec=wanted), spec.name).name(),
        )

    async def create_endpoint(self, spec: BranchSpec) -> str | None:
        """Request the read-write endpoint of a branch. What the spec leaves out has the defaults of an instance."""
        wanted = api.EndpointSpec(api.EndpointType.ENDPOINT_TYPE_READ_WRITE, **new_endpoint(endpoint_spec(spec)))
        parent = branch_path(spec.instance_name, spec.name)
        return await self._client.call(
            Action.CREATE_ENDPOINT,
            lambda client: client.postgres.create_endpoint(parent, api.Endpoint(spec=wanted), NEW_ENDPOINT).name(),
        )

    async def update_endpoint(self, endpoint: Endpoint, spec: BranchSpec) -> str | None:
        """Request that an endpoint has the limits that the spec names."""
        return await self._update_endpoint(
            endpoint.path,
            endpoint_change(endpoint, spec),
            nodes=endpoint.size,
            secondaries=endpoint.readable_secondaries,
        )

    async def update_branch(self, change: BranchChange) -> str | None:
        """Request a change of a branch's protection or term, which is a moment. What is None stays as it is."""
        wanted, paths = api.BranchSpec(is_protected=change.protected), []
        if change.protected is not None:
            paths.append("spec.is_protected")
        if change.never_expires or change.expires_at:
            for name, value in _term(change.expires_at, None).items():
                setattr(wanted, name, value)
            # The mask has one name for the three fields that exclude each other.
            paths.append("spec.expiration")
        path = branch_path(change.instance_name, change.name)
        return await self._client.call(
            Action.UPDATE_BRANCH,
            lambda client: client.postgres.update_branch(path, api.Branch(spec=wanted), mask(*paths)).name(),
        )

    async def make_default(self, instance: str, name: str) -> str | None:
        """Request that a branch is the default branch of its project."""
        wanted = api.Project(spec=api.ProjectSpec(default_branch=branch_path(instance, name)))
        return await self._client.call(
            Action.UPDATE_PROJECT,
            lambda client: client.postgres.update_project(
                f"projects/{instance}", wanted, mask("spec.default_branch")
            ).name(),
        )

    async def delete_branch(self, instance: str, name: str, *, purge: bool) -> str | None:
        """Request the deletion of a branch. It keeps its name and can be undeleted, unless it is purged."""
        path = branch_path(instance, name)
        return await self._delete(
            Action.DELETE_BRANCH, lambda client: client.postgres.delete_branch(path, purge=purge).name()
        )

    async def undelete_branch(self, instance: str, name: str) -> str | None:
        """Request that a deleted branch is undeleted."""
        path = branch_path(instance, name)
        return await self._client.call(
            Action.UNDELETE_BRANCH, lambda client: client.postgres.undelete_branch(path).name()
        )

    async def snapshots(self, instance: str) -> Sequence[Snapshot]:
        """The snapshots of a project."""

        def request(client: WorkspaceClient) -> list[Snapshot]:
            listed = client.postgres.list_snapshots(f"projects/{instance}")
            return [read_snapshot(one) for one in all_of(listed, f"snapshots of {instance}") if one.name]

        return await self._client.find(Action.LIST_SNAPSHOTS, request) or []

    async def create_snapshot(self, spec: SnapshotSpec) -> str | None:
        """Request a snapshot of a branch."""
        source = branch_path(spec.instance_name, spec.source) if spec.source else None
        wanted = api.SnapshotSpec(
            source or await self.default_branch(spec.instance_name),
            source_branch_time=_timestamp(spec.time),
            **_term(spec.expires_at, spec.ttl_seconds),
        )
        parent = f"projects/{spec.instance_name}"
        return await self._client.call(
            Action.CREATE_SNAPSHOT,
            lambda client: client.postgres.create_snapshot(parent, api.Snapshot(spec=wanted), spec.name).name(),
        )

    async def delete_snapshot(self, instance: str, name: str) -> str | None:
        """Request the deletion of a snapshot."""
        path = f"projects/{instance}/snapshots/{name}"
        return await self._delete(Action.DELETE_SNAPSHOT, lambda client: client.postgres.delete_snapshot(path).name())


def _term(expires_at: str | None, ttl_seconds: int | None) -> dict[str, Any]:
    """The one of three fields that says when something expires."""
    if expires_at is not None:
        return {"expire_time": _timestamp(expires_at)}
    return {"no_expiry": True} if ttl_seconds is None else {"ttl": duration(ttl_seconds)}


def _timestamp(text: str | None) -> Timestamp | None:
    if text is None:
        return None
    moment = Timestamp()
    moment.FromDatetime(datetime.fromisoformat(text))
    return moment
