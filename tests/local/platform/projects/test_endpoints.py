"""The local platform's endpoints: limits, disabled ones, read-only ones, and each with its own sleep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from databricks.sdk.errors import AlreadyExists, BadRequest
from databricks.sdk.service.postgres import (
    BranchSpec,
    Endpoint,
    EndpointSpec,
    EndpointStatus,
    EndpointStatusState,
    EndpointType,
    InitialEndpointSpec,
    Project,
)
from google.protobuf.duration_pb2 import Duration

from tests.local.parts import asked, branched, connected, done, mask
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

READ_WRITE, READ_ONLY = EndpointType.ENDPOINT_TYPE_READ_WRITE, EndpointType.ENDPOINT_TYPE_READ_ONLY


def status_of(platform: LocalPlatform, branch: str, endpoint: str = "primary") -> EndpointStatus:
    """The status of an endpoint, of which the spec is never shown."""
    found = platform.workspace().postgres.get_endpoint(f"{branch}/endpoints/{endpoint}")
    assert found.spec is None
    assert found.status is not None
    return found.status


def changed(platform: LocalPlatform, branch: str, *paths: str, **fields: Any) -> EndpointStatus:
    """Change an endpoint, and return its status when that is done."""
    body = Endpoint(spec=EndpointSpec(READ_WRITE, **fields))
    update = platform.workspace().postgres.update_endpoint
    done(platform, update(f"{branch}/endpoints/primary", body, mask(*paths)))
    return status_of(platform, branch)


async def test_limits_and_sleep_of_an_endpoint_are_changed_field_by_field(
    platform: LocalPlatform, project: str
) -> None:
    """More capacity units are another PostgreSQL. The mask is FieldMask's JSON or the names as they are."""
    branch = branched(platform, project, "resized")
    assert await asked(platform, branch, "SELECT current_setting('max_connections')") == "100"
    now = changed(
        platform,
        branch,
        "spec.autoscalingLimitMaxCu",
        "spec.autoscaling_limit_min_cu",
        autoscaling_limit_min_cu=4,
        autoscaling_limit_max_cu=12,
        no_suspension=True,
    )
    assert (now.autoscaling_limit_min_cu, now.autoscaling_limit_max_cu) == (4, 12)
    assert await asked(platform, branch, "SELECT current_setting('max_connections')") == "150"
    now = changed(platform, branch, "spec.suspension", suspend_timeout_duration=Duration(seconds=90))
    assert now.suspend_timeout_duration is not None
    assert (now.suspend_timeout_duration.seconds, now.autoscaling_limit_max_cu) == (90, 12)
    assert changed(platform, branch, "spec.suspension", no_suspension=True).suspend_timeout_duration is None
    done(platform, platform.workspace().postgres.delete_branch(branch, purge=True))


async def test_a_disabled_endpoint_is_not_woken_by_a_login(platform: LocalPlatform, project: str) -> None:
    """It is IDLE like one that is asleep, and refuses connections until it is enabled."""
    branch = branched(platform, project, "disabled")
    now = changed(platform, branch, "spec.disabled", disabled=True)
    assert (now.disabled, now.current_state) == (True, EndpointStatusState.IDLE)
    with pytest.raises(ConnectionRefusedError):
        await connected(platform, branch)
    # Its data are copied all the same.
    copy = branched(platform, project, "copy", BranchSpec(source_branch=branch, no_expiry=True))
    assert await asked(platform, copy, "SELECT 1") == 1
    now = changed(platform, branch, "spec.disabled", disabled=False)
    assert (now.disabled, now.current_state) == (False, EndpointStatusState.ACTIVE)
    assert await asked(platform, branch, "SELECT 1") == 1
    for name in (copy, branch):
        done(platform, platform.workspace().postgres.delete_branch(name, purge=True))


async def test_a_read_only_endpoint_follows_its_branch_on_an_address_of_its_own(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """It refuses writes, sleeps and wakes by itself, and can be deleted. A branch has one read-write endpoint."""
    branch, create = branched(platform, project, "read"), workspace.postgres.create_endpoint
    reader = Endpoint(spec=EndpointSpec(READ_ONLY, autoscaling_limit_max_cu=2))
    done(platform, create(branch, reader, "reader"))
    status = status_of(platform, branch, "reader")
    assert (status.endpoint_type, status.autoscaling_limit_max_cu) == (READ_ONLY, 2)
    primary = await connected(platform, branch)
    await primary.execute("CREATE SCHEMA told")
    standby = await connected(platform, branch, "reader")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await standby.fetchval("SELECT to_regnamespace('told') IS NOT NULL"):  # noqa: ASYNC110 # the other end is a database
            await asyncio.sleep(0.02)  # between two looks
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await standby.execute("CREATE SCHEMA mine")
    await standby.close()
    token = workspace.postgres.generate_database_credential(f"{branch}/endpoints/primary").token
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await connected(platform, branch, "reader", token=token)
    platform.suspend(f"{branch}/endpoints/reader")
    assert await primary.fetchval("SELECT 1") == 1
    await primary.close()
    assert status_of(platform, branch, "reader").current_state is EndpointStatusState.IDLE
    with pytest.raises(asyncpg.CannotConnectNowError):
        await connected(platform, branch, "reader")
    wait_for(
        lambda: status_of(platform, branch, "reader").current_state is EndpointStatusState.ACTIVE, what=platform.log
    )
    assert await asked(platform, branch, "SELECT pg_is_in_recovery()", "reader")
    with pytest.raises(AlreadyExists):
        create(branch, reader, "reader")
    with pytest.raises(BadRequest, match="only have one READ_WRITE"):
        create(branch, Endpoint(spec=EndpointSpec(READ_WRITE)), "second")
    done(platform, create(branch, Endpoint(spec=EndpointSpec(READ_ONLY)), "reader", replace_existing=True))
    done(platform, workspace.postgres.delete_endpoint(f"{branch}/endpoints/reader"))
    assert [one.endpoint_id for one in workspace.postgres.list_endpoints(branch)] == ["primary"]
    done(platform, workspace.postgres.delete_branch(branch, purge=True))


def test_an_endpoint_sleeps_by_its_own_time_and_one_that_never_sleeps_does_not() -> None:
    """The option is for the endpoints that have no time of their own."""
    with platform_directory() as directory, running_platform(directory, suspend_after=0.2) as platform:
        wakeful = Project(initial_endpoint_spec=InitialEndpointSpec(no_suspension=True))
        done(platform, platform.workspace().postgres.create_project(wakeful, "wakeful"))
        root = "projects/wakeful/branches/production"
        sleepy = branched(platform, "projects/wakeful", "sleepy")
        # The root is older, and would have fallen asleep first.
        wait_for(lambda: status_of(platform, sleepy).current_state is EndpointStatusState.IDLE, what=platform.log)
        assert status_of(platform, root).current_state is EndpointStatusState.ACTIVE
        assert status_of(platform, root).suspend_timeout_duration is None
