"""The projects as REST resources."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.compute.lifecycle import AVAILABLE, READY, STOPPED
from server.local.platform.projects.branches import PRIMARY
from server.local.platform.projects.endpoints import checked_settings, group_values
from server.local.platform.projects.operations import CREATE, DELETE, UNDELETE, UPDATE
from server.local.platform.rest.errors import absent, bad_request, exists, invalid
from server.local.platform.rest.masks import Mask
from server.local.platform.rest.values import (
    branch_parts,
    check_limits,
    checked_id,
    duration,
    seconds_of,
    suspend_after_of,
)
from server.local.platform.state.projects import EndpointDefaults, Operation, Project
from server.local.platform.state.times import now, stamp, unix_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.compute.copies import Copies
    from server.local.platform.identities.credentials import Identity
    from server.local.platform.options import Options
    from server.local.platform.projects.branches import Branches
    from server.local.platform.projects.endpoints import Endpoints
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.projects.operations import Operations
    from server.local.platform.projects.views import Views
    from server.local.platform.rest.postgres_bodies import DefaultEndpointBody, ProjectBody, ProjectSpecBody
    from server.local.platform.state.projects import Source
    from server.local.platform.state.store import Store

_BRANCH = "production"
_DAY_SECONDS = 86_400
MIN_RETENTION, MAX_RETENTION, _RETENTION = 2 * _DAY_SECONDS, 35 * _DAY_SECONDS, 7 * _DAY_SECONDS
_DEFAULT_CU = 1
_MOST_DISPLAYED = 256
_VERSION = 16
_DEFAULTS = "default_endpoint_settings"
_MASK = Mask(
    (
        "display_name",
        "history_retention_duration",
        "default_branch",
        "enable_pg_native_login",
        "custom_tags",
        "budget_policy_id",
        f"{_DEFAULTS}.autoscaling_limit_min_cu",
        f"{_DEFAULTS}.autoscaling_limit_max_cu",
        f"{_DEFAULTS}.pg_settings",
        f"{_DEFAULTS}.suspension",
    ),
    {f"{_DEFAULTS}.suspension": ("suspend_timeout_duration", "no_suspension")},
)


class Projects:
    """The projects. Native login (PostgreSQL's own passwords) is stored but has no effect."""

    def __init__(
        self,
        store: Store,
        options: Options,
        copies: Copies,
        lookup: Lookup,
        operations: Operations,
        endpoints: Endpoints,
        branches: Branches,
        views: Views,
    ) -> None:
        self._store = store
        self._options = options
        self._copies = copies
        self._lookup = lookup
        self._operations = operations
        self._endpoints = endpoints
        self._branches = branches
        self._views = views
        operations.outcomes["projects"] = self._outcome

    def get(self, project: str) -> dict[str, Any]:
        """A Project."""
        return self._views.project(self._lookup.shown_project(project))

    def all(self, *, deleted: bool) -> list[dict[str, Any]]:
        """The Projects, ordered by id; with those that are deleted and not purged, or without."""
        return [
            self._views.project(project)
            for _, project in sorted(self._store.state.projects.items())
            if not project.purged and (deleted or not project.delete_time)
        ]

    def create(self, body: ProjectBody, query: Mapping[str, str], creator: Identity) -> dict[str, Any]:
        """Begin to create a project with its first branch and that branch's read-write endpoint."""
        name = checked_id(query.get("project_id", ""), "project_id")
        self.check_free(name)
        project = self.new(name, creator)
        spec, initial = body.spec, body.initial_endpoint_spec
        if spec.pg_version not in (None, _VERSION):
            raise invalid(f"spec.pg_version: {spec.pg_version} is not supported here: PostgreSQL is {_VERSION}.")
        if spec.default_branch:
            raise invalid("spec.default_branch: cannot be chosen before there is a branch.")
        given = {path for path in _MASK.paths if path.partition(".")[0] in spec.model_fields_set}
        self._set(project, spec, {path for path in given if _value(spec, path) is not None})
        root = project.branches[_BRANCH]
        root.is_protected = bool(body.initial_branch_spec.is_protected)
        endpoint = root.endpoints[PRIMARY]
        endpoint.pg_settings = project.defaults.pg_settings
        endpoint.min_cu, endpoint.max_cu = _limits(initial, project.defaults, "initial_endpoint_spec")
        suspend_after = suspend_after_of(initial, "initial_endpoint_spec")
        endpoint.suspend_after = project.defaults.suspend_after if suspend_after is None else suspend_after
        for field, value in group_values(endpoint, initial.group).items():
            setattr(endpoint, field, value)
        self.begin(project)
        return self._operations.begin(project.name, CREATE)

    def update(self, project: str, body: ProjectBody, raw: bytes, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to change the fields in the mask."""
        found = self._lookup.project(project)
        self._set(found, body.spec, _MASK.chosen(query, raw))
        found.update_time = now()
        self._store.save()
        return self._operations.begin(found.name, UPDATE)

    def delete(self, project: str, *, purge: bool) -> dict[str, Any]:
        """Begin to delete a project, for good with `purge`. Its catalogs and synced tables stay, and no longer work."""
        found = self._store.state.projects.get(project)
        if found is None or found.purged or (found.delete_time and not purge):
            raise absent("project")
        for branch in found.branches.values():
            if branch.is_protected and not branch.delete_time:
                raise bad_request(f"cannot delete project with protected branch '{branch.id}'")
        if not found.delete_time:
            found.delete_time = now()
            found.purge_time = stamp(unix_time(found.delete_time) + self._options.purge_after)
            self._store.save()
            for branch in found.branches.values():
                self._branches.follow_deletion(found, branch)
        if purge:
            self._copies.remove_project(found)
        return self._operations.begin(found.name, DELETE)

    def undelete(self, project: str) -> dict[str, Any]:
        """Begin to undelete a project."""
        found = self._store.state.projects.get(project)
        if found is None or found.purged:
            raise absent("project")
        if not found.delete_time:
            raise bad_request("project is not deleted")
        found.delete_time = found.purge_time = None
        found.update_time = now()
        self._store.save()
        for branch in found.branches.values():
            self._branches.follow_deletion(found, branch)
        return self._operations.begin(found.name, UNDELETE)

    def check_free(self, name: str) -> None:
        """Raise ALREADY_EXISTS if a project has this id, or a deleted one holds it."""
        known = self._store.state.projects.get(name)
        if known is not None:
            held = f", and is held by a deleted project until {known.purge_time}" if known.delete_time else ""
            raise exists(f"project with such id already exists in the workspace{held}")

    def new(self, name: str, creator: Identity, *, source: Source | None = None, parent: str | None = None) -> Project:
        """A new project with a branch and an endpoint, which is not stored yet."""
        project = Project(
            id=name,
            uid=str(uuid.uuid4()),
            creator=creator.name,
            creator_is_user=creator.is_user,
            create_time=now(),
            update_time=now(),
            display_name=name,
            retention_seconds=_RETENTION,
            defaults=EndpointDefaults(min_cu=_DEFAULT_CU, max_cu=_DEFAULT_CU),
            default_branch=_BRANCH,
            parent=parent,
        )
        root = project.branches[_BRANCH] = self._branches.new(_BRANCH, source)
        root.initial, root.uid = True, f"br-{project.uid}"
        root.endpoints[PRIMARY] = self._endpoints.new(project, PRIMARY, read_write=True)
        return project

    def begin(self, project: Project) -> None:
        """Store a new project, and start to create its data and its endpoint."""
        self._store.state.projects[project.id] = project
        self._store.save()
        for branch in project.branches.values():
            self._branches.begin(project, branch)

    def _set(self, project: Project, spec: ProjectSpecBody, chosen: set[str]) -> None:
        """Set the fields, after all of them have been checked."""
        values: dict[str, Any] = {path: _value(spec, path) for path in chosen if "." not in path}
        if "display_name" in chosen and not 1 <= len(values["display_name"] or "") <= _MOST_DISPLAYED:
            raise invalid(f"spec.display_name: must have 1 to {_MOST_DISPLAYED} characters.")
        if "history_retention_duration" in chosen:
            seconds = seconds_of(values.pop("history_retention_duration"), "spec.history_retention_duration")
            values["retention_seconds"] = checked_retention(seconds)
        if "enable_pg_native_login" in chosen:
            values["native_login"] = bool(values.pop("enable_pg_native_login"))
        if "default_branch" in chosen:
            values["default_branch"] = self._default_branch(project, values["default_branch"])
        if any(path.startswith(_DEFAULTS) for path in chosen) and spec.default_endpoint_settings is not None:
            values["defaults"] = _defaults(project.defaults, spec.default_endpoint_settings, chosen)
        for field, value in values.items():
            setattr(project, field, value)

    def _default_branch(self, project: Project, name: str | None) -> str:
        owner, branch = self._lookup.ready_branch(name, "spec.default_branch")
        if owner is not project:
            raise invalid(f"spec.default_branch: '{name}' is of another project.")
        if branch.primary is None:
            raise bad_request(f"The branch '{name}' has no read-write endpoint.")
        return branch_parts(name, "spec.default_branch")[1]

    async def _outcome(self, operation: Operation) -> dict[str, Any] | None:
        while True:
            project = self._store.state.projects.get(operation.resource.partition("/")[2])
            if project is None:
                if operation.verb == DELETE:
                    return None
                raise absent("project")
            branches = list(project.branches.values())
            endpoints = [endpoint for branch in branches for endpoint in branch.endpoints.values()]
            is_settled = all(endpoint.state in (AVAILABLE, STOPPED) for endpoint in endpoints)
            if operation.verb == DELETE and project.delete_time and not project.purged and is_settled:
                return None
            if operation.verb == UPDATE or (
                operation.verb != DELETE and is_settled and all(branch.state == READY for branch in branches)
            ):
                return self._views.project(project)
            await self._store.changed()


def checked_retention(seconds: float) -> float:
    """Check how long the history of a project's branches is kept, and return it."""
    if not MIN_RETENTION <= seconds <= MAX_RETENTION:
        raise invalid(
            f"spec.history_retention_duration: must be between {duration(MIN_RETENTION)} and {duration(MAX_RETENTION)}."
        )
    return seconds


def _value(spec: Any, path: str) -> Any:
    for name in path.split("."):
        if name == "suspension":
            return spec and (spec.suspend_timeout_duration or spec.no_suspension)
        spec = getattr(spec, name) if spec is not None else None
    return spec


def _limits(body: Any, defaults: EndpointDefaults, field: str) -> tuple[float, float]:
    """The limits in a body. Where it has only one, the other is the default, or the same if that does not fit."""
    least, most = body.autoscaling_limit_min_cu, body.autoscaling_limit_max_cu
    if least is None:
        least = defaults.min_cu if most is None else min(defaults.min_cu, most)
    if most is None:
        most = max(defaults.max_cu, least)
    check_limits(least, most, field)
    return least, most


def _defaults(defaults: EndpointDefaults, body: DefaultEndpointBody, chosen: set[str]) -> EndpointDefaults:
    field = f"spec.{_DEFAULTS}"
    masked = body.model_copy(
        update={
            name: None
            for name in ("autoscaling_limit_min_cu", "autoscaling_limit_max_cu")
            if f"{_DEFAULTS}.{name}" not in chosen
        }
    )
    least, most = _limits(masked, defaults, field)
    found = defaults.model_copy(update={"min_cu": least, "max_cu": most})
    if f"{_DEFAULTS}.suspension" in chosen:
        found.suspend_after = suspend_after_of(body, field)
    if f"{_DEFAULTS}.pg_settings" in chosen:
        found.pg_settings = checked_settings(body.pg_settings or {})
    return found
