"""What happens by itself when a time has come: branches and snapshots expire, and what was deleted is purged."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from server.local.platform.compute.lifecycle import DELETING
from server.local.platform.state.times import unix_time

if TYPE_CHECKING:
    from server.local.platform.compute.copies import Copies
    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.options import Options
    from server.local.platform.projects.branches import Branches
    from server.local.platform.state.projects import Branch, Project
    from server.local.platform.state.store import Store

# Between two looks at the clock.
_LOOK_SECONDS = 1


class Terms:
    """The loop that looks at the clock. A branch that expires is deleted softly; protected and default ones stay."""

    def __init__(
        self, store: Store, options: Options, lifecycle: Lifecycle, copies: Copies, branches: Branches
    ) -> None:
        self._store = store
        self._options = options
        self._lifecycle = lifecycle
        self._copies = copies
        self._branches = branches

    def open(self) -> None:
        """Start the loop. The lifecycle ends it when it is closed."""
        self._lifecycle.run("terms", self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._options.purge_after / 4))
            for project in list(self._store.state.projects.values()):
                if not project.purged:
                    self._end_terms(project)

    def _end_terms(self, project: Project) -> None:
        if _has_come(project.purge_time):
            self._copies.remove_project(project)
            return
        for branch in list(project.branches.values()):
            if _has_come(branch.purge_time) and not branch.purged:
                self._copies.remove_branch(project, branch)
            elif _has_come(branch.expire_time) and not self._is_kept(project, branch):
                self._branches.mark_deleted(project, branch)
        for snapshot in list(project.snapshots.values()):
            if _has_come(snapshot.expire_time) and snapshot.state != DELETING:
                self._copies.remove_snapshot(project, snapshot)

    @staticmethod
    def _is_kept(project: Project, branch: Branch) -> bool:
        return bool(branch.delete_time) or branch.is_protected or branch.initial or branch.id == project.default_branch


def _has_come(stamp: str | None) -> bool:
    return stamp is not None and unix_time(stamp) <= time.time()
