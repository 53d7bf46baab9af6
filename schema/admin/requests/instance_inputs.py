"""The inputs of the admin mutations about instances."""

from __future__ import annotations

import strawberry
from strawberry import UNSET

from schema.admin.requests.descriptions import (
    ACKNOWLEDGE_COST,
    AUTOSCALING,
    CAPACITY,
    CONFIRM_DELETION,
    DISCARD,
    DRY_RUN,
    IF_ABSENT,
    NODE_COUNT,
    PURGE,
    READABLE_SECONDARIES,
    RETENTION,
)
from schema.admin.types.states import InstanceCapacity  # noqa: TC001 # Strawberry reads the annotations at run time

_INSTANCE_NAME = (
    "The name of the instance: 1 to 63 letters, digits and hyphens, starting with a letter, not ending with a hyphen. "
    "In the Autoscaling API the letters are lower-case ones."
)


@strawberry.input(
    description=(
        "The size of an instance of the Autoscaling API, in compute units of 2 GB of memory each: it grows and shrinks "
        "between two limits, which are at most 16 apart. It costs money by its size at each moment, and nothing while "
        "it is asleep."
    )
)
class AutoscalingInput:
    """The input that an instance of the flavour AUTOSCALING has in place of a capacity."""

    min_cu: float | None = strawberry.field(
        default=UNSET, description=f"The smallest size, from 0.5 to 64. {IF_ABSENT.format('0.5')}"
    )
    max_cu: float | None = strawberry.field(
        default=UNSET,
        description=f"The largest size, from 0.5 to 64. {IF_ABSENT.format('8, which has the memory of `CU_1`,')}",
    )
    suspend_after_seconds: int | None = strawberry.field(
        default=UNSET,
        description=(
            "After how many idle seconds it falls asleep: from 60 (a minute) to 604800 (seven days). "
            "The next connection wakes it. If absent: as it is, or 3600 for a new one: then a night costs nothing, and "
            "a pause within a working day does not empty its caches."
        ),
    )
    never_suspend: bool | None = strawberry.field(
        default=UNSET, description="`true`: it never falls asleep. Not together with `suspendAfterSeconds`."
    )
    readable_secondaries: bool | None = strawberry.field(
        default=UNSET,
        description=(
            "Whether the secondaries answer reads; the same as `enableReadableSecondaries`. A new instance gets two "
            "nodes for this, unless `nodeCount` says otherwise."
        ),
    )


@strawberry.input(description="An instance to create.")
class CreateDatabaseInstanceInput:
    """The input of createDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    capacity: InstanceCapacity | None = strawberry.field(
        default=UNSET, description=f"{CAPACITY} {IF_ABSENT.format('`CU_1`')}"
    )
    autoscaling: AutoscalingInput | None = strawberry.field(default=UNSET, description=AUTOSCALING)
    node_count: int | None = strawberry.field(default=UNSET, description=f"{NODE_COUNT} {IF_ABSENT.format('1')}")
    enable_readable_secondaries: bool | None = strawberry.field(
        default=UNSET, description=f"{READABLE_SECONDARIES} {IF_ABSENT.format('`false`')}"
    )
    retention_window_in_days: int | None = strawberry.field(
        default=UNSET, description=f"{RETENTION} {IF_ABSENT.format('7')}"
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="Changes to an instance. Absent fields stay as they are.")
class UpdateDatabaseInstanceInput:
    """The input of updateDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    capacity: InstanceCapacity | None = strawberry.field(default=UNSET, description=CAPACITY)
    autoscaling: AutoscalingInput | None = strawberry.field(default=UNSET, description=AUTOSCALING)
    node_count: int | None = strawberry.field(default=UNSET, description=NODE_COUNT)
    enable_readable_secondaries: bool | None = strawberry.field(default=UNSET, description=READABLE_SECONDARIES)
    retention_window_in_days: int | None = strawberry.field(default=UNSET, description=RETENTION)
    stopped: bool | None = strawberry.field(
        default=UNSET,
        description="`true` stops it: it accepts no connections, and its compute costs nothing. `false` starts it.",
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="An instance to delete, with all of its databases.")
class DeleteDatabaseInstanceInput:
    """The input of deleteDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    purge: bool = strawberry.field(default=False, description=PURGE)
    confirm_deletion: bool = strawberry.field(default=False, description=CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=DISCARD)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A deleted instance to bring back, with all of its databases.")
class UndeleteDatabaseInstanceInput:
    """The input of undeleteDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)
