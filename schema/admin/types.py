"""The types of the resources behind the API: instances, catalogs, synced tables and their indexes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import ClassVar

import strawberry
from strawberry import UNSET

from schema.admin.branch_types import DatabaseBranchConnection, DatabaseSnapshot, branch_page
from schema.admin.forward_pages import After, First  # noqa: TC001 # as above
from schema.admin.guard import WithDeadline
from schema.admin.states import DatabaseInstanceState, InstanceFlavour, SyncedTableState, SyncPolicy
from schema.context import Info  # noqa: TC001 # as above
from schema.permissions import Role
from schema.ports.admin import instances as instance_ports  # noqa: TC001 # as above
from schema.ports.admin import tables as table_ports  # noqa: TC001 # as above
from schema.relay.node import Node
from schema.relay.pagination import Connection, given
from schema.scalars import BigInt

_PRESENT = "Looked up only if selected; null if it does not exist."


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


@strawberry.type(
    description=(
        "A catalog in Unity Catalog that registers one database of an instance. It is found by name only: the platform "
        "cannot list the catalogs of an instance."
    )
)
class DatabaseCatalog(Node):
    """One catalog. What the platform does not report is null."""

    role: ClassVar[Role] = Role.ADMIN

    name: str = strawberry.field(description="The name in Unity Catalog.")
    uid: str | None = strawberry.field(
        description="The platform's id, which distinguishes it from a later catalog of the same name."
    )
    instance_name: str | None = strawberry.field(description="The name of the instance with the database.")
    database_name: str | None = strawberry.field(description="The name of the registered database.")
    branch: str | None = strawberry.field(
        description="The name of the instance's branch with the database; null if instances have no branches."
    )

    @strawberry.field(description=f"The instance with the database. {_PRESENT}", extensions=[WithDeadline()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """Makes one call to the platform."""
        return await instance_named(info, self.instance_name)

    @classmethod
    def of(cls, found: table_ports.Catalog) -> DatabaseCatalog:
        """Convert the port's catalog."""
        return cls(
            name=found.name,
            uid=found.uid,
            instance_name=found.instance_name,
            database_name=found.database_name,
            branch=found.branch,
        )

    def node_key(self) -> str:
        """The name."""
        return self.name


@strawberry.type(description="An index on the PostgreSQL table of a synced table.")
class TableIndex:
    """One index."""

    name: str = strawberry.field(description="The name in PostgreSQL.")
    definition: str = strawberry.field(description="The statement that creates it, as PostgreSQL writes it.")
    valid: bool = strawberry.field(
        description="Whether PostgreSQL can use it. A failed build leaves it invalid; `ensureOrderIndexes` rebuilds it."
    )


@strawberry.type(
    description=(
        "A synced table: a copy in PostgreSQL of a table in Unity Catalog, updated by a pipeline of the platform. It "
        "is found by name only: the platform cannot list the synced tables of an instance. The Autoscaling API does "
        "not tell its source, key and policy: they are null unless this server has created it."
    )
)
class SyncedTable(Node):
    """One synced table. What the platform does not report is null."""

    role: ClassVar[Role] = Role.ADMIN

    table: strawberry.Private[table_ports.SyncedTable]

    name: str = strawberry.field(description="The name in Unity Catalog: catalog.schema.table.")
    uid: str | None = strawberry.field(
        description="The platform's id, which distinguishes it from a later table of the same name."
    )
    instance_name: str | None = strawberry.field(description="The name of the instance that holds the copy.")
    database_name: str | None = strawberry.field(description="The name of the database that holds the copy.")
    branch: str | None = strawberry.field(
        description="The name of the instance's branch that holds the copy; null if instances have no branches."
    )
    source_table: str | None = strawberry.field(description="The source table: catalog.schema.table.")
    primary_key: list[str] | None = strawberry.field(description="The columns that identify a row.")
    timeseries_key: str | None = strawberry.field(
        description="The column by which the latest of several rows with the same primary key is chosen, if any."
    )
    policy: SyncPolicy | None = strawberry.field(description="When it is updated from its source.")
    state: SyncedTableState = strawberry.field(description="The state of the table and its pipeline.")
    message: str | None = strawberry.field(description="The platform's own message about the state.")
    catalog_state: str | None = strawberry.field(
        description="The platform's state of its registration in Unity Catalog: `ACTIVE` once it is complete."
    )
    progress: float | None = strawberry.field(
        description="The progress of the running sync, from 0 to 1; null if none is running."
    )
    rows_synced: BigInt | None = strawberry.field(description="How many rows the running sync has copied.")
    rows_total: BigInt | None = strawberry.field(description="How many rows the running sync has to copy in all.")
    estimated_completion_seconds: float | None = strawberry.field(
        description="In how many seconds the platform expects the running sync to end."
    )
    last_sync_started_at: datetime | None = strawberry.field(description="When the last completed sync started.")
    last_sync_finished_at: datetime | None = strawberry.field(description="When the last completed sync ended.")
    source_version: BigInt | None = strawberry.field(
        description="The version of the source that the last completed sync copied."
    )
    source_committed_at: datetime | None = strawberry.field(
        description="When that version of the source was committed."
    )
    pipeline_id: str | None = strawberry.field(
        description="The id of the pipeline; null for a moment after the table is created."
    )
    pipeline_url: str | None = strawberry.field(description="The pipeline's page in the workspace.")

    @strawberry.field(description=f"The instance that holds the copy. {_PRESENT}", extensions=[WithDeadline()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """Makes one call to the platform."""
        return await instance_named(info, self.instance_name)

    @strawberry.field(
        description=(
            "The catalog of the table, if it registers a database; null for a table in a standard catalog. Looked up "
            "only if selected."
        ),
        extensions=[WithDeadline()],
    )
    async def catalog(self, info: Info) -> DatabaseCatalog | None:
        """Makes one call to the platform."""
        return await catalog_named(info, self.name.partition(".")[0])

    @strawberry.field(
        description=(
            "The indexes on the PostgreSQL table. They are read from the database only if selected; null, with an "
            "error, if it does not answer."
        ),
        extensions=[WithDeadline()],
    )
    async def indexes(self, info: Info) -> list[TableIndex] | None:
        """Read from the database: the platform does not know them."""
        found = await info.context.lakebase.indexes(self.table)
        return [TableIndex(name=index.name, definition=index.definition, valid=index.valid) for index in found]

    @classmethod
    def of(cls, found: table_ports.SyncedTable) -> SyncedTable:
        """Convert the port's synced table."""
        return cls(
            table=found,
            name=found.name,
            uid=found.uid,
            instance_name=found.instance_name,
            database_name=found.database_name,
            branch=found.branch,
            source_table=found.source,
            primary_key=None if found.primary_key is None else list(found.primary_key),
            timeseries_key=found.timeseries_key,
            policy=None if found.policy is None else SyncPolicy(found.policy),
            state=SyncedTableState(found.state),
            message=found.message,
            catalog_state=found.catalog_state,
            progress=found.progress,
            rows_synced=None if found.rows_synced is None else BigInt(found.rows_synced),
            rows_total=None if found.rows_total is None else BigInt(found.rows_total),
            estimated_completion_seconds=found.estimated_completion_seconds,
            last_sync_started_at=found.last_sync_started_at,
            last_sync_finished_at=found.last_sync_finished_at,
            source_version=None if found.source_version is None else BigInt(found.source_version),
            source_committed_at=found.source_committed_at,
            pipeline_id=found.pipeline_id,
            pipeline_url=found.pipeline_url,
        )

    def node_key(self) -> str:
        """The name."""
        return self.name


@strawberry.type(description="What the served database is a copy of. What the server does not know is null.")
class DatabaseCopy:
    """The original, as the database and the platform tell it."""

    instance_name: str | None = strawberry.field(description="The name of the original's instance.")
    branch: str | None = strawberry.field(description="The name of the original's branch, or of the snapshot.")
    database_name: str | None = strawberry.field(description="The name of the original database.")
    since: datetime | None = strawberry.field(
        description="The moment of the copy if the platform tells it, otherwise when a server first noticed."
    )
    message: str = strawberry.field(description="The same in words, and what to do if the copy takes its place.")


@strawberry.type(description="The instance, catalog and synced table that this server is configured to serve.")
class Lakebase:
    """The configured names, and the objects with these names."""

    instance_name: str | None = strawberry.field(description="The name of the configured instance, if any.")
    catalog_name: str | None = strawberry.field(description="The name of the configured catalog, if any.")
    database_name: str | None = strawberry.field(description="The name of the configured database, if any.")
    table_name: str | None = strawberry.field(
        description="The name of the configured synced table, catalog.schema.table, if any."
    )

    @strawberry.field(
        description=(
            "What the served database is a copy of, as far as the server knows; null if it is the original, or has "
            "become the default branch."
        ),
        extensions=[WithDeadline()],
    )
    async def copy_of(self, info: Info) -> DatabaseCopy | None:
        """Looked up in the database and on the platform."""
        found = await info.context.lakebase.copy_of()
        return None if found is None else DatabaseCopy(**asdict(found))

    @strawberry.field(description=f"The configured instance. {_PRESENT}", extensions=[WithDeadline()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """Makes one call to the platform."""
        return await instance_named(info, self.instance_name)

    @strawberry.field(description=f"The configured catalog. {_PRESENT}", extensions=[WithDeadline()])
    async def catalog(self, info: Info) -> DatabaseCatalog | None:
        """Makes one call to the platform."""
        lakebase = info.context.lakebase
        found = None if self.catalog_name is None else await lakebase.catalog(self.catalog_name)
        return DatabaseCatalog.of(found) if found and lakebase.configured.is_place(found) else None

    @strawberry.field(description=f"The configured synced table. {_PRESENT}", extensions=[WithDeadline()])
    async def synced_table(self, info: Info) -> SyncedTable | None:
        """Makes one call to the platform."""
        found = await synced_table_named(info, self.table_name)
        return found if found and info.context.lakebase.configured.is_place(found.table) else None


async def instance_named(info: Info, name: str | None) -> DatabaseInstance | None:
    """The instance with this name; None if the name is None."""
    found = None if name is None else await info.context.lakebase.instance(name)
    return None if found is None else DatabaseInstance.of(found)


async def catalog_named(info: Info, name: str | None) -> DatabaseCatalog | None:
    """The catalog with this name; None if the name is None."""
    found = None if name is None else await info.context.lakebase.catalog(name)
    return None if found is None else DatabaseCatalog.of(found)


async def synced_table_named(info: Info, name: str | None) -> SyncedTable | None:
    """The synced table with this name; None if the name is None."""
    found = None if name is None else await info.context.lakebase.synced_table(name)
    return None if found is None else SyncedTable.of(found)
