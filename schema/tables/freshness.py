"""How fresh the synced rows of a table are: the type, and the fields that show it beside pages and counts."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import strawberry

from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.ports.admin import tables as ports
from schema.scalars import BigInt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strawberry.extensions import FieldExtension

    from schema.context import Context
    from schema.ports.columns import Table

# The name of the fields that show it.
FRESHNESS: Final = "freshness"
# An Int of GraphQL has 32 bits.
_LONGEST_SECONDS: Final = 2**31 - 1


@strawberry.enum(description="The state of a synced table and its pipeline.")
class SyncedTableState(Enum):
    """Each value is the port's enum member."""

    PROVISIONING = strawberry.enum_value(ports.SyncState.PROVISIONING, description="It is being created.")
    PROVISIONING_PIPELINE_RESOURCES = strawberry.enum_value(
        ports.SyncState.PROVISIONING_PIPELINE_RESOURCES, description="Its pipeline is waiting for compute."
    )
    PROVISIONING_INITIAL_SNAPSHOT = strawberry.enum_value(
        ports.SyncState.PROVISIONING_INITIAL_SNAPSHOT, description="The source is being copied for the first time."
    )
    ONLINE = strawberry.enum_value(ports.SyncState.ONLINE, description="It can be read.")
    ONLINE_NO_PENDING_UPDATE = strawberry.enum_value(
        ports.SyncState.ONLINE_NO_PENDING_UPDATE, description="It can be read. No sync is running."
    )
    ONLINE_UPDATING_PIPELINE_RESOURCES = strawberry.enum_value(
        ports.SyncState.ONLINE_UPDATING_PIPELINE_RESOURCES,
        description="It can be read. The pipeline of the next sync is waiting for compute.",
    )
    ONLINE_TRIGGERED_UPDATE = strawberry.enum_value(
        ports.SyncState.ONLINE_TRIGGERED_UPDATE, description="It can be read. A sync is running."
    )
    ONLINE_CONTINUOUS_UPDATE = strawberry.enum_value(
        ports.SyncState.ONLINE_CONTINUOUS_UPDATE, description="It can be read. It follows its source continuously."
    )
    ONLINE_PIPELINE_FAILED = strawberry.enum_value(
        ports.SyncState.ONLINE_PIPELINE_FAILED,
        description="It can be read, as of the last successful sync. The latest sync has failed.",
    )
    OFFLINE = strawberry.enum_value(ports.SyncState.OFFLINE, description="It cannot be read.")
    OFFLINE_FAILED = strawberry.enum_value(
        ports.SyncState.OFFLINE_FAILED, description="It cannot be read, because its first sync has failed."
    )
    UNKNOWN = strawberry.enum_value(
        ports.SyncState.UNKNOWN,
        description="A state of the platform that this API does not know. It is not a failure.",
    )


@strawberry.enum(description="When a synced table is updated from its source.")
class SyncPolicy(Enum):
    """Each value is the port's enum member."""

    SNAPSHOT = strawberry.enum_value(
        ports.SyncPolicy.SNAPSHOT, description="On request (`refreshSyncedTable`), by copying the whole source."
    )
    TRIGGERED = strawberry.enum_value(
        ports.SyncPolicy.TRIGGERED,
        description="On request, by copying only what has changed. The source needs a change data feed.",
    )
    CONTINUOUS = strawberry.enum_value(
        ports.SyncPolicy.CONTINUOUS,
        description="Continuously: the pipeline always runs, and costs money. The source needs a change data feed.",
    )


@strawberry.type(
    description=(
        "How fresh the synced rows are: when they were copied from their source in the lakehouse, and which version of "
        "it. It does not date status changes made through this API: those show at once, whenever the rows were synced. "
        "The answer is what the platform told last. The server then asks again in the background, at most every 30 "
        "seconds, or every five minutes while the platform does not answer. So a new sync shows that much later, and "
        "after a pause only the second answer is up to date. A database that is asleep is not woken for it."
    )
)
class Freshness:
    """The last completed sync of a table. What the platform does not tell is null."""

    synced_at: datetime | None = strawberry.field(
        description="When the last completed sync ended. Null before the first one."
    )
    source_committed_at: datetime | None = strawberry.field(
        description="When the version of the source that was copied was committed. The source may have newer ones."
    )
    source_version: BigInt | None = strawberry.field(description="The version of the source that was copied.")
    age_seconds: int | None = strawberry.field(
        description="The whole seconds from `syncedAt` to this answer. It grows until the next sync ends."
    )
    state: SyncedTableState = strawberry.field(description="The state of the synced table and its pipeline.")
    policy: SyncPolicy | None = strawberry.field(
        description="When the table is synced. Null if another client created it and the platform does not tell."
    )

    @classmethod
    def of(cls, context: Context, table: Table) -> Freshness | None:
        """What is known of a table's syncs now; None without a platform, or if it has not told yet."""
        found = None if context.freshness is None else context.freshness.of(table)
        if found is None:
            return None
        return cls(
            synced_at=found.synced_at,
            source_committed_at=found.source_committed_at,
            source_version=None if found.source_version is None else BigInt(found.source_version),
            age_seconds=_age(found.synced_at),
            state=SyncedTableState(found.state),
            policy=None if found.policy is None else SyncPolicy(found.policy),
        )


BESIDE: Final = (
    "How fresh the synced rows are that this was read from. Null if that is not known: without a Lakebase, and for a "
    "moment after the server's start."
)


def freshness_field(table: Table, description: str = BESIDE, *, extensions: Sequence[FieldExtension] = ()) -> Any:
    """A field for the freshness of a table. It waits for nothing."""

    def resolve(info: Info) -> Freshness | None:
        return Freshness.of(info.context, table)

    return strawberry.field(resolver=resolve, description=description, extensions=[*extensions])


def _age(synced_at: datetime | None) -> int | None:
    """The seconds since then. The platform's clock may be ahead."""
    if synced_at is None:
        return None
    return min(max(int((datetime.now(UTC) - synced_at).total_seconds()), 0), _LONGEST_SECONDS)
