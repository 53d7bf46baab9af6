"""Database instances, as the schema shows them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import ClassVar

import strawberry
from strawberry import UNSET

from schema.admin.forward_pages import After, First  # noqa: TC001 # as above
from schema.admin.guard import WithDeadline
from schema.admin.types.branches import DatabaseBranchConnection, DatabaseSnapshot, branch_page
from schema.admin.types.states import DatabaseInstanceState, InstanceFlavour
from schema.context import Info  # noqa: TC001 # as above
from schema.permissions import Role
from schema.ports.admin import instances as instance_ports  # noqa: TC001 # as above
from schema.relay.node import Node
from schema.relay.pagination import Connection, given
from schema.scalars import BigInt


@strawberry.type(description="A database instance: a PostgreSQL server run by the platform, in its present state.")
class DatabaseInstance(Node):
    """One instance. What the platform does not report is null."""

    role: ClassVar[Role] = Role.ADMIN

    name: str = strawberry.field(description="The name, unique among the instances of the workspace.")
    uid: str | None = strawberry.field(
        description="The platform's id, which distinguishes it from a later instance of the same name."
    )
    flavour: InstanceFlavour = strawberry.field(description="The API of the platform that it is administered by.")
    state: DatabaseInstanceState = strawberry.field(
        description="The state of the instance. It is UNKNOWN, too, if a page cannot be completed in time."
    )
    capacity: str | None = strawberry.field(
        description=(
            "The size, for example `CU_1`. It is not an enum, because the platform may add sizes. Null for AUTOSCALING."
        )
    )
    min_cu: float | None = strawberry.field(description="AUTOSCALING: the smallest size, in compute units.")
    max_cu: float | None = strawberry.field(description="AUTOSCALING: the largest size, in compute units.")
    suspend_after_seconds: int | None = strawberry.field(
        description=(
            "AUTOSCALING: after how many idle seconds it falls asleep; null if it never does, or if that is not known: "
            "the state is UNKNOWN then."
        )
    )
    suspended: bool | None = strawberry.field(
        description="AUTOSCALING: whether it is asleep. It is AVAILABLE all the same: the next connection wakes it."
    )
    last_active_at: datetime | None = strawberry.field(description="AUTOSCALING: when it was last active.")
    storage_bytes: BigInt | None = strawberry.field(
        description="AUTOSCALING: how much storage it takes, with all its branches and their history."
    )
    node_count: int | None = strawberry.field(description="The number of nodes: the primary and its secondaries.")
    readable_secondaries: bool | None = strawberry.field(
        description="Whether the secondaries answer reads, at `readOnlyHost`."
    )
    retention_window_in_days: int | None = strawberry.field(
        description="How many days back the instance can be restored."
    )
    history_retention_seconds: int | None = strawberry.field(
        description="AUTOSCALING: how far back it can be restored, to the second."
    )
    stopped: bool | None = strawberry.field(
        description="Whether it was stopped on purpose. An instance that is asleep is not: a connection wakes it."
    )
    postgres_version: str | None = strawberry.field(description="The version of PostgreSQL, as the platform names it.")
    creator: str | None = strawberry.field(description="PROVISIONED: the user who created it.")
    owner: str | None = strawberry.field(description="AUTOSCALING: the user who owns it.")
    created_at: datetime | None = strawberry.field(description="When it was created.")
    host: str | None = strawberry.field(description="The host for reading and writing.")
    read_only_host: str | None = strawberry.field(
        description="The host for reading only; null without readable secondaries."
    )
    deleted_at: datetime | None = strawberry.field(description="When it was deleted; null if it was not.")
    purge_at: datetime | None = strawberry.field(
        description="When a deleted instance will be deleted for good, and its name be free."
    )

    @strawberry.field(
        description=(
            "AUTOSCALING: a page of its branches, deleted ones that are not purged too. Looked up only if selected; "
            "null, with an error, if the platform does not answer."
        ),
        extensions=[WithDeadline()],
    )
    async def branches(self, info: Info, first: First = UNSET, after: After = UNSET) -> DatabaseBranchConnection | None:
        """Makes one call to the platform."""
        return await branch_page(info, self.name, first=given(first), after=given(after))

    @strawberry.field(
        description=(
            "AUTOSCALING: its snapshots. Looked up only if selected; null, with an error, if the platform does not "
            "answer."
        ),
        extensions=[WithDeadline()],
    )
    async def snapshots(self, info: Info) -> list[DatabaseSnapshot] | None:
        """Makes one call to the platform."""
        return [DatabaseSnapshot.of(one) for one in await info.context.lakebase.snapshots(self.name)]

    @classmethod
    def of(cls, found: instance_ports.Instance) -> DatabaseInstance:
        """Convert the port's instance."""
        return cls(
            name=found.name,
            uid=found.uid,
            state=DatabaseInstanceState(found.state),
            capacity=found.capacity,
            node_count=found.node_count,
            readable_secondaries=found.readable_secondaries,
            retention_window_in_days=found.retention_days,
            stopped=found.stopped,
            postgres_version=found.postgres_version,
            creator=found.creator,
            created_at=found.created_at,
            host=found.host,
            read_only_host=found.read_only_host,
            flavour=InstanceFlavour(found.flavour),
            min_cu=found.min_cu,
            max_cu=found.max_cu,
            suspend_after_seconds=found.suspend_after_seconds or None,
            suspended=found.suspended,
            last_active_at=found.last_active_at,
            storage_bytes=None if found.storage_bytes is None else BigInt(found.storage_bytes),
            owner=found.owner,
            history_retention_seconds=found.retention_seconds,
            deleted_at=found.deleted_at,
            purge_at=found.purge_at,
        )

    def node_key(self) -> str:
        """The name."""
        return self.name


@strawberry.type(description="A page of database instances, in the platform's order. Paging is forward only.")
class DatabaseInstanceConnection(Connection[DatabaseInstance]):
    """Relay's connection of instances."""


async def instance_named(info: Info, name: str | None) -> DatabaseInstance | None:
    """The instance with this name; None if the name is None."""
    found = None if name is None else await info.context.lakebase.instance(name)
    return None if found is None else DatabaseInstance.of(found)
