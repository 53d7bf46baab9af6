"""The branches as REST resources."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from server.local.history import parse_lsn
from server.local.platform.compute.lifecycle import AVAILABLE, FAILING_OVER, INIT, READY, STARTING, STOPPED, UPDATING
from server.local.platform.projects.operations import CREATE, DELETE, UNDELETE, UPDATE
from server.local.platform.rest.errors import PlatformError, absent, bad_request, exists, invalid, managed_by_parent
from server.local.platform.rest.masks import Mask
from server.local.platform.rest.values import checked_id, expire_time_of, unix_time_of
from server.local.platform.state.projects import Branch, Compute, Operation, Project, Source
from server.local.platform.state.times import now, stamp, unix_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.compute.copies import Copies
    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.options import Options
    from server.local.platform.projects.endpoints import Endpoints
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.projects.operations import Operations
    from server.local.platform.projects.views import Views
    from server.local.platform.rest.postgres_bodies import BranchBody, BranchSpecBody, SnapshotSpecBody
    from server.local.platform.state.store import Store

_MASK = Mask(("is_protected", "expiration"), {"expiration": ("ttl", "expire_time", "no_expiry")})
# Archiving is not imitated, so these are all that are not deleted.
_MOST_BRANCHES = 10
PRIMARY = "primary"


class Branches:
    """The branches. Each is a copy of a PostgreSQL, as that is, as it was, or as a snapshot has it."""

    def __init__(
        self,
        store: Store,
        options: Options,
        lifecycle: Lifecycle,
        copies: Copies,
        lookup: Lookup,
        operations: Operations,
        endpoints: Endpoints,
        views: Views,
    ) -> None:
        self._store = store
        self._options = options
        self._lifecycle = lifecycle
        self._copies = copies
        self._lookup = lookup
        self._operations = operations
        self._endpoints = endpoints
        self._views = views
        operations.outcomes["branches"] = self._outcome

    def get(self, project: str, branch: str) -> dict[str, Any]:
        """A Branch."""
        return self._views.branch(*self._lookup.shown_branch(project, branch))

    def all(self, project: str, *, deleted: bool) -> list[dict[str, Any]]:
        """The Branches of a project, ordered by id; with those that are deleted and not purged, or without."""
        owner = self._lookup.project(project)
        return [
            self._views.branch(owner, branch)
            for _, branch in sorted(owner.branches.items())
            if not branch.purged and (deleted or not branch.delete_time)
        ]

    def create(self, project: str, body: BranchBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to create a branch, or with `replace_existing` to change the one that has this id."""
        owner = self._lookup.project(project)
        name = checked_id(query.get("branch_id", ""), "branch_id")
        known = owner.branches.get(name)
        if known is not None and (known.delete_time or query.get("replace_existing") != "true"):
            held = f", and is held by a deleted branch until {known.purge_time}" if known.delete_time else ""
            raise exists(f"branch with such id already exists{held}")
        expire_time = expire_time_of(body.spec)
        if known is not None:
            known.expire_time, known.is_protected = expire_time, bool(body.spec.is_protected)
            known.update_time = now()
            self._store.save()
            return self._operations.begin(owner.branch_name(known), UPDATE)
        if sum(not branch.delete_time for branch in owner.branches.values()) >= _MOST_BRANCHES:
            raise PlatformError(400, "QUOTA_EXCEEDED", f"A project has at most {_MOST_BRANCHES} unarchived branches.")
        source = self._source(owner, body.spec)
        branch = self.new(name, source)
        branch.expire_time, branch.is_protected = expire_time, bool(body.spec.is_protected)
        if self._options.branch_endpoints:
            branch.endpoints[PRIMARY] = self._endpoints.new(owner, PRIMARY, read_write=True)
        self.begin(owner, branch)
        return self._operations.begin(owner.branch_name(branch), CREATE)

    def update(
        self, project: str, branch: str, body: BranchBody, raw: bytes, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Begin to change the fields in the mask."""
        owner, found = self._lookup.branch(project, branch)
        chosen = _MASK.chosen(query, raw)
        if "expiration" in chosen:
            found.expire_time = expire_time_of(body.spec, created=found.create_time)
        if "is_protected" in chosen:
            found.is_protected = bool(body.spec.is_protected)
        found.update_time = now()
        self._store.save()
        return self._operations.begin(owner.branch_name(found), UPDATE)

    def delete(self, project: str, branch: str, *, purge: bool) -> dict[str, Any]:
        """Begin to delete a branch, for good with `purge`. Its catalogs and synced tables stay, and no longer work."""
        owner = self._lookup.project(project)
        found = owner.branches.get(branch)
        if found is None or found.purged or (found.delete_time and not purge):
            raise absent("branch")
        name = owner.branch_name(found)
        if found.is_protected:
            raise bad_request("cannot delete protected branch")
        if found.initial:
            raise managed_by_parent(
                f"Cannot delete root branch '{name}'. Root branches cannot be deleted independently."
            )
        if found.id == owner.default_branch:
            raise bad_request(f"Cannot delete default branch '{name}'. Make another branch the default first.")
        children = [one for one in owner.branches.values() if not one.delete_time and _is_copy_of(one, found)]
        if children:
            raise bad_request(f"Cannot delete branch '{name}', which has the child branch '{children[0].id}'.")
        self.mark_deleted(owner, found)
        if purge:
            self._copies.remove_branch(owner, found)
        return self._operations.begin(name, DELETE)

    def undelete(self, project: str, branch: str) -> dict[str, Any]:
        """Begin to undelete a branch. It does not expire any more."""
        owner = self._lookup.project(project)
        found = owner.branches.get(branch)
        if found is None or found.purged:
            raise absent("branch")
        if not found.delete_time:
            raise bad_request("branch is not deleted")
        found.delete_time = found.purge_time = found.expire_time = None
        found.update_time = now()
        self._store.save()
        self.follow_deletion(owner, found)
        return self._operations.begin(owner.branch_name(found), UNDELETE)

    @staticmethod
    def new(name: str, source: Source | None) -> Branch:
        """A new branch, which no project has yet."""
        return Branch(
            id=name,
            uid=f"br-{uuid.uuid4()}",
            create_time=now(),
            update_time=now(),
            state=READY if source is None else INIT,
            source=source,
        )

    def begin(self, project: Project, branch: Branch) -> None:
        """Let a project have a new branch, and start to create its data and its endpoints."""
        project.branches[branch.id] = branch
        self._store.save()
        if branch.state == INIT:
            self._copies.copy_branch(project, branch)
        for endpoint in branch.endpoints.values():
            self._lifecycle.settle(Compute(project, branch, endpoint))

    def mark_deleted(self, project: Project, branch: Branch) -> None:
        """Delete a branch softly: its endpoints stop, and it is purged after the term."""
        if not branch.delete_time:
            branch.delete_time = now()
            branch.purge_time = stamp(unix_time(branch.delete_time) + self._options.purge_after)
            self._store.save()
            self.follow_deletion(project, branch)

    def follow_deletion(self, project: Project, branch: Branch) -> None:
        """Stop or start the endpoints after the branch or the project has been deleted or undeleted."""
        for endpoint in branch.endpoints.values():
            compute = Compute(project, branch, endpoint)
            if compute.is_wanted and endpoint.state == STOPPED:
                endpoint.state = STARTING
            elif not compute.is_wanted and endpoint.state in (AVAILABLE, STARTING, FAILING_OVER):
                endpoint.state = UPDATING
            self._store.save()
            self._lifecycle.settle(compute)

    def copied(self, project: Project, spec: BranchSpecBody | SnapshotSpecBody) -> Source:
        """The branch that a spec names, or the default branch, at the time or position that it names.

        Raises:
            PlatformError: INVALID_PARAMETER_VALUE if there is no such branch in the project, or its log does not reach
                back so far, or the time is in the future.
        """
        name = spec.source_branch or f"{project.name}/branches/{project.default_branch}"
        owner, branch = self._lookup.ready_branch(name, "spec.source_branch")
        if owner is not project:
            raise invalid(f"spec.source_branch: '{name}' is of another project.")
        if spec.source_branch_time and spec.source_branch_lsn:
            raise invalid("spec: source_branch_time and source_branch_lsn are mutually exclusive.")
        history = self._copies.history(branch)
        if spec.source_branch_time:
            at, present = unix_time_of(spec.source_branch_time, "spec.source_branch_time"), time.time()
            earliest = max(history.earliest or present, present - project.retention_seconds)
            if not earliest <= at <= present:
                raise invalid(f"spec.source_branch_time: must be between {stamp(earliest)} and now.")
            return Source(name=name, uid=branch.uid, time=spec.source_branch_time)
        if spec.source_branch_lsn:
            try:
                lsn = parse_lsn(spec.source_branch_lsn)
            except ValueError:
                raise invalid("spec.source_branch_lsn: is not a position such as 16/B374D848.") from None
            earliest_lsn = history.earliest_lsn
            if earliest_lsn is None or lsn < earliest_lsn:
                raise invalid("spec.source_branch_lsn: the history of the branch does not reach back so far.")
            return Source(name=name, uid=branch.uid, lsn=spec.source_branch_lsn)
        return Source(name=name, uid=branch.uid)

    def _source(self, project: Project, spec: BranchSpecBody) -> Source:
        if not spec.source_snapshot:
            return self.copied(project, spec)
        if spec.source_branch or spec.source_branch_time or spec.source_branch_lsn:
            raise invalid(
                "spec: source_branch, source_branch_time and source_branch_lsn must be empty with a snapshot."
            )
        found = project.snapshots.get(spec.source_snapshot.removeprefix(f"{project.name}/snapshots/"))
        if found is None:
            raise absent("snapshot")
        if found.state != READY:
            raise bad_request(f"The snapshot {spec.source_snapshot} is not AVAILABLE.")
        return Source(name=spec.source_snapshot, uid=found.uid)

    async def _outcome(self, operation: Operation) -> dict[str, Any] | None:
        _, project, _, branch = operation.resource.split("/")
        while True:
            found = None
            if owner := self._store.state.projects.get(project):
                found = owner.branches.get(branch)
            if owner is None or found is None:
                if operation.verb == DELETE:
                    return None
                raise self._copies.failure(operation.resource)
            is_settled = all(one.state in (AVAILABLE, STOPPED) for one in found.endpoints.values())
            if operation.verb == DELETE and found.delete_time and not found.purged and is_settled:
                return None
            if operation.verb != DELETE and found.state == READY and is_settled:
                return self._views.branch(owner, found)
            await self._store.changed()


def _is_copy_of(branch: Branch, other: Branch) -> bool:
    return branch.source is not None and branch.source.uid == other.uid
