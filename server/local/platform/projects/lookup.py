"""Finds projects, branches and endpoints by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.local.platform.compute.lifecycle import READY
from server.local.platform.rest.errors import absent, busy
from server.local.platform.rest.values import branch_parts
from server.local.platform.state.projects import Branch, Compute, Project

if TYPE_CHECKING:
    from server.local.platform.options import Options
    from server.local.platform.state.store import Store


class Lookup:
    """Finds what exists. All methods raise a PlatformError, NOT_FOUND, if it does not.

    What is deleted and not purged yet is found by `shown_project` and `shown_branch` alone.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options

    def project(self, project: str) -> Project:
        """A project that is not deleted."""
        found = self._store.state.projects.get(project)
        if found is None or found.delete_time:
            raise absent("project")
        return found

    def branch(self, project: str, branch: str) -> tuple[Project, Branch]:
        """A branch that is not deleted, with its project."""
        parent = self.project(project)
        found = parent.branches.get(branch)
        if found is None or found.delete_time:
            raise absent("branch")
        return parent, found

    def branch_named(self, name: str | None, field: str) -> tuple[Project, Branch]:
        """The branch with this resource name, which a body has in a field."""
        return self.branch(*branch_parts(name, field))

    def ready_branch(self, name: str | None, field: str) -> tuple[Project, Branch]:
        """The same, of a branch whose data are there.

        Raises:
            PlatformError: ABORTED if they are being copied.
        """
        project, branch = self.branch_named(name, field)
        if branch.state != READY:
            raise busy(f"The branch {name} is being created: try again when it is READY.")
        return project, branch

    def endpoint(self, project: str, branch: str, endpoint: str) -> Compute:
        """An endpoint of a branch that is not deleted."""
        owner, parent = self.branch(project, branch)
        found = parent.endpoints.get(endpoint)
        if found is None:
            raise absent("endpoint")
        return Compute(owner, parent, found)

    def shown_project(self, project: str) -> Project:
        """A project, also a deleted one if the option `deleted_are_found` is set."""
        found = self._store.state.projects.get(project)
        if found is None or found.purged or not (self._options.deleted_are_found or found.delete_time is None):
            raise absent("project")
        return found

    def shown_branch(self, project: str, branch: str) -> tuple[Project, Branch]:
        """A branch, also a deleted one if the option `deleted_are_found` is set, with its project."""
        parent = self.project(project)
        found = parent.branches.get(branch)
        if found is None or found.purged or not (self._options.deleted_are_found or found.delete_time is None):
            raise absent("branch")
        return parent, found
