"""The port's branches of an instance, with their endpoints and snapshots. Only the flavour AUTOSCALING has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from schema.ports.admin.instances import Flavour, InstanceChange, InstanceSpec

if TYPE_CHECKING:
    from datetime import datetime

# The name of the endpoint that a branch gets on request, as that of an instance's first branch.
NEW_ENDPOINT: Final = "primary"


class BranchState(Enum):
    """The state of a branch. UNKNOWN is a state of the platform that this API does not know; it is not a failure."""

    INIT = "INIT"
    READY = "READY"
    IMPORTING = "IMPORTING"
    RESETTING = "RESETTING"
    ARCHIVED = "ARCHIVED"
    DELETED = "DELETED"
    UNKNOWN = "UNKNOWN"


class EndpointState(Enum):
    """The state of an endpoint. UNKNOWN is a state of the platform that this API does not know; it is not a failure."""

    INIT = "INIT"
    ACTIVE = "ACTIVE"
    IDLE = "IDLE"
    DEGRADED = "DEGRADED"
    UNKNOWN = "UNKNOWN"


class EndpointKind(Enum):
    """What an endpoint is for. UNKNOWN is a kind of the platform that this API does not know."""

    READ_WRITE = "READ_WRITE"
    READ_ONLY = "READ_ONLY"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch, as the platform reports it. What the platform does not report is None.

    `path` is projects/.../branches/..., by which its PostgreSQL is connected to. `source` is the name of the branch
    that it was made from, at `source_time` and `source_lsn`.
    """

    path: str
    name: str
    instance_name: str
    uid: str | None
    state: BranchState
    is_default: bool
    is_protected: bool
    source: str | None
    source_time: datetime | None
    source_snapshot: str | None
    created_at: datetime | None
    expires_at: datetime | None
    deleted_at: datetime | None
    purge_at: datetime | None
    size_bytes: int | None
    source_lsn: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: the computes of a branch, as the platform reports them. What the platform does not report is None.

    `path` is projects/.../branches/.../endpoints/... `size` is the number of its computes. `suspend_after_seconds` is
    `NEVER` if it does not fall asleep. `changing` says that it is being changed, and may restart.
    """

    path: str
    name: str
    uid: str | None
    kind: EndpointKind
    state: EndpointState
    changing: bool
    host: str | None
    read_only_host: str | None
    min_cu: float | None
    max_cu: float | None
    size: int | None
    readable_secondaries: bool | None
    suspend_after_seconds: int | None
    disabled: bool
    last_active_at: datetime | None

    @property
    def suspended(self) -> bool:
        """Whether it is asleep: the next connection wakes it."""
        return self.state is EndpointState.IDLE and not self.disabled


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a branch, as the platform reports it. What the platform does not report is None."""

    path: str
    name: str
    instance_name: str
    uid: str | None
    source: str | None
    created_at: datetime | None
    expires_at: datetime | None
    full_size_bytes: int | None
    diff_size_bytes: int | None


@dataclass(frozen=True, slots=True)
class BranchSpec:
    """The wanted state of a branch of an instance.

    It is made from a branch, by default the default one, as that is now or was at `time` or `lsn`; or from a snapshot.
    Times are texts in ISO 8601, because a request is kept as JSON. Without `expires_at` and `ttl_seconds` it does not
    expire. `endpoint` asks for an endpoint of its own, with these limits. `default` makes it the default branch.
    """

    instance_name: str
    name: str
    source: str | None = None
    time: str | None = None
    lsn: str | None = None
    snapshot: str | None = None
    expires_at: str | None = None
    ttl_seconds: int | None = None
    protected: bool = False
    endpoint: bool = False
    min_cu: float | None = None
    max_cu: float | None = None
    suspend_after_seconds: int | None = None
    readable_secondaries: bool | None = None
    default: bool = False
    node_count: int | None = None


def endpoint_spec(spec: BranchSpec) -> InstanceSpec:
    """The size of a branch's new endpoint. What its spec leaves out has the defaults of an instance."""
    return InstanceSpec(
        spec.name,
        node_count=spec.node_count,
        readable_secondaries=spec.readable_secondaries,
        min_cu=spec.min_cu,
        max_cu=spec.max_cu,
        suspend_after_seconds=spec.suspend_after_seconds,
    ).with_defaults(Flavour.AUTOSCALING)


def endpoint_change(found: Endpoint, spec: BranchSpec) -> InstanceChange:
    """The change of an endpoint to the limits that a branch's spec names. Secondaries need two nodes at least."""
    return InstanceChange(
        spec.name,
        min_cu=spec.min_cu,
        max_cu=spec.max_cu,
        suspend_after_seconds=spec.suspend_after_seconds,
        node_count=spec.node_count or (max(2, found.size or 0) if spec.readable_secondaries else None),
        readable_secondaries=spec.readable_secondaries,
    )


@dataclass(frozen=True, slots=True)
class BranchChange:
    """Changes to a branch. None leaves a property as it is; `never_expires` takes its term away."""

    instance_name: str
    name: str
    protected: bool | None = None
    expires_at: str | None = None
    ttl_seconds: int | None = None
    never_expires: bool = False
    default: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotSpec:
    """The wanted state of a snapshot of a branch, by default the default one. Otherwise as a `BranchSpec`."""

    instance_name: str
    name: str
    source: str | None = None
    time: str | None = None
    expires_at: str | None = None
    ttl_seconds: int | None = None
