"""The local platform's catalogs and synced tables: real rows of TPC-H in a real PostgreSQL, synced on demand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    InvalidParameterValue,
    InvalidState,
    NotFound,
    PermissionDenied,
    ResourceConflict,
)
from databricks.sdk.service.database import (
    DatabaseCatalog,
    DatabaseInstance,
    DatabaseInstanceState,
    DatabaseTable,
    NewPipelineSpec,
    ProvisioningInfoState,
    SyncedTableSchedulingPolicy,
    SyncedTableState,
)
from databricks.sdk.service.pipelines import UpdateInfoState

from tests.servers.platform import platform_directory, running_platform, synced_table
from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.database import SyncedDatabaseTable

    from tests.servers.platform import LocalPlatform

ROWS = 1500


def status_of(table: SyncedDatabaseTable) -> Any:
    """The table's synchronization status."""
    return table.data_synchronization_status


def refresh(platform: LocalPlatform, name: str) -> str:
    """Start an update that syncs the table again, and return its id."""
    workspace = platform.workspace()
    pipeline = status_of(workspace.database.get_synced_database_table(name)).pipeline_id
    return str(workspace.pipelines.start_update(pipeline).update_id)


def test_a_synced_table_goes_through_phases_and_counts_its_rows(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """PROVISIONING without a pipeline, then the pipeline's resources, the rows with their progress, and online."""
    seen = watch_creation(platform, "shared")
    assert seen[0].effective_database_instance_name == shared.name
    check_phases(seen)
    if not any(0 < count < ROWS for count in counts_of(seen)):
        # This machine is too slow to see a part of the rows.
        check_slow_phases()
    assert seen[-1].unity_catalog_provisioning_state is ProvisioningInfoState.ACTIVE
    assert status_of(seen[-1]).last_sync.sync_end_timestamp
    assert workspace.pipelines.get(status_of(seen[-1]).pipeline_id).latest_updates
    with pytest.raises(AlreadyExists):
        workspace.database.create_synced_database_table(synced_table("shared.public.phases"))


def check_slow_phases() -> None:
    """The same on slower platforms, until a part of the rows was seen."""
    for seconds in (2, 20, PATIENCE_SECONDS):
        with platform_directory() as directory, running_platform(directory, snapshot_delay=seconds) as platform:
            platform.create_instance("slow")
            platform.create_catalog("slow", "slow")
            seen = watch_creation(platform, "slow")
            check_phases(seen)
            if any(0 < count < ROWS for count in counts_of(seen)):
                return
    pytest.fail("timed out: a part of the rows was never seen")


def watch_creation(platform: LocalPlatform, catalog: str) -> list[SyncedDatabaseTable]:
    """Create a synced table, and return everything that the platform shows of it until it is online."""
    name, database = f"{catalog}.public.phases", platform.workspace().database
    seen: list[SyncedDatabaseTable] = [database.create_synced_database_table(synced_table(name))]

    def online() -> bool:
        seen.append(database.get_synced_database_table(name))
        return status_of(seen[-1]).last_sync is not None

    wait_for(online, what=platform.log)
    return seen


def counts_of(seen: list[SyncedDatabaseTable]) -> list[int]:
    """The numbers of rows copied."""
    return [progress.synced_row_count for progress in progress_of(seen)]


def progress_of(seen: list[SyncedDatabaseTable]) -> list[Any]:
    """The progress of the first sync, wherever it was shown."""
    statuses = [status_of(table).provisioning_status for table in seen]
    return [status.initial_pipeline_sync_progress for status in statuses if status]


def check_phases(seen: list[SyncedDatabaseTable]) -> None:
    """Assert that the phases come in their order, and that the rows become more."""
    assert status_of(seen[0]).detailed_state is SyncedTableState.SYNCED_TABLE_PROVISIONING
    assert status_of(seen[0]).pipeline_id is None
    phases = [
        SyncedTableState.SYNCED_TABLE_PROVISIONING,
        SyncedTableState.SYNCED_TABLE_PROVISIONING_PIPELINE_RESOURCES,
        SyncedTableState.SYNCED_TABLE_PROVISIONING_INITIAL_SNAPSHOT,
        SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE,
    ]
    order = [phases.index(status_of(table).detailed_state) for table in seen]
    assert order == sorted(order)
    assert order[-1] == phases.index(SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE)
    assert counts_of(seen) == sorted(counts_of(seen))
    # A part of the rows is there only in the snapshot phase.
    snapshot = phases.index(SyncedTableState.SYNCED_TABLE_PROVISIONING_INITIAL_SNAPSHOT)
    assert not any(0 < count < ROWS for count in counts_of(seen)) or snapshot in order
    assert all(0 <= progress.sync_progress_completion <= 1 for progress in progress_of(seen))
    assert {progress.total_row_count for progress in progress_of(seen)} <= {ROWS}


@pytest.mark.parametrize(
    ("source", "key", "rows"), [("orders", "o_orderkey", ROWS), ("customer", "c_custkey", 150), ("lineitem", "", 0)]
)
async def test_a_synced_table_belongs_to_the_platform(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance, source: str, key: str, rows: int
) -> None:
    """It has its source's columns and rows, and a writer role owns it. We may read and index it; other roles may not."""
    name = f"shared.owned.{source}"
    keys = {"primary_key_columns": ["l_orderkey", "l_linenumber"]} if source == "lineitem" else {}
    workspace.database.create_synced_database_table(synced_table(name, source, key, **keys))
    platform.wait_for_table(name)
    connection = await platform.connect(shared.read_write_dns, database="demo")
    owner, columns = await connection.fetchrow(
        "SELECT tableowner, (SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)"
        " FROM pg_attribute WHERE attrelid = to_regclass('owned.' || tablename) AND attnum > 0)"
        " FROM pg_tables WHERE schemaname = 'owned' AND tablename = $1",
        source,
    )
    assert owner.startswith("databricks_writer_")
    count = await connection.fetchval(f"SELECT count(*) FROM owned.{source}")
    assert count == rows or (source == "lineitem" and count > 4 * ROWS * 0.9)
    if source == "orders":
        assert columns == [
            "o_orderkey bigint",
            "o_custkey bigint",
            "o_orderstatus text",
            "o_totalprice numeric(18,2)",
            "o_orderdate date",
            "o_orderpriority text",
            "o_clerk text",
            "o_shippriority integer",
            "o_comment text",
        ]
        await connection.execute("CREATE ROLE stranger; GRANT USAGE ON SCHEMA owned TO stranger")
        assert not await connection.fetchval("SELECT has_table_privilege('stranger', 'owned.orders', 'select')")
        await connection.execute("CREATE INDEX ON owned.orders (o_custkey)")
    await connection.close()
    info = workspace.tables.get(name)
    assert info.table_id
    described = {column.name: column.nullable for column in info.columns or []}
    assert list(described) == [column.split()[0] for column in columns]
    assert not all(described.values())
    assert name in {summary.full_name for summary in workspace.tables.list_summaries("shared")}


KEYS = {
    "orders": ["o_orderkey"],
    "customer": ["c_custkey"],
    "lineitem": ["l_orderkey", "l_linenumber"],
    "part": ["p_partkey"],
    "supplier": ["s_suppkey"],
    "nation": ["n_nationkey"],
    "region": ["r_regionkey"],
}


async def test_all_tables_of_tpch_are_synced_side_by_side(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """Into a database, a schema and a role that none of them finds. Every row's references are there."""
    platform.create_catalog("tpch", "shared", "tpch")
    connection = await platform.connect(shared.read_write_dns, database="tpch")
    wanted = [synced_table(f"tpch.all.{source}", source, primary_key_columns=key) for source, key in KEYS.items()]
    create = workspace.database.create_synced_database_table
    await asyncio.gather(*(asyncio.to_thread(create, one) for one in wanted))
    for source in KEYS:
        platform.wait_for_table(f"tpch.all.{source}")
    counts = {one: await connection.fetchval(f'SELECT count(*) FROM "all".{one}') for one in KEYS if one != "lineitem"}
    assert counts == {"orders": ROWS, "customer": 150, "part": 200, "supplier": 10, "nation": 25, "region": 5}
    # TPC-H's references: every row finds the rows that it names.
    orphans = await connection.fetchval(
        """
        SELECT count(*) FROM "all".lineitem
        LEFT JOIN "all".orders ON o_orderkey = l_orderkey LEFT JOIN "all".customer ON c_custkey = o_custkey
        LEFT JOIN "all".part ON p_partkey = l_partkey LEFT JOIN "all".supplier ON s_suppkey = l_suppkey
        LEFT JOIN "all".nation ON n_nationkey = c_nationkey LEFT JOIN "all".region ON r_regionkey = n_regionkey
        WHERE r_regionkey IS NULL OR p_partkey IS NULL OR s_suppkey IS NULL
        """
    )
    assert orphans == 0
    assert await columns_of(connection, "part") == (
        "p_partkey bigint, p_name text, p_mfgr text, p_brand text, p_type text, p_size integer, p_container text,"
        " p_retailprice numeric(18,2), p_comment text"
    )
    assert await columns_of(connection, "supplier") == (
        "s_suppkey bigint, s_name text, s_address text, s_nationkey bigint, s_phone text, s_acctbal numeric(18,2),"
        " s_comment text"
    )
    assert (
        await columns_of(connection, "nation") == "n_nationkey bigint, n_name text, n_regionkey bigint, n_comment text"
    )
    assert await columns_of(connection, "region") == "r_regionkey bigint, r_name text, r_comment text"
    await connection.close()


async def columns_of(connection: asyncpg.Connection, table: str) -> str:
    """The columns of a table in the schema `all`, with their types."""
    return str(
        await connection.fetchval(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)"
            " FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0",
            f'"all".{table}',
        )
    )


async def test_a_refresh_replaces_the_table_with_its_indexes_and_its_grants(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """Readers always find a table. Changes of its rows, indexes and grants are lost."""
    platform.create_table("shared.public.refreshed")
    connection = await platform.connect(shared.read_write_dns, database="demo")
    await connection.execute(
        "CREATE ROLE reader; GRANT SELECT ON refreshed TO reader; CREATE INDEX by_date ON refreshed (o_orderdate);"
        "UPDATE refreshed SET o_orderstatus = 'X'"
    )
    old = "SELECT count(*) FROM refreshed WHERE o_orderstatus = 'X'"
    # The new table replaces the old one once no transaction reads that.
    async with connection.transaction():
        assert await connection.fetchval(old) == ROWS
        update = refresh(platform, "shared.public.refreshed")
        pipeline = status_of(workspace.database.get_synced_database_table("shared.public.refreshed")).pipeline_id
        with pytest.raises(ResourceConflict):
            workspace.pipelines.start_update(pipeline)
        platform.wait_for_table("shared.public.refreshed", SyncedTableState.SYNCED_TABLE_ONLINE_TRIGGERED_UPDATE)
        assert await connection.fetchval(old) == ROWS
    platform.wait_for_table("shared.public.refreshed")
    state = workspace.pipelines.get_update(pipeline, update).update
    assert state is not None
    assert state.state is UpdateInfoState.COMPLETED
    assert await connection.fetchval("SELECT count(*) FROM refreshed WHERE o_orderstatus <> 'X'") == ROWS
    assert not await connection.fetchval("SELECT has_table_privilege('reader', 'refreshed', 'select')")
    indexes = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'refreshed'")
    assert [row["indexname"] for row in indexes] == ["refreshed_pkey"]
    await connection.close()


async def test_an_obstacle_fails_the_sync_and_is_named(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """A table with another owner is not touched. Once it is dropped, an update creates the synced table."""
    connection = await platform.connect(shared.read_write_dns, database="demo")
    await connection.execute("CREATE TABLE foreign_table (x int)")
    workspace.database.create_synced_database_table(synced_table("shared.public.foreign_table"))
    failed = platform.wait_for_table("shared.public.foreign_table", SyncedTableState.SYNCED_TABLE_OFFLINE_FAILED)
    assert platform.user in status_of(failed).message
    assert failed.unity_catalog_provisioning_state is ProvisioningInfoState.FAILED
    await connection.execute("DROP TABLE foreign_table")
    refresh(platform, "shared.public.foreign_table")
    platform.wait_for_table("shared.public.foreign_table")
    await connection.execute("CREATE VIEW looked_at AS SELECT o_orderkey FROM foreign_table")
    refresh(platform, "shared.public.foreign_table")
    failed = platform.wait_for_table(
        "shared.public.foreign_table", SyncedTableState.SYNCED_TABLE_ONLINE_PIPELINE_FAILED
    )
    assert "looked_at" in str(status_of(failed).message) or "depend" in str(status_of(failed).message)
    assert status_of(failed).last_sync is not None
    await connection.close()


async def test_a_deleted_synced_table_leaves_its_rows_unless_they_are_purged(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """The catalog entry and the pipeline go. The rows stay, and a new synced table of the name takes them over."""
    connection = await platform.connect(shared.read_write_dns, database="demo")
    exists = "SELECT to_regclass('left_behind') IS NOT NULL"
    pipeline = status_of(platform.create_table("shared.public.left_behind")).pipeline_id
    workspace.database.delete_synced_database_table("shared.public.left_behind")
    for call, name in (
        (workspace.database.get_synced_database_table, "shared.public.left_behind"),
        (workspace.tables.get, "shared.public.left_behind"),
        (workspace.pipelines.get, pipeline),
    ):
        with pytest.raises(NotFound):
            call(name)
    assert await connection.fetchval(exists)
    platform.create_table("shared.public.left_behind")
    workspace.database.delete_synced_database_table("shared.public.left_behind", purge_data=True)
    assert not await connection.fetchval(exists)
    await connection.close()


def test_a_catalog_registers_a_database_and_cannot_be_deleted_before_its_tables(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """The database is created on request, and outlives the catalog."""
    database = workspace.database
    assert database.get_database_catalog("shared").database_instance_name == shared.name
    absent = DatabaseCatalog("absent", "shared", "nowhere")
    with pytest.raises(NotFound, match="nowhere"):
        database.create_database_catalog(absent)
    for name in ("main", "samples", "shared"):
        with pytest.raises(AlreadyExists):
            database.create_database_catalog(DatabaseCatalog(name, "shared", "demo"))
    with pytest.raises(NotFound):
        database.create_database_catalog(DatabaseCatalog("absent", "nobody", "demo"))
    made = platform.create_catalog("second", "shared", "second-db")
    assert (made.database_name, made.create_database_if_not_exists) == ("second-db", None)
    assert workspace.catalogs.get("second").name == "second"
    platform.create_table("second.public.held", "customer", "c_custkey")
    with pytest.raises(ResourceConflict):
        database.delete_database_catalog("second")
    database.delete_synced_database_table("second.public.held")
    database.delete_database_catalog("second")
    with pytest.raises(NotFound):
        database.get_database_catalog("second")
    assert database.create_database_catalog(DatabaseCatalog("second", "shared", "second-db")).uid != made.uid
    database.delete_database_catalog("second")


def test_the_names_of_unity_catalog_ignore_case(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """They are kept in lower case, and found in any."""
    catalog = platform.create_catalog("Mixed", str(shared.name), "mixed")
    table = platform.create_table("MIXED.Public.Orders", source="Orders")
    assert (catalog.name, table.name) == ("mixed", "mixed.public.orders")
    assert "mixed" in [one.name for one in workspace.catalogs.list()]
    assert [one.full_name for one in workspace.tables.list_summaries("MIXED")] == ["mixed.public.orders"]
    with pytest.raises(AlreadyExists):
        platform.create_catalog("mIxEd", str(shared.name), "mixed")
    with pytest.raises(ResourceConflict):
        workspace.database.delete_database_catalog("MIXED")
    workspace.database.delete_synced_database_table("Mixed.public.ORDERS", purge_data=True)
    workspace.database.delete_database_catalog("Mixed")
    with pytest.raises(NotFound):
        workspace.catalogs.get("mixed")


def test_an_existing_table_can_be_registered(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """A database table is only a name for it."""
    platform.create_table("shared.public.registered", "customer", "c_custkey")
    table = DatabaseTable("main.public.registered", shared.name, "demo")
    assert workspace.database.create_database_table(table).logical_database_name == "demo"
    assert workspace.database.get_database_table("main.public.registered").name == table.name
    workspace.database.delete_database_table("main.public.registered")
    with pytest.raises(NotFound):
        workspace.database.get_database_table("main.public.registered")


@pytest.mark.parametrize(
    ("table", "error"),
    [
        (synced_table("shared.public"), InvalidParameterValue),
        (synced_table("shared.public.a-b"), InvalidParameterValue),
        (synced_table("nowhere.public.x"), NotFound),
        (synced_table("samples.tpch.x"), InvalidParameterValue),
        (synced_table("main.default.x"), InvalidParameterValue),
        (synced_table("shared.public.x", "nothing"), NotFound),
        (synced_table("shared.public.x", key="o_key"), InvalidParameterValue),
        (synced_table("shared.public.x", primary_key_columns=[]), InvalidParameterValue),
        (synced_table("shared.public.x", timeseries_key="o_time"), InvalidParameterValue),
        (synced_table("shared.public.x", scheduling_policy=SyncedTableSchedulingPolicy.TRIGGERED), BadRequest),
        (synced_table("shared.public.x", scheduling_policy=SyncedTableSchedulingPolicy.CONTINUOUS), BadRequest),
        (synced_table("shared.public.x", new_pipeline_spec=None), InvalidParameterValue),
        (synced_table("shared.public.x", new_pipeline_spec=None, existing_pipeline_id="none"), NotFound),
        (synced_table("shared.public.x", new_pipeline_spec=NewPipelineSpec("", "main", "none")), NotFound),
        (synced_table("shared.public.x", new_pipeline_spec=NewPipelineSpec("", "none", "none")), NotFound),
        (synced_table("shared.public.x", new_pipeline_spec=NewPipelineSpec("", "shared", "public")), BadRequest),
        (synced_table("shared.public.x", new_pipeline_spec=NewPipelineSpec("", "samples", "tpch")), PermissionDenied),
    ],
)
def test_an_invalid_synced_table_is_refused(
    platform: LocalPlatform,
    workspace: WorkspaceClient,
    shared: DatabaseInstance,
    table: SyncedDatabaseTable,
    error: type[Exception],
) -> None:
    """Nothing of it is created."""
    assert shared.name == "shared"
    before = platform.inventory()
    with pytest.raises(error):
        workspace.database.create_synced_database_table(table)
    after = platform.inventory()
    assert (after["synced_tables"], after["pipelines"]) == (before["synced_tables"], before["pipelines"])


async def states_of_a_refresh(platform: LocalPlatform, connection: Any) -> set[str]:
    """The incomplete states of the orders table that a reader sees until a refresh has completed."""
    database = platform.workspace().database
    seen: set[str] = set()
    while True:
        try:
            count = await connection.fetchval("SELECT count(*) FROM orders")
        except asyncpg.UndefinedTableError:
            seen.add("missing")
            continue
        if count < ROWS:
            seen.add("partly")
            continue
        state = status_of(database.get_synced_database_table("worst.public.orders")).detailed_state
        if state is SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE:
            assert await connection.fetchval("SELECT count(*) FROM orders") == ROWS
            return seen


async def test_in_place_a_table_is_missing_and_then_partly_filled() -> None:
    """This is the worst that a refresh can do to a reader. Without index rights our role may not create an index."""
    with (
        platform_directory() as directory,
        running_platform(directory, sync_mode="in_place", index_rights=False) as platform,
    ):
        instance = platform.create_instance("worst")
        platform.create_catalog("worst", "worst")
        platform.create_table("worst.public.orders")
        connection = await platform.connect(instance.read_write_dns, database="demo", statement_cache_size=0)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE INDEX ON orders (o_custkey)")
        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            # On a slow machine it may take several refreshes to see both states.
            while not {"missing", "partly"} <= seen:
                refresh(platform, "worst.public.orders")
                seen |= await states_of_a_refresh(platform, connection)
        await connection.close()

        # A sync wakes a suspended instance, and fails on a stopped one.
        platform.suspend("worst")
        refresh(platform, "worst.public.orders")
        platform.wait_for_table("worst.public.orders")
        database = platform.workspace().database
        database.update_database_instance("worst", DatabaseInstance("worst", stopped=True), "stopped")
        platform.wait_for_instance("worst", DatabaseInstanceState.STOPPED)
        refresh(platform, "worst.public.orders")
        failed = platform.wait_for_table("worst.public.orders", SyncedTableState.SYNCED_TABLE_ONLINE_PIPELINE_FAILED)
        assert "STOPPED" in status_of(failed).message
        with pytest.raises(InvalidState):
            database.create_database_catalog(DatabaseCatalog("later", "worst", "demo"))
        with pytest.raises(InvalidState):
            database.delete_synced_database_table("worst.public.orders", purge_data=True)
        assert database.get_synced_database_table("worst.public.orders").name == "worst.public.orders"
