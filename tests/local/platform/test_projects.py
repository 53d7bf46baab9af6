"""The local platform's Autoscaling API: instances seen as projects, and credentials for their endpoints."""

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
from tests.platform import platform_directory, running_platform
from tests.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.platform import LocalPlatform

POSTGRES = "/api/2.0/postgres"


def ahead(seconds: float) -> Timestamp:
    """A time so far ahead."""
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


def test_an_endpoint_says_how_its_instance_is() -> None:
    """INIT while it starts, ACTIVE, IDLE when it is suspended, disabled when it is stopped; with its read-only host."""
    replicated = DatabaseInstance("watched", node_count=2, enable_readable_secondaries=True)
    with platform_directory() as directory:
        # One that does not come to the end of it; the next takes it up where it was.
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
    """What the endpoint of the instance `watched` says of itself."""
    status = platform.workspace().postgres.get_endpoint(platform.endpoint_name("watched")).status
    assert status is not None
    return status.current_state, status.disabled


async def test_a_credential_for_an_endpoint_is_good_for_its_instance(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """It lives for the time that is asked for, by its length or its end, or for an hour; mints are counted as ever."""
    generate, name = workspace.postgres.generate_database_credential, platform.endpoint_name("shared")
    before = platform.counters()["mints"]
    asked: list[tuple[float, dict[str, Any]]] = [
        (300, {"ttl": Duration(seconds=300)}),
        (3600, {"ttl": Duration(seconds=3600)}),
        (600, {"expire_time": ahead(600)}),
        (3600, {}),
    ]
    for seconds, how in asked:
        sent, lifetime = datetime.now(UTC), timedelta(seconds=seconds)
        credential = generate(name, **how)
        assert credential.expire_time is not None
        end = credential.expire_time.ToDatetime(UTC)
        # An end that is asked for was chosen before; what is told is in milliseconds.
        earliest = how["expire_time"].ToDatetime(UTC) if "expire_time" in how else sent + lifetime
        assert earliest - timedelta(milliseconds=1) <= end <= datetime.now(UTC) + lifetime
        await (await platform.connect(shared.read_write_dns, credential.token)).close()
    assert platform.counters()["mints"] == before + len(asked)
    other = platform.create_instance("next")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(other.read_write_dns, credential.token)
    assert platform.revoke("shared") >= len(asked)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(shared.read_write_dns, credential.token)
    workspace.database.delete_database_instance("next")


async def test_a_credential_for_an_endpoint_lives_no_longer_than_all_tokens() -> None:
    """However long it was asked for: after LOCAL_TOKEN_LIFETIME a login is refused."""
    for seconds in LIFETIMES:
        if await ends_with_all_tokens(seconds):
            return
    pytest.fail("timed out: no login took less than two minutes")


async def ends_with_all_tokens(seconds: float) -> bool:
    """Whether a credential of a platform with such tokens was used in time; then it has been refused after its end."""
    with platform_directory() as directory, running_platform(directory, token_lifetime=seconds) as platform:
        host = platform.create_instance("brief").read_write_dns
        before, lifetime = datetime.now(UTC), timedelta(seconds=seconds)
        credential = platform.workspace().postgres.generate_database_credential(
            platform.endpoint_name("brief"), ttl=Duration(seconds=300)
        )
        assert credential.expire_time is not None
        end = credential.expire_time.ToDatetime(UTC)
        # It is told in milliseconds.
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
def test_a_credential_that_cannot_be_is_refused(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance, body: dict[str, str]
) -> None:
    """With INVALID_PARAMETER_VALUE, as the SDK hears it; nothing is minted."""
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
    for method, path in (("POST", "projects"), ("DELETE", "projects/shared"), ("GET", f"{branch}/production/roles")):
        response = httpx.request(method, f"{platform.host}{POSTGRES}/{path}", headers=headers)
        assert (response.status_code, response.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
