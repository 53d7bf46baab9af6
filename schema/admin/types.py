"""Owns the types that describe what stands behind the API: instances, catalogs, synced tables and their indexes."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import ClassVar

import strawberry

from schema.admin.guard import InTime
from schema.admin.states import DatabaseInstanceState, SyncedTableState, SyncPolicy
from schema.context import Info  # noqa: TC001 # as above
from schema.permissions import Role
from schema.ports import administration as ports  # noqa: TC001 # as above
from schema.relay.node import Node
from schema.relay.pagination import Connection
from schema.scalars import BigInt

_PRESENT = "Looked up when it is selected; null where there is none of that name."


@strawberry.type(
    description="A database instance: a PostgreSQL that the platform runs, as the platform says it is now."
)
class DatabaseInstance(Node):
    """One instance. What the platform does not say is null."""

    role: ClassVar[Role] = Role.ADMIN

    name: str = strawberry.field(description="Its name, which is its own among all instances of the workspace.")
    uid: str | None = strawberry.field(
        description="Tells it from a later instance of the same name; the platform's own id."
    )
    state: DatabaseInstanceState = strawberry.field(description="What it is doing.")
    capacity: str | None = strawberry.field(
        description="Its size, `CU_1` say. A word and no enum, for the platform may have sizes that are not known here."
    )
    node_count: int | None = strawberry.field(description="How many nodes it has: the primary and its secondaries.")
    readable_secondaries: bool | None = strawberry.field(
        description="Whether its secondaries answer reads, under `readOnlyHost`."
    )
    retention_window_in_days: int | None = strawberry.field(
        description="For how many days back it can be restored to a point in time."
    )
    stopped: bool | None = strawberry.field(
        description="Whether it was told to be stopped. One that merely sleeps is not: the next connection wakes it."
    )
    postgres_version: str | None = strawberry.field(description="The version of PostgreSQL, as the platform names it.")
    creator: str | None = strawberry.field(description="Who made it.")
    created_at: datetime | None = strawberry.field(description="When it was made.")
    host: str | None = strawberry.field(description="The host to connect to for reading and writing.")
    read_only_host: str | None = strawberry.field(
        description="The host to connect to for reading alone; null without readable secondaries."
    )

    @classmethod
    def of(cls, found: ports.Instance) -> DatabaseInstance:
        """The instance as it is answered."""
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
        )

    def node_key(self) -> str:
        """The name."""
        return self.name


@strawberry.type(description="A page of database instances, in the platform's own order. It goes forward only.")
class DatabaseInstanceConnection(Connection[DatabaseInstance]):
    """Relay's connection of instances."""


@strawberry.type(
    description=(
        "A catalog of Unity Catalog that registers one database of an instance. The platform cannot list an "
        "instance's catalogs, so neither does this API: they are found by name."
    )
)
class DatabaseCatalog(Node):
    """One catalog. What the platform does not say is null."""

    role: ClassVar[Role] = Role.ADMIN

    name: str = strawberry.field(description="Its name in Unity Catalog.")
    uid: str | None = strawberry.field(description="Tells it from a later catalog of the same name.")
    instance_name: str | None = strawberry.field(description="The name of the instance that its database is on.")
    database_name: str | None = strawberry.field(description="The name of the database that it registers.")

    @strawberry.field(description=f"The instance that its database is on. {_PRESENT}", extensions=[InTime()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """A question of its own to the platform."""
        return await instance_named(info, self.instance_name)

    @classmethod
    def of(cls, found: ports.Catalog) -> DatabaseCatalog:
        """The catalog as it is answered."""
        return cls(
            name=found.name,
            uid=found.uid,
            instance_name=found.instance_name,
            database_name=found.database_name,
        )

    def node_key(self) -> str:
        """The name."""
        return self.name


@strawberry.type(description="An index on the PostgreSQL table that a synced table fills.")
class TableIndex:
    """One index."""

    name: str = strawberry.field(description="Its name in PostgreSQL.")
    definition: str = strawberry.field(description="The statement that makes it, as PostgreSQL words it.")
    valid: bool = strawberry.field(
        description="Whether it is of use. What a broken build left invalid is rebuilt by `ensureOrderIndexes`."
    )


@strawberry.type(
    description=(
        "A table of Unity Catalog that the platform copies into PostgreSQL by a pipeline. The platform cannot list "
        "an instance's synced tables, so neither does this API: they are found by name."
    )
)
class SyncedTable(Node):
    """One synced table. What the platform does not say is null."""

    role: ClassVar[Role] = Role.ADMIN

    table: strawberry.Private[ports.SyncedTable]

    name: str = strawberry.field(description="Its name in Unity Catalog: catalog.schema.table.")
    uid: str | None = strawberry.field(description="Tells it from a later table of the same name.")
    instance_name: str | None = strawberry.field(description="The name of the instance that it is copied to.")
    database_name: str | None = strawberry.field(description="The name of the database that it is copied to.")
    source_table: str | None = strawberry.field(description="The table that it is a copy of: catalog.schema.table.")
    primary_key: list[str] = strawberry.field(description="The columns that tell its rows apart.")
    timeseries_key: str | None = strawberry.field(
        description="The column by which the latest of several rows with one primary key is told; null where none is."
    )
    policy: SyncPolicy | None = strawberry.field(description="When it is brought up to date with its source.")
    state: SyncedTableState = strawberry.field(description="What it is doing.")
    message: str | None = strawberry.field(description="What the platform says about that, in its own words.")
    catalog_state: str | None = strawberry.field(
        description="How far its registration in Unity Catalog has come, in the platform's word: `ACTIVE` is its end."
    )
    progress: float | None = strawberry.field(
        description="How much of the sync under way is done, from 0 to 1; null where none is."
    )
    rows_synced: BigInt | None = strawberry.field(description="How many rows the sync under way has copied.")
    rows_total: BigInt | None = strawberry.field(description="How many rows it has to copy.")
    estimated_completion_seconds: float | None = strawberry.field(
        description="In how many seconds the platform expects the sync under way to be done."
    )
    last_sync_started_at: datetime | None = strawberry.field(
        description="When the last sync that came to its end was begun."
    )
    last_sync_finished_at: datetime | None = strawberry.field(description="When it came to its end.")
    source_version: BigInt | None = strawberry.field(description="The version of the source that it copied.")
    source_committed_at: datetime | None = strawberry.field(description="When that version of the source was made.")
    pipeline_id: str | None = strawberry.field(
        description="The pipeline that copies it; null for a moment after it is made."
    )
    pipeline_url: str | None = strawberry.field(description="The pipeline's page in the workspace.")

    @strawberry.field(description=f"The instance that it is copied to. {_PRESENT}", extensions=[InTime()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """A question of its own to the platform."""
        return await instance_named(info, self.instance_name)

    @strawberry.field(
        description=(
            "The catalog that it is in, where that is one of a database: null for one in a standard catalog. "
            "Looked up when it is selected."
        ),
        extensions=[InTime()],
    )
    async def catalog(self, info: Info) -> DatabaseCatalog | None:
        """A question of its own to the platform."""
        return await catalog_named(info, self.name.partition(".")[0])

    @strawberry.field(
        description=(
            "The indexes on its PostgreSQL table. The database is asked when this is selected; null, with an error, "
            "where it does not answer."
        ),
        extensions=[InTime()],
    )
    async def indexes(self, info: Info) -> list[TableIndex] | None:
        """The platform does not know them."""
        found = await info.context.lakebase.indexes(self.table)
        return [TableIndex(name=index.name, definition=index.definition, valid=index.valid) for index in found]

    @classmethod
    def of(cls, found: ports.SyncedTable) -> SyncedTable:
        """The synced table as it is answered."""
        return cls(
            table=found,
            name=found.name,
            uid=found.uid,
            instance_name=found.instance_name,
            database_name=found.database_name,
            source_table=found.source,
            primary_key=list(found.primary_key),
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


@strawberry.type(description="What this server is set to serve, and how that is.")
class Lakebase:
    """The configured names, and what has them."""

    instance_name: str | None = strawberry.field(description="The instance that the server is set to, if any.")
    catalog_name: str | None = strawberry.field(description="The catalog that the server is set to, if any.")
    database_name: str | None = strawberry.field(description="The database that the server is set to, if any.")
    table_name: str | None = strawberry.field(
        description="The synced table that the server is set to, catalog.schema.table, if any."
    )

    @strawberry.field(description=f"That instance. {_PRESENT}", extensions=[InTime()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """A question of its own to the platform."""
        return await instance_named(info, self.instance_name)

    @strawberry.field(description=f"That catalog. {_PRESENT}", extensions=[InTime()])
    async def catalog(self, info: Info) -> DatabaseCatalog | None:
        """A question of its own to the platform."""
        return await catalog_named(info, self.catalog_name)

    @strawberry.field(description=f"That synced table. {_PRESENT}", extensions=[InTime()])
    async def synced_table(self, info: Info) -> SyncedTable | None:
        """A question of its own to the platform."""
        return await synced_table_named(info, self.table_name)


async def instance_named(info: Info, name: str | None) -> DatabaseInstance | None:
    """The instance with this name; None for no name."""
    found = None if name is None else await info.context.lakebase.instance(name)
    return None if found is None else DatabaseInstance.of(found)


async def catalog_named(info: Info, name: str | None) -> DatabaseCatalog | None:
    """The catalog with this name; None for no name."""
    found = None if name is None else await info.context.lakebase.catalog(name)
    return None if found is None else DatabaseCatalog.of(found)


async def synced_table_named(info: Info, name: str | None) -> SyncedTable | None:
    """The synced table with this name; None for no name."""
    found = None if name is None else await info.context.lakebase.synced_table(name)
    return None if found is None else SyncedTable.of(found)
