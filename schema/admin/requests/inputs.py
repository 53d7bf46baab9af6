"""The inputs of the admin mutations. An absent property gets its default only when a resource is created."""

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
from schema.admin.requests.instance_inputs import AutoscalingInput  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.admin.types.states import InstanceCapacity  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.tables.freshness import SyncPolicy  # noqa: TC001 # as above

_CATALOG_NAME = "The name of the catalog: letters, digits and underscores, and not a name that the platform reserves."
_DATABASE_NAME = "The name of the database: 1 to 63 letters, digits and underscores, not starting with a digit."
_TABLE_NAME = "The name of the synced table: catalog.schema.table, each of letters, digits and underscores."
_CREATE_DATABASE = "Whether to create the database if the instance does not have it."
_SOURCE_TABLE = "The table to copy: catalog.schema.table."
_PRIMARY_KEY = "The columns that identify a row, at most 32. The source need not declare them as its primary key."
_POLICY = "When the table is updated from its source."
_TIMESERIES_KEY = "If several rows can have the same primary key: the column by which the latest of them is chosen."
_STORAGE_CATALOG = (
    "The standard catalog in which the pipeline keeps its own tables; the server's configured one if absent."
)
_STORAGE_SCHEMA = "The schema in the storage catalog; the server's configured one if absent."
_BRANCH = "The branch of the instance, if instances have branches; its default branch if absent."
_CONFIGURED = "the server's configured one if absent"
_ALL_SERVED = (
    "if absent, that of the orders and of every table that the setting `TABLES` names, as far as they exist; the plan "
    "and the operation's steps tell which do not"
)
_OTHERS = (
    "Without it, or with the configured one, the tables that the setting `TABLES` names are included; with another one "
    "they are not."
)
_SAFETY_NET = (
    "`true`: first make a branch of the branch with the synced table, which keeps what would be lost. It expires by "
    "itself, and its storage costs until then: the plan names it, and says when it expires. Only instances of the "
    "Autoscaling API have branches."
)


@strawberry.input(description="A catalog to create. It registers a database of an instance in Unity Catalog.")
class CreateDatabaseCatalogInput:
    """The input of createDatabaseCatalog."""

    name: str = strawberry.field(description=_CATALOG_NAME)
    instance_name: str = strawberry.field(description="The name of the instance with the database.")
    database_name: str = strawberry.field(description=_DATABASE_NAME)
    create_database: bool = strawberry.field(default=True, description=_CREATE_DATABASE)
    branch: str | None = strawberry.field(default=UNSET, description=_BRANCH)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A catalog to delete.")
class DeleteDatabaseCatalogInput:
    """The input of deleteDatabaseCatalog."""

    name: str = strawberry.field(description=_CATALOG_NAME)
    confirm_deletion: bool = strawberry.field(default=False, description=CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=DISCARD)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A synced table to create. Its first sync starts at once.")
class CreateSyncedTableInput:
    """The input of createSyncedTable."""

    name: str = strawberry.field(description=_TABLE_NAME)
    source_table: str | None = strawberry.field(
        default=UNSET,
        description=(
            f"{_SOURCE_TABLE} {IF_ABSENT.format('`samples.tpch.orders`')} For a name that `TABLES` has: the table of "
            "TPC-H for it."
        ),
    )
    primary_key: list[str] | None = strawberry.field(
        default=UNSET,
        description=f"{_PRIMARY_KEY} {IF_ABSENT.format('`o_orderkey`')} For a name that `TABLES` has: its own key.",
    )
    policy: SyncPolicy | None = strawberry.field(
        default=UNSET, description=f"{_POLICY} {IF_ABSENT.format('`SNAPSHOT`')}"
    )
    timeseries_key: str | None = strawberry.field(
        default=UNSET, description=f"{_TIMESERIES_KEY} {IF_ABSENT.format('none')}"
    )
    storage_catalog: str | None = strawberry.field(default=UNSET, description=_STORAGE_CATALOG)
    storage_schema: str | None = strawberry.field(default=UNSET, description=_STORAGE_SCHEMA)
    instance_name: str | None = strawberry.field(
        default=UNSET,
        description="The instance to copy to. Give it only for a table in a standard catalog.",
    )
    database_name: str | None = strawberry.field(
        default=UNSET, description="The database to copy to. Give it if, and only if, you give `instanceName`."
    )
    branch: str | None = strawberry.field(
        default=UNSET, description=f"{_BRANCH} Give it only for a table in a standard catalog."
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A synced table to delete, together with its PostgreSQL table.")
class DeleteSyncedTableInput:
    """The input of deleteSyncedTable."""

    name: str = strawberry.field(description=_TABLE_NAME)
    confirm_deletion: bool = strawberry.field(default=False, description=CONFIRM_DELETION)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A synced table to sync now, or all that the server serves.")
class RefreshSyncedTableInput:
    """The input of refreshSyncedTable."""

    name: str | None = strawberry.field(default=UNSET, description=f"The synced table; {_ALL_SERVED}.")
    safety_net: bool = strawberry.field(default=False, description=_SAFETY_NET)
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="A synced table whose indexes are to be built, or all that the server serves.")
class EnsureIndexesInput:
    """The input of ensureIndexes."""

    table_name: str | None = strawberry.field(default=UNSET, description=f"The synced table; {_ALL_SERVED}.")
    text: bool = strawberry.field(
        default=False,
        description=(
            "Also build indexes of trigrams for the texts that `contains` filters by, and create the extension pg_trgm "
            "that they need. They serve pieces of three letters or digits and more, unless `caseSensitive` is true. "
            "They take more storage than others, and slow each sync down."
        ),
    )
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(description="An operation to cancel.")
class CancelOperationInput:
    """The input of cancelOperation."""

    id: strawberry.ID = strawberry.field(description="The `id` of the operation.")


@strawberry.input(description="Everything that the API needs: instance, catalog, synced tables and indexes.")
class ProvisionLakebaseInput:
    """The input of provisionLakebase."""

    instance_name: str | None = strawberry.field(default=UNSET, description=f"The instance; {_CONFIGURED}.")
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
    catalog_name: str | None = strawberry.field(default=UNSET, description=f"The catalog; {_CONFIGURED}.")
    database_name: str | None = strawberry.field(
        default=UNSET, description=f"The database that the catalog registers; {_CONFIGURED}."
    )
    create_database: bool = strawberry.field(default=True, description=_CREATE_DATABASE)
    branch: str | None = strawberry.field(
        default=UNSET, description="The branch of the database, if instances have branches; the served one if absent."
    )
    table_name: str | None = strawberry.field(
        default=UNSET,
        description=f"The synced table of the orders, which must be in that catalog; {_CONFIGURED}. {_OTHERS}",
    )
    source_table: str | None = strawberry.field(
        default=UNSET,
        description=(
            f"The table to copy the orders from: catalog.schema.table. The other tables are copied from the same "
            f"schema, by their names in TPC-H. {IF_ABSENT.format('`samples.tpch.orders`')}"
        ),
    )
    primary_key: list[str] | None = strawberry.field(
        default=UNSET, description=f"Of the orders. {_PRIMARY_KEY} {IF_ABSENT.format('`o_orderkey`')}"
    )
    policy: SyncPolicy | None = strawberry.field(
        default=UNSET, description=f"{_POLICY} {IF_ABSENT.format('`SNAPSHOT`')}"
    )
    timeseries_key: str | None = strawberry.field(
        default=UNSET, description=f"Of the orders. {_TIMESERIES_KEY} {IF_ABSENT.format('none')}"
    )
    storage_catalog: str | None = strawberry.field(default=UNSET, description=_STORAGE_CATALOG)
    storage_schema: str | None = strawberry.field(default=UNSET, description=_STORAGE_SCHEMA)
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)


@strawberry.input(
    description=(
        "What to tear down: synced tables, catalog and instance. Give all three names, or none to tear down those that "
        "the server is configured with. Given and configured names cannot be mixed."
    )
)
class TeardownLakebaseInput:
    """The input of teardownLakebase."""

    instance_name: str | None = strawberry.field(default=UNSET, description="The instance.")
    catalog_name: str | None = strawberry.field(default=UNSET, description="The catalog.")
    table_name: str | None = strawberry.field(
        default=UNSET,
        description=f"The synced table of the orders, which must be in that catalog: catalog.schema.table. {_OTHERS}",
    )
    purge: bool = strawberry.field(default=False, description=PURGE)
    safety_net: bool = strawberry.field(
        default=False,
        description=(
            f"{_SAFETY_NET} The branch is deleted with the instance and comes back with it, so not together with "
            "`purge`."
        ),
    )
    acknowledge_cost: bool = strawberry.field(default=False, description=ACKNOWLEDGE_COST)
    confirm_deletion: bool = strawberry.field(default=False, description=CONFIRM_DELETION)
    discard_status_changes: bool = strawberry.field(default=False, description=DISCARD)
    dry_run: bool = strawberry.field(default=False, description=DRY_RUN)
