"""Catalogs, synced tables and their indexes, as the schema shows them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import ClassVar, Final

import strawberry

from schema.admin.guard import WithDeadline
from schema.admin.types.instances import DatabaseInstance, instance_named
from schema.context import Info  # noqa: TC001 # as above
from schema.permissions import Role
from schema.ports.admin import tables as table_ports  # noqa: TC001 # as above
from schema.relay.node import Node
from schema.scalars import BigInt
from schema.tables.freshness import SyncedTableState, SyncPolicy

# Ends the description of a field that looks an object up.
PRESENT: Final = "Looked up only if selected; null if it does not exist."


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

    @strawberry.field(description=f"The instance with the database. {PRESENT}", extensions=[WithDeadline()])
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
        description="Whether PostgreSQL can use it. A failed build leaves it invalid; `ensureIndexes` rebuilds it."
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

    @strawberry.field(description=f"The instance that holds the copy. {PRESENT}", extensions=[WithDeadline()])
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


async def catalog_named(info: Info, name: str | None) -> DatabaseCatalog | None:
    """The catalog with this name; None if the name is None."""
    found = None if name is None else await info.context.lakebase.catalog(name)
    return None if found is None else DatabaseCatalog.of(found)


async def synced_table_named(info: Info, name: str | None) -> SyncedTable | None:
    """The synced table with this name; None if the name is None."""
    found = None if name is None else await info.context.lakebase.synced_table(name)
    return None if found is None else SyncedTable.of(found)
