"""Faults of the platform at every call: operations succeed or say what to do, and nothing is created twice."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.flavours import AUTOSCALING, FLAVOURS, Flavour
from tests.servers.operator import HASTE, HASTY, INSTANCE, OPERATION, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS, wait_for
from tests.support.calibration import MEASURES, hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.servers.platform import LocalPlatform

pytestmark = pytest.mark.faults

FAULTS = (
    "too_many_requests",
    "internal_error",
    "unavailable",
    "connection_reset",
    "slow",
    "hang",
    "malformed_json",
    "unknown_enum",
    "not_found_after_create",
    "not_found_as_code",
    "exists_as_400",
    "forbidden",
    "lost_reply",
)
# Each round puts another fault on each call, so that all rounds together test every fault at every call.
ROUNDS = range(len(FAULTS)) if MEASURES else (0, 4, 9)
TEARDOWN = {"confirmDeletion": True, "discardStatusChanges": True, "purge": True}
NET = {"safetyNet": True, "acknowledgeCost": True}
NET_CALLS = {
    "create net": ("POST", f"{AUTOSCALING.instance}/branches"),
    "get net": ("GET", f"{AUTOSCALING.instance}/branches/before-.*"),
    "get branches": ("GET", f"{AUTOSCALING.instance}/branches"),
}
OPERATION_FAULTS = ("operation_fails", "operation_fails_after", "operation_hangs")
# The reasons with which an attempt may fail; each says what to do.
EXPLAINED = {
    "PERMISSION_MISSING",
    "CONTROL_PLANE_UNAVAILABLE",
    "CONTROL_PLANE_BUSY",
    "CONTROL_PLANE_TIMEOUT",
    "DATABASE_UNAVAILABLE",
    "SOURCE_INVALID",
    "RESOURCE_NOT_FOUND",
    "SPEC_CONFLICT",
    "RESOURCE_IN_USE",
    "STATUS_CHANGES_AT_STAKE",
    "CONTROL_PLANE_REFUSED",
}
# On a slow machine the platform may exceed its timeout at any call; on a quiet one it does not.
ATTEMPTS, RETRY_AFTER_SECONDS = 12, 1
TIMEOUT_SECONDS, RETRY_SECONDS = 0.5 if MEASURES else 1.0, 1
# Short pauses before a step looks again and repeats a deletion.
ALTERED = MappingProxyType(
    {}
    if MEASURES
    else {
        **HASTE,
        "server.lakebase.steps.step._LAST_PAUSE_SECONDS": 0.2,
        "server.lakebase.steps.synced_table.DELETE_AGAIN_SECONDS": 0.2,
        "server.lakebase.steps.instance.DELETE_AGAIN_SECONDS": 0.2,
        "server.lakebase.steps.catalog.DELETE_AGAIN_SECONDS": 0.2,
        "server.lakebase.steps.checks._FREED_SECONDS": 0.2,
    }
)


@pytest.fixture(scope="module", params=FLAVOURS, ids=lambda flavour: flavour.name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """The flavour of the instances."""
    found: Flavour = request.param
    return found


@pytest.fixture(scope="module")
def platform(flavour: Flavour) -> Iterator[LocalPlatform]:  # noqa: ARG001 # each has its own
    """A platform of the flavour's own, as quick as it can be."""
    # A safety net has no endpoint, so nobody can count the status changes in it.
    with platform_directory() as directory, running_platform(directory, **AT_ONCE, branch_endpoints=False) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform, flavour: Flavour) -> Iterator[Operator]:
    """An operator of a server with short timeouts for the platform."""
    impatient = {
        "server.lakebase.platform.sdk_client._ATTEMPT_SECONDS": TIMEOUT_SECONDS,
        "server.lakebase.platform.sdk_client._RETRY_SECONDS": RETRY_SECONDS,
    }
    with operated(platform, module=HASTY, altered={**ALTERED, **impatient}, **flavour.settings) as operator:
        yield operator


def attempt(operator: Operator, mutation: str, **values: object) -> str:
    """Send the mutation once and wait for its end; return SUCCEEDED or the reason of its failure."""
    input_type = f"{mutation[0].upper()}{mutation[1:]}Input"
    answer = operator.answer(
        f"mutation($input: {input_type}!) {{ payload: {mutation}(input: $input) {{ operation {{ {OPERATION} }} userErrors {{ code message }} }} }}",
        input=values,
    )
    if errors := answer.get("errors"):
        return str(errors[0]["extensions"]["reason"])
    payload: dict[str, Any] = answer["data"]["payload"]
    if payload["userErrors"]:
        return str(payload["userErrors"][0]["code"])
    if payload["operation"] is None:
        # Everything is as wanted already.
        return "SUCCEEDED"
    ended = operator.ended(payload)
    if ended["state"] == "SUCCEEDED":
        return "SUCCEEDED"
    assert ended["failure"]["message"]
    return str(ended["failure"]["reason"])


def send_until_done(operator: Operator, mutation: str, **values: object) -> list[str]:
    """Send the mutation until it succeeds; return the reasons of the failed attempts."""
    outcomes: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (outcome := attempt(operator, mutation, **values)) != "SUCCEEDED":
        assert outcome in EXPLAINED, outcome
        outcomes.append(outcome)
        assert time.monotonic() < deadline, f"timed out: {outcomes}"
        if MEASURES:
            assert len(outcomes) < ATTEMPTS, outcomes
            # After a failure the server waits a second before it mints another token.
            time.sleep(RETRY_AFTER_SECONDS)  # as Retry-After says
    return outcomes


def faults_of(calls: Iterable[str], round_: int) -> dict[str, str]:
    """The fault at each call in a round."""
    return {call: FAULTS[(index + round_) % len(FAULTS)] for index, call in enumerate(calls)}


@pytest.mark.parametrize("round_", ROUNDS)
def test_every_fault_at_every_call_ends_in_exactly_one_of_each(
    platform: LocalPlatform, operator: Operator, flavour: Flavour, round_: int
) -> None:
    """Provisioning under faults leaves one instance, catalog, table and pipeline; a teardown leaves none."""
    calls = flavour.calls()
    for call, fault in faults_of(calls, round_).items():
        method, path = calls[call]
        # Plans read too. Every other round lets those reads pass, so that the fault hits a step.
        skip = 2 if method == "GET" and round_ % 2 == 0 else 0
        platform.fault(fault, method=method, path=path, times=1, skip=skip, seconds=0.3, retry_after=1)
    send_until_done(operator, "provisionLakebase", acknowledgeCost=True)
    assert set(flavour.counts(platform).values()) == {1}
    send_until_done(operator, "teardownLakebase", **TEARDOWN)
    platform.clear_faults()
    # A fault may have hidden a resource: the teardown takes "not found" for deleted. So it is sent again.
    send_until_done(operator, "teardownLakebase", **TEARDOWN)
    # A project that is purged is gone for the reads of the API at once, and its PostgreSQL soon.
    wait_for(lambda: not any(flavour.counts(platform).values()), what=lambda: f"nothing: {platform.inventory()}")


@pytest.mark.parametrize("fault", OPERATION_FAULTS)
def test_every_operation_of_the_platform_may_fail_or_never_end(
    platform: LocalPlatform, operator: Operator, flavour: Flavour, fault: str
) -> None:
    """Whether it has done its work or not: what exists is what counts."""
    if flavour is not AUTOSCALING:
        pytest.skip("the Provisioned API has no operations that could fail")
    for method, path in flavour.calls().values():
        if method != "GET" and "credentials" not in path:
            platform.fault(fault, method=method, path=path, times=1)
    send_until_done(operator, "provisionLakebase", acknowledgeCost=True)
    assert set(flavour.counts(platform).values()) == {1}
    send_until_done(operator, "teardownLakebase", **TEARDOWN)
    platform.clear_faults()
    send_until_done(operator, "teardownLakebase", **TEARDOWN)
    wait_for(lambda: not any(flavour.counts(platform).values()), what=lambda: f"nothing: {platform.inventory()}")


@pytest.mark.parametrize(
    ("kind", "given", "round_", "fault"),
    [
        *(("refresh", {}, round_, None) for round_ in ROUNDS),
        *(("refresh", {}, 0, fault) for fault in OPERATION_FAULTS),
        *(("teardown", {"confirmDeletion": True}, round_, None) for round_ in (ROUNDS if MEASURES else (12,))),
    ],
)
def test_every_fault_at_every_call_for_a_safety_net_ends_in_exactly_one_net(
    platform: LocalPlatform,
    operator: Operator,
    flavour: Flavour,
    kind: str,
    given: dict[str, Any],
    round_: int,
    fault: str | None,
) -> None:
    """Whichever attempt succeeds, the net is that of the first one that came so far, also in a deleted instance."""
    if flavour is not AUTOSCALING:
        pytest.skip("the Provisioned API has no branches")
    send_until_done(operator, "provisionLakebase", acknowledgeCost=True)
    before = nets(platform)
    for call, each in (faults_of(NET_CALLS, round_) if fault is None else {"create net": fault}).items():
        method, path = NET_CALLS[call]
        # Plans list the branches too.
        skip = 1 if call == "get branches" and round_ % 2 == 0 else 0
        platform.fault(each, method=method, path=path, times=1, skip=skip, seconds=0.3, retry_after=1)
    send_until_done(operator, {"refresh": "refreshSyncedTable", "teardown": "teardownLakebase"}[kind], **NET, **given)
    platform.clear_faults()
    assert [name.startswith(f"before-{kind}-") for name in nets(platform) - before] == [True]
    if kind == "teardown":
        send_until_done(operator, "teardownLakebase", **TEARDOWN)
        wait_for(lambda: not any(flavour.counts(platform).values()), what=lambda: f"nothing: {platform.inventory()}")
    for name in nets(platform):
        # There may be ten branches.
        platform.workspace().postgres.delete_branch(f"projects/{INSTANCE}/branches/{name}", purge=True).wait()


def nets(platform: LocalPlatform) -> set[str]:
    """The names of the safety nets, also of deleted instances."""
    projects: list[dict[str, Any]] = platform.inventory()["projects"]
    return {name for project in projects for name in project["branches"] if name.startswith("before-")}


@pytest.mark.parametrize(
    "fault", ["forbidden", "internal_error", "unavailable", "too_many_requests", "not_found_as_code"]
)
def test_nothing_secret_is_repeated(platform: LocalPlatform, operator: Operator, flavour: Flavour, fault: str) -> None:
    """Neither answers nor the log contain the server's token, one that the platform echoes, or the SDK's configuration."""
    canary = "dapi0123456789abcdef-2"
    message = f"No. token={canary} Bearer {canary}. Config: host=http://x, token={canary}. Env: A_SECRET"
    platform.fault(fault, path=flavour.instance, times=None, message=message, retry_after=1)
    answer = str(operator.answer(f'{{ databaseInstance(name: "{INSTANCE}") {{ state }} }}'))
    answer += str(
        operator.answer("mutation { teardownLakebase(input: {dryRun: true}) { plan { statusChangesLost } } }")
    )
    platform.clear_faults()
    log = operator.server.log()
    for secret in (canary, platform.token, "Config:", "A_SECRET"):
        assert secret not in answer
        assert secret not in log


def test_admin_fields_have_a_deadline(platform: LocalPlatform, operator: Operator, flavour: Flavour) -> None:
    """If the platform hangs, the error comes within seconds, and says that it is retryable."""
    platform.fault("hang", path=f"{flavour.instances}.*", times=None)
    began = time.monotonic()
    answer = operator.answer(f'{{ databaseInstance(name: "{INSTANCE}") {{ state }} }}')
    waiting_seconds = TIMEOUT_SECONDS + RETRY_SECONDS
    hold(
        "an answer while the platform hangs",
        time.monotonic() - began,
        computing_seconds=3.5,
        waiting_seconds=waiting_seconds,
    )
    platform.clear_faults()
    assert answer["errors"][0]["extensions"]["reason"] in {"CONTROL_PLANE_UNAVAILABLE", "CONTROL_PLANE_TIMEOUT"}
    assert answer["errors"][0]["extensions"]["retryable"] is True
