"""The faults of tests/platform_tools: what each does to a request, seen by the real SDK or a plain client."""

from __future__ import annotations

import concurrent.futures
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from databricks.sdk.clock import Clock
from databricks.sdk.errors import (
    InternalError,
    NotFound,
    PermissionDenied,
    RequestLimitExceeded,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from databricks.sdk.service.database import DatabaseCatalog, DatabaseInstance

from tests.local.parts import came, give_up, postmaster, standing_still
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

CATALOGS = "/api/2.0/database/catalogs"
BODY = {"name": "made", "database_instance_name": "shared", "database_name": "demo"}


class Leaping(Clock):
    """A clock for the SDK, on which its pauses between attempts take no real time."""

    def __init__(self) -> None:
        self._now = 0.0

    def time(self) -> float:
        """The current time."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Skip a pause."""
        self._now += seconds


@pytest.fixture
def workspace(platform: LocalPlatform) -> WorkspaceClient:
    """The SDK's client of the platform, as the operator. It retries without a pause."""
    return platform.workspace(retry_timeout_seconds=10, clock=Leaping())


@pytest.fixture
def post(platform: LocalPlatform, shared: DatabaseInstance) -> Callable[[], httpx.Response]:
    """Send one request to create the catalog `made`. Its instance exists."""
    assert shared.name == "shared"
    headers = {"authorization": f"Bearer {platform.token}"}
    return lambda: httpx.post(f"{platform.host}{CATALOGS}", json=BODY, headers=headers, verify=NO_TLS)


@pytest.fixture(autouse=True)
def _none_made(workspace: WorkspaceClient, platform: LocalPlatform) -> None:
    """Delete the catalog `made` before a test."""
    if made(platform):
        workspace.database.delete_database_catalog("made")


def made(platform: LocalPlatform) -> bool:
    """Whether the catalog `made` exists."""
    return "made" in {catalog["name"] for catalog in platform.inventory()["catalogs"]}


@pytest.mark.parametrize(
    ("fault", "status", "code", "error"),
    [
        ("too_many_requests", 429, "REQUEST_LIMIT_EXCEEDED", RequestLimitExceeded),
        ("internal_error", 500, "INTERNAL_ERROR", InternalError),
        ("unavailable", 503, "TEMPORARILY_UNAVAILABLE", TemporarilyUnavailable),
        ("forbidden", 403, "PERMISSION_DENIED", PermissionDenied),
        ("not_found_after_create", 404, "NOT_FOUND", NotFound),
        ("not_found_as_code", 404, "RESOURCE_DOES_NOT_EXIST", ResourceDoesNotExist),
    ],
)
def test_a_refusal_is_answered_and_nothing_is_done(
    platform: LocalPlatform,
    workspace: WorkspaceClient,
    post: Callable[[], httpx.Response],
    fault: str,
    status: int,
    code: str,
    error: type[Exception],
) -> None:
    """It is replied as often as requested. The SDK raises its class, at once or after its retries."""
    platform.fault(fault, method="POST", path=CATALOGS, retry_after=3)
    refused = post()
    assert (refused.status_code, refused.json()["error_code"]) == (status, code)
    assert refused.headers.get("retry-after") == ("3" if status in (429, 503) else None)
    assert not made(platform)
    platform.fault(fault, method="GET", path="/api/2.0/database/instances/.*", times=None, retry_after=0)
    impatient = platform.workspace(retry_timeout_seconds=1, clock=Leaping())
    with pytest.raises((error, TimeoutError)) as raised:
        impatient.database.get_database_instance("shared")
    assert isinstance(raised.value.__cause__ if isinstance(raised.value, TimeoutError) else raised.value, error)
    platform.clear_faults()
    assert workspace.database.get_database_instance("shared").name == "shared"
    assert post().status_code == 200


def test_a_fault_may_let_requests_pass_first(platform: LocalPlatform, workspace: WorkspaceClient) -> None:
    """It skips `skip` requests, applies to `times` requests, and is over."""
    platform.fault("forbidden", path="/api/2.0/preview/scim/v2/Me", skip=1, times=1)
    assert workspace.current_user.me().user_name == platform.user
    with pytest.raises(PermissionDenied):
        workspace.current_user.me()
    assert workspace.current_user.me().user_name == platform.user


def test_a_connection_is_reset_before_or_after_the_request_is_handled(
    platform: LocalPlatform, post: Callable[[], httpx.Response]
) -> None:
    """connection_reset comes before, lost_reply after."""
    platform.fault("connection_reset", method="POST", path=CATALOGS)
    with pytest.raises(httpx.TransportError):
        post()
    assert not made(platform)
    platform.fault("lost_reply", method="POST", path=CATALOGS)
    with pytest.raises(httpx.TransportError):
        post()
    assert made(platform)


def test_after_a_lost_reply_the_sdk_finds_the_name_taken(platform: LocalPlatform, workspace: WorkspaceClient) -> None:
    """It sends the POST again by itself, and gets ALREADY_EXISTS."""
    platform.fault("lost_reply", method="POST", path=CATALOGS)
    before = platform.counters()["requests"].get(f"POST {CATALOGS}", 0)
    with pytest.raises(Exception, match="already exists"):
        workspace.database.create_database_catalog(DatabaseCatalog("made", "shared", "demo"))
    assert platform.counters()["requests"][f"POST {CATALOGS}"] == before + 2


async def test_a_slow_reply_comes_and_a_hanging_one_does_not(
    platform: LocalPlatform, post: Callable[[], httpx.Response]
) -> None:
    """A slow request is handled; a hanging one never is."""
    platform.fault("slow", method="POST", path=CATALOGS, seconds=0.3)
    # This holds on a machine of any speed: the platform begins to wait after the clock was read.
    started = time.monotonic()
    assert post().status_code == 200
    assert time.monotonic() - started >= 0.3
    platform.workspace().database.delete_database_catalog("made")
    platform.fault("hang", method="POST", path=CATALOGS)
    await give_up(platform, CATALOGS, BODY, when=came(platform, CATALOGS))
    assert not made(platform)


def test_replies_may_be_unreadable_or_of_the_future(
    platform: LocalPlatform, workspace: WorkspaceClient, post: Callable[[], httpx.Response]
) -> None:
    """A handled request may get malformed JSON with a 200. A state that the SDK does not know is None to it."""
    platform.fault("malformed_json", method="POST", path=CATALOGS)
    with pytest.raises(ValueError, match="Expecting"):
        post().json()
    assert made(platform)
    platform.fault("unknown_enum", path="/api/2.0/database/instances/shared")
    instance = workspace.database.get_database_instance("shared")
    assert (instance.name, instance.state) == ("shared", None)


def test_exists_and_not_found_have_two_spellings(platform: LocalPlatform, workspace: WorkspaceClient) -> None:
    """As if a call had been sent twice: it is handled, and the reply says that it has been before."""
    platform.fault("exists_as_400", method="POST", path=CATALOGS, times=2)
    for _ in range(2):
        with pytest.raises(ResourceAlreadyExists):
            workspace.database.create_database_catalog(DatabaseCatalog("made", "shared", "demo"))
        assert made(platform)
    platform.fault("not_found_as_code", method="DELETE", path=f"{CATALOGS}/.*", times=2)
    for _ in range(2):
        with pytest.raises(ResourceDoesNotExist):
            workspace.database.delete_database_catalog("made")
        assert not made(platform)


@pytest.mark.parametrize("fault", ["hold_before", "hold_after"])
def test_a_request_is_held_until_it_is_released(
    platform: LocalPlatform, post: Callable[[], httpx.Response], fault: str
) -> None:
    """It is held before it is handled, or after that and before the reply."""
    platform.fault(fault, method="POST", path=CATALOGS)
    with concurrent.futures.ThreadPoolExecutor(1) as others:
        reply = others.submit(post)
        wait_for(lambda: len(platform.held()) == 1, what=platform.log)
        [held] = platform.held()
        assert (held["method"], held["path"], held["fault"]) == ("POST", CATALOGS, fault)
        assert made(platform) == (fault == "hold_after")
        assert not reply.done()
        assert platform.release() == 1
        assert reply.result(PATIENCE_SECONDS).status_code == 200
    assert made(platform)
    assert platform.held() == []


@pytest.mark.parametrize("fault", ["hold_before", "hold_after"])
async def test_a_held_request_whose_client_goes_away_is_held_no_longer(
    platform: LocalPlatform, shared: DatabaseInstance, fault: str
) -> None:
    """Held before, it is never handled. Held after, it stays handled."""
    assert shared.name == "shared"
    platform.fault(fault, method="POST", path=CATALOGS)
    await give_up(platform, CATALOGS, BODY, when=lambda: len(platform.held()) == 1)
    wait_for(lambda: platform.held() == [], what=platform.log)
    assert made(platform) == (fault == "hold_after")


async def test_a_request_is_completed_though_its_client_disconnects(
    platform: LocalPlatform, shared: DatabaseInstance
) -> None:
    """As in the cloud, where a call that timed out may have succeeded."""
    # Creating a catalog needs the instance's PostgreSQL, which answers only after the client has disconnected.
    with standing_still(postmaster(platform, str(shared.name))):
        await give_up(platform, CATALOGS, BODY, when=came(platform, CATALOGS))
        assert not made(platform)
    wait_for(lambda: made(platform), what=platform.log)


def test_only_the_operator_switches_faults_on(platform: LocalPlatform) -> None:
    """Without the operator's token it is a 401. An unknown fault and an invalid pattern are refused."""
    assert httpx.post(f"{platform.host}/local/faults", json={"fault": "slow", "path": ".*"}).status_code == 401
    with pytest.raises(AssertionError, match="MALFORMED_REQUEST"):
        platform.fault("earthquake", path=".*")
    with pytest.raises(AssertionError, match="INVALID_PARAMETER_VALUE"):
        platform.fault("slow", path="(")


def test_a_read_may_show_the_past(platform: LocalPlatform, post: Callable[[], httpx.Response]) -> None:
    """What the first read was shown is shown again, whatever has happened since."""
    platform.fault("stale", method="GET", path=f"{CATALOGS}/made", times=2)
    headers = {"authorization": f"Bearer {platform.token}"}

    def status() -> int:
        return httpx.get(f"{platform.host}{CATALOGS}/made", headers=headers, verify=NO_TLS).status_code

    assert status() == 404
    assert post().status_code == 200
    assert [status(), status()] == [404, 200]
