"""The snapshots as REST resources."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.compute.lifecycle import DELETING, INIT, READY
from server.local.platform.projects.operations import CREATE, DELETE
from server.local.platform.rest.errors import PlatformError, absent, bad_request, exists, invalid
from server.local.platform.rest.values import checked_id, expire_time_of
from server.local.platform.state.projects import Operation, Snapshot
from server.local.platform.state.times import now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.compute.copies import Copies
    from server.local.platform.projects.branches import Branches
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.projects.operations import Operations
    from server.local.platform.projects.views import Views
    from server.local.platform.rest.postgres_bodies import SnapshotBody
    from server.local.platform.state.store import Store

_MOST_SNAPSHOTS = 10


class Snapshots:
    """The snapshots of root branches. Schedules are not imitated, so all of them are made by hand."""

    def __init__(
        self,
        store: Store,
        copies: Copies,
        lookup: Lookup,
        operations: Operations,
        branches: Branches,
        views: Views,
    ) -> None:
        self._store = store
        self._copies = copies
        self._lookup = lookup
        self._operations = operations
        self._branches = branches
        self._views = views
        operations.outcomes["snapshots"] = self._outcome

    def get(self, project: str, snapshot: str) -> dict[str, Any]:
        """A Snapshot."""
        owner = self._lookup.project(project)
        return self._views.snapshot(owner, _found(owner.snapshots, snapshot))

    def all(self, project: str) -> list[dict[str, Any]]:
        """The Snapshots of a project, ordered by id."""
        owner = self._lookup.project(project)
        return [self._views.snapshot(owner, snapshot) for _, snapshot in sorted(owner.snapshots.items())]

    def create(self, project: str, body: SnapshotBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to take a snapshot."""
        owner = self._lookup.project(project)
        name = checked_id(query.get("snapshot_id", ""), "snapshot_id")
        if name in owner.snapshots:
            raise exists("snapshot with such id already exists")
        if not body.spec.source_branch:
            raise invalid("Field 'snapshot.spec.source_branch' is required, expected non-default value (not \"\")!")
        expire_time = expire_time_of(body.spec)
        source = self._branches.copied(owner, body.spec)
        branch = next(one for one in owner.branches.values() if one.uid == source.uid)
        if branch.source is not None and "/snapshots/" not in branch.source.name and not branch.initial:
            raise bad_request(f"Cannot take a snapshot of '{source.name}', which is not a root branch.")
        if len(owner.snapshots) >= _MOST_SNAPSHOTS:
            raise PlatformError(400, "QUOTA_EXCEEDED", f"A project has at most {_MOST_SNAPSHOTS} manual snapshots.")
        snapshot = Snapshot(
            id=name,
            uid=f"snap-{uuid.uuid4()}",
            create_time=now(),
            state=INIT,
            source=source,
            expire_time=expire_time,
        )
        owner.snapshots[name] = snapshot
        self._store.save()
        self._copies.take_snapshot(owner, snapshot)
        return self._operations.begin(f"{owner.name}/snapshots/{name}", CREATE)

    def delete(self, project: str, snapshot: str) -> dict[str, Any]:
        """Begin to delete a snapshot."""
        owner = self._lookup.project(project)
        found = _found(owner.snapshots, snapshot)
        self._copies.remove_snapshot(owner, found)
        return self._operations.begin(f"{owner.name}/snapshots/{found.id}", DELETE)

    async def _outcome(self, operation: Operation) -> dict[str, Any] | None:
        _, project, _, snapshot = operation.resource.split("/")
        while True:
            owner = self._store.state.projects.get(project)
            found = owner.snapshots.get(snapshot) if owner else None
            if owner is None or found is None:
                if operation.verb == DELETE:
                    return None
                raise self._copies.failure(operation.resource)
            if operation.verb == CREATE and found.state == READY:
                return self._views.snapshot(owner, found)
            await self._store.changed()


def _found(snapshots: Mapping[str, Snapshot], name: str) -> Snapshot:
    found = snapshots.get(name)
    if found is None or found.state == DELETING:
        raise absent("snapshot")
    return found
