"""Branches, restores and snapshots: what a branch has and the original does not see, and what keeps either."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.blackbox.refusals import changing, codes_and_fields, refused
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import HASTE, HASTY, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import answers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

BRANCHES = f"""{{ databaseInstance(name: "{INSTANCE}") {{
    branches {{ nodes {{ name isDefault isProtected source expiresAt deletedAt purgeAt
        endpoints {{ kind minCu maxCu suspendAfterSeconds }} }} }}
    snapshots {{ name source }} }} }}"""
SET = "mutation($key: BigInt!) { setOrderStatus(input: {orderKey: $key, status: PARTIAL}) { userErrors { code } } }"
CHANGED = "{ orderStatusChanges(first: 10) { nodes { orderKey } } }"
GONE = {"confirmDeletion": True, "discardStatusChanges": True}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of a provisioned server."""
    with operated(platform, module=HASTY, altered=HASTE, **AUTOSCALING.settings) as operator:
        operator.provisioned()
        yield operator


def branches(operator: Operator) -> dict[str, dict[str, Any]]:
    """The branches as they are now, by name."""
    nodes = operator.insist(BRANCHES)["databaseInstance"]["branches"]["nodes"]
    return {one["name"]: one for one in nodes}


def changed(operator: Operator) -> set[str]:
    """The orders whose status was changed in the database that the server serves."""
    return {one["orderKey"] for one in operator.insist(CHANGED)["orderStatusChanges"]["nodes"]}


def test_a_change_on_a_branch_is_not_seen_by_the_original(platform: LocalPlatform, operator: Operator) -> None:
    """The branch begins with the original's changes, and each goes on alone. It has the endpoint that was asked for."""
    operator.ask(SET, key="1")
    plan = operator.send("createDatabaseBranch", name="dev", endpoint={"maxCu": 2}, ttlSeconds=3600, dryRun=True)[
        "plan"
    ]
    assert [(step["action"], step["costs"]) for step in plan["steps"]] == [("CREATE", True), ("CREATE", True)]
    assert "dev" not in branches(operator)
    operator.done(
        "createDatabaseBranch", name="dev", endpoint={"minCu": 1, "maxCu": 2}, ttlSeconds=3600, acknowledgeCost=True
    )
    dev = branches(operator)["dev"]
    assert (dev["source"], dev["isDefault"], dev["expiresAt"] is not None) == ("production", False, True)
    assert dev["endpoints"] == [{"kind": "READ_WRITE", "minCu": 1, "maxCu": 2, "suspendAfterSeconds": None}]
    again = operator.send(
        "createDatabaseBranch", name="dev", endpoint={"minCu": 1, "maxCu": 2}, ttlSeconds=3600, acknowledgeCost=True
    )
    assert (again["operation"], again["userErrors"]) == (None, [])
    endpoint = f"projects/{INSTANCE}/branches/dev/endpoints/primary"
    with operated(platform, module=HASTY, LAKEBASE_ENDPOINT=endpoint, LAKEBASE_INSTANCE_NAME="") as other:
        wait_for(lambda: answers(f"{other.server.url}/readyz"), what=other.server.log)
        assert changed(other) == {"1"}
        other.insist(SET, key="2")
        assert changed(other) == {"1", "2"}
        # The catalog shows the original, so the branch's server does not sync the original's table.
        assert codes_and_fields(refused(other, "refreshSyncedTable", {})) == [("NAME_INVALID", "name")]
    assert changed(operator) == {"1"}
    # The deletion of the instance would lose those of all branches.
    torn = operator.send("teardownLakebase", dryRun=True)["plan"]
    assert torn["statusChangesLost"] == 3
    assert "2 on dev, 1 on production" in torn["steps"][-1]["message"]


def test_a_branch_is_protected_and_deleted_and_comes_back(platform: LocalPlatform, operator: Operator) -> None:
    """The plan counts its status changes. Neither a protected nor the default branch is deleted."""
    operator.done("createDatabaseBranch", name="kept", protected=True, acknowledgeCost=True)
    before = changing(platform)
    for name, code in (("kept", "PROTECTED"), ("production", "RESOURCE_IN_USE")):
        errors = refused(operator, "deleteDatabaseBranch", {"name": name, **GONE})
        assert {error[0] for error in codes_and_fields(errors)} == {code}
    assert changing(platform) == before
    operator.done("updateDatabaseBranch", name="kept", protected=False, ttlSeconds=7200)
    kept = branches(operator)["kept"]
    assert (kept["isProtected"], kept["expiresAt"] is not None) == (False, True)
    plan = operator.send("deleteDatabaseBranch", name="kept", dryRun=True)["plan"]
    assert plan["statusChangesLost"] == len(changed(operator))
    operator.done("deleteDatabaseBranch", name="kept", **GONE)
    assert branches(operator)["kept"]["purgeAt"]
    errors = refused(operator, "createDatabaseBranch", {"name": "kept", "acknowledgeCost": True})
    assert codes_and_fields(errors) == [("NAME_HELD", "name")]
    operator.done("undeleteDatabaseBranch", name="kept", acknowledgeCost=True)
    assert branches(operator)["kept"]["deletedAt"] is None
    operator.done("deleteDatabaseBranch", name="kept", purge=True, **GONE)
    assert "kept" not in branches(operator)
    errors = refused(operator, "undeleteDatabaseBranch", {"name": "kept", "acknowledgeCost": True})
    assert codes_and_fields(errors) == [("RESOURCE_NOT_FOUND", "name")]


def test_a_snapshot_is_taken_of_a_root_branch_alone(platform: LocalPlatform, operator: Operator) -> None:
    """A branch is made from it. What is a mistake is told before anything is sent."""
    before = changing(platform)
    long_ago = {"from": {"time": "2020-01-01T00:00:00Z"}}
    for mutation, given, expected in (
        ("createDatabaseSnapshot", {"name": "s", "branch": "dev"}, ("SETTING_INVALID", "branch")),
        ("createDatabaseBranch", {"name": "b", **long_ago}, ("SETTING_INVALID", "from.time")),
        ("createDatabaseBranch", {"name": "b", "from": {"snapshot": "s"}}, ("RESOURCE_NOT_FOUND", "from.snapshot")),
        ("createDatabaseBranch", {"name": "b", "from": {"branch": "c"}}, ("RESOURCE_NOT_FOUND", "from.branch")),
    ):
        errors = refused(operator, mutation, {**given, "acknowledgeCost": True})
        assert codes_and_fields(errors) == [expected]
    assert changing(platform) == before
    operator.done("createDatabaseSnapshot", name="monday", acknowledgeCost=True)
    snapshots = operator.ask(BRANCHES)["databaseInstance"]["snapshots"]
    assert snapshots == [{"name": "monday", "source": "production"}]
    operator.done("createDatabaseBranch", name="monday", acknowledgeCost=True, **{"from": {"snapshot": "monday"}})
    operator.done("deleteDatabaseSnapshot", name="monday", confirmDeletion=True)
    assert operator.ask(BRANCHES)["databaseInstance"]["snapshots"] == []
    operator.done("deleteDatabaseBranch", name="monday", purge=True, **GONE)


def test_a_restore_makes_a_branch_of_that_moment_the_default_one(platform: LocalPlatform, operator: Operator) -> None:
    """The plan says how many status changes are only on the present branch, and which setting serves the new one."""
    operator.ask(SET, key="3")
    time.sleep(0.01)  # the moment lies after this change, also for a clock of milliseconds
    moment = datetime.now(UTC).isoformat()
    time.sleep(0.01)  # and before the next one
    operator.ask(SET, key="4")
    plan = operator.send("restoreDatabase", to=moment, name="restored", dryRun=True)["plan"]
    message = plan["steps"][-1]["message"]
    endpoint = f"projects/{INSTANCE}/branches/restored/endpoints/primary"
    assert "only it has 1 status change(s) after" in message
    assert endpoint in message
    operator.done("restoreDatabase", to=moment, name="restored", acknowledgeCost=True)
    found = branches(operator)
    assert (found["restored"]["isDefault"], found["production"]["isDefault"]) == (True, False)
    assert found["restored"]["endpoints"] == found["production"]["endpoints"]
    with operated(platform, module=HASTY, LAKEBASE_ENDPOINT=endpoint, LAKEBASE_INSTANCE_NAME="") as other:
        wait_for(lambda: answers(f"{other.server.url}/readyz"), what=other.server.log)
        assert changed(other) == {"1", "3"}
    assert changed(operator) == {"1", "3", "4"}
    operator.done("updateDatabaseBranch", name="production", default=True)
    assert branches(operator)["production"]["isDefault"] is True


def test_a_branch_made_while_a_refresh_runs_carries_out_nothing_of_it(
    platform: LocalPlatform, operator: Operator
) -> None:
    """The operation is in the branch too, and ends there without a call to the platform; the original finishes it."""
    platform.fault("internal_error", method="POST", path="/api/2.0/pipelines/.*/updates", times=None)
    payload = operator.send("refreshSyncedTable", name=TABLE)
    wait_for(
        lambda: "tries again" in str(operator.operation(payload["operation"]["id"])),
        what=lambda: f"the step to be tried again: {operator.server.log()[-2000:]}",
    )
    operator.done("createDatabaseBranch", name="during", endpoint={}, acknowledgeCost=True)
    endpoint = f"projects/{INSTANCE}/branches/during/endpoints/primary"
    starts = "POST /api/2.0/pipelines/{id}/updates"
    with operated(platform, module=HASTY, LAKEBASE_ENDPOINT=endpoint, LAKEBASE_INSTANCE_NAME="") as other:
        # The original's lease is in the copy, and ends there by itself.
        wait_for(
            lambda: (other.operation(payload["operation"]["id"]) or {}).get("state") == "FAILED",
            what=lambda: f"the end in the branch: {other.server.log()[-2000:]}",
        )
        ended = other.operation(payload["operation"]["id"])
        assert ended is not None
        assert ended["failure"]["reason"] == "BEGUN_ELSEWHERE"
        assert starts in changing(platform)
        assert '"operation resumed"' not in other.server.log()
    platform.clear_faults()
    assert operator.ended(payload)["state"] == "SUCCEEDED"
