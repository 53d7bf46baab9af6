"""The inputs of the mutations about branches and snapshots."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time

import strawberry
from strawberry import UNSET

from schema.admin.requests.descriptions import ACKNOWLEDGE_COST, CONFIRM_DELETION, DISCARD, DRY_RUN
from schema.admin.requests.instance_inputs import AutoscalingInput  # noqa: TC001 # Strawberry reads the annotations at run time

_INSTANCE = "The instance; the server's configured one if absent."
_BRANCH_NAME = (
    "The name of the branch: 1 to 63 lower-case letters, digits and hyphens, starting with a letter, not ending with a "
    "hyphen."
)
_SNAPSHOT_NAME = "The name of the snapshot; the same rules as for a branch."
_EXPIRES_AT = "When the platform deletes it: in 30 days at most."
_TTL = "After how many seconds the platform deletes it: 2592000 (30 days) at most. Not together with `expiresAt`."
_NEVER = "`true`: the platform does not delete it, which is also the default. Not together with the other two."
_PURGE = (
    "`true` deletes it for good. `false` keeps it for some days: the plan says until when `undeleteDatabaseBranch` "
    "brings it back."
)


@strawberry.input(
    description=(
        "What a branch is made from: a branch, as it is now or was at a moment, or a snapshot. If absent: the default "
        "branch as it is now."
    )
)
class BranchSourceInput:
    """The source of a branch."""

    branch: str | None = strawberry.field(default=UNSET, description="The branch; the default branch if absent.")
    time: datetime | None = strawberry.field(
        default=UNSET, description="The moment, not further back than `historyRetentionSeconds`; now if absent."
    )
    lsn: str | None = strawberry.field(
        default=UNSET, description="The moment as PostgreSQL's log sequence number, `16/B374D848`, in place of `time`."
    )
    snapshot: str | None = strawberry.field(
        default=UNSET, description="The snapshot. Not together with the other fields."
    )


@strawberry.input(description="A branch to create.")
class CreateDatabaseBranchInput:
    """The input of createDatabaseBranch."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    name: str = strawberry.field(description=_BRANCH_NAME)
    from_: BranchSourceInput | None = strawberry.field(
        default=UNSET, name="from", description="What it is made from; the default branch as it is now if absent."
    )
    expires_at: datetime | None = strawberry.field(default=UNSET, description=_EXPIRES_AT)
    ttl_seconds: int | None = strawberry.field(default=UNSET, description=_TTL)
    never_expires: bool | None = strawberry.field(default=UNSET, description=_NEVER)
    protected: bool = strawberry.field(
        default=False, description="Whether neither the branch nor its instance may be deleted."
    )
    endpoint: AutoscalingInput | None = strawberry.field(
        default=UNSET,
        description=(
            "The size of an endpoint of its own, `{}` for one of the default size. If absent: the branch has the "
            "endpoint that the platform gives it by itself, of the platform's size, or none and accepts no connections."
        ),
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="Changes to a branch. Absent fields stay as they are.")
class UpdateDatabaseBranchInput:
    """The input of updateDatabaseBranch."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    name: str = strawberry.field(description=_BRANCH_NAME)
    protected: bool | None = strawberry.field(
        default=UNSET, description="Whether neither the branch nor its instance may be deleted."
    )
    expires_at: datetime | None = strawberry.field(default=UNSET, description=_EXPIRES_AT)
    ttl_seconds: int | None = strawberry.field(default=UNSET, description=_TTL)
    never_expires: bool | None = strawberry.field(
        default=UNSET, description="`true`: the platform does not delete it. Not together with the other two."
    )
    default: bool | None = strawberry.field(
        default=UNSET, description="`true` makes it the default branch of the instance, in place of the present one."
    )
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A branch to delete, with all of its databases.")
class DeleteDatabaseBranchInput:
    """The input of deleteDatabaseBranch."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    name: str = strawberry.field(description=_BRANCH_NAME)
    purge: bool = strawberry.field(default=False, description=_PURGE)
    confirm_deletion: bool = strawberry.field(default=False, description=CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=DISCARD)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A deleted branch to bring back, with all of its databases.")
class UndeleteDatabaseBranchInput:
    """The input of undeleteDatabaseBranch."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    name: str = strawberry.field(description=_BRANCH_NAME)
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(
    description=(
        "A moment to which an instance is restored: a branch of that moment becomes its default. The branch that is "
        "restored is the one that the server serves; of another instance, the default branch."
    )
)
class RestoreDatabaseInput:
    """The input of restoreDatabase."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    to: datetime = strawberry.field(description="The moment, not further back than `historyRetentionSeconds`.")
    name: str | None = strawberry.field(
        default=UNSET, description="The name of the new branch; `restored-` and the moment if absent."
    )
    autoscaling: AutoscalingInput | None = strawberry.field(
        default=UNSET, description="The size of its endpoint; that of the restored branch's endpoint if absent."
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A snapshot to take.")
class CreateDatabaseSnapshotInput:
    """The input of createDatabaseSnapshot."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    name: str = strawberry.field(description=_SNAPSHOT_NAME)
    branch: str | None = strawberry.field(
        default=UNSET, description="The branch, which must not have been made from another one; the default if absent."
    )
    time: datetime | None = strawberry.field(default=UNSET, description="The moment of the branch; now if absent.")
    expires_at: datetime | None = strawberry.field(default=UNSET, description=_EXPIRES_AT)
    ttl_seconds: int | None = strawberry.field(default=UNSET, description=_TTL)
    never_expires: bool | None = strawberry.field(default=UNSET, description=_NEVER)
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A snapshot to delete.")
class DeleteDatabaseSnapshotInput:
    """The input of deleteDatabaseSnapshot."""

    instance_name: str | None = strawberry.field(default=UNSET, description=_INSTANCE)
    name: str = strawberry.field(description=_SNAPSHOT_NAME)
    confirm_deletion: bool = strawberry.field(default=False, description=CONFIRM_DELETION)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)
