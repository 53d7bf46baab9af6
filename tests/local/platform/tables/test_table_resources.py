"""The local platform's catalogs and synced tables by the Postgres API: on branches, and with other deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from databricks.sdk.errors import AlreadyExists, InvalidParameterValue, NotFound, ResourceConflict
from databricks.sdk.service.postgres import (
    Catalog,
    CatalogCatalogSpec,
    NewPipelineSpec,
    ProvisioningInfoState,
    SyncedTable,
    SyncedTableState,
    SyncedTableSyncedTableSpec,
    SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy,
    SyncedTableSyncedTableStatus,
)

from tests.local.parts import asked, branched, connected, done, failure
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

ONLINE = SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE
_TABLES = "SELECT count(*) FROM pg_tables WHERE tablename = 'orders'"


def table(**fields: str) -> SyncedTable:
    """The body that creates a synced table of orders."""
    return SyncedTable(
        spec=SyncedTableSyncedTableSpec(
            source_table_full_name="samples.tpch.orders",
            primary_key_columns=["o_orderkey"],
            scheduling_policy=SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy.SNAPSHOT,
            new_pipeline_spec=NewPipelineSpec(storage_catalog="main", storage_schema="default"),
            **fields,  # type: ignore[arg-type] # names of the branch and the database
        )
    )


def catalog(branch: str, database: str, *, create: bool = False) -> Catalog:
    """The body that registers a database."""
    return Catalog(spec=CatalogCatalogSpec(database, branch=branch, create_database_if_missing=create))


def status_of(workspace: WorkspaceClient, name: str) -> SyncedTableSyncedTableStatus:
    """The status of a synced table, which does not tell what was asked for."""
    found = workspace.postgres.get_synced_table(f"synced_tables/{name}")
    assert found.spec is None
    assert found.status is not None
    return found.status


def wait_for_state(
    platform: LocalPlatform, workspace: WorkspaceClient, name: str, state: SyncedTableState = ONLINE
) -> None:
    """Wait until a synced table is in this state."""
    wait_for(lambda: status_of(workspace, name).detailed_state is state, what=platform.log)


async def test_a_deleted_table_lingers_and_leaves_its_rows(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """It is DELETING for a while, and holds its name. Both APIs show it, and only the old one tells its spec."""
    postgres, branch, name = workspace.postgres, f"{project}/branches/production", "lingering.public.orders"
    done(platform, postgres.create_catalog(catalog(branch, "lingering", create=True), "lingering"))
    shown = postgres.get_catalog("catalogs/lingering")
    assert shown.spec is None
    assert shown.status is not None
    assert (shown.status.branch, shown.status.postgres_database) == (branch, "lingering")
    done(platform, postgres.create_synced_table(table(), name))
    wait_for_state(platform, workspace, name)
    status = status_of(workspace, name)
    assert (status.project, status.last_processed_commit_version) == (project, 1)
    assert status.last_sync_time is not None
    old = workspace.database.get_synced_database_table(name)
    assert (old.database_instance_name, old.logical_database_name) == ("kept", "lingering")
    assert old.spec is not None
    with pytest.raises(ResourceConflict, match="still holds"):
        postgres.delete_catalog("catalogs/lingering")
    deletion = postgres.delete_synced_table(f"synced_tables/{name}")
    assert status_of(workspace, name).unity_catalog_provisioning_state is ProvisioningInfoState.DELETING
    with pytest.raises(AlreadyExists):
        postgres.create_synced_table(table(), name)
    done(platform, deletion)
    with pytest.raises(NotFound):
        postgres.get_synced_table(f"synced_tables/{name}")
    connection = await connected(platform, branch, database="lingering")
    assert await connection.fetchval(_TABLES) == 1
    await connection.close()
    done(platform, postgres.delete_catalog("catalogs/lingering"))


async def test_a_branch_has_the_registration_of_its_original(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """Its copy of the database is registered once it was dropped and made again. A missing database fails the operation."""
    postgres, root = workspace.postgres, f"{project}/branches/production"
    code, message = failure(platform, postgres.create_catalog(catalog(root, "nowhere"), "once"))
    assert (code, "does not exist" in message) == ("NOT_FOUND", True)
    done(platform, postgres.create_catalog(catalog(root, "registered", create=True), "once"))
    copy = branched(platform, project, "registered")
    for branch in (root, copy):
        code, message = failure(platform, postgres.create_catalog(catalog(branch, "registered"), "twice"))
        assert (code, "'once'" in message) == ("RESOURCE_CONFLICT", True)
    connection = await connected(platform, copy)
    await connection.execute("CREATE DATABASE registered2 TEMPLATE template0")
    await connection.close()
    done(platform, postgres.create_catalog(catalog(copy, "registered2"), "twice"))
    for name in ("once", "twice"):
        done(platform, postgres.delete_catalog(f"catalogs/{name}"))
    done(platform, postgres.delete_branch(copy, purge=True))


async def test_a_table_belongs_to_a_branch_and_no_longer_syncs_without_it(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """In a standard catalog the branch and the database are given. The original does not get the rows."""
    postgres, branch = workspace.postgres, branched(platform, project, "synced")
    name = "main.default.orders"
    with pytest.raises(InvalidParameterValue):
        postgres.create_synced_table(table(branch=branch), name)
    done(platform, postgres.create_synced_table(table(branch=branch, postgres_database="databricks_postgres"), name))
    wait_for_state(platform, workspace, name)
    assert await asked(platform, branch, _TABLES) == 1
    assert await asked(platform, f"{project}/branches/production", _TABLES) == 0
    done(platform, postgres.delete_branch(branch, purge=True))
    workspace.pipelines.start_update(str(status_of(workspace, name).pipeline_id))
    wait_for_state(platform, workspace, name, SyncedTableState.SYNCED_TABLE_ONLINE_PIPELINE_FAILED)
    done(platform, postgres.delete_synced_table(f"synced_tables/{name}"))
