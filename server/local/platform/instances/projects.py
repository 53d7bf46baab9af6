"""The instances as the Autoscaling API presents them: each is a project with one branch and one endpoint."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from server.local.platform.instances.lifecycle import DELETING, FAILING_OVER, STARTING, STOPPED, UPDATING
from server.local.platform.rest.errors import invalid, not_found

if TYPE_CHECKING:
    from server.local.platform.options import Options
    from server.local.platform.rest.bodies import EndpointCredentialBody
    from server.local.platform.state import Instance, Store

_BRANCH, _ENDPOINT = "production", "primary"
_ENDPOINT_NAME = re.compile(r"projects/([^/]+)/branches/([^/]+)/endpoints/([^/]+)")
_DURATION = re.compile(r"\d{1,9}(\.\d{1,9})?s")
_MIN_LIFETIME_SECONDS, _MAX_LIFETIME_SECONDS = 300, 3600
_DAY_SECONDS = 86_400
# A capacity unit of the Provisioned API has 16 GB of memory, one of the Autoscaling API 2 GB.
_UNITS = {"CU_1": 8, "CU_2": 16, "CU_4": 32, "CU_8": 64}
# The endpoint's state by the instance's. The endpoint of an AVAILABLE instance is ACTIVE, or IDLE while suspended.
_ENDPOINT_STATES = {STARTING: "INIT", FAILING_OVER: "INIT", UPDATING: "ACTIVE", STOPPED: "IDLE", DELETING: "IDLE"}


class Projects:
    """Projects, branches and endpoints: read-only views of instances, which the Provisioned API creates and changes."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options

    def all(self) -> list[dict[str, Any]]:
        """Every Project, ordered by name."""
        return [_project(instance) for _, instance in sorted(self._store.state.instances.items())]

    def project(self, project: str) -> dict[str, Any]:
        """A Project. If it is no instance, it has only its name.

        Raises:
            PlatformError: NOT_FOUND.
        """
        if project in self._store.state.other_projects:
            return {"name": f"projects/{project}", "project_id": project}
        return _project(self._instance(project))

    def branch(self, project: str, branch: str) -> dict[str, Any]:
        """A Branch.

        Raises:
            PlatformError: NOT_FOUND.
        """
        return _branch(self._instance(project, branch))

    def branches(self, project: str) -> list[dict[str, Any]]:
        """The one Branch of the project.

        Raises:
            PlatformError: NOT_FOUND.
        """
        return [_branch(self._instance(project))]

    def endpoint(self, project: str, branch: str, endpoint: str) -> dict[str, Any]:
        """An Endpoint.

        Raises:
            PlatformError: NOT_FOUND.
        """
        return self._endpoint(self._instance(project, branch, endpoint))

    def endpoints(self, project: str, branch: str) -> list[dict[str, Any]]:
        """The one Endpoint of the branch.

        Raises:
            PlatformError: NOT_FOUND.
        """
        return [self._endpoint(self._instance(project, branch))]

    def requested(self, body: EndpointCredentialBody) -> tuple[Instance, float]:
        """The instance of a request for a credential, and the credential's lifetime in seconds.

        Raises:
            PlatformError: NOT_FOUND, or INVALID_PARAMETER_VALUE for a lifetime outside 5 minutes to an hour.
        """
        parts = _ENDPOINT_NAME.fullmatch(body.endpoint or "")
        if parts is None:
            raise invalid("endpoint: must be projects/{project}/branches/{branch}/endpoints/{endpoint}.")
        return self._instance(*parts.groups()), _lifetime(body)

    def _instance(self, project: str, branch: str = _BRANCH, endpoint: str = _ENDPOINT) -> Instance:
        instance = self._store.state.instances.get(project)
        if instance is None:
            raise not_found("project id not found")
        if branch != _BRANCH:
            raise not_found("branch id not found")
        if endpoint != _ENDPOINT:
            raise not_found("endpoint id not found")
        return instance

    def _endpoint(self, instance: Instance) -> dict[str, Any]:
        hosts = {"host": instance.address}
        if instance.readable_secondaries:
            hosts["read_only_host"] = instance.secondary_address
        status: dict[str, Any] = {
            "endpoint_id": _ENDPOINT,
            "endpoint_type": "ENDPOINT_TYPE_READ_WRITE",
            "current_state": _ENDPOINT_STATES.get(instance.state, "IDLE" if instance.suspended else "ACTIVE"),
            "disabled": instance.stopped,
            "hosts": hosts,
            "autoscaling_limit_min_cu": _UNITS[instance.capacity],
            "autoscaling_limit_max_cu": _UNITS[instance.capacity],
            "group": {
                "min": instance.node_count,
                "max": instance.node_count,
                "enable_readable_secondaries": instance.readable_secondaries,
            },
        }
        if self._options.suspend_after > 0:
            status["suspend_timeout_duration"] = f"{self._options.suspend_after:g}s"
        branch = f"projects/{instance.name}/branches/{_BRANCH}"
        return {
            "name": f"{branch}/endpoints/{_ENDPOINT}",
            "endpoint_id": _ENDPOINT,
            "parent": branch,
            "uid": f"ep-{instance.uid}",
            "create_time": instance.creation_time,
            "status": status,
        }


def _project(instance: Instance) -> dict[str, Any]:
    return {
        "name": f"projects/{instance.name}",
        "project_id": instance.name,
        "uid": instance.uid,
        "create_time": instance.creation_time,
        "status": {
            "project_id": instance.name,
            "display_name": instance.name,
            "owner": instance.creator,
            "pg_version": 16,
            "default_branch": f"projects/{instance.name}/branches/{_BRANCH}",
            "history_retention_duration": f"{instance.retention_days * _DAY_SECONDS}s",
            "enable_pg_native_login": instance.native_login,
            "custom_tags": instance.custom_tags,
        },
    }


def _branch(instance: Instance) -> dict[str, Any]:
    return {
        "name": f"projects/{instance.name}/branches/{_BRANCH}",
        "branch_id": _BRANCH,
        "parent": f"projects/{instance.name}",
        "uid": f"br-{instance.uid}",
        "create_time": instance.creation_time,
        "status": {
            "branch_id": _BRANCH,
            "current_state": "INIT" if instance.state == STARTING else "READY",
            "default": True,
            "is_protected": False,
        },
    }


def _lifetime(body: EndpointCredentialBody) -> float:
    """The lifetime in seconds: given as `ttl` or as `expire_time`, or an hour."""
    if body.ttl is not None and body.expire_time is not None:
        raise invalid("ttl and expire_time are mutually exclusive.")
    seconds: float = _MAX_LIFETIME_SECONDS
    if body.ttl is not None:
        if not _DURATION.fullmatch(body.ttl):
            raise invalid(f"ttl: {body.ttl!r} is not a duration such as 300s.")
        seconds = float(body.ttl[:-1])
    elif body.expire_time is not None:
        try:
            expiry = datetime.fromisoformat(body.expire_time)
        except ValueError:
            expiry = None
        if expiry is None or expiry.tzinfo is None:
            raise invalid(f"expire_time: {body.expire_time!r} is not a time such as 2026-11-01T12:00:00Z.")
        seconds = expiry.timestamp() - time.time()
    if not _MIN_LIFETIME_SECONDS <= seconds <= _MAX_LIFETIME_SECONDS:
        field = "ttl" if body.ttl is not None else "expire_time"
        raise invalid(f"{field}: must be {_MIN_LIFETIME_SECONDS} to {_MAX_LIFETIME_SECONDS} seconds ahead.")
    return seconds
