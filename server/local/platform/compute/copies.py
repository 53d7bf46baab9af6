"""The copying of branches and snapshots: as a branch is, as it was, or from a snapshot; and their removal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg

from server.local.cluster import Cluster, ClusterError
from server.local.history import History, HistoryError
from server.local.platform.compute.lifecycle import DELETING, INIT, READY
from server.local.platform.compute.postgres import in_thread
from server.local.platform.rest.errors import PlatformError, bad_request
from server.local.platform.state.projects import Branch, Compute, Project, Snapshot
from server.local.platform.state.times import now, unix_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.options import Options
    from server.local.platform.state.projects import Source
    from server.local.platform.state.store import Store

# The attempts to copy a PostgreSQL that may be restarted meanwhile.
_ATTEMPTS = 3
_RETRY_SECONDS = 1
_log = logging.getLogger(__name__)


class Copies:
    """Creates the data of branches and snapshots, and removes both.

    The data of a branch or a snapshot are in a directory named by its uid, so that none finds the data of a deleted
    namesake.
    """

    def __init__(self, store: Store, options: Options, lifecycle: Lifecycle) -> None:
        self._store = store
        self._options = options
        self._lifecycle = lifecycle
        # By the name of the branch or the snapshot.
        self._failures: dict[str, PlatformError] = {}
        # Held while the data of a branch or a snapshot are created or removed.
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def open(self) -> None:
        """Resume every copy and every removal that was left unfinished."""
        for project in list(self._store.state.projects.values()):
            if project.purged:
                self.remove_project(project)
            for branch in project.branches.values():
                if branch.purged:
                    self.remove_branch(project, branch)
                elif branch.state == INIT:
                    self.copy_branch(project, branch)
            for snapshot in project.snapshots.values():
                if snapshot.state == INIT:
                    self.take_snapshot(project, snapshot)
                elif snapshot.state == DELETING:
                    self.remove_snapshot(project, snapshot)

    def copy_branch(self, project: Project, branch: Branch) -> None:
        """Start to create the data of a branch. If that fails, the branch is removed."""
        self._lifecycle.run(f"copy {branch.uid}", self._copy_branch(project, branch))

    def take_snapshot(self, project: Project, snapshot: Snapshot) -> None:
        """Start to create the data of a snapshot. If that fails, the snapshot is removed."""
        self._lifecycle.run(f"copy {snapshot.uid}", self._take_snapshot(project, snapshot))

    def remove_branch(self, project: Project, branch: Branch) -> None:
        """Start to remove a branch for good, with its endpoints."""
        branch.purged = True
        self._store.save()
        self._lifecycle.run(f"remove {branch.uid}", self._remove_branch(project, branch))

    def remove_project(self, project: Project) -> None:
        """Start to remove a project for good, with all that it holds."""
        project.purged = True
        for branch in project.branches.values():
            self._delete_endpoints(project, branch)
        self._store.save()
        self._lifecycle.run(f"remove {project.uid}", self._remove_project(project))

    def remove_snapshot(self, project: Project, snapshot: Snapshot) -> None:
        """Start to remove a snapshot."""
        snapshot.state = DELETING
        self._store.save()
        self._lifecycle.run(f"remove {snapshot.uid}", self._remove_snapshot(project, snapshot))

    async def _remove_snapshot(self, project: Project, snapshot: Snapshot) -> None:
        snapshot.state = DELETING
        async with self._busy[snapshot.uid]:
            await in_thread(self._cluster(snapshot.uid).destroy)
        if project.snapshots.get(snapshot.id) is snapshot:
            del project.snapshots[snapshot.id]
            self._store.save()

    def failure(self, name: str) -> PlatformError:
        """Why the branch or snapshot of this name was not created, or is gone."""
        return self._failures.get(name) or PlatformError(409, "ABORTED", f"{name} was deleted meanwhile.")

    def history(self, branch: Branch) -> History:
        """The past of a branch."""
        return History(self._cluster(branch.uid))

    def size(self, uid: str) -> int:
        """The bytes of the databases of a branch or a snapshot."""
        databases = self._cluster(uid).home / "data" / "base"
        total = 0
        for file in databases.glob("*/*"):
            # Files come and go.
            with contextlib.suppress(OSError):
                total += file.stat().st_size
        return total

    def _cluster(self, uid: str) -> Cluster:
        return Cluster(
            self._store.directory.absolute() / "instances" / uid, options=self._options.pg_options, database=None
        )

    async def _copy_branch(self, project: Project, branch: Branch) -> None:
        name = project.branch_name(branch)
        if await self._copied(branch.source, branch.uid, name, lambda: not (branch.purged or project.purged)):
            branch.state, branch.update_time = READY, now()
            self._store.save()
        else:
            await self._remove_branch(project, branch)

    async def _take_snapshot(self, project: Project, snapshot: Snapshot) -> None:
        name = f"{project.name}/snapshots/{snapshot.id}"
        if await self._copied(snapshot.source, snapshot.uid, name, lambda: snapshot.state == INIT):
            snapshot.size = self.size(snapshot.uid)
            snapshot.state = READY if snapshot.state == INIT else snapshot.state
            self._store.save()
        else:
            await self._remove_snapshot(project, snapshot)

    async def _copied(self, source: Source | None, uid: str, name: str, is_wanted: Callable[[], bool]) -> bool:
        """Create the data of the branch or snapshot of this name while it is wanted. Returns whether that succeeded."""
        if source is None:
            return True
        for attempt in range(_ATTEMPTS):
            try:
                async with self._busy[uid]:
                    if is_wanted():
                        await self._copy(source, self._cluster(uid))
            except (ClusterError, OSError, asyncpg.PostgresError) as error:
                _log.warning("%s was not copied: %s", source.name, error)
                message = f"{source.name} was not copied: {str(error).splitlines()[0]}"
                if isinstance(error, HistoryError):
                    self._failures[name] = bad_request(message)
                    return False
                self._failures[name] = PlatformError(500, "INTERNAL_ERROR", message)
                if attempt < _ATTEMPTS - 1:
                    await asyncio.sleep(_RETRY_SECONDS)
            else:
                return True
        return False

    async def _copy(self, source: Source, target: Cluster) -> None:
        if target.has_data:
            # It was complete when the platform was killed.
            return
        compute = self._serving(source.uid)
        if compute is None:
            await self._copy_from(self._cluster(source.uid), source, target)
            return
        async with self._lifecycle.locks[compute.endpoint.uid]:
            await self._copy_from(self._lifecycle.servers[compute.endpoint.uid].main, source, target)

    async def _copy_from(self, original: Cluster, source: Source, target: Cluster) -> None:
        if source.time is not None:
            await in_thread(History(original).restore, target, seconds=unix_time(source.time))
        elif source.lsn is not None:
            await in_thread(History(original).restore, target, lsn=source.lsn)
        elif await in_thread(original.running):
            await in_thread(target.copy_from, original, standby=False)
        else:
            await in_thread(target.copy_stopped, original)

    def _serving(self, uid: str) -> Compute | None:
        """The read-write endpoint of the branch with this uid, if it has one."""
        for compute in self._store.state.computes():
            if compute.branch.uid == uid and compute.endpoint.read_write:
                return compute
        return None

    async def _remove_branch(self, project: Project, branch: Branch) -> None:
        branch.purged = True
        await self._destroy_branch(project, branch)
        if project.branches.get(branch.id) is branch:
            del project.branches[branch.id]
            self._store.save()

    async def _destroy_branch(self, project: Project, branch: Branch) -> None:
        self._delete_endpoints(project, branch)
        while any(endpoint.uid in self._lifecycle.servers for endpoint in branch.endpoints.values()):
            await self._store.changed()
        # Without a read-write endpoint nothing else has removed them.
        async with self._busy[branch.uid]:
            await in_thread(self._cluster(branch.uid).destroy)

    def _delete_endpoints(self, project: Project, branch: Branch) -> None:
        for endpoint in list(branch.endpoints.values()):
            if endpoint.state != DELETING:
                endpoint.state = DELETING
                self._store.save()
            self._lifecycle.settle(Compute(project, branch, endpoint))

    async def _remove_project(self, project: Project) -> None:
        for snapshot in list(project.snapshots.values()):
            await self._remove_snapshot(project, snapshot)
        for branch in list(project.branches.values()):
            await self._destroy_branch(project, branch)
        if self._store.state.projects.get(project.id) is project:
            del self._store.state.projects[project.id]
            self._store.save()
