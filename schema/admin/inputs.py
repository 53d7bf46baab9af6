"""Owns the inputs of the admin mutations, with the defaults that the orders of TPC-H ask for."""

from __future__ import annotations

from typing import Final

import strawberry
from strawberry import UNSET

from schema.admin.states import InstanceCapacity, SyncPolicy

_SOURCE: Final = "samples.tpch.orders"
_KEY: Final = "o_orderkey"
_RETENTION_DAYS: Final = 7

_INSTANCE_NAME = "The instance's name: 1 to 63 letters, digits and hyphens, from a letter on, and no hyphen last."
_CATALOG_NAME = "The catalog's name: letters, digits and underscores, and none that the platform keeps for itself."
_DATABASE_NAME = "The database's name: 1 to 63 letters, digits and underscores, and no digit first."
_TABLE_NAME = "The synced table's name: catalog.schema.table, each of letters, digits and underscores."
_CAPACITY = "Its size, which sets what it costs."
_NODE_COUNT = "How many nodes: the primary and its secondaries, each of which costs as much. At least 1."
_READABLE_SECONDARIES = "Whether the secondaries answer reads. It takes at least two nodes."
_RETENTION = "For how many days back it can be restored: from 2 to 35."
_CREATE_DATABASE = "Whether to make the database, where the instance has none of that name."
_SOURCE_TABLE = "The table to copy: catalog.schema.table."
_PRIMARY_KEY = "The columns that tell its rows apart, at most 32. They need not be declared as its key."
_POLICY = "When it is brought up to date."
_TIMESERIES_KEY = "The column by which the latest of several rows with one primary key is told, where there are such."
_STORAGE_CATALOG = (
    "A standard catalog in which the pipeline keeps tables of its own; the one that the server is set to where absent."
)
_STORAGE_SCHEMA = "The schema there; the one that the server is set to where absent."
_DRY_RUN = "Change nothing, and answer with the plan: the steps, what exists already, what would change."
_ACKNOWLEDGE_COST = "Say `true` where the plan says that this costs money from then on."
_CONFIRM_DELETION = "Say `true` to delete. There is no way back."
_DISCARD = (
    "Say `true` to delete status changes with their only copy. The plan counts them; `export-changes` keeps them."
)
_CONFIGURED = "the one that the server is set to where absent"


@strawberry.input(description="An instance to make.")
class CreateDatabaseInstanceInput:
    """The input of createDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    capacity: InstanceCapacity = strawberry.field(default=InstanceCapacity.CU_1, description=_CAPACITY)
    node_count: int = strawberry.field(default=1, description=_NODE_COUNT)
    enable_readable_secondaries: bool = strawberry.field(default=False, description=_READABLE_SECONDARIES)
    retention_window_in_days: int = strawberry.field(default=_RETENTION_DAYS, description=_RETENTION)
    acknowledge_cost: bool = strawberry.field(default=False, description=_ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="What is to be otherwise of an instance. What is absent stays as it is.")
class UpdateDatabaseInstanceInput:
    """The input of updateDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    capacity: InstanceCapacity | None = strawberry.field(default=UNSET, description=_CAPACITY)
    node_count: int | None = strawberry.field(default=UNSET, description=_NODE_COUNT)
    enable_readable_secondaries: bool | None = strawberry.field(default=UNSET, description=_READABLE_SECONDARIES)
    retention_window_in_days: int | None = strawberry.field(default=UNSET, description=_RETENTION)
    stopped: bool | None = strawberry.field(
        default=UNSET,
        description="`true` stops it: it takes no connections, and its compute costs nothing. `false` starts it.",
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=_ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="An instance to delete, with all of its databases.")
class DeleteDatabaseInstanceInput:
    """The input of deleteDatabaseInstance."""

    name: str = strawberry.field(description=_INSTANCE_NAME)
    confirm_deletion: bool = strawberry.field(default=False, description=_CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=_DISCARD)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="A catalog to make, which registers a database of an instance in Unity Catalog.")
class CreateDatabaseCatalogInput:
    """The input of createDatabaseCatalog."""

    name: str = strawberry.field(description=_CATALOG_NAME)
    instance_name: str = strawberry.field(description="The name of the instance that the database is on.")
    database_name: str = strawberry.field(description=_DATABASE_NAME)
    create_database: bool = strawberry.field(default=True, description=_CREATE_DATABASE)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="A catalog to delete.")
class DeleteDatabaseCatalogInput:
    """The input of deleteDatabaseCatalog."""

    name: str = strawberry.field(description=_CATALOG_NAME)
    confirm_deletion: bool = strawberry.field(default=False, description=_CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=_DISCARD)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="A synced table to make. Its first sync starts at once.")
class CreateSyncedTableInput:
    """The input of createSyncedTable."""

    name: str = strawberry.field(description=_TABLE_NAME)
    source_table: str = strawberry.field(default=_SOURCE, description=_SOURCE_TABLE)
    primary_key: list[str] = strawberry.field(default_factory=lambda: [_KEY], description=_PRIMARY_KEY)
    policy: SyncPolicy = strawberry.field(default=SyncPolicy.SNAPSHOT, description=_POLICY)
    timeseries_key: str | None = strawberry.field(default=UNSET, description=_TIMESERIES_KEY)
    storage_catalog: str | None = strawberry.field(default=UNSET, description=_STORAGE_CATALOG)
    storage_schema: str | None = strawberry.field(default=UNSET, description=_STORAGE_SCHEMA)
    instance_name: str | None = strawberry.field(
        default=UNSET,
        description="In a standard catalog, the instance to copy to. Absent in a database's catalog, which knows it.",
    )
    database_name: str | None = strawberry.field(
        default=UNSET, description="The database to copy to; given and absent as `instanceName` is."
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=_ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="A synced table to delete, and its PostgreSQL table with it.")
class DeleteSyncedTableInput:
    """The input of deleteSyncedTable."""

    name: str = strawberry.field(description=_TABLE_NAME)
    confirm_deletion: bool = strawberry.field(default=False, description=_CONFIRM_DELETION)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="A synced table to bring up to date now.")
class RefreshSyncedTableInput:
    """The input of refreshSyncedTable."""

    name: str | None = strawberry.field(default=UNSET, description=f"The synced table; {_CONFIGURED}.")
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="A synced table of orders whose indexes are to be there.")
class EnsureOrderIndexesInput:
    """The input of ensureOrderIndexes."""

    table_name: str | None = strawberry.field(default=UNSET, description=f"The synced table; {_CONFIGURED}.")
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(description="All that the API stands on: instance, catalog, synced table and indexes.")
class ProvisionLakebaseInput:
    """The input of provisionLakebase."""

    instance_name: str | None = strawberry.field(default=UNSET, description=f"The instance; {_CONFIGURED}.")
    capacity: InstanceCapacity = strawberry.field(default=InstanceCapacity.CU_1, description=_CAPACITY)
    node_count: int = strawberry.field(default=1, description=_NODE_COUNT)
    enable_readable_secondaries: bool = strawberry.field(default=False, description=_READABLE_SECONDARIES)
    retention_window_in_days: int = strawberry.field(default=_RETENTION_DAYS, description=_RETENTION)
    catalog_name: str | None = strawberry.field(default=UNSET, description=f"The catalog; {_CONFIGURED}.")
    database_name: str | None = strawberry.field(
        default=UNSET, description=f"The database that the catalog registers; {_CONFIGURED}."
    )
    create_database: bool = strawberry.field(default=True, description=_CREATE_DATABASE)
    table_name: str | None = strawberry.field(
        default=UNSET, description=f"The synced table, which has to be in that catalog; {_CONFIGURED}."
    )
    source_table: str = strawberry.field(default=_SOURCE, description=_SOURCE_TABLE)
    primary_key: list[str] = strawberry.field(default_factory=lambda: [_KEY], description=_PRIMARY_KEY)
    policy: SyncPolicy = strawberry.field(default=SyncPolicy.SNAPSHOT, description=_POLICY)
    timeseries_key: str | None = strawberry.field(default=UNSET, description=_TIMESERIES_KEY)
    storage_catalog: str | None = strawberry.field(default=UNSET, description=_STORAGE_CATALOG)
    storage_schema: str | None = strawberry.field(default=UNSET, description=_STORAGE_SCHEMA)
    acknowledge_cost: bool = strawberry.field(default=False, description=_ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)


@strawberry.input(
    description=(
        "What to tear down: synced table, catalog and instance. Without any name it is what the server is set to; "
        "otherwise give all three, so that what you name and what the server serves are never mixed up."
    )
)
class TeardownLakebaseInput:
    """The input of teardownLakebase."""

    instance_name: str | None = strawberry.field(default=UNSET, description="The instance.")
    catalog_name: str | None = strawberry.field(default=UNSET, description="The catalog.")
    table_name: str | None = strawberry.field(
        default=UNSET, description="The synced table, which has to be in that catalog: catalog.schema.table."
    )
    confirm_deletion: bool = strawberry.field(default=False, description=_CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=_DISCARD)
    dry_run: bool = strawberry.field(default=False, description=_DRY_RUN)
