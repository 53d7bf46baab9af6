"""The database instances as REST resources: views of projects, each with its default branch and read-write endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from server.local.platform.compute.lifecycle import AVAILABLE, DELETING, STOPPED, available
from server.local.platform.rest.bodies import InstanceBody, boolean, instance_name
from server.local.platform.rest.errors import conflict, exists, invalid, not_found, wrong_state
from server.local.platform.state.projects import Branch, Compute, Project, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.identities.credentials import Identity
    from server.local.platform.projects.endpoints import Endpoints
    from server.local.platform.projects.projects import Projects
    from server.local.platform.state.projects import Endpoint
    from server.local.platform.state.store import Store

_DAY_SECONDS = 86_400
_MIN_RETENTION, _MAX_RETENTION = 2, 35
_MAX_NODES = 3
# The capacity units of the Autoscaling API, of 2 GB each, by those of this one, of 16 GB each.
_CAPACITIES = {"CU_1": 8.0, "CU_2": 16.0, "CU_4": 32.0, "CU_8": 64.0}
_DEFAULTS: dict[str, Any] = {
    "capacity": "CU_1",
    "node_count": 1,
    "enable_readable_secondaries": False,
    "retention_window_in_days": 7,
    "stopped": False,
    "enable_pg_native_login": False,
    "custom_tags": [],
    "usage_policy_id": None,
}


class Instances:
    """The instances. An instance that either API made is visible by both, and a deleted project by neither here.

    A child instance (`parent_instance_ref`) is a project of its own, a copy of its parent as that is now. Its points in
    time are refused: a branch has them.
    """

    def __init__(self, store: Store, lifecycle: Lifecycle, projects: Projects, endpoints: Endpoints) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._projects = projects
        self._endpoints = endpoints

    def find(self, name: str) -> Compute:
        """The project with this name, its default branch and that one's read-write endpoint.

        Raises:
            PlatformError: NOT_FOUND.
        """
        project = self._store.state.projects.get(name)
        if project is None or (project.delete_time and not project.purged):
            raise not_found(f"Database instance '{name}' not found.")
        return _served(project)

    def served(self, name: str) -> tuple[Project, Branch]:
        """The project with this name, and its default branch."""
        compute = self.find(name)
        return compute.project, compute.branch

    async def connect(self, name: str) -> Any:
        """Connect to an instance as the superuser, as `Lifecycle.connect`."""
        return await self._lifecycle.connect(*self.served(name))

    def find_by_uid(self, uid: str | None) -> dict[str, Any]:
        """The DatabaseInstance with this uid."""
        for compute in self.computes():
            if compute.project.uid == uid:
                return self.as_json(compute)
        raise not_found(f"Database instance with uid '{uid}' not found.")

    def all(self) -> list[dict[str, Any]]:
        """Every DatabaseInstance, ordered by name."""
        return [self.as_json(compute) for compute in self.computes()]

    def computes(self) -> list[Compute]:
        """What `find` finds, of every instance, ordered by name."""
        projects = sorted(self._store.state.projects.items())
        return [_served(project) for _, project in projects if project.purged or not project.delete_time]

    def create(self, body: InstanceBody, creator: Identity) -> dict[str, Any]:
        """Start to create an instance."""
        name = instance_name(body.name)
        if name in self._store.state.projects:
            raise exists(f"Database instance '{name}' already exists.")
        parent = self._parent(body.parent_instance_ref)
        given = {key: value for key, value in body.model_dump().items() if key in _DEFAULTS and value is not None}
        fields = {**_DEFAULTS, **given}
        _check(fields)
        if fields["stopped"]:
            raise invalid("stopped: an instance cannot be created stopped.")
        source = Source(name=parent.project.branch_name(parent.branch), uid=parent.branch.uid) if parent else None
        project = self._projects.new(name, creator, source=source, parent=parent.project.uid if parent else None)
        compute = _served(project)
        for field, value in _of_endpoint(fields).items():
            setattr(compute.endpoint, field, value)
        _set_project(project, fields)
        self._projects.begin(project)
        return self.as_json(self.find(name), tags=True)

    def update(self, name: str, body: InstanceBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Change the fields in `update_mask`, or without a mask the fields in the body."""
        compute = self.find(name)
        if body.name not in (None, "", name):
            raise invalid(f"name: '{body.name}' is not '{name}', and cannot be changed.")
        given = body.model_dump()
        paths = [path.strip() for path in query.get("update_mask", "").split(",") if path.strip()]
        if unknown := set(paths) - {*_DEFAULTS, "*"}:
            raise invalid(f"update_mask: {', '.join(sorted(unknown))} cannot be updated.")
        if not paths or "*" in paths:
            paths = [key for key in _DEFAULTS if given[key] is not None]
        values = {key: _DEFAULTS[key] if given[key] is None else given[key] for key in paths}
        before = _fields(compute)
        changed = {key: value for key, value in values.items() if before[key] != value}
        if changed:
            _check({**before, **changed})
        state = compute.endpoint.state
        if state not in (AVAILABLE, STOPPED) and changed:
            raise wrong_state(f"Database instance '{name}' is {state}: try again when it is AVAILABLE or STOPPED.")
        _set_project(compute.project, changed)
        self._store.save()
        self._endpoints.change(compute, _of_endpoint(changed))
        return self.as_json(compute, tags=True)

    def delete(self, name: str, query: Mapping[str, str]) -> None:
        """Start to delete an instance. Refused while it has catalogs or synced tables, or children without `force`."""
        compute = self.find(name)
        if boolean(query, "purge") is False:
            raise invalid("Purge must be set to true to delete a database instance.")
        children = self._children(compute.project)
        if children and not boolean(query, "force"):
            raise conflict(f"Database instance '{name}' still has the child instance '{children[0].id}': use force.")
        for child in children:
            self.delete(child.id, query)
        state = self._store.state
        for kind, resources in (("catalog", state.catalogs), ("synced table", state.synced_tables)):
            for resource in resources.values():
                if resource.branch.startswith(f"{compute.project.name}/"):
                    raise conflict(
                        f"Database instance '{name}' still has the {kind} '{resource.name}': delete that first."
                    )
        if not compute.project.purged:
            self._projects.delete(name, purge=True)

    def as_json(self, compute: Compute, *, tags: bool = False) -> dict[str, Any]:
        """A DatabaseInstance as the platform returns it. Input-only fields show only as their `effective_` twins."""
        project = compute.project
        reply = _properties(compute, tags=tags)
        projects = self._store.state.projects.values()
        if parent := next((one for one in projects if one.uid == project.parent), None):
            reply["parent_instance_ref"] = {"name": parent.id, "uid": parent.uid}
        if children := self._children(project):
            reply["child_instance_refs"] = [{"name": child.id, "uid": child.uid} for child in children]
        return reply

    def _parent(self, reference: Mapping[str, Any] | None) -> Compute | None:
        if not reference:
            return None
        if reference.keys() & {"branch_time", "lsn"}:
            raise invalid("parent_instance_ref: only a copy of the parent as it is now is supported here.")
        parent = self.find(instance_name(reference.get("name")))
        if available(parent.project, parent.branch).endpoint.suspended:
            raise wrong_state(f"Database instance '{parent.project.id}' is asleep.")
        return parent

    def _children(self, project: Project) -> list[Project]:
        return [one for one in self._store.state.projects.values() if one.parent == project.uid and not one.delete_time]


def _served(project: Project) -> Compute:
    branch = project.branches[project.default_branch]
    # No branch is the default one without it.
    return Compute(project, branch, cast("Endpoint", branch.primary))


def _capacity(compute: Compute) -> str:
    """The smallest capacity of an instance that has the most that the endpoint may scale to."""
    return next(name for name, units in _CAPACITIES.items() if compute.endpoint.max_cu <= units)


def _fields(compute: Compute) -> dict[str, Any]:
    project, endpoint = compute.project, compute.endpoint
    return {
        "capacity": _capacity(compute),
        "node_count": endpoint.nodes,
        "enable_readable_secondaries": endpoint.readable_secondaries,
        "retention_window_in_days": int(project.retention_seconds // _DAY_SECONDS),
        "stopped": endpoint.disabled,
        "enable_pg_native_login": project.native_login,
        "custom_tags": project.custom_tags,
        "usage_policy_id": project.budget_policy_id,
    }


def _of_endpoint(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an endpoint that the fields of an instance set."""
    names = {
        "node_count": "nodes",
        "enable_readable_secondaries": "readable_secondaries",
        "stopped": "disabled",
    }
    values = {names[key]: value for key, value in fields.items() if key in names}
    if "capacity" in fields:
        values["min_cu"] = values["max_cu"] = _CAPACITIES[fields["capacity"]]
    return values


def _set_project(project: Project, fields: Mapping[str, Any]) -> None:
    """Set the fields of a project that the fields of an instance set."""
    names = {
        "enable_pg_native_login": "native_login",
        "custom_tags": "custom_tags",
        "usage_policy_id": "budget_policy_id",
    }
    for key, value in fields.items():
        if key in names:
            setattr(project, names[key], value)
    if "retention_window_in_days" in fields:
        project.retention_seconds = fields["retention_window_in_days"] * _DAY_SECONDS


def _properties(compute: Compute, *, tags: bool) -> dict[str, Any]:
    project, endpoint, fields = compute.project, compute.endpoint, _fields(compute)
    reply: dict[str, Any] = {
        "name": project.id,
        "uid": project.uid,
        "creator": project.creator,
        "creation_time": project.create_time,
        "state": DELETING if project.purged else endpoint.state,
        "pg_version": "PG_VERSION_16",
        "read_write_dns": endpoint.address,
        "effective_node_count": endpoint.nodes,
        "effective_stopped": endpoint.disabled,
    }
    for key in ("capacity", "enable_readable_secondaries", "enable_pg_native_login", "retention_window_in_days"):
        reply[key] = reply[f"effective_{key}"] = fields[key]
    if endpoint.readable_secondaries:
        reply["read_only_dns"] = endpoint.secondary_address
    if project.budget_policy_id:
        reply["usage_policy_id"] = reply["effective_usage_policy_id"] = project.budget_policy_id
    if tags and project.custom_tags:
        reply["custom_tags"] = reply["effective_custom_tags"] = project.custom_tags
    return reply


def _check(fields: Mapping[str, Any]) -> None:
    capacity, nodes, days = fields["capacity"], fields["node_count"], fields["retention_window_in_days"]
    if capacity not in _CAPACITIES:
        raise invalid(f"capacity: '{capacity}' is not one of {', '.join(_CAPACITIES)}.")
    if not _MIN_RETENTION <= days <= _MAX_RETENTION:
        raise invalid(f"retention_window_in_days: {days} is not between {_MIN_RETENTION} and {_MAX_RETENTION}.")
    if not 1 <= nodes <= _MAX_NODES:
        raise invalid(f"node_count: {nodes} is not between 1 and {_MAX_NODES}.")
    if fields["enable_readable_secondaries"] and nodes == 1:
        raise invalid("enable_readable_secondaries: needs a node_count of 2 or more.")
