"""The endpoints as REST resources, and the changes that either API makes to one."""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.compute.lifecycle import AVAILABLE, DELETING, STARTING, STOPPED, TRANSIENT, UPDATING
from server.local.platform.projects.operations import CREATE, DELETE, UPDATE
from server.local.platform.rest.errors import (
    PlatformError,
    bad_request,
    busy,
    exists,
    invalid,
    managed_by_parent,
)
from server.local.platform.rest.masks import Mask
from server.local.platform.rest.postgres_bodies import EndpointSpecBody, GroupBody
from server.local.platform.rest.values import check_limits, checked_id, suspend_after_of
from server.local.platform.state.projects import Compute, Endpoint, Operation, Project
from server.local.platform.state.times import now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.projects.operations import Operations
    from server.local.platform.projects.views import Views
    from server.local.platform.rest.postgres_bodies import EndpointBody
    from server.local.platform.state.store import Store

_MASK = Mask(
    (
        "autoscaling_limit_min_cu",
        "autoscaling_limit_max_cu",
        "disabled",
        "group.min",
        "group.max",
        "group.enable_readable_secondaries",
        "settings.pg_settings",
        "suspension",
    ),
    {"suspension": ("suspend_timeout_duration", "no_suspension")},
)
_FIRST_ADDRESS = ipaddress.IPv4Address("127.0.0.2")
_MOST_COMPUTES = 4
# They are written on PostgreSQL's command line.
_SETTING, _VALUE = re.compile(r"[a-z][a-z0-9_.]*"), re.compile(r"[A-Za-z0-9_.,:/+-]*")
# Changing these restarts PostgreSQL; the others take effect at once.
_NEED_RESTART = {"min_cu", "max_cu", "nodes", "readable_secondaries", "pg_settings"}


class Endpoints:
    """The endpoints. One with readable secondaries has one hot standby, whatever its number of computes."""

    def __init__(
        self, store: Store, lifecycle: Lifecycle, lookup: Lookup, operations: Operations, views: Views
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._lookup = lookup
        self._operations = operations
        self._views = views
        operations.outcomes["endpoints"] = self._outcome

    def get(self, project: str, branch: str, endpoint: str) -> dict[str, Any]:
        """An Endpoint."""
        return self._views.endpoint(self._lookup.endpoint(project, branch, endpoint))

    def all(self, project: str, branch: str) -> list[dict[str, Any]]:
        """The Endpoints of a branch, ordered by id."""
        owner, parent = self._lookup.branch(project, branch)
        return [self._views.endpoint(Compute(owner, parent, one)) for _, one in sorted(parent.endpoints.items())]

    def create(self, project: str, branch: str, body: EndpointBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to create an endpoint, or with `replace_existing` to change it to what the body has."""
        owner, parent = self._lookup.branch(project, branch)
        name = checked_id(query.get("endpoint_id", ""), "endpoint_id")
        spec = body.spec
        if spec.endpoint_type is None:
            raise invalid("Field 'endpoint.spec.endpoint_type' is required, expected non-default value (not \"\")!")
        is_primary = spec.endpoint_type == "ENDPOINT_TYPE_READ_WRITE"
        if name in parent.endpoints:
            compute = Compute(owner, parent, parent.endpoints[name])
            if query.get("replace_existing") != "true":
                raise exists("endpoint with such id already exists")
            self.change(compute, self._values(compute.endpoint, spec))
            return self._operations.begin(compute.name, UPDATE)
        if is_primary and parent.primary:
            raise bad_request("A branch can only have one READ_WRITE endpoint.")
        if not is_primary and parent.primary is None:
            raise bad_request("A branch without a READ_WRITE endpoint has nothing that a READ_ONLY endpoint follows.")
        endpoint = self.new(owner, name, read_write=is_primary)
        for key, value in self._values(endpoint, spec).items():
            setattr(endpoint, key, value)
        endpoint.state = STOPPED if endpoint.disabled else STARTING
        parent.endpoints[name] = endpoint
        self._store.save()
        compute = Compute(owner, parent, endpoint)
        self._lifecycle.settle(compute)
        return self._operations.begin(compute.name, CREATE)

    def update(
        self, project: str, branch: str, endpoint: str, body: EndpointBody, raw: bytes, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Begin to change the fields in the mask."""
        compute = self._lookup.endpoint(project, branch, endpoint)
        chosen = _MASK.chosen(query, raw)
        self.change(compute, self._values(compute.endpoint, _only(compute.endpoint, body.spec, chosen)))
        return self._operations.begin(compute.name, UPDATE)

    def delete(self, project: str, branch: str, endpoint: str) -> dict[str, Any]:
        """Begin to delete a read-only endpoint. A read-write one goes with its branch alone."""
        compute = self._lookup.endpoint(project, branch, endpoint)
        if compute.branch.is_protected:
            raise bad_request("cannot delete an endpoint of a protected branch")
        if compute.endpoint.read_write:
            raise managed_by_parent(
                f"Cannot delete read-write endpoint '{compute.name}'. Read-write endpoints cannot be deleted."
            )
        compute.endpoint.state = DELETING
        self._store.save()
        self._lifecycle.settle(compute)
        return self._operations.begin(compute.name, DELETE)

    def new(self, project: Project, name: str, *, read_write: bool) -> Endpoint:
        """A new endpoint with the project's defaults, and with addresses that no other has."""
        taken = {compute.endpoint.address for compute in self._store.state.computes()}
        taken |= {endpoint.address for branch in project.branches.values() for endpoint in branch.endpoints.values()}
        address = _FIRST_ADDRESS
        # Each endpoint has two addresses, the second for its readable secondary.
        while str(address) in taken:
            address += 2
        defaults = project.defaults
        return Endpoint(
            id=name,
            uid=f"ep-{uuid.uuid4()}",
            read_write=read_write,
            create_time=now(),
            update_time=now(),
            state=STARTING,
            min_cu=defaults.min_cu,
            max_cu=defaults.max_cu,
            suspend_after=defaults.suspend_after,
            pg_settings=defaults.pg_settings,
            address=str(address),
            secondary_address=str(address + 1),
        )

    def change(self, compute: Compute, values: Mapping[str, Any]) -> None:
        """Set fields of an endpoint, and start what that requires.

        Raises:
            PlatformError: ABORTED if another change is in progress.
        """
        endpoint = compute.endpoint
        changed = {field for field, value in values.items() if getattr(endpoint, field) != value}
        if not changed:
            return
        if endpoint.state not in (AVAILABLE, STOPPED):
            raise busy(f"The endpoint {compute.name} has an operation in progress: try again when that is done.")
        for field in changed:
            setattr(endpoint, field, values[field])
        if "disabled" in changed:
            endpoint.state = UPDATING if endpoint.disabled else STARTING
        elif changed & _NEED_RESTART and endpoint.state == AVAILABLE:
            endpoint.state = UPDATING
        endpoint.update_time = now()
        self._store.save()
        self._lifecycle.settle(compute)

    def _values(self, endpoint: Endpoint, spec: EndpointSpecBody) -> dict[str, Any]:
        """The fields of an endpoint that a spec sets, which are checked together with those that stay."""
        least = endpoint.min_cu if spec.autoscaling_limit_min_cu is None else spec.autoscaling_limit_min_cu
        most = endpoint.max_cu if spec.autoscaling_limit_max_cu is None else spec.autoscaling_limit_max_cu
        check_limits(least, most, "spec")
        values: dict[str, Any] = {"min_cu": least, "max_cu": most, **group_values(endpoint, spec.group)}
        if (suspend_after := suspend_after_of(spec, "spec")) is not None:
            values["suspend_after"] = suspend_after
        if spec.disabled is not None:
            values["disabled"] = spec.disabled
        if spec.settings is not None and spec.settings.pg_settings is not None:
            values["pg_settings"] = checked_settings(spec.settings.pg_settings)
        return values

    async def _outcome(self, operation: Operation) -> dict[str, Any] | None:
        _, project, _, branch, _, endpoint = operation.resource.split("/")
        while True:
            try:
                compute = self._lookup.endpoint(project, branch, endpoint)
            except PlatformError:
                if operation.verb == DELETE:
                    return None
                raise
            if operation.verb != DELETE and compute.endpoint.state not in TRANSIENT:
                return self._views.endpoint(compute)
            await self._store.changed()


def group_values(endpoint: Endpoint, group: GroupBody | None) -> dict[str, Any]:
    """The fields of an endpoint that a group sets."""
    if group is None:
        return {}
    if not 1 <= group.min == group.max <= _MOST_COMPUTES:
        raise invalid(f"spec.group: min must be equal to max, and between 1 and {_MOST_COMPUTES}.")
    readable = bool(group.enable_readable_secondaries)
    if readable and (not endpoint.read_write or group.max == 1):
        raise invalid("spec.group: enable_readable_secondaries needs a READ_WRITE endpoint with more than 1 compute.")
    return {"nodes": group.max, "readable_secondaries": readable}


def _only(endpoint: Endpoint, spec: EndpointSpecBody, chosen: set[str]) -> EndpointSpecBody:
    """The spec with the fields in a mask alone. A group gets its other fields from the endpoint."""
    leaves = {path.partition(".")[2] for path in chosen if path.startswith("group.")}
    group = None
    if spec.group and leaves:
        group = GroupBody(
            min=endpoint.nodes, max=endpoint.nodes, enable_readable_secondaries=endpoint.readable_secondaries
        ).model_copy(update=spec.group.model_dump(include=leaves))
    fields = {path.partition(".")[0] for path in chosen} - {"group", "suspension"}
    if "suspension" in chosen:
        fields |= {"suspend_timeout_duration", "no_suspension"}
    return EndpointSpecBody(group=group).model_copy(update={name: getattr(spec, name) for name in fields})


def checked_settings(settings: dict[str, str]) -> dict[str, str]:
    """Check PostgreSQL's settings, and return them."""
    for name, value in settings.items():
        if not _SETTING.fullmatch(name) or not _VALUE.fullmatch(value):
            raise invalid(f"pg_settings: {name} = {value!r} is not supported here.")
    return settings
