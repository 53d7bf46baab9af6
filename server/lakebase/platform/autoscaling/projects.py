"""The calls to projects, their branches and endpoints: an instance is a project with its default branch."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.errors.platform import (
    ERROR_CODE_MAPPING,
    BadRequest,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceConflict,
)
from databricks.sdk.service import postgres as api
from google.protobuf.duration_pb2 import Duration

from schema.errors import ForbiddenError, PlatformError, Reason
from schema.ports.admin.branches import EndpointKind
from schema.ports.admin.instances import NEVER, Flavour, InstancePage
from server.lakebase.platform.api import OperationOutcome
from server.lakebase.platform.autoscaling.conversions import read_branch, read_endpoint, read_project, with_endpoint
from server.lakebase.platform.failures import Action, to_api_error
from server.lakebase.platform.sdk_client import list_page
from server.lakebase.platform.workspace import Workspace
from server.observability.log_setup import silence_failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from databricks.sdk import WorkspaceClient

    from schema.ports.admin.branches import Branch, Endpoint
    from schema.ports.admin.instances import Instance, InstanceChange, InstanceSpec

T = TypeVar("T")
# The largest page that the platform gives.
_MAX_LISTED: Final = 100
# The most projects that are looked through for a deleted one.
_MAX_PROJECTS: Final = 1_000
# More branches, endpoints or snapshots than any project has. A longer list is an error, because the rest of it may hold
# the branch that a safety check is about.
_MAX_BELOW: Final = 10_000
# For the endpoints of a page of instances. An instance whose endpoint is not read in time is returned without it.
_PAGE_SECONDS: Final = 8.0
_DAY_SECONDS: Final = 86_400
# The SDK's classes of failures that come with a status in a response. An operation's failure has only a code.
_FAILURES: Final = {
    "BAD_REQUEST": BadRequest,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": NotFound,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_CONFLICT": ResourceConflict,
}


class ProjectCalls(Workspace):
    """The calls of an `AutoscalingPlatform` about instances."""

    flavour = Flavour.AUTOSCALING

    async def outcome_of(self, operation: str) -> OperationOutcome:
        """The outcome of one of the platform's operations. One that it does not know, or does not show us, is done."""
        try:
            found = await self._client.call(
                Action.GET_OPERATION, lambda client: client.postgres.get_operation(operation)
            )
        except (ForbiddenError, PlatformError):
            # Whether its call has had its effect is what a read of the resource shows.
            return OperationOutcome(done=True, failure=None)
        if found.error is None:
            return OperationOutcome(done=bool(found.done), failure=None)
        code = found.error.error_code.value if found.error.error_code else "UNKNOWN"
        kind = _FAILURES.get(code) or ERROR_CODE_MAPPING.get(code, DatabricksError)
        error = kind(found.error.message or "", error_code=code)
        return OperationOutcome(done=True, failure=to_api_error(error, Action.GET_OPERATION))

    async def instance(self, name: str) -> Instance | None:
        """The project with this name, by two calls: only its endpoint has the state."""
        found = await self._project(name)
        if found is None or found.delete_time is not None:
            return None
        branch = await self._default_branch(found)
        endpoints = await self.endpoints(branch) if branch else ()
        # A branch has one at most.
        main = next((one for one in endpoints if one.kind is EndpointKind.READ_WRITE), None)
        return with_endpoint(read_project(found), branch, main)

    async def deleted_instance(self, name: str) -> Instance | None:
        """The deleted project with this name. Some reads of the platform show it, and the list always does."""
        found = await self._project(name)
        if found is None:
            found = await self._client.call(Action.LIST_PROJECTS, lambda client: _listed_project(client, name))
        return read_project(found) if found and found.delete_time is not None else None

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of projects, at most 100, without their endpoints."""

        def request(client: WorkspaceClient) -> InstancePage:
            page = api.ListProjectsResponse.from_dict(list_page(client, "/api/2.0/postgres/projects", size, token))
            return InstancePage([read_project(one) for one in page.projects or []], page.next_page_token or None)

        return await self._client.call(Action.LIST_PROJECTS, request)

    async def in_full(self, instances: Sequence[Instance]) -> Sequence[Instance]:
        """The same instances with their endpoints, by two calls for each, as far as they are answered in time."""
        tasks = [asyncio.create_task(self.instance(one.name), name="project") for one in instances]
        for task in tasks:
            # If this task is cancelled, nobody awaits the calls under way.
            task.add_done_callback(silence_failure)
        if tasks:
            await asyncio.wait(tasks, timeout=_PAGE_SECONDS)
        full = []
        for one, task in zip(instances, tasks, strict=True):
            answered = task.done() and not task.cancelled() and task.exception() is None
            full.append((task.result() or one) if answered else one)
            task.cancel()
        return full

    async def create_instance(self, spec: InstanceSpec) -> str | None:
        """Request a new project, with a branch and an endpoint."""
        spec = spec.with_defaults(Flavour.AUTOSCALING)
        wanted = api.Project(
            initial_endpoint_spec=api.InitialEndpointSpec(**new_endpoint(spec)),
            spec=api.ProjectSpec(
                display_name=spec.name,
                history_retention_duration=duration((spec.retention_days or 0) * _DAY_SECONDS),
            ),
        )
        return await self._client.call(
            Action.CREATE_PROJECT, lambda client: client.postgres.create_project(wanted, spec.name).name()
        )

    async def update_instance(self, change: InstanceChange) -> str | None:
        """Request a change of a project, of its main endpoint, or of both: the endpoint last."""
        name, operation = f"projects/{change.name}", None
        if change.retention_days is not None:
            wanted = api.Project(
                spec=api.ProjectSpec(history_retention_duration=duration(change.retention_days * _DAY_SECONDS))
            )
            operation = await self._client.call(
                Action.UPDATE_PROJECT,
                lambda client: client.postgres.update_project(
                    name, wanted, mask("spec.history_retention_duration")
                ).name(),
            )
        if not _endpoint_paths(change):
            return operation
        found = await self.instance(change.name)
        if found is None or found.endpoint is None:
            raise PlatformError(Reason.RESOURCE_NOT_READY, f"The instance {change.name} has no read-write endpoint.")
        nodes, secondaries = found.node_count, found.readable_secondaries
        return await self._update_endpoint(found.endpoint, change, nodes=nodes, secondaries=secondaries)

    async def _update_endpoint(
        self, path: str, change: InstanceChange, *, nodes: int | None, secondaries: bool | None
    ) -> str | None:
        """Request a change of the endpoint with this path; `nodes` and `secondaries` are what it has now."""
        spec = api.EndpointSpec(
            api.EndpointType.ENDPOINT_TYPE_READ_WRITE,
            autoscaling_limit_min_cu=change.min_cu,
            autoscaling_limit_max_cu=change.max_cu,
            disabled=change.stopped,
            **({} if change.suspend_after_seconds is None else _suspension(change.suspend_after_seconds)),
        )
        if change.node_count is not None or change.readable_secondaries is not None:
            # The two limits of a group are the same number, so it is sent whole.
            size = change.node_count or nodes or 1
            readable = secondaries if change.readable_secondaries is None else change.readable_secondaries
            spec.group = api.EndpointGroupSpec(size, size, enable_readable_secondaries=bool(readable))
        paths = _endpoint_paths(change)
        return await self._client.call(
            Action.UPDATE_ENDPOINT,
            lambda client: client.postgres.update_endpoint(path, api.Endpoint(spec=spec), mask(*paths)).name(),
        )

    async def delete_instance(self, name: str, *, purge: bool) -> str | None:
        """Request the deletion of a project. It keeps its name and can be undeleted, unless it is purged."""
        return await self._delete(
            Action.DELETE_PROJECT,
            lambda client: client.postgres.delete_project(f"projects/{name}", purge=purge).name(),
        )

    async def undelete_instance(self, name: str) -> str | None:
        """Request that a deleted project is undeleted."""
        return await self._client.call(
            Action.UNDELETE_PROJECT, lambda client: client.postgres.undelete_project(f"projects/{name}").name()
        )

    async def branches(self, instance: str) -> Sequence[Branch]:
        """The branches of a project; deleted ones that are not purged too."""

        def request(client: WorkspaceClient) -> list[Branch]:
            listed = client.postgres.list_branches(f"projects/{instance}", page_size=_MAX_LISTED, show_deleted=True)
            return [read_branch(one) for one in all_of(listed, f"branches of {instance}") if one.name]

        return await self._client.find(Action.LIST_BRANCHES, request) or []

    async def endpoints(self, branch: str) -> Sequence[Endpoint]:
        """The endpoints of the branch with this path. One of an unknown kind is the main one if it is the only one."""

        def request(client: WorkspaceClient) -> list[Endpoint]:
            listed = client.postgres.list_endpoints(branch, page_size=_MAX_LISTED)
            found = [read_endpoint(one) for one in all_of(listed, f"endpoints of {branch}") if one.name]
            if [one.kind for one in found] == [EndpointKind.UNKNOWN]:
                found[0] = replace(found[0], kind=EndpointKind.READ_WRITE)
            return found

        return await self._client.find(Action.LIST_ENDPOINTS, request) or []

    async def default_branch(self, project: str) -> str:
        """The path of the default branch of a project.

        Raises:
            PlatformError: RESOURCE_NOT_FOUND or RESOURCE_NOT_READY.
        """
        found = await self._project(project)
        if found is None:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, f"There is no instance {project}. Create it first.")
        branch = await self._default_branch(found)
        if branch is None:
            raise PlatformError(Reason.RESOURCE_NOT_READY, f"The instance {project} has no default branch yet.")
        return branch

    async def _project(self, name: str) -> api.Project | None:
        return await self._client.find(
            Action.GET_PROJECT, lambda client: client.postgres.get_project(f"projects/{name}")
        )

    async def _default_branch(self, project: api.Project) -> str | None:
        if project.status and project.status.default_branch:
            return project.status.default_branch
        branches = await self.branches((project.name or "").rpartition("/")[2])
        return next((branch.path for branch in branches if branch.is_default), None)


def all_of(listed: Iterable[T], what: str) -> list[T]:
    """All resources of a list.

    Raises:
        PlatformError: CONTROL_PLANE_REFUSED, the list goes on and on.
    """
    found = list(itertools.islice(listed, _MAX_BELOW + 1))
    if len(found) > _MAX_BELOW:
        raise PlatformError(
            Reason.CONTROL_PLANE_REFUSED, f"The platform lists more than {_MAX_BELOW:,} {what}, so nothing is known."
        )
    return found


def _listed_project(client: WorkspaceClient, name: str) -> api.Project | None:
    listed = client.postgres.list_projects(page_size=_MAX_LISTED, show_deleted=True)
    return next((one for one in itertools.islice(listed, _MAX_PROJECTS) if one.name == f"projects/{name}"), None)


def _endpoint_paths(change: InstanceChange) -> list[str]:
    """The fields of an endpoint that a change names. The two that say when it falls asleep have one name."""
    paths = {
        "spec.autoscaling_limit_min_cu": change.min_cu,
        "spec.autoscaling_limit_max_cu": change.max_cu,
        "spec.disabled": change.stopped,
        "spec.suspension": change.suspend_after_seconds,
    }
    group = ["spec.group.min", "spec.group.max", "spec.group.enable_readable_secondaries"]
    grouped = change.node_count is not None or change.readable_secondaries is not None
    return [path for path, value in paths.items() if value is not None] + (group if grouped else [])


def new_endpoint(spec: InstanceSpec) -> dict[str, Any]:
    """The fields of a new endpoint's spec: its limits and its computes."""
    nodes = spec.node_count or 1
    return {
        "autoscaling_limit_min_cu": spec.min_cu,
        "autoscaling_limit_max_cu": spec.max_cu,
        "group": api.EndpointGroupSpec(nodes, nodes, enable_readable_secondaries=bool(spec.readable_secondaries)),
        **_suspension(spec.suspend_after_seconds or NEVER),
    }


def _suspension(seconds: int) -> dict[str, Any]:
    """The fields of a spec that say after how many idle seconds an endpoint falls asleep."""
    return {"no_suspension": True} if seconds == NEVER else {"suspend_timeout_duration": duration(seconds)}


def mask(*paths: str) -> FieldMask:
    """The fields that an update changes."""
    return FieldMask(list(paths))  # type: ignore[no-untyped-call] # the SDK's class has no types


def duration(seconds: int) -> Duration:
    """A protobuf Duration of this many seconds."""
    found = Duration()
    found.FromSeconds(seconds)
    return found
