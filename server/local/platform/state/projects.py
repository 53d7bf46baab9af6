"""The projects with all that they hold, and the operations on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field


class Endpoint(BaseModel):
    """A compute of a branch: a PostgreSQL with an address of its own. A suspended endpoint is AVAILABLE, too.

    Attributes:
        suspend_after: the idle time in seconds after which it is suspended; 0 is never, None is the platform's default.
        secondary_address: where a read-write endpoint's readable secondary listens.
    """

    id: str
    uid: str
    read_write: bool
    create_time: str
    update_time: str
    state: str
    min_cu: float
    max_cu: float
    nodes: int = 1
    readable_secondaries: bool = False
    suspend_after: float | None = None
    disabled: bool = False
    pg_settings: dict[str, str] = Field(default_factory=dict)
    address: str
    secondary_address: str
    suspended: bool = False


class Source(BaseModel):
    """What a branch or a snapshot is a copy of: a branch as it is or was, or a snapshot. `uid` names its data."""

    name: str
    uid: str
    time: str | None = None
    lsn: str | None = None


class Branch(BaseModel):
    """A branch: one PostgreSQL's data, which its endpoints serve.

    `purge_time` is set while it is deleted, `purged` while it is being removed for good. `initial` tells the branch
    that the project was created with.
    """

    id: str
    uid: str
    create_time: str
    update_time: str
    state: str
    initial: bool = False
    is_protected: bool = False
    source: Source | None = None
    expire_time: str | None = None
    delete_time: str | None = None
    purge_time: str | None = None
    purged: bool = False
    endpoints: dict[str, Endpoint] = Field(default_factory=dict)

    @property
    def primary(self) -> Endpoint | None:
        """Its read-write endpoint, if it has one."""
        return next((endpoint for endpoint in self.endpoints.values() if endpoint.read_write), None)


class Snapshot(BaseModel):
    """A snapshot: a copy of a branch's data that no PostgreSQL serves."""

    id: str
    uid: str
    create_time: str
    state: str
    source: Source
    expire_time: str | None = None
    size: int = 0


class EndpointDefaults(BaseModel):
    """What new endpoints of a project get, unless they are created with something else."""

    min_cu: float
    max_cu: float
    suspend_after: float | None = None
    pg_settings: dict[str, str] = Field(default_factory=dict)


class Project(BaseModel):
    """A project, which the Database Instance API shows as an instance. `parent` is the uid of a child's original."""

    id: str
    uid: str
    creator: str
    creator_is_user: bool
    create_time: str
    update_time: str
    display_name: str
    retention_seconds: float
    native_login: bool = False
    custom_tags: list[dict[str, str]] = Field(default_factory=list)
    budget_policy_id: str | None = None
    defaults: EndpointDefaults
    default_branch: str
    parent: str | None = None
    delete_time: str | None = None
    purge_time: str | None = None
    purged: bool = False
    branches: dict[str, Branch] = Field(default_factory=dict)
    snapshots: dict[str, Snapshot] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"projects/{self.id}"

    def branch_name(self, branch: Branch) -> str:
        """The resource name of one of its branches."""
        return f"{self.name}/branches/{branch.id}"


@dataclass(frozen=True, eq=False)
class Compute:
    """An endpoint together with its branch and its project."""

    project: Project
    branch: Branch
    endpoint: Endpoint

    @property
    def name(self) -> str:
        """The endpoint's resource name."""
        return f"{self.project.branch_name(self.branch)}/endpoints/{self.endpoint.id}"

    @property
    def is_wanted(self) -> bool:
        """Whether its PostgreSQL should run, unless it is suspended."""
        return not (self.endpoint.disabled or self.branch.delete_time or self.project.delete_time)


class Operation(BaseModel):
    """A long-running operation on the resource of this name: its outcome is the response or the error."""

    name: str
    resource: str
    verb: str
    done: bool = False
    response: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
