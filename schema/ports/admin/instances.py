"""The port's instances: what the platform reports of one, and what an operator wants of it.

An instance of the flavour AUTOSCALING is a project with its default branch and that branch's read-write endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# What a new instance of the flavour AUTOSCALING gets. Its size is from the smallest one, which costs least while little
# happens, to the memory of CU_1. It falls asleep after an hour: a night costs nothing, and a pause within a working day
# does not empty its caches. The platform documents two different defaults, so this is always sent.
DEFAULT_MIN_CU: Final = 0.5
DEFAULT_MAX_CU: Final = 8.0
DEFAULT_SUSPENSION_SECONDS: Final = 3_600
# In place of the seconds: it never falls asleep.
NEVER: Final = 0
# The largest difference between the two limits.
MAX_CU_RANGE: Final = 16.0


def limits_mistake(least: float, most: float) -> str | None:
    """Why two limits of autoscaling do not fit together, as a sentence; None if they do."""
    if most < least:
        return f"`maxCu` is {most:g}, which is less than `minCu`, {least:g}."
    if most - least > MAX_CU_RANGE:
        return f"`maxCu` is {most:g} and `minCu` {least:g}; they may differ by {MAX_CU_RANGE:g} at most."
    return None


class Flavour(Enum):
    """The API of the platform by which instances are administered."""

    AUTOSCALING = "AUTOSCALING"
    PROVISIONED = "PROVISIONED"


class InstanceState(Enum):
    """The state of an instance. UNKNOWN is a state of the platform that this API does not know; it is not a failure."""

    STARTING = "STARTING"
    AVAILABLE = "AVAILABLE"
    UPDATING = "UPDATING"
    FAILING_OVER = "FAILING_OVER"
    STOPPED = "STOPPED"
    DELETING = "DELETING"
    DELETED = "DELETED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Instance:
    """A database instance, as the platform reports it. What the platform does not report is None.

    `children` are the names of the instances that were created as copies of it. AUTOSCALING: `branch` and `endpoint`
    are the paths of the default branch and of its read-write endpoint; `suspend_after_seconds` is `NEVER` if it does
    not fall asleep, and `capacity` is None.
    """

    name: str
    uid: str | None
    state: InstanceState
    capacity: str | None
    node_count: int | None
    readable_secondaries: bool | None
    retention_days: int | None
    stopped: bool | None
    postgres_version: str | None
    creator: str | None
    created_at: datetime | None
    host: str | None
    read_only_host: str | None
    children: Sequence[str] = ()
    flavour: Flavour = Flavour.PROVISIONED
    min_cu: float | None = None
    max_cu: float | None = None
    suspend_after_seconds: int | None = None
    suspended: bool | None = None
    last_active_at: datetime | None = None
    storage_bytes: int | None = None
    owner: str | None = None
    retention_seconds: int | None = None
    deleted_at: datetime | None = None
    purge_at: datetime | None = None
    branch: str | None = None
    endpoint: str | None = None

    @property
    def server(self) -> str | None:
        """The name by which its PostgreSQL is connected to; None if it is not known."""
        return self.name if self.flavour is Flavour.PROVISIONED else self.branch

    @property
    def settled(self) -> bool:
        """Whether it is in no state that passes by itself. Nobody knows that of an unknown one, so it may be final.

        An instance whose default branch has no endpoint is not about to start: a client has to create the endpoint.
        """
        bare = self.flavour is Flavour.AUTOSCALING and self.endpoint is None and self.deleted_at is None
        return bare or self.state in {InstanceState.AVAILABLE, InstanceState.STOPPED, InstanceState.UNKNOWN}


@dataclass(frozen=True, slots=True)
class InstancePage:
    """Instances, and the platform's token for the next page; None after the last page."""

    instances: Sequence[Instance]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """The wanted state of an instance.

    A property that is None is taken as it is found. If the instance has to be created, `with_defaults` sets it.
    `capacity` is for the flavour PROVISIONED only; `min_cu`, `max_cu` and `suspend_after_seconds` are for AUTOSCALING.
    """

    name: str
    capacity: str | None = None
    node_count: int | None = None
    readable_secondaries: bool | None = None
    retention_days: int | None = None
    min_cu: float | None = None
    max_cu: float | None = None
    suspend_after_seconds: int | None = None

    def with_defaults(self, flavour: Flavour) -> InstanceSpec:
        """The spec of an instance to create: a property that is None has its default."""
        if flavour is Flavour.PROVISIONED:
            return InstanceSpec(
                self.name,
                capacity=self.capacity or "CU_1",
                node_count=self.node_count or 1,
                readable_secondaries=bool(self.readable_secondaries),
                retention_days=self.retention_days or 7,
            )
        min_cu, max_cu = self.min_cu, self.max_cu
        if min_cu is None:
            min_cu = DEFAULT_MIN_CU if max_cu is None else max(DEFAULT_MIN_CU, max_cu - MAX_CU_RANGE)
        if max_cu is None:
            max_cu = max(DEFAULT_MAX_CU, min_cu)
        return InstanceSpec(
            self.name,
            node_count=self.node_count or (2 if self.readable_secondaries else 1),
            readable_secondaries=bool(self.readable_secondaries),
            retention_days=self.retention_days or 7,
            min_cu=min_cu,
            max_cu=max_cu,
            suspend_after_seconds=(
                DEFAULT_SUSPENSION_SECONDS if self.suspend_after_seconds is None else self.suspend_after_seconds
            ),
        )


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """Changes to an instance. None leaves a property as it is."""

    name: str
    capacity: str | None = None
    node_count: int | None = None
    readable_secondaries: bool | None = None
    retention_days: int | None = None
    stopped: bool | None = None
    min_cu: float | None = None
    max_cu: float | None = None
    suspend_after_seconds: int | None = None
