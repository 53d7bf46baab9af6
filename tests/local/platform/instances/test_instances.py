"""The local platform's instances, driven by the real SDK, with real PostgreSQLs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import psutil
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    InvalidParameterValue,
    InvalidState,
    NotFound,
    ResourceConflict,
    Unauthenticated,
)
from databricks.sdk.service.database import (
    DatabaseInstance,
    DatabaseInstanceRef,
    DatabaseInstanceRole,
    DatabaseInstanceRoleAttributes,
    DatabaseInstanceRoleIdentityType,
    DatabaseInstanceRoleMembershipRole,
    DatabaseInstanceState,
)

from tests.local.parts import postmaster, standing_still
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from tests.servers.platform import LocalPlatform

INSTANCES = "/api/2.0/database/instances"
_TRIES = 10


def gone(workspace: WorkspaceClient, name: str) -> bool:
    """Whether the instance does not exist."""
    try:
        workspace.database.get_database_instance(name)
    except NotFound:
        return True
    return False


async def setting(platform: LocalPlatform, host: str | None, name: str) -> str:
    """A setting of the PostgreSQL at the host."""
    connection = await platform.connect(host)
    try:
        return str(await connection.fetchval("SELECT current_setting($1)", name))
    finally:
        await connection.close()


async def test_an_instance_is_created_resized_stopped_started_and_deleted(
    platform: LocalPlatform, workspace: WorkspaceClient
) -> None:
    """Its state shows each transition, and its own PostgreSQL goes through it. In the end nothing is left."""
    database = workspace.database
    made: DatabaseInstance = database.create_database_instance(DatabaseInstance("life")).response
    assert made.state is DatabaseInstanceState.STARTING
    with pytest.raises(AlreadyExists):
        database.create_database_instance(DatabaseInstance("life"))
    instance = platform.wait_for_instance("life", DatabaseInstanceState.AVAILABLE)
    assert (instance.uid, instance.creator, instance.pg_version) == (made.uid, platform.user, "PG_VERSION_16")
    assert (instance.effective_node_count, instance.effective_retention_window_in_days) == (1, 7)
    assert (instance.node_count, instance.stopped, instance.read_only_dns) == (None, None, None)
    assert database.find_database_instance_by_uid(uid=made.uid).name == "life"
    host = instance.read_write_dns
    assert await setting(platform, host, "max_connections") == "100"

    # The resize cannot finish while PostgreSQL cannot stop.
    with standing_still(postmaster(platform, "life")):
        updated = database.update_database_instance("life", DatabaseInstance("life", capacity="CU_2"), "capacity")
        assert updated.state is DatabaseInstanceState.UPDATING
        with pytest.raises(InvalidState):
            database.update_database_instance("life", DatabaseInstance("life", capacity="CU_4"), "capacity")
    assert platform.wait_for_instance("life", DatabaseInstanceState.AVAILABLE).effective_capacity == "CU_2"
    assert await setting(platform, host, "max_connections") == "150"

    database.update_database_instance("life", DatabaseInstance("life", stopped=True), "stopped")
    assert platform.wait_for_instance("life", DatabaseInstanceState.STOPPED).effective_stopped
    with pytest.raises(ConnectionRefusedError):
        await platform.connect(host)
    database.update_database_instance("life", DatabaseInstance("life", stopped=False), "stopped")
    platform.wait_for_instance("life", DatabaseInstanceState.AVAILABLE)
    assert await setting(platform, host, "max_connections") == "150"

    with standing_still(postmaster(platform, "life")):
        database.delete_database_instance("life", purge=True)
        assert database.get_database_instance("life").state is DatabaseInstanceState.DELETING
    wait_for(lambda: gone(workspace, "life"), what=platform.log)
    with pytest.raises(ConnectionRefusedError):
        await platform.connect(host)


async def test_a_change_that_needs_no_restart_takes_effect_at_once(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """Only the fields in the mask change; without a mask, the fields in the body."""
    both = DatabaseInstance("shared", retention_window_in_days=9, capacity="CU_8")
    changed = workspace.database.update_database_instance("shared", both, "retention_window_in_days")
    assert (changed.effective_retention_window_in_days, changed.effective_capacity) == (9, "CU_1")
    assert changed.state is DatabaseInstanceState.AVAILABLE
    again = platform.ask("PATCH", f"{INSTANCES}/shared", {"retention_window_in_days": 8})
    assert (again["effective_retention_window_in_days"], again["state"]) == (8, "AVAILABLE")
    assert shared.uid == again["uid"]


async def test_a_readable_secondary_is_a_hot_standby_on_an_address_of_its_own(
    platform: LocalPlatform, workspace: WorkspaceClient
) -> None:
    """It shows the primary's writes, refuses its own, and disappears when it is turned off."""
    instance = platform.create_instance("replicated", node_count=2, enable_readable_secondaries=True)
    assert instance.read_only_dns not in (None, instance.read_write_dns)
    primary, standby = (
        await platform.connect(instance.read_write_dns),
        await platform.connect(instance.read_only_dns),
    )
    await primary.execute("CREATE SCHEMA mine; CREATE TABLE mine.told (x int); INSERT INTO mine.told VALUES (7)")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await standby.fetchval("SELECT to_regclass('mine.told') IS NOT NULL"):  # noqa: ASYNC110 # the other end is a database
            await asyncio.sleep(0.02)  # between two looks
    assert await standby.fetchval("SELECT x FROM mine.told") == 7
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await standby.execute("INSERT INTO mine.told VALUES (8)")
    for connection in (primary, standby):
        await connection.close()
    off = DatabaseInstance("replicated", enable_readable_secondaries=False)
    workspace.database.update_database_instance("replicated", off, "enable_readable_secondaries")
    assert platform.wait_for_instance("replicated", DatabaseInstanceState.AVAILABLE).read_only_dns is None
    with pytest.raises(ConnectionRefusedError):
        await platform.connect(instance.read_only_dns)
    workspace.database.delete_database_instance("replicated")


async def test_a_child_is_a_copy_that_goes_its_own_way(platform: LocalPlatform, workspace: WorkspaceClient) -> None:
    """The parent names it, and is deleted only by force, together with the child."""
    parent = platform.create_instance("parent")
    connection = await platform.connect(parent.read_write_dns)
    await connection.execute("CREATE TABLE copied AS SELECT 1 AS one")
    child = platform.create_instance("child", parent_instance_ref=DatabaseInstanceRef(name="parent"))
    assert child.parent_instance_ref
    assert child.parent_instance_ref.uid == parent.uid
    refs = workspace.database.get_database_instance("parent").child_instance_refs or []
    assert [(one.name, one.uid) for one in refs] == [("child", child.uid)]
    await connection.execute("DROP TABLE copied")
    await connection.close()
    connection = await platform.connect(child.read_write_dns)
    assert await connection.fetchval("UPDATE copied SET one = 2 RETURNING one") == 2
    await connection.close()
    with pytest.raises(ResourceConflict, match="child"):
        workspace.database.delete_database_instance("parent", purge=True)
    workspace.database.delete_database_instance("parent", purge=True, force=True)
    for name in ("parent", "child"):
        wait_for(lambda: gone(workspace, name), what=platform.log)  # noqa: B023 # called before the next iteration


async def test_a_login_attempt_wakes_a_suspended_instance(platform: LocalPlatform) -> None:
    """Suspending ends its sessions, and it stays AVAILABLE. Logins get 57P03 until it is back with its data."""
    instance = platform.create_instance("sleepy")
    connection = await platform.connect(instance.read_write_dns)
    await connection.execute("CREATE SCHEMA mine")
    platform.suspend("sleepy")
    with pytest.raises(asyncpg.PostgresConnectionError):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    shown = next(i for i in platform.inventory()["instances"] if i["name"] == "sleepy")
    assert (shown["state"], shown["suspended"], shown["processes"]) == ("AVAILABLE", True, {})
    with pytest.raises(asyncpg.CannotConnectNowError):
        await platform.connect(instance.read_write_dns)
    connection = await woken(platform, instance)
    assert await connection.fetchval("SELECT to_regnamespace('mine') IS NOT NULL")
    await connection.close()
    assert platform.counters()["wakes"]["sleepy"] == 1


async def test_many_simultaneous_logins_wake_it_once(platform: LocalPlatform) -> None:
    """Wake-ups are counted for each instance, from 0."""
    instance = platform.create_instance("popular")
    assert platform.counters()["wakes"]["popular"] == 0
    platform.suspend("popular")
    for connection in await asyncio.gather(*(woken(platform, instance) for _ in range(10))):
        await connection.close()
    assert platform.counters()["wakes"]["popular"] == 1


async def woken(platform: LocalPlatform, instance: DatabaseInstance) -> Any:
    """Connect to an instance as soon as it has woken."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await platform.connect(instance.read_write_dns)
            except (asyncpg.CannotConnectNowError, OSError):
                await asyncio.sleep(0.02)


async def test_an_instance_whose_postgresql_dies_fails_over(platform: LocalPlatform) -> None:
    """It comes back by itself with its committed data. Meanwhile its state is FAILING_OVER."""
    instance = platform.create_instance("mortal")
    connection = await platform.connect(instance.read_write_dns)
    await connection.execute("SET synchronous_commit = on")
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    await connection.close()
    process = postmaster(platform, "mortal")
    # PostgreSQL does not start with this setting, so the state can be observed.
    settings = Path(psutil.Process(process).cwd()) / "postgresql.conf"
    before = settings.read_text()
    settings.write_text(f"{before}\nmax_connections = many\n")
    os.kill(process, signal.SIGKILL)
    platform.wait_for_instance("mortal", DatabaseInstanceState.FAILING_OVER)
    settings.write_text(before)
    platform.wait_for_instance("mortal", DatabaseInstanceState.AVAILABLE)
    again = await platform.connect(instance.read_write_dns)
    assert await again.fetchval("SELECT one FROM kept") == 1
    await again.close()
    platform.workspace().database.delete_database_instance("mortal", purge=True)


async def test_an_idle_instance_is_suspended_and_a_busy_one_is_not() -> None:
    """An idle connection does not keep it awake; a transaction does. A stopped instance is not suspended."""
    with platform_directory() as directory, running_platform(directory, suspend_after=0.3) as platform:
        instance = platform.create_instance("idle")

        def suspended() -> bool:
            return bool(platform.inventory()["instances"][0]["suspended"])

        async def stays_awake() -> bool:
            try:
                async with connection.transaction():
                    await connection.execute("SELECT pg_sleep(0.7)")
                    return not suspended()
            except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                connection.terminate()
                return False

        # It may have been found idle just before the transaction, but not every time.
        for _ in range(_TRIES):
            connection = await woken(platform, instance)
            if await stays_awake():
                break
        else:
            pytest.fail("it was suspended in each of many transactions")
        wait_for(suspended, what=platform.log)

        # `suspended` is set first, and the connections end only when PostgreSQL has stopped.
        async def ask_on() -> None:
            while True:
                await connection.fetchval("SELECT 1")

        # asyncpg raises the latter if the connection ends between two statements.
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InternalClientError)):
            await asyncio.wait_for(ask_on(), timeout=PATIENCE_SECONDS)
        connection.terminate()
        platform.workspace().database.update_database_instance(
            "idle", DatabaseInstance("idle", stopped=True), "stopped"
        )
        platform.wait_for_instance("idle", DatabaseInstanceState.STOPPED)
        with pytest.raises(ConnectionRefusedError):
            await platform.connect(instance.read_write_dns)


async def test_roles_are_created_for_identities_and_deleted(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """The creator has a role from the start. Another identity's role has the requested attributes and no more."""
    database = workspace.database
    mine = database.get_database_instance_role("shared", platform.user)
    assert mine.membership_role is DatabaseInstanceRoleMembershipRole.DATABRICKS_SUPERUSER
    other = DatabaseInstanceRole(
        name="app-id",
        identity_type=DatabaseInstanceRoleIdentityType.SERVICE_PRINCIPAL,
        attributes=DatabaseInstanceRoleAttributes(createdb=True),
    )
    made = database.create_database_instance_role("shared", other)
    assert made.effective_attributes == DatabaseInstanceRoleAttributes(False, True, False)
    with pytest.raises(ResourceConflict):
        database.create_database_instance_role("shared", other)
    assert {role.name for role in database.list_database_instance_roles("shared")} >= {platform.user, "app-id"}
    connection = await platform.connect(shared.read_write_dns)
    await connection.execute('CREATE SCHEMA apps; GRANT CREATE ON SCHEMA apps TO "app-id"')
    await connection.close()
    database.delete_database_instance_role("shared", "app-id", reassign_owned_to=platform.user)
    with pytest.raises(NotFound):
        database.delete_database_instance_role("shared", "app-id")
    database.delete_database_instance_role("shared", "app-id", allow_missing=True)


async def test_only_superusers_create_in_public(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """As in the cloud, the creator may create databases and schemas, and a plain role may not create in `public`."""
    creator = await platform.connect(shared.read_write_dns)
    await creator.execute("CREATE SCHEMA made")
    await creator.execute("CREATE DATABASE made")
    assert await creator.fetchval("SELECT pg_has_role('databricks_superuser', 'member')")
    await creator.execute("CREATE ROLE plain LOGIN")
    assert not await creator.fetchval("SELECT has_schema_privilege('plain', 'public', 'create')")
    await creator.close()
    assert workspace.current_user.me().user_name == platform.user


@pytest.mark.parametrize(
    "instance",
    [
        DatabaseInstance("1st"),
        DatabaseInstance("a_b"),
        DatabaseInstance(""),
        DatabaseInstance("ä"),
        DatabaseInstance("x" * 64),
        DatabaseInstance("fine", capacity="CU_3"),
        DatabaseInstance("fine", retention_window_in_days=1),
        DatabaseInstance("fine", retention_window_in_days=36),
        DatabaseInstance("fine", node_count=0),
        DatabaseInstance("fine", node_count=99),
        DatabaseInstance("fine", enable_readable_secondaries=True),
        DatabaseInstance("fine", stopped=True),
        DatabaseInstance("fine", parent_instance_ref=DatabaseInstanceRef(name="shared", lsn="0/1")),
    ],
    ids=lambda instance: str(instance.as_dict()),
)
def test_an_invalid_instance_is_refused(workspace: WorkspaceClient, instance: DatabaseInstance) -> None:
    """The error is INVALID_PARAMETER_VALUE, and nothing is created."""
    with pytest.raises(InvalidParameterValue) as refused:
        workspace.database.create_database_instance(instance)
    assert refused.value.get_error_details().request_info is not None
    assert gone(workspace, instance.name or "none")


@pytest.mark.parametrize("mask", ["name", "uid", "capacity,colour"])
def test_a_mask_with_an_immutable_field_is_refused(
    workspace: WorkspaceClient, shared: DatabaseInstance, mask: str
) -> None:
    """So it is if other fields in it are mutable."""
    with pytest.raises(InvalidParameterValue, match="update_mask"):
        workspace.database.update_database_instance(str(shared.name), DatabaseInstance("shared"), mask)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/2.0/nothing", None, 404, "ENDPOINT_NOT_FOUND"),
        ("PUT", INSTANCES, "{}", 404, "ENDPOINT_NOT_FOUND"),
        ("POST", INSTANCES, "{", 400, "MALFORMED_REQUEST"),
        ("POST", INSTANCES, "[]", 400, "MALFORMED_REQUEST"),
        ("POST", INSTANCES, '{"name": 7}', 400, "MALFORMED_REQUEST"),
        ("POST", INSTANCES, '{"name": "fine", "node_count": "two"}', 400, "MALFORMED_REQUEST"),
        ("GET", f"{INSTANCES}?page_size=x", None, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", f"{INSTANCES}?page_token=%00", None, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", f"{INSTANCES}/nobody", None, 404, "NOT_FOUND"),
        ("DELETE", f"{INSTANCES}/shared?purge=false", None, 400, "INVALID_PARAMETER_VALUE"),
        ("DELETE", f"{INSTANCES}/shared?purge=true", None, 409, "RESOURCE_CONFLICT"),
        ("GET", f"{INSTANCES}/shared/catalogs", None, 501, "NOT_IMPLEMENTED"),
        ("GET", f"{INSTANCES}/shared/synced_tables", None, 501, "NOT_IMPLEMENTED"),
        ("PATCH", "/api/2.0/database/catalogs/shared", "{}", 501, "NOT_IMPLEMENTED"),
        ("PATCH", "/api/2.0/database/synced_tables/a.b.c", "{}", 501, "NOT_IMPLEMENTED"),
    ],
)
def test_errors_have_the_platforms_form(
    platform: LocalPlatform, shared: DatabaseInstance, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """They have a status, a code, a message and a request id."""
    assert shared.name == "shared"
    headers = {"authorization": f"Bearer {platform.token}"}
    response = httpx.request(method, f"{platform.host}{path}", content=body, headers=headers)
    assert (response.status_code, response.json()["error_code"]) == (status, code)
    assert response.json()["message"]
    assert response.json()["details"][0]["@type"].endswith("RequestInfo")


def test_a_request_without_a_valid_token_is_refused(platform: LocalPlatform) -> None:
    """No token and a wrong token are both a 401."""
    assert httpx.get(f"{platform.host}{INSTANCES}").status_code == 401
    with pytest.raises(Unauthenticated):
        WorkspaceClient(host=platform.host, token=platform.token[:-1]).current_user.me()


def test_instances_come_in_pages(platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance) -> None:
    """They are ordered by name. Each page but the last has a token for the next."""
    platform.create_instance("another")
    first = platform.ask("GET", f"{INSTANCES}?page_size=1")
    assert len(first["database_instances"]) == 1
    assert first["next_page_token"]
    names = [instance.name for instance in workspace.database.list_database_instances(page_size=1)]
    assert names == sorted(str(name) for name in names)
    assert {"another", shared.name} <= set(names)
    workspace.database.delete_database_instance("another")


def test_the_sdk_raises_bad_request_for_malformed_requests(workspace: WorkspaceClient) -> None:
    """MALFORMED_REQUEST has no class of its own, so the status decides."""
    with pytest.raises(BadRequest):
        workspace.api_client.do("POST", INSTANCES, body={"name": ["x"]})
