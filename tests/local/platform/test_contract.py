"""What the local platform serves, against the SDK's classes: of the pinned version, or of the newest in `make sdk-newest`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from databricks.sdk.service import catalog, database, iam, pipelines, postgres
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from server.local.platform.routes import ROUTES
from tests.local.parts import mask
from tests.local.platform.sdk_contract import Checked
from tests.servers.platform import AT_ONCE, platform_directory, running_platform, synced_table
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

# The methods of the Postgres API that the platform serves. The others are of the change data feed, the Data API, the
# schedule of snapshots and passwords.
SERVED = {
    *(
        f"{verb}_{kind}"
        for verb in ("create", "get", "update", "delete")
        for kind in ("project", "branch", "endpoint", "database", "role")
    ),
    *(f"list_{kind}" for kind in ("projects", "branches", "endpoints", "databases", "roles", "snapshots")),
    *(f"{verb}_{kind}" for verb in ("create", "get", "delete") for kind in ("catalog", "synced_table", "snapshot")),
    "undelete_project",
    "undelete_branch",
    "get_operation",
    "generate_database_credential",
}
# The SDK does not call them by a method, or the platform refuses them.
_OTHER_ROUTES = {
    "GET /.well-known/databricks-config",
    "GET /oidc/.well-known/oauth-authorization-server",
    "POST /oidc/v1/token",
    "GET /api/2.0/database/instances/{instance}/catalogs",
    "GET /api/2.0/database/instances/{instance}/synced_tables",
    "PATCH /api/2.0/database/catalogs/{name}",
    "PATCH /api/2.0/database/synced_tables/{name}",
}
PROJECT = "projects/contract"
BRANCH = f"{PROJECT}/branches/production"
READ_WRITE = postgres.EndpointType.ENDPOINT_TYPE_READ_WRITE
READ_ONLY = postgres.EndpointType.ENDPOINT_TYPE_READ_ONLY


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform that has served nothing yet."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


def test_the_sdk_knows_all_that_is_served_and_all_that_it_asks_for_is_served(platform: LocalPlatform) -> None:
    """Each method is called, and each route. No reply has a field or a value that the SDK's class for it does not have."""
    sdk = Checked(platform)
    make_project(sdk)
    change_branches(sdk)
    fill_database(sdk, platform)
    end_project(sdk)
    use_instance(sdk, platform)
    look_around(sdk)
    assert sdk.unknown == set()
    assert {f"postgres.{name}" for name in SERVED} - sdk.called == set()
    requested = set(platform.counters()["requests"])
    assert {f"{method} {path}" for method, path, _ in ROUTES} - requested == _OTHER_ROUTES - requested


def make_project(sdk: Checked) -> None:
    """A project with everything that a spec can have, and its changes."""
    spec = postgres.ProjectSpec(
        display_name="Contract",
        pg_version=16,
        history_retention_duration=Duration(seconds=3 * 86_400),
        default_endpoint_settings=postgres.ProjectDefaultEndpointSettings(
            autoscaling_limit_min_cu=0.5,
            autoscaling_limit_max_cu=2,
            suspend_timeout_duration=Duration(seconds=300),
            pg_settings={"work_mem": "8MB"},
        ),
        custom_tags=[postgres.ProjectCustomTag(key="team", value="orders")],
        budget_policy_id="policy",
        enable_pg_native_login=True,
    )
    sdk.done("postgres.create_project", postgres.Project(spec=spec), "contract")
    paths = mask("spec.displayName", "spec.default_endpoint_settings.suspension")
    settings = postgres.ProjectDefaultEndpointSettings(no_suspension=True)
    changed = postgres.Project(spec=postgres.ProjectSpec(display_name="New", default_endpoint_settings=settings))
    sdk.done("postgres.update_project", PROJECT, changed, paths)
    shown = sdk.call("postgres.get_project", PROJECT)
    assert shown.spec is None
    assert shown.status.display_name == "New"
    assert (shown.status.default_endpoint_settings.no_suspension, shown.status.custom_tags[0].key) == (True, "team")
    assert [one.project_id for one in sdk.call("postgres.list_projects", show_deleted=True)] == ["contract"]


def change_branches(sdk: Checked) -> None:
    """A snapshot, a branch of it, a branch of a position in the log, and endpoints."""
    snapshot = postgres.SnapshotSpec(source_branch=BRANCH, ttl=Duration(seconds=3600))
    sdk.done("postgres.create_snapshot", PROJECT, postgres.Snapshot(spec=snapshot), "kept")
    sdk.call("postgres.get_snapshot", f"{PROJECT}/snapshots/kept")
    spec = postgres.BranchSpec(source_snapshot=f"{PROJECT}/snapshots/kept", ttl=Duration(seconds=3600))
    sdk.done("postgres.create_branch", PROJECT, postgres.Branch(spec=spec), "copy")
    copy = f"{PROJECT}/branches/copy"
    spec = postgres.BranchSpec(source_branch=BRANCH, source_branch_time=now(), no_expiry=True)
    sdk.done("postgres.create_branch", PROJECT, postgres.Branch(spec=spec), "past")
    changed = postgres.Branch(spec=postgres.BranchSpec(is_protected=True, no_expiry=True))
    sdk.done("postgres.update_branch", copy, changed, mask("spec.isProtected", "spec.expiration"))
    changed = postgres.Branch(spec=postgres.BranchSpec(is_protected=False))
    sdk.done("postgres.update_branch", copy, changed, mask("spec.is_protected"))
    group = postgres.EndpointGroupSpec(min=2, max=2, enable_readable_secondaries=True)
    endpoint = postgres.EndpointSpec(READ_WRITE, group=group, suspend_timeout_duration=Duration(seconds=600))
    paths = mask("spec.group.min", "spec.group.max", "spec.group.enable_readable_secondaries", "spec.suspension")
    sdk.done("postgres.update_endpoint", f"{copy}/endpoints/primary", postgres.Endpoint(spec=endpoint), paths)
    hosts = sdk.call("postgres.get_endpoint", f"{copy}/endpoints/primary").status.hosts
    assert hosts.read_only_host not in (None, hosts.host)
    sdk.done("postgres.create_endpoint", copy, postgres.Endpoint(spec=postgres.EndpointSpec(READ_ONLY)), "reader")
    sdk.call("postgres.list_endpoints", copy)
    sdk.call("postgres.generate_database_credential", f"{copy}/endpoints/reader", ttl=Duration(seconds=300))
    sdk.done("postgres.delete_endpoint", f"{copy}/endpoints/reader")
    sdk.done("postgres.delete_branch", copy)
    assert sdk.call("postgres.get_branch", copy).status.current_state is postgres.BranchStatusState.DELETED
    sdk.call("postgres.list_branches", PROJECT, show_deleted=True)
    sdk.done("postgres.undelete_branch", copy)
    sdk.done("postgres.delete_branch", copy, purge=True)
    assert [one.snapshot_id for one in sdk.call("postgres.list_snapshots", PROJECT)] == ["kept"]
    sdk.done("postgres.delete_snapshot", f"{PROJECT}/snapshots/kept")


def fill_database(sdk: Checked, platform: LocalPlatform) -> None:
    """A role, a database, a catalog and a synced table."""
    attributes = postgres.RoleAttributes(createdb=True)
    spec = postgres.RoleRoleSpec(
        postgres_role="app",
        identity_type=postgres.RoleIdentityType.SERVICE_PRINCIPAL,
        membership_roles=[postgres.RoleMembershipRole.DATABRICKS_SUPERUSER],
        attributes=attributes,
    )
    role = sdk.done("postgres.create_role", BRANCH, postgres.Role(spec=spec), role_id="app-role")["name"]
    changed = postgres.Role(spec=postgres.RoleRoleSpec(membership_roles=[], attributes=attributes))
    sdk.done("postgres.update_role", role, changed, mask("spec.attributes.createdb"))
    assert sdk.call("postgres.get_role", role).status.postgres_role == "app"
    sdk.call("postgres.list_roles", BRANCH)
    wanted = postgres.DatabaseDatabaseSpec(role=role, postgres_database="orders")
    made = sdk.done("postgres.create_database", BRANCH, postgres.Database(spec=wanted), database_id="orders")["name"]
    renamed = postgres.Database(spec=postgres.DatabaseDatabaseSpec(role=role, postgres_database="orders2"))
    sdk.done("postgres.update_database", made, renamed, mask("spec.postgres_database"))
    assert sdk.call("postgres.get_database", made).status.postgres_database == "orders2"
    sdk.call("postgres.list_databases", BRANCH)
    registered = postgres.CatalogCatalogSpec("synced", branch=BRANCH, create_database_if_missing=True)
    sdk.done("postgres.create_catalog", postgres.Catalog(spec=registered), "contract")
    sdk.call("postgres.get_catalog", "catalogs/contract")
    table = postgres.SyncedTableSyncedTableSpec(
        source_table_full_name="samples.tpch.orders",
        primary_key_columns=["o_orderkey"],
        scheduling_policy=postgres.SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy.SNAPSHOT,
        new_pipeline_spec=postgres.NewPipelineSpec(storage_catalog="main", storage_schema="default"),
    )
    sdk.done("postgres.create_synced_table", postgres.SyncedTable(spec=table), "contract.public.orders")

    def is_online() -> bool:
        status = sdk.call("postgres.get_synced_table", "synced_tables/contract.public.orders").status
        return bool(status.last_sync)

    wait_for(is_online, what=platform.log)
    sdk.done("postgres.delete_synced_table", "synced_tables/contract.public.orders")
    sdk.done("postgres.delete_catalog", "catalogs/contract")
    sdk.done("postgres.delete_database", made)
    sdk.done("postgres.delete_role", role)


def end_project(sdk: Checked) -> None:
    """The project is deleted, had back, and purged."""
    sdk.done("postgres.delete_project", PROJECT)
    shown = sdk.call("postgres.get_project", PROJECT)
    assert shown.purge_time.seconds > shown.delete_time.seconds
    sdk.done("postgres.undelete_project", PROJECT)
    sdk.done("postgres.delete_project", PROJECT, purge=True)
    assert sdk.call("postgres.list_projects", show_deleted=True) == []


def use_instance(sdk: Checked, platform: LocalPlatform) -> None:
    """The Database Instance API."""
    sdk.call("database.create_database_instance", database.DatabaseInstance("contract"))
    platform.wait_for_instance("contract", database.DatabaseInstanceState.AVAILABLE)
    uid = sdk.call("database.get_database_instance", "contract").uid
    sdk.call("database.find_database_instance_by_uid", uid=uid)
    sdk.call("database.list_database_instances")
    changed = database.DatabaseInstance("contract", retention_window_in_days=9)
    sdk.call("database.update_database_instance", "contract", changed, "retention_window_in_days")
    sdk.call("database.create_database_instance_role", "contract", database.DatabaseInstanceRole("app"))
    sdk.call("database.get_database_instance_role", "contract", "app")
    sdk.call("database.list_database_instance_roles", "contract")
    sdk.call("database.delete_database_instance_role", "contract", "app")
    sdk.call("database.generate_database_credential", instance_names=["contract"])
    registered = database.DatabaseCatalog("contract", "contract", "orders", create_database_if_not_exists=True)
    sdk.call("database.create_database_catalog", registered)
    sdk.call("database.get_database_catalog", "contract")
    sdk.call("database.create_synced_database_table", synced_table("contract.public.orders"))
    platform.wait_for_table("contract.public.orders")
    table = sdk.call("database.get_synced_database_table", "contract.public.orders")
    use_pipeline(sdk, platform, table.data_synchronization_status.pipeline_id)
    sdk.call("database.delete_synced_database_table", "contract.public.orders")
    sdk.call("database.create_database_table", database.DatabaseTable("contract.public.orders"))
    sdk.call("database.get_database_table", "contract.public.orders")
    sdk.call("database.delete_database_table", "contract.public.orders")
    sdk.call("database.delete_database_catalog", "contract")
    sdk.call("database.delete_database_instance", "contract", purge=True)


def use_pipeline(sdk: Checked, platform: LocalPlatform, pipeline: str) -> None:
    """The pipeline of the table that is online, and Unity Catalog's descriptions of that."""
    assert isinstance(sdk.call("tables.get", "contract.public.orders"), catalog.TableInfo)
    update = sdk.call("pipelines.start_update", pipeline).update_id
    sdk.call("pipelines.get_update", pipeline, update)
    assert sdk.call("pipelines.list_updates", pipeline).updates[0].update_id == update
    platform.wait_for_table("contract.public.orders")
    assert sdk.call("pipelines.get", pipeline).state is pipelines.PipelineState.IDLE
    sdk.call("pipelines.delete", pipeline)


def look_around(sdk: Checked) -> None:
    """Unity Catalog and the directory."""
    assert sdk.call("catalogs.list")
    sdk.call("catalogs.get", "main")
    sdk.call("schemas.get", "main.default")
    assert sdk.call("tables.list_summaries", "samples")
    assert isinstance(sdk.call("current_user.me"), iam.User)
    (user, *_) = sdk.call("users_v2.list")
    sdk.call("users_v2.get", user.id)
    (principal, *_) = sdk.call("service_principals_v2.list")
    sdk.call("service_principals_v2.get", principal.id)


def now() -> Timestamp:
    """The present."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC))
    return stamp
