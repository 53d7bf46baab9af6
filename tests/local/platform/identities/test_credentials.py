"""The local platform's tokens: access tokens for the REST API, and credentials that PostgreSQL checks at each login."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service.database import (
    DatabaseInstanceRole,
    DatabaseInstanceRoleIdentityType,
)

from tests.local.parts import LIFETIMES, came, give_up, logged_in
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from databricks.sdk.service.database import DatabaseInstance

    from tests.servers.platform import LocalPlatform


@pytest.fixture(scope="module")
def other(platform: LocalPlatform) -> DatabaseInstance:
    """A second instance."""
    return platform.create_instance("other")


def mint(workspace: WorkspaceClient, *instances: str) -> str:
    """Mint a credential for the instances."""
    return str(workspace.database.generate_database_credential(instance_names=list(instances)).token)


async def test_a_credential_is_valid_for_its_user_and_its_instance(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance, other: DatabaseInstance
) -> None:
    """Several are valid at once. Any other user, instance or password is refused with 28000. Logins are counted."""
    before = platform.counters()
    first, second = mint(workspace, "shared"), mint(workspace, "shared")
    assert len(first) < 100
    for token in (first, second, first):
        await (await platform.connect(shared.read_write_dns, token)).close()
    for host, token, user in (
        (other.read_write_dns, first, None),
        (shared.read_write_dns, first, "postgres"),
        (shared.read_write_dns, first[:-1], None),
        (shared.read_write_dns, "x" * 100, None),
    ):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await platform.connect(host, token, user)
    after = platform.counters()
    changes = {name: after[name] - before[name] for name in ("mints", "logins_accepted", "logins_refused")}
    assert changes == {"mints": 2, "logins_accepted": 3, "logins_refused": 4}
    both = mint(workspace, "shared", "other")
    await (await platform.connect(other.read_write_dns, both)).close()


def test_a_credential_needs_existing_instances(workspace: WorkspaceClient) -> None:
    """A request for no instance, or for an unknown one, is refused."""
    with pytest.raises(InvalidParameterValue):
        mint(workspace)
    with pytest.raises(NotFound):
        mint(workspace, "nobody")


async def test_a_credential_expires_and_an_open_session_does_not() -> None:
    """It is valid until its expiration time. Then a login is refused, and an open session goes on."""
    for seconds in LIFETIMES:
        if await expires(seconds):
            return
    pytest.fail("timed out: no login took less than two minutes")


async def expires(seconds: float) -> bool:
    """Whether a credential with this lifetime could be used in time. Asserts that it was refused after it expired."""
    lifetime = timedelta(seconds=seconds)
    with platform_directory() as directory, running_platform(directory, token_lifetime=seconds) as platform:
        host = platform.create_instance("brief").read_write_dns
        generate = platform.workspace().database.generate_database_credential
        before = datetime.now(UTC)
        credential = generate(instance_names=["brief"])
        end = datetime.fromisoformat(str(credential.expiration_time))
        # The platform rounds it to milliseconds.
        assert before + lifetime - timedelta(milliseconds=1) <= end <= datetime.now(UTC) + lifetime
        connection = await logged_in(platform, host, str(credential.token), end)
        if connection is None:
            return False
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds())  # until it has expired
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await platform.connect(host, credential.token)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        fresh = generate(instance_names=["brief"])
        end = datetime.fromisoformat(str(fresh.expiration_time))
        connection = await logged_in(platform, host, str(fresh.token), end)
        if connection is not None:
            await connection.close()
        return connection is not None


async def test_revoked_credentials_are_refused_and_open_sessions_live_on(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance, other: DatabaseInstance
) -> None:
    """Credentials of one instance or of all. A credential that is minted afterwards is valid."""
    both = mint(workspace, "shared", "other")
    connection = await platform.connect(shared.read_write_dns, both)
    assert platform.revoke("shared") >= 1
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(shared.read_write_dns, both)
    await (await platform.connect(other.read_write_dns, both)).close()
    fresh = mint(workspace, "shared")
    await (await platform.connect(shared.read_write_dns, fresh)).close()
    assert platform.revoke() >= 2
    for host, token in ((other.read_write_dns, both), (shared.read_write_dns, fresh)):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await platform.connect(host, token)
    assert platform.revoke() == 0
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_only_the_operator_revokes_and_only_for_existing_instances(platform: LocalPlatform) -> None:
    """Without the operator's token it is a 401, and an unknown instance is not found."""
    assert httpx.post(f"{platform.host}/local/credentials/revoke", json={}).status_code == 401
    with pytest.raises(AssertionError, match="NOT_FOUND"):
        platform.revoke("nobody")


async def test_mints_and_accepted_logins_are_counted_with_their_times(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """Each has its Unix time. A refused login has none."""
    before, started = platform.counters(), time.time()
    token = mint(workspace, "shared")
    for _ in range(2):
        await (await platform.connect(shared.read_write_dns, token)).close()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(shared.read_write_dns, "wrong")
    ended, after = time.time(), platform.counters()
    for name, count in (("mint_times", 1), ("login_times", 2)):
        assert after[name][:-count] == before[name]
        assert started <= min(after[name][-count:]) <= max(after[name][-count:]) <= ended


async def test_requests_for_credentials_that_are_in_flight_at_once_are_counted() -> None:
    """Requests of both APIs count, and held ones too. After its client has disconnected a request is not in flight."""
    with platform_directory() as directory, running_platform(directory) as platform:
        headers = {"authorization": f"Bearer {platform.token}"}
        paths = [f"/api/2.0/{api}/credentials" for api in ("database", "postgres")]

        def ask(path: str) -> int:
            return httpx.post(f"{platform.host}{path}", json={}, headers=headers, verify=NO_TLS).status_code

        assert platform.counters()["mints_at_once"] == 0
        assert [ask(path) for path in paths] == [400, 400]
        for fault in ("hang", "slow"):
            platform.fault(fault, path=paths[0], seconds=PATIENCE_SECONDS)
            await give_up(platform, paths[0], {}, when=came(platform, paths[0]))
            # The platform sees the end of a connection before a request on a later one.
            assert platform.counters()["mints_at_once"] == 1
            assert ask(paths[1]) == 400
        assert platform.counters()["mints_at_once"] == 1
        platform.fault("hold_before", path=".*/credentials", times=2)
        with concurrent.futures.ThreadPoolExecutor(2) as others:
            replies = [others.submit(ask, path) for path in paths]
            wait_for(lambda: len(platform.held()) == 2, what=platform.log)
            platform.release()
            assert [reply.result(PATIENCE_SECONDS) for reply in replies] == [400, 400]
        assert platform.counters()["mints_at_once"] == 2
        # The slow request would delay an orderly stop.
        platform.kill()


async def test_a_service_principal_signs_in_and_logs_in_with_its_role(
    platform: LocalPlatform, workspace: WorkspaceClient, shared: DatabaseInstance
) -> None:
    """The SDK discovers OAuth's token endpoint. A login needs a role of the principal's name."""
    config = Config(
        host=platform.host,
        client_id=platform.client_id,
        client_secret=platform.client_secret,
        auth_type="oauth-m2m",
    )
    principal = WorkspaceClient(config=config)
    assert principal.current_user.me().user_name == platform.client_id
    token = mint(principal, "shared")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await platform.connect(shared.read_write_dns, token, platform.client_id)
    role = DatabaseInstanceRole(
        name=platform.client_id, identity_type=DatabaseInstanceRoleIdentityType.SERVICE_PRINCIPAL
    )
    workspace.database.create_database_instance_role("shared", role)
    connection = await platform.connect(shared.read_write_dns, token, platform.client_id)
    assert await connection.fetchval("SELECT current_user::text") == platform.client_id
    await connection.close()
    wrong = Config(host=platform.host, client_id=platform.client_id, client_secret="no", auth_type="oauth-m2m")  # noqa: S106 # not a real secret
    with pytest.raises(ValueError, match="invalid_client"):
        WorkspaceClient(config=wrong).current_user.me()
