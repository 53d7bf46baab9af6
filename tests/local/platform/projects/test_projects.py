"""The local platform's Autoscaling API: instances as projects, and credentials for their endpoints."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service.database import DatabaseInstance, DatabaseInstanceState
from databricks.sdk.service.postgres import BranchStatusState, EndpointStatusState, EndpointType
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.local.parts import LIFETIMES, logged_in
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

POSTGRES = "/api/2.0/postgres"


def ahead(seconds: float) -> Timestamp:
    """The time in so many seconds."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


def test_an_instance_is_a_project_with_a_branch_and_an_endpoint(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """Each is found by its name and in its list, and leads to the instance's host."""
    postgres = workspace.postgres
    project = postgres.get_project("projects/shared")
    assert project.status is not None
    assert (project.uid, project.status.owner, project.status.pg_version) == (shared.uid, platform.user, 16)
    branch = postgres.get_branch(str(project.status.default_branch))
    assert (branch.name, branch.parent) == ("projects/shared/branches/production", project.name)
    assert branch.status is not None
    assert (branch.status.current_state, branch.status.default) == (BranchStatusState.READY, True)
    endpoint = postgres.get_endpoint(platform.endpoint_name("shared"))
    assert (endpoint.name, endpoint.parent) == (platform.endpoint_name("shared"), branch.name)
    assert endpoint.status is not None
    assert endpoint.status.hosts is not None
    assert (endpoint.status.hosts.host, endpoint.status.hosts.read_only_host) == (shared.read_write_dns, None)
    assert endpoint.status.endpoint_type is EndpointType.ENDPOINT_TYPE_READ_WRITE
    assert (endpoint.status.current_state, endpoint.status.disabled) == (EndpointStatusState.ACTIVE, False)
    assert project in list(postgres.list_projects(page_size=1))
    assert list(postgres.list_branches("projects/shared")) == [branch]
    assert list(postgres.list_endpoints(str(branch.name), page_size=1)) == [endpoint]


def test_an_endpoint_shows_the_state_of_its_instance() -> None:
    """INIT while it starts, then ACTIVE with its read-only host, IDLE when suspended, disabled when stopped."""
    replicated = DatabaseInstance("watched", node_count=2, enable_readable_secondaries=True)
    with platform_directory() as directory:
        # This start takes too long. The next platform resumes it.
        with running_platform(directory, start_delay=PATIENCE_SECONDS) as platform:
            platform.workspace().database.create_database_instance(replicated)
            assert endpoint_state(platform) == (EndpointStatusState.INIT, False)
        with running_platform(directory) as platform:
            database = platform.workspace().database
            instance = platform.wait_for_instance("watched", DatabaseInstanceState.AVAILABLE)
            assert endpoint_state(platform) == (EndpointStatusState.ACTIVE, False)
            status = platform.workspace().postgres.get_endpoint(platform.endpoint_name("watched")).status
            assert status is not None
            assert status.hosts is not None
            assert status.hosts.read_only_host == instance.read_only_dns
            platform.suspend("watched")
            assert endpoint_state(platform) == (EndpointStatusState.IDLE, False)
            database.update_database_instance("watched", DatabaseInstance("watched", stopped=True), "stopped")
            platform.wait_for_instance("watched", DatabaseInstanceState.STOPPED)
            assert endpoint_state(platform) == (EndpointStatusState.IDLE, True)


def endpoint_state(platform: LocalPlatform) -> tuple[EndpointStatusState | None, bool | None]:
    """The state of the endpoint of the instance `watched`, and whether it is disabled."""
    status = platform.workspace().postgres.get_endpoint(platform.endpoint_name("watched")).status
    assert status is not None
    return status.current_state, status.disabled


async def test_a_credential_for_an_endpoint_is_valid_for_its_instance(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """It is valid for the requested time, given as a duration or an expiry, or for an hour. Mints are counted."""
    generate, name = workspace.postgres.generate_database_credential, platform.endpoint_name("shared")
    before = platform.counters()["mints"]
    requests: list[tuple[float, dict[str, Any]]] = [
        (300, {"ttl": Duration(seconds=300)}),
        (3600, {"ttl": Duration(seconds=3600)}),
        (600, {"expire_time": ahead(600)}),
        (3600, {}),
    ]
    for seconds, lifetime_argument in requests:
        sent, lifetime = datetime.now(UTC), timedelta(seconds=seconds)
        credential = generate(name, **lifetime_argument)
        assert credential.expire_time is not None
        end = credential.expire_time.ToDatetime(UTC)
        # An `expire_time` was computed before `sent`. The platform rounds to milliseconds.
        requested = lifetime_argument.get("expire_time")
        earliest = requested.ToDatetime(UTC) if requested else sent + lifetime
        assert earliest - timedelta(milliseconds=1) <= end <= datetime.now(UTC) + lifetime
        await (await platform.connect(shared.read_write_dns, credential.token)).close()
    assert platform.counters()["mints"] == before + len(requests)
    other = platform.create_instance("next")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(other.read_write_dns, credential.token)
    assert platform.revoke("shared") >= len(requests)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(shared.read_write_dns, credential.token)
    workspace.database.delete_database_instance("next")


async def test_a_credential_for_an_endpoint_lives_no_longer_than_all_tokens() -> None:
    """Whatever lifetime it was requested for: after LOCAL_TOKEN_LIFETIME a login is refused."""
    for seconds in LIFETIMES:
        if await ends_with_all_tokens(seconds):
            return
    pytest.fail("timed out: no login took less than two minutes")


async def ends_with_all_tokens(seconds: float) -> bool:
    """Whether such a credential could be used in time. Asserts that it was refused after it expired."""
    with platform_directory() as directory, running_platform(directory, token_lifetime=seconds) as platform:
        host = platform.create_instance("brief").read_write_dns
        before, lifetime = datetime.now(UTC), timedelta(seconds=seconds)
        credential = platform.workspace().postgres.generate_database_credential(
            platform.endpoint_name("brief"), ttl=Duration(seconds=300)
        )
        assert credential.expire_time is not None
        end = credential.expire_time.ToDatetime(UTC)
        # The platform rounds it to milliseconds.
        assert before + lifetime - timedelta(milliseconds=1) <= end <= datetime.now(UTC) + lifetime
        connection = await logged_in(platform, host, str(credential.token), end)
        if connection is None:
            return False
        await connection.close()
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds())  # until it has expired
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await platform.connect(host, credential.token)
        return True


@pytest.mark.parametrize(
    "body",
    [
        {"ttl": "299s"},
        {"ttl": "3601s"},
        {"ttl": "-300s"},
        {"ttl": "5m"},
        {"ttl": "nans"},
        {"expire_time": "2020-01-01T00:00:00Z"},
        {"expire_time": "2999-01-01T00:00:00Z"},
        {"expire_time": "2999-01-01T00:00:00"},
        {"expire_time": "soon"},
        {"ttl": "300s", "expire_time": "2999-01-01T00:00:00Z"},
        {"endpoint": "shared"},
        {"endpoint": None},
    ],
)
def test_an_invalid_request_for_a_credential_is_refused(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance, body: dict[str, str]
) -> None:
    """The error is INVALID_PARAMETER_VALUE, and nothing is minted."""
    before = platform.counters()["mints"]
    asked = {"endpoint": platform.endpoint_name(str(shared.name)), **body}
    with pytest.raises(InvalidParameterValue):
        workspace.api_client.do("POST", f"{POSTGRES}/credentials", body=asked)
    assert platform.counters()["mints"] == before


def test_what_there_is_not_is_not_found(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """At each level, and by the credential; what the platform offers beside that, this one does not."""
    postgres, branch = workspace.postgres, f"projects/{shared.name}/branches"
    for name in ("projects/nobody/branches/production", f"{branch}/other"):
        with pytest.raises(NotFound):
            postgres.get_branch(name)
        with pytest.raises(NotFound):
            list(postgres.list_endpoints(name))
        with pytest.raises(NotFound):
            postgres.generate_database_credential(f"{name}/endpoints/primary")
    with pytest.raises(NotFound):
        postgres.generate_database_credential(f"{branch}/production/endpoints/other")
    for path in ("projects/nobody", "projects/nobody/branches"):
        with pytest.raises(NotFound):
            workspace.api_client.do("GET", f"{POSTGRES}/{path}")
    headers = {"authorization": f"Bearer {platform.token}"}
    for method, path in (("GET", "catalogs"), ("GET", "synced_tables"), ("PATCH", "catalogs/shared")):
        response = httpx.request(method, f"{platform.host}{POSTGRES}/{path}", headers=headers)
        assert (response.status_code, response.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
