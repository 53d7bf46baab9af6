"""The safety net of a refresh and of a teardown: a branch with what they take away, by which it is had back."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.blackbox.refusals import changing, codes_and_fields, refused
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import DATABASE, HASTE, HASTY, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import answers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

BRANCHES = f"""{{ databaseInstance(name: "{INSTANCE}") {{ branches(first: 50) {{ nodes {{
    name source expiresAt isProtected deletedAt endpoints {{ kind }} }} }} }} }}"""
SET = "mutation($key: BigInt!) { setOrderStatus(input: {orderKey: $key, status: PARTIAL}) { userErrors { code } } }"
# An order that a refresh takes away.
LOST = 900_000_001
STATE = f"""{{ orderStatusChanges(first: 10) {{ nodes {{ orderKey }} }}
    changed: order(orderKey: "1") {{ status }} lost: order(orderKey: "{LOST}") {{ orderKey }} }}"""
NET = {"safetyNet": True, "acknowledgeCost": True}
GONE = {"confirmDeletion": True, "discardStatusChanges": True}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, where a branch has no endpoint before a client creates one."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE, branch_endpoints=False) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of a provisioned server, with a status change."""
    with operated(platform, module=HASTY, altered=HASTE, **AUTOSCALING.settings) as operator:
        operator.provisioned()
        operator.insist(SET, key="1")
        yield operator


@pytest.fixture(autouse=True)
def _no_faults(platform: LocalPlatform) -> Iterator[None]:
    """Switch off the faults that the test has switched on."""
    yield
    platform.clear_faults()


def nets(operator: Operator, kind: str) -> dict[str, dict[str, Any]]:
    """The nets of this kind that are not deleted, by name."""
    nodes = operator.insist(BRANCHES)["databaseInstance"]["branches"]["nodes"]
    return {one["name"]: one for one in nodes if one["name"].startswith(f"before-{kind}-") and not one["deletedAt"]}


def remove(platform: LocalPlatform, operator: Operator, kind: str) -> None:
    """Delete the nets of this kind for good."""
    for name in nets(operator, kind):
        platform.workspace().postgres.delete_branch(f"projects/{INSTANCE}/branches/{name}", purge=True).wait()


def lose_on_refresh(platform: LocalPlatform, operator: Operator) -> None:
    """Add an order that the source does not have, so that the next refresh takes it away."""
    host = operator.instance_host()

    async def add() -> None:
        connection = await platform.connect(host, database=DATABASE)
        await connection.execute(
            f"""CREATE TEMPORARY TABLE added AS SELECT * FROM public.orders_synced LIMIT 1;
            UPDATE added SET o_orderkey = {LOST};
            INSERT INTO public.orders_synced SELECT * FROM added"""
        )
        await connection.close()

    asyncio.run(add())


@contextmanager
def gone_back_to(platform: LocalPlatform, operator: Operator, message: str) -> Iterator[Operator]:
    """An operator of a server on the net, after what the step's message says about the way back was done."""
    for mutation, given in re.findall(r"(\w+)\(([^)]*)\)", message):
        values = {name: _value(text) for name, text in re.findall(r'(\w+): ("[^"]*"|\{\}|true)', given)}
        operator.persist(
            mutation, **values, **({} if mutation == "updateDatabaseBranch" else {"acknowledgeCost": True})
        )
    (endpoint,) = re.findall(r"LAKEBASE_ENDPOINT=([^\s,]+)", message)
    with operated(platform, module=HASTY, LAKEBASE_ENDPOINT=endpoint, LAKEBASE_INSTANCE_NAME="") as other:
        wait_for(lambda: answers(f"{other.server.url}/readyz"), what=other.server.log)
        yield other


def _value(text: str) -> object:
    return {"{}": {}, "true": True}.get(text, text.strip('"'))


def test_an_order_that_a_refresh_took_away_is_had_back(platform: LocalPlatform, operator: Operator) -> None:
    """The plan names the net and its end, the operation and the audit name it, and its message leads back to it."""
    remove(platform, operator, "refresh")
    lose_on_refresh(platform, operator)
    before = changing(platform)
    plan = operator.send("refreshSyncedTable", safetyNet=True, dryRun=True)["plan"]["steps"]
    assert [step["name"] for step in plan][:3] == ["create_safety_net", "note_belongings", "sync_table"]
    assert (plan[0]["action"], plan[0]["exists"], plan[0]["costs"]) == ("CREATE", False, True)
    assert re.fullmatch(rf"branch {INSTANCE}/before-refresh-\d{{8}}-\d{{4}}", plan[0]["resource"])
    assert f"expires at {datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}" in plan[0]["message"]
    errors = refused(operator, "refreshSyncedTable", {"safetyNet": True})
    assert codes_and_fields(errors) == [("COST_NOT_ACKNOWLEDGED", "acknowledgeCost")]
    assert changing(platform) == before

    operation = operator.done("refreshSyncedTable", **NET)
    ((name, net),) = nets(operator, "refresh").items()
    assert operation["steps"][0]["resource"] == f"branch {INSTANCE}/{name}"
    assert (net["source"], net["isProtected"], net["endpoints"]) == ("production", False, [])
    term = datetime.fromisoformat(net["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=6) < term <= timedelta(days=7)
    audit = operator.ask(
        '{ adminAudit(first: 1, filter: {action: "refreshSyncedTable"}) { nodes { resources outcome } } }'
    )
    (entry,) = audit["adminAudit"]["nodes"]
    assert (entry["outcome"], f"branch {INSTANCE}/{name}" in entry["resources"]) == ("SUCCEEDED", True)

    operator.insist(SET, key="2")
    now = operator.ask(STATE)
    assert (now["lost"], len(now["orderStatusChanges"]["nodes"])) == (None, 2)
    with gone_back_to(platform, operator, operation["steps"][0]["message"]) as other:
        then = other.insist(STATE)
        assert then["lost"] == {"orderKey": str(LOST)}
        assert then["changed"] == {"status": "PARTIAL"}
        assert then["orderStatusChanges"]["nodes"] == [{"orderKey": "1"}]
    assert nets(operator, "refresh")[name]["expiresAt"] is None


def test_the_same_request_after_a_failure_finds_its_net(platform: LocalPlatform, operator: Operator) -> None:
    """It keeps what was there before the first attempt. After a success another refresh has another net."""
    remove(platform, operator, "refresh")
    platform.fault("forbidden", method="POST", path="/api/2.0/pipelines/.*/updates")
    failed = operator.ended(operator.send("refreshSyncedTable", **NET))
    assert failed["failure"]["reason"] == "PERMISSION_MISSING"
    (name,) = nets(operator, "refresh")
    plan = operator.send("refreshSyncedTable", safetyNet=True, dryRun=True)["plan"]["steps"]
    assert (plan[0]["action"], plan[0]["costs"]) == ("NOTHING", False)
    operation = operator.done("refreshSyncedTable", safetyNet=True)
    assert operation["steps"][0]["resource"] == f"branch {INSTANCE}/{name}"
    assert list(nets(operator, "refresh")) == [name]
    # Its status changes cannot be counted, because it has no endpoint.
    assert operator.send("deleteDatabaseBranch", name=name, dryRun=True)["plan"]["statusChangesLost"] is None
    # In the same minute its name is taken.
    operator.done("refreshSyncedTable", **NET)
    assert len(nets(operator, "refresh")) == 2


def test_nothing_is_lost_if_there_can_be_no_net(platform: LocalPlatform, operator: Operator) -> None:
    """The platform refuses the branch, or the plan already sees that there are too many."""
    remove(platform, operator, "refresh")
    body = '{"error_code": "QUOTA_EXCEEDED", "message": "A project has at most 10 unarchived branches."}'
    platform.fault("answer", method="POST", path=".*/branches", status=400, body=body)
    operation = operator.ended(operator.send("refreshSyncedTable", **NET))
    assert operation["failure"]["reason"] == "CONTROL_PLANE_REFUSED"
    assert "at most 10 unarchived branches" in operation["failure"]["message"]
    assert {step["state"] for step in operation["steps"][1:]} == {"SKIPPED"}

    (production,) = platform.ask("GET", f"{AUTOSCALING.instance}/branches")["branches"]
    others = [{**production, "name": f"projects/{INSTANCE}/branches/b{number}"} for number in range(9)]
    many = json.dumps({"branches": [production, *others]})
    platform.fault("answer", method="GET", path=f"{AUTOSCALING.instance}/branches", body=many, times=None)
    before = changing(platform)
    for mutation, given in (("refreshSyncedTable", NET), ("teardownLakebase", {**NET, **GONE})):
        errors = refused(operator, mutation, given)
        assert codes_and_fields(errors) == [("RESOURCE_NOT_READY", "safetyNet")]
        assert "deleteDatabaseBranch" in errors[0]["message"]
    assert changing(platform) == before


def test_an_instance_that_was_torn_down_comes_back_with_its_net(platform: LocalPlatform, operator: Operator) -> None:
    """The undeleted branch has no orders, and the net has them, with the changed status."""
    remove(platform, operator, "refresh")
    plan = operator.send("teardownLakebase", safetyNet=True, dryRun=True)["plan"]["steps"]
    assert [step["name"] for step in plan][:2] == ["create_safety_net", "delete_synced_table"]
    assert f"expires at {datetime.now(UTC) + timedelta(days=14):%Y-%m-%d}" in plan[0]["message"]
    assert "does not keep the catalog" in plan[0]["message"]
    operation = operator.persist("teardownLakebase", **NET, **GONE)
    message = operation["steps"][0]["message"]
    with gone_back_to(platform, operator, message) as other:
        found = other.insist(STATE)
        assert found["changed"] == {"status": "PARTIAL"}
        assert {one["orderKey"] for one in found["orderStatusChanges"]["nodes"]} == {"1", "2"}
        assert len(nets(other, "teardown")) == 1
    errors = operator.answer(STATE)["errors"]
    assert {error["extensions"]["reason"] for error in errors} == {"ORDERS_UNAVAILABLE"}
    # There is nothing to keep any more.
    (step, *_) = operator.send("teardownLakebase", safetyNet=True, dryRun=True)["plan"]["steps"]
    assert (step["action"], step["resource"]) == ("NOTHING", f"synced table {TABLE}")
