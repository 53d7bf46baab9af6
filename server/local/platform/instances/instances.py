"""The database instances as REST resources: requests are checked here and carried out by the lifecycle."""

from __future__ import annotations

import ipaddress
import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.instances.lifecycle import AVAILABLE, DELETING, STARTING, STOPPED, UPDATING
from server.local.platform.instances.postgres import CAPACITIES
from server.local.platform.rest.bodies import InstanceBody, boolean, instance_name
from server.local.platform.rest.errors import conflict, exists, invalid, not_found, wrong_state
from server.local.platform.state import Instance, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.identities.credentials import Identity
    from server.local.platform.instances.lifecycle import Lifecycle
    from server.local.platform.state import Store

_MIN_RETENTION, _MAX_RETENTION = 2, 35
_MAX_NODES = 3
_FIRST_ADDRESS = ipaddress.IPv4Address("127.0.0.2")
# The fields that a PATCH may change, and the field of `Instance` that holds each.
_MUTABLE = {
    "capacity": "capacity",
    "node_count": "node_count",
    "enable_readable_secondaries": "readable_secondaries",
    "retention_window_in_days": "retention_days",
    "stopped": "stopped",
    "enable_pg_native_login": "native_login",
    "custom_tags": "custom_tags",
    "usage_policy_id": "usage_policy_id",
}
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
# Changing these restarts PostgreSQL; the others take effect at once.
_NEED_RESTART = {"capacity", "node_count", "readable_secondaries"}


class Instances:
    """The instances. An instance with readable secondaries has one hot standby, whatever its number of nodes.

    Native login (PostgreSQL's own passwords) is stored but has no effect. A child instance (`parent_instance_ref`) is a
    copy of its parent as it is now; the platform's points in time are refused.
    """

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle

    def find(self, name: str) -> Instance:
        """The instance with this name.

        Raises:
            PlatformError: NOT_FOUND.
        """
        instance = self._store.state.instances.get(name)
        if instance is None:
            raise not_found(f"Database instance '{name}' not found.")
        return instance

    def find_by_uid(self, uid: str | None) -> dict[str, Any]:
        """The DatabaseInstance with this uid."""
        for instance in self._store.state.instances.values():
            if instance.uid == uid:
                return self.as_json(instance)
        raise not_found(f"Database instance with uid '{uid}' not found.")

    def all(self) -> list[dict[str, Any]]:
        """Every DatabaseInstance, ordered by name."""
        return [self.as_json(instance) for _, instance in sorted(self._store.state.instances.items())]

    def create(self, body: InstanceBody, creator: Identity) -> dict[str, Any]:
        """Start to create an instance."""
        name = instance_name(body.name)
        if name in self._store.state.instances or name in self._store.state.other_projects:
            raise exists(f"Database instance '{name}' already exists.")
        parent = self._parent(body.parent_instance_ref)
        given = {key: value for key, value in body.model_dump().items() if key in _MUTABLE and value is not None}
        address = self._free_address()
        instance = Instance(
            name=name,
            uid=str(uuid.uuid4()),
            creator=creator.name,
            creator_is_user=creator.is_user,
            creation_time=now(),
            state=STARTING,
            address=str(address),
            secondary_address=str(address + 1),
            parent=parent.uid if parent else None,
            **{_MUTABLE[key]: value for key, value in {**_DEFAULTS, **given}.items()},
        )
        _check(instance)
        if instance.stopped:
            raise invalid("stopped: an instance cannot be created stopped.")
        self._store.state.instances[name] = instance
        self._store.save()
        self._lifecycle.settle(instance)
        return self.as_json(instance, tags=True)

    def update(self, name: str, body: InstanceBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Change the fields in `update_mask`, or without a mask the fields in the body."""
        instance = self.find(name)
        if body.name not in (None, "", name):
            raise invalid(f"name: '{body.name}' is not '{name}', and cannot be changed.")
        given = body.model_dump()
        paths = [path.strip() for path in query.get("update_mask", "").split(",") if path.strip()]
        if unknown := set(paths) - {*_MUTABLE, "*"}:
            raise invalid(f"update_mask: {', '.join(sorted(unknown))} cannot be updated.")
        if not paths or "*" in paths:
            paths = [key for key in _MUTABLE if given[key] is not None]
        values = {_MUTABLE[key]: _DEFAULTS[key] if given[key] is None else given[key] for key in paths}
        _check(instance.model_copy(update=values))
        changed = {field for field, value in values.items() if getattr(instance, field) != value}
        if instance.state not in (AVAILABLE, STOPPED) and changed:
            raise wrong_state(
                f"Database instance '{name}' is {instance.state}: try again when it is AVAILABLE or STOPPED."
            )
        for field in changed:
            setattr(instance, field, values[field])
        self._apply(instance, changed)
        return self.as_json(instance, tags=True)

    def delete(self, name: str, query: Mapping[str, str]) -> None:
        """Start to delete an instance. Refused while it has catalogs or synced tables, or children without `force`."""
        instance = self.find(name)
        if boolean(query, "purge") is False:
            raise invalid("Purge must be set to true to delete a database instance.")
        children = self._children(instance)
        if children and not boolean(query, "force"):
            raise conflict(f"Database instance '{name}' still has the child instance '{children[0].name}': use force.")
        for child in children:
            self.delete(child.name, query)
        state = self._store.state
        for kind, resources in (("catalog", state.catalogs), ("synced table", state.synced_tables)):
            for resource in resources.values():
                if resource.instance == name:
                    raise conflict(
                        f"Database instance '{name}' still has the {kind} '{resource.name}': delete that first."
                    )
        if instance.state != DELETING:
            instance.state = DELETING
            self._store.save()
        self._lifecycle.settle(instance)

    def _parent(self, reference: Mapping[str, Any] | None) -> Instance | None:
        if not reference:
            return None
        if reference.keys() & {"branch_time", "lsn"}:
            raise invalid("parent_instance_ref: only a copy of the parent as it is now is supported here.")
        parent = self.find(instance_name(reference.get("name")))
        if parent.state != AVAILABLE or parent.suspended:
            raise wrong_state(f"Database instance '{parent.name}' is {parent.state} or asleep, not AVAILABLE.")
        return parent

    def _children(self, instance: Instance) -> list[Instance]:
        return [one for one in self._store.state.instances.values() if one.parent == instance.uid]

    def as_json(self, instance: Instance, *, tags: bool = False) -> dict[str, Any]:
        """A DatabaseInstance as the platform returns it. Input-only fields show only as their `effective_` twins."""
        reply = _properties(instance, tags=tags)
        state = self._store.state
        if parent := next((one for one in state.instances.values() if one.uid == instance.parent), None):
            reply["parent_instance_ref"] = {"name": parent.name, "uid": parent.uid}
        if children := self._children(instance):
            reply["child_instance_refs"] = [{"name": child.name, "uid": child.uid} for child in children]
        return reply

    def _apply(self, instance: Instance, changed: set[str]) -> None:
        """Start what the changed fields require."""
        if "stopped" in changed:
            instance.state = UPDATING if instance.stopped else STARTING
        elif changed & _NEED_RESTART and instance.state == AVAILABLE:
            instance.state = UPDATING
        if changed:
            self._store.save()
            self._lifecycle.settle(instance)

    def _free_address(self) -> ipaddress.IPv4Address:
        taken = {instance.address for instance in self._store.state.instances.values()}
        address = _FIRST_ADDRESS
        # Each instance has two addresses, the second for its standby.
        while str(address) in taken:
            address += 2
        return address


def _properties(instance: Instance, *, tags: bool) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "name": instance.name,
        "uid": instance.uid,
        "creator": instance.creator,
        "creation_time": instance.creation_time,
        "state": instance.state,
        "pg_version": "PG_VERSION_16",
        "capacity": instance.capacity,
        "effective_capacity": instance.capacity,
        "enable_readable_secondaries": instance.readable_secondaries,
        "enable_pg_native_login": instance.native_login,
        "retention_window_in_days": instance.retention_days,
        "read_write_dns": instance.address,
        "effective_node_count": instance.node_count,
        "effective_enable_readable_secondaries": instance.readable_secondaries,
        "effective_enable_pg_native_login": instance.native_login,
        "effective_retention_window_in_days": instance.retention_days,
        "effective_stopped": instance.stopped,
    }
    if instance.readable_secondaries:
        reply["read_only_dns"] = instance.secondary_address
    if instance.usage_policy_id:
        reply["usage_policy_id"] = reply["effective_usage_policy_id"] = instance.usage_policy_id
    if tags and instance.custom_tags:
        reply["custom_tags"] = reply["effective_custom_tags"] = instance.custom_tags
    return reply


def _check(instance: Instance) -> None:
    if instance.capacity not in CAPACITIES:
        raise invalid(f"capacity: '{instance.capacity}' is not one of {', '.join(CAPACITIES)}.")
    if not _MIN_RETENTION <= instance.retention_days <= _MAX_RETENTION:
        raise invalid(
            f"retention_window_in_days: {instance.retention_days} is not between {_MIN_RETENTION} and {_MAX_RETENTION}."
        )
    if not 1 <= instance.node_count <= _MAX_NODES:
        raise invalid(f"node_count: {instance.node_count} is not between 1 and {_MAX_NODES}.")
    if instance.readable_secondaries and instance.node_count == 1:
        raise invalid("enable_readable_secondaries: needs a node_count of 2 or more.")
