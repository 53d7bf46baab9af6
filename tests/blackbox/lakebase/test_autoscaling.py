"""Instances of the Autoscaling API through their whole life, by the Postgres API alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.service import postgres

from tests.blackbox.refusals import changing, codes_and_fields, refused
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import CATALOG, HASTE, HASTY, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

BRANCH = f"projects/{INSTANCE}/branches/production"
STATE = f"""{{ databaseInstance(name: "{INSTANCE}") {{
    flavour state capacity nodeCount minCu maxCu suspendAfterSeconds suspended stopped retentionWindowInDays owner
    readableSecondaries historyRetentionSeconds deletedAt purgeAt }} }}"""
ASKED = f"""{{ syncedTable(name: "{TABLE}") {{
    instanceName branch databaseName sourceTable primaryKey policy timeseriesKey uid }} }}"""
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


def found(operator: Operator) -> dict[str, Any]:
    """The instance as it is now."""
    instance: dict[str, Any] = operator.insist(STATE)["databaseInstance"]
    return instance


def test_everything_is_provisioned_by_the_postgres_api_alone(platform: LocalPlatform, operator: Operator) -> None:
    """With the defaults that the plan says. A second time there is nothing to create, and what was asked for is known."""
    calls = platform.counters()["requests"]
    assert [call for call in calls if "/api/2.0/database" in call] == []
    instance = found(operator)
    assert instance == {
        "flavour": "AUTOSCALING",
        "state": "AVAILABLE",
        "capacity": None,
        "nodeCount": 1,
        "minCu": 0.5,
        "maxCu": 8.0,
        "suspendAfterSeconds": 3600,
        "suspended": False,
        "stopped": False,
        "retentionWindowInDays": 7,
        "owner": platform.user,
        "readableSecondaries": False,
        "historyRetentionSeconds": 604_800,
        "deletedAt": None,
        "purgeAt": None,
    }
    again = operator.send("provisionLakebase", dryRun=True)
    assert "CREATE" not in {step["action"] for step in again["plan"]["steps"]}
    assert again["userErrors"] == []
    table = operator.ask(ASKED)["syncedTable"]
    assert table.pop("uid")
    assert table == {
        "instanceName": INSTANCE,
        "branch": "production",
        "databaseName": "orders",
        "sourceTable": "samples.tpch.orders",
        "primaryKey": ["o_orderkey"],
        "policy": "SNAPSHOT",
        "timeseriesKey": None,
    }


def test_what_was_asked_for_is_compared_and_what_is_not_known_is_no_difference(
    platform: LocalPlatform, operator: Operator
) -> None:
    """The table of this server has another key than is wanted; of another client's table nothing is known.

    The other client creates it while this server asks for one of the same name, which the platform then refuses.
    """
    (error,) = refused(operator, "createSyncedTable", {"name": TABLE, "primaryKey": ["o_custkey"], "dryRun": True})
    assert [one["field"] for one in error["differences"]] == ["primaryKey"]
    other = f"{CATALOG}.public.customers"
    spec = postgres.SyncedTableSyncedTableSpec(
        source_table_full_name="samples.tpch.customer",
        primary_key_columns=["c_custkey"],
        scheduling_policy=postgres.SyncedTableSyncedTableSpecSyncedTableSchedulingPolicy.SNAPSHOT,
        new_pipeline_spec=postgres.NewPipelineSpec(storage_catalog="main", storage_schema="lakebase_meta"),
    )
    platform.fault("hold_before", method="POST", path="/api/2.0/postgres/synced_tables")
    wanted = {"sourceTable": "samples.tpch.customer", "primaryKey": ["c_custkey"], "acknowledgeCost": True}
    sent = operator.send("createSyncedTable", name=other, **wanted)
    platform.wait_until_held()
    client = platform.workspace().postgres
    client.create_synced_table(postgres.SyncedTable(spec=spec), other).wait()
    platform.release()
    operator.ended(sent)
    table = operator.ask(ASKED.replace(TABLE, other))["syncedTable"]
    assert [table[field] for field in ("sourceTable", "primaryKey", "policy")] == [None, None, None]
    # Its place is that of its catalog.
    assert [table[field] for field in ("instanceName", "branch", "databaseName")] == [INSTANCE, "production", "orders"]
    (step, *_) = operator.send("createSyncedTable", name=other, primaryKey=["c_name"], dryRun=True)["plan"]["steps"]
    assert (step["action"], step["differences"]) == ("NOTHING", [])
    operator.persist("deleteSyncedTable", name=other, confirmDeletion=True)


def test_it_is_resized_and_keeps_the_size_that_nobody_names(operator: Operator) -> None:
    """Each property is set alone, and the limits are checked together with those that it has."""
    operator.persist(
        "updateDatabaseInstance",
        name=INSTANCE,
        autoscaling={"minCu": 1, "maxCu": 4, "suspendAfterSeconds": 600},
        acknowledgeCost=True,
    )
    assert [found(operator)[name] for name in ("minCu", "maxCu", "suspendAfterSeconds")] == [1, 4, 600]
    operator.persist("updateDatabaseInstance", name=INSTANCE, autoscaling={"neverSuspend": True}, acknowledgeCost=True)
    assert [found(operator)[name] for name in ("minCu", "maxCu", "suspendAfterSeconds")] == [1, 4, None]
    scaling = {"readableSecondaries": True}
    operator.persist("updateDatabaseInstance", name=INSTANCE, nodeCount=2, autoscaling=scaling, acknowledgeCost=True)
    operator.persist("updateDatabaseInstance", name=INSTANCE, retentionWindowInDays=9, acknowledgeCost=True)
    instance = found(operator)
    assert [instance[name] for name in ("nodeCount", "readableSecondaries", "retentionWindowInDays")] == [2, True, 9]
    assert [instance[name] for name in ("minCu", "maxCu")] == [1, 4]
    errors = refused(
        operator, "updateDatabaseInstance", {"name": INSTANCE, "autoscaling": {"minCu": 5}, "dryRun": True}
    )
    assert codes_and_fields(errors) == [("SETTING_INVALID", "autoscaling.minCu")]
    assert errors[0]["message"].endswith("Give `maxCu` too.")
    (step,) = operator.send(
        "updateDatabaseInstance", name=INSTANCE, autoscaling={"maxCu": 8}, retentionWindowInDays=8, dryRun=True
    )["plan"]["steps"]
    assert "changes autoscaling.maxCu from 4 to 8, retentionWindowInDays from 9 to 8" in step["message"]
    assert "may restart" in step["message"]
    assert "the history from more than 8 days ago is lost" in step["message"]
    operator.persist("updateDatabaseInstance", name=INSTANCE, nodeCount=1, enableReadableSecondaries=False)


def test_one_that_is_asleep_is_available_and_one_that_is_disabled_is_stopped(
    platform: LocalPlatform, operator: Operator
) -> None:
    """Nothing is refused because it is asleep: a connection wakes it."""
    platform.suspend(platform.endpoint_name(INSTANCE))
    instance = found(operator)
    assert [instance[name] for name in ("state", "suspended", "stopped")] == ["AVAILABLE", True, False]
    operator.persist("refreshSyncedTable")
    assert found(operator)["suspended"] is False
    operator.persist("updateDatabaseInstance", name=INSTANCE, stopped=True)
    instance = found(operator)
    assert [instance[name] for name in ("state", "suspended", "stopped")] == ["STOPPED", False, True]
    operator.persist("updateDatabaseInstance", name=INSTANCE, stopped=False, acknowledgeCost=True)
    assert found(operator)["state"] == "AVAILABLE"


def test_a_protected_branch_keeps_its_instance(platform: LocalPlatform, operator: Operator) -> None:
    """The plan names the branch; nothing but reads reaches the platform."""
    client, mask = platform.workspace().postgres, FieldMask(["spec.is_protected"])  # type: ignore[no-untyped-call] # the SDK's class has no types
    client.update_branch(BRANCH, postgres.Branch(spec=postgres.BranchSpec(is_protected=True)), mask).wait()
    before = changing(platform)
    errors = refused(operator, "teardownLakebase", {**GONE, "dryRun": True})
    assert codes_and_fields(errors) == [("PROTECTED", "instanceName")]
    assert "production" in errors[0]["message"]
    assert changing(platform) == before
    client.update_branch(BRANCH, postgres.Branch(spec=postgres.BranchSpec(is_protected=False)), mask).wait()


def test_a_deleted_instance_keeps_its_name_until_it_comes_back_or_is_purged(
    platform: LocalPlatform, operator: Operator
) -> None:
    """The plan says until when, and so does the refusal of a new one, without a call that changes something."""
    torn = operator.send("teardownLakebase", dryRun=True)["plan"]["steps"][-1]
    assert f"for 7 days, until {datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}" in torn["message"]
    operation = operator.persist("teardownLakebase", **GONE)
    assert "undeleteDatabaseInstance brings it back until" in operation["steps"][-1]["message"]
    gone = found(operator)
    assert gone["state"] == "DELETED"
    days = datetime.fromisoformat(gone["purgeAt"]) - datetime.fromisoformat(gone["deletedAt"])
    assert days == timedelta(days=7)
    before = changing(platform)
    answer = operator.ask(
        f'mutation {{ createDatabaseInstance(input: {{name: "{INSTANCE}", acknowledgeCost: true}}) '
        "{ operation { id } userErrors { code field purgeAt } } }"
    )["createDatabaseInstance"]
    held = {"code": "NAME_HELD", "field": ["input", "name"], "purgeAt": gone["purgeAt"]}
    assert answer == {"operation": None, "userErrors": [held]}
    assert changing(platform) == before
    for mutation, given in (
        ("updateDatabaseInstance", {"name": INSTANCE, "stopped": True}),
        ("createDatabaseBranch", {"name": "dev"}),
        ("createDatabaseSnapshot", {"name": "dev"}),
    ):
        (error,) = refused(operator, mutation, {**given, "dryRun": True})
        assert (error["code"], "undeleteDatabaseInstance" in error["message"]) == ("RESOURCE_NOT_FOUND", True)
    (step,) = operator.send("undeleteDatabaseInstance", name=INSTANCE, dryRun=True)["plan"]["steps"]
    assert (step["action"], step["costs"]) == ("UNDELETE", True)
    assert "without catalogs and synced tables; this is possible until" in step["message"]
    errors = refused(operator, "undeleteDatabaseInstance", {"name": INSTANCE})
    assert codes_and_fields(errors) == [("COST_NOT_ACKNOWLEDGED", "acknowledgeCost")]
    operator.persist("undeleteDatabaseInstance", name=INSTANCE, acknowledgeCost=True)
    assert [found(operator)[name] for name in ("state", "deletedAt")] == ["AVAILABLE", None]
    # Nothing is to be done.
    again = operator.send("undeleteDatabaseInstance", name=INSTANCE, acknowledgeCost=True)
    assert (again["operation"], again["userErrors"]) == (None, [])
    operator.persist("deleteDatabaseInstance", name=INSTANCE, **GONE)
    operator.persist("deleteDatabaseInstance", name=INSTANCE, purge=True, **GONE)
    errors = refused(operator, "undeleteDatabaseInstance", {"name": INSTANCE, "acknowledgeCost": True})
    assert codes_and_fields(errors) == [("RESOURCE_NOT_FOUND", "name")]
    operator.provisioned()
    assert [call for call in platform.counters()["requests"] if "/api/2.0/database" in call] == []
