"""What admin mutations get that do not fit what is there: a code, the input's own field, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.blackbox.refusals import changing, refused, told
from tests.operator import CATALOG, DATABASE, INSTANCE, TABLE, Operator, operated
from tests.platform import AT_ONCE, platform_directory, running_platform
from tests.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.platform import LocalPlatform

STOPPED, EMPTY, ASLEEP = "stopped-pg", "empty_catalog", "stopped_catalog"
ASLEEP_TABLE = f"{ASLEEP}.public.orders"
NEW_TABLE = f"{EMPTY}.public.orders"
CREATE_TABLE = {"name": NEW_TABLE, "acknowledgeCost": True}
CREATE_CATALOG = {"name": "another_catalog", "instanceName": INSTANCE, "databaseName": "another"}
COST, CONFIRM = ("COST_NOT_ACKNOWLEDGED", "acknowledgeCost"), ("DELETION_NOT_CONFIRMED", "confirmDeletion")
AT_STAKE = ("STATUS_CHANGES_AT_STAKE", "discardStatusChanges")


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """Of a server with everything and one status change; beside it an empty catalog, and a stopped instance with a table."""
    with operated(platform) as operator:
        begun = operator.send("createDatabaseInstance", name=STOPPED, acknowledgeCost=True)
        operator.provisioned()
        operator.done("createDatabaseCatalog", name=EMPTY, instanceName=INSTANCE, databaseName="empty")
        operator.ask("mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL}) { change { cursor } } }")
        operator.ended(begun)
        operator.done("createDatabaseCatalog", name=ASLEEP, instanceName=STOPPED, databaseName="orders")
        operator.done("createSyncedTable", name=ASLEEP_TABLE, acknowledgeCost=True)
        operator.done("updateDatabaseInstance", name=STOPPED, stopped=True)
        yield operator


@pytest.fixture(scope="module", autouse=True)
def _all_is_as_it_was(operator: Operator, platform: LocalPlatform) -> Iterator[None]:  # noqa: ARG001 # what it has provisioned is there before
    """After all tests the platform has what it had."""
    before = platform.inventory()
    yield
    assert platform.inventory() == before


@pytest.fixture(autouse=True)
def _nothing_is_asked_for(platform: LocalPlatform) -> Iterator[None]:
    """Whatever a test sends, the platform is asked for GETs and credentials alone."""
    before = changing(platform)
    yield
    assert changing(platform) == before


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("createDatabaseInstance", {"name": "new-pg"}),
        ("createDatabaseInstance", {"name": STOPPED}),
        ("updateDatabaseInstance", {"name": STOPPED, "stopped": False}),
        ("updateDatabaseInstance", {"name": INSTANCE, "capacity": "CU_2"}),
        ("updateDatabaseInstance", {"name": INSTANCE, "nodeCount": 2}),
        ("provisionLakebase", {"instanceName": "new-pg", "catalogName": "new", "tableName": "new.public.orders"}),
        ("provisionLakebase", {"tableName": f"{CATALOG}.public.others"}),
        ("createSyncedTable", {"name": NEW_TABLE}),
    ],
)
def test_what_costs_has_to_be_acknowledged(operator: Operator, mutation: str, given: dict[str, Any]) -> None:
    """Made, started or made larger: nothing is begun until the cost is acknowledged, and the plan says what costs."""
    for unsaid in ({}, {"acknowledgeCost": False}):
        payload = operator.send(mutation, **given, **unsaid)
        assert payload["operation"] is None
        assert told(payload["userErrors"]) == [COST]
        assert any(step["costs"] for step in payload["plan"]["steps"])


@pytest.mark.parametrize(
    ("mutation", "given", "errors", "lost"),
    [
        ("deleteDatabaseCatalog", {"name": EMPTY}, [CONFIRM], 0),
        ("deleteSyncedTable", {"name": TABLE}, [CONFIRM], 0),
        ("deleteSyncedTable", {"name": f"{CATALOG}.public.nowhere"}, [CONFIRM], 0),
        ("teardownLakebase", {}, [CONFIRM, AT_STAKE], 1),
        ("teardownLakebase", {"confirmDeletion": True}, [AT_STAKE], 1),
        ("teardownLakebase", {"discardStatusChanges": True}, [CONFIRM], 1),
        # Nobody can look into one that is stopped.
        ("deleteDatabaseInstance", {"name": STOPPED, "confirmDeletion": True}, [AT_STAKE], None),
        ("deleteDatabaseInstance", {"name": STOPPED, "discardStatusChanges": True}, [CONFIRM], None),
        (
            "deleteDatabaseInstance",
            {"name": INSTANCE, "confirmDeletion": True},
            [("RESOURCE_IN_USE", "name"), AT_STAKE],
            1,
        ),
        (
            "deleteDatabaseInstance",
            {"name": INSTANCE, "confirmDeletion": True, "discardStatusChanges": True},
            [("RESOURCE_IN_USE", "name")],
            1,
        ),
        (
            "deleteDatabaseCatalog",
            {"name": CATALOG, "confirmDeletion": True},
            [("RESOURCE_IN_USE", "name"), AT_STAKE],
            1,
        ),
    ],
)
def test_nothing_is_deleted_unasked(
    operator: Operator, mutation: str, given: dict[str, Any], errors: list[tuple[str, str]], lost: int | None
) -> None:
    """Without a confirmation, with the only copy of status changes in it, or with something that stands on it."""
    payload = operator.send(mutation, **given)
    assert payload["operation"] is None
    assert told(payload["userErrors"]) == errors
    assert payload["plan"]["statusChangesLost"] == lost


def test_what_stands_on_a_resource_is_named(operator: Operator) -> None:
    """The catalog of an instance that is to be deleted, and the synced table of a catalog."""
    for mutation, name, standing in (
        ("deleteDatabaseInstance", INSTANCE, CATALOG),
        ("deleteDatabaseCatalog", CATALOG, TABLE),
    ):
        (error,) = refused(operator, mutation, {"name": name, "confirmDeletion": True, "discardStatusChanges": True})
        assert standing in error["message"]


@pytest.mark.parametrize(
    ("mutation", "given", "error"),
    [
        (
            "createSyncedTable",
            {**CREATE_TABLE, "sourceTable": "samples.tpch.nothing"},
            ("SOURCE_INVALID", "sourceTable"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "sourceTable": "nowhere.tpch.orders"},
            ("SOURCE_INVALID", "sourceTable"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "sourceTable": "samples.tpch.customer"},
            ("SOURCE_INVALID", "primaryKey"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "primaryKey": ["o_orderkey", "o_part"]},
            ("SOURCE_INVALID", "primaryKey"),
        ),
        ("createSyncedTable", {**CREATE_TABLE, "timeseriesKey": "o_date"}, ("SOURCE_INVALID", "timeseriesKey")),
        (
            "provisionLakebase",
            {
                "tableName": f"{CATALOG}.public.others",
                "sourceTable": "samples.tpch.customer",
                "acknowledgeCost": True,
            },
            ("SOURCE_INVALID", "primaryKey"),
        ),
        ("createSyncedTable", {**CREATE_TABLE, "name": "nowhere.public.t"}, ("RESOURCE_NOT_FOUND", "name")),
        (
            "createDatabaseCatalog",
            {**CREATE_CATALOG, "instanceName": "nowhere"},
            ("RESOURCE_NOT_FOUND", "instanceName"),
        ),
        ("createDatabaseCatalog", {**CREATE_CATALOG, "instanceName": STOPPED}, ("RESOURCE_NOT_READY", "instanceName")),
        ("createSyncedTable", {**CREATE_TABLE, "name": f"{ASLEEP}.public.t"}, ("RESOURCE_NOT_READY", "name")),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "name": "main.default.t", "instanceName": STOPPED, "databaseName": "orders"},
            ("RESOURCE_NOT_READY", "instanceName"),
        ),
        ("refreshSyncedTable", {"name": ASLEEP_TABLE}, ("RESOURCE_NOT_READY", "name")),
        ("ensureOrderIndexes", {"tableName": ASLEEP_TABLE}, ("RESOURCE_NOT_READY", "tableName")),
        ("deleteSyncedTable", {"name": ASLEEP_TABLE, "confirmDeletion": True}, ("RESOURCE_NOT_READY", "name")),
        ("updateDatabaseInstance", {"name": "nowhere", "stopped": True}, ("RESOURCE_NOT_FOUND", "name")),
        (
            "updateDatabaseInstance",
            {"name": INSTANCE, "enableReadableSecondaries": True, "acknowledgeCost": True},
            ("SETTING_INVALID", "enableReadableSecondaries"),
        ),
        ("refreshSyncedTable", {"name": f"{CATALOG}.public.nowhere"}, ("RESOURCE_NOT_FOUND", "name")),
        ("ensureOrderIndexes", {"tableName": f"{CATALOG}.public.nowhere"}, ("RESOURCE_NOT_FOUND", "tableName")),
    ],
)
def test_what_is_needed_has_to_be_there(
    operator: Operator, mutation: str, given: dict[str, Any], error: tuple[str, str]
) -> None:
    """A source and its columns, a catalog, an instance that runs, a second node, and whatever is to be changed."""
    assert told(refused(operator, mutation, given)) == [error]


@pytest.mark.parametrize(
    ("mutation", "given", "field", "differences"),
    [
        (
            "createDatabaseInstance",
            {"name": INSTANCE, "capacity": "CU_2", "retentionWindowInDays": 8},
            "name",
            [("capacity", "CU_1", "CU_2"), ("retentionWindowInDays", "7", "8")],
        ),
        ("provisionLakebase", {"capacity": "CU_8"}, "instanceName", [("capacity", "CU_1", "CU_8")]),
        (
            "createDatabaseCatalog",
            {"name": CATALOG, "instanceName": STOPPED, "databaseName": DATABASE},
            "name",
            [("instanceName", INSTANCE, STOPPED)],
        ),
        ("provisionLakebase", {"databaseName": "others"}, "catalogName", [("databaseName", DATABASE, "others")]),
        (
            "createSyncedTable",
            {"name": TABLE, "sourceTable": "samples.tpch.customer", "primaryKey": ["c_custkey"]},
            "name",
            [
                ("sourceTable", "samples.tpch.orders", "samples.tpch.customer"),
                ("primaryKey", "o_orderkey", "c_custkey"),
            ],
        ),
        ("provisionLakebase", {"timeseriesKey": "o_orderdate"}, "tableName", [("timeseriesKey", "", "o_orderdate")]),
    ],
)
def test_a_name_that_is_taken_by_another_is_a_conflict(
    operator: Operator,
    mutation: str,
    given: dict[str, Any],
    field: str,
    differences: list[tuple[str, str, str]],
) -> None:
    """It says what is otherwise, in the words of the input."""
    if mutation != "createDatabaseCatalog":
        given = {**given, "acknowledgeCost": True}
    (error,) = refused(operator, mutation, given)
    assert told([error]) == [("SPEC_CONFLICT", field)]
    assert [(one["field"], one["current"], one["wanted"]) for one in error["differences"]] == differences


def test_all_that_is_wrong_is_told_at_once(operator: Operator) -> None:
    """Nobody mends one mistake to be told of the next, in the input or in what is there."""
    names = {"instanceName": "a/b", "catalogName": "main", "databaseName": "postgres", "sourceTable": "x"}
    errors = refused(operator, "provisionLakebase", {**names, "nodeCount": 0, "tableName": "main.public.t"})
    assert {field for _, field in told(errors)} == {*names, "nodeCount"}
    errors = refused(
        operator, "provisionLakebase", {"capacity": "CU_2", "databaseName": "others", "policy": "CONTINUOUS"}
    )
    assert told(errors) == [("SPEC_CONFLICT", field) for field in ("instanceName", "catalogName", "tableName")]


def test_a_dry_run_needs_no_flags_and_says_what_is_in_the_way(operator: Operator) -> None:
    """Nothing is begun, and a conflict is told with the plan."""
    for mutation, given, errors in (
        ("createDatabaseInstance", {"name": "new-pg"}, []),
        ("teardownLakebase", {}, []),
        ("deleteDatabaseInstance", {"name": INSTANCE}, [("RESOURCE_IN_USE", "name")]),
        ("createDatabaseInstance", {"name": INSTANCE, "capacity": "CU_2"}, [("SPEC_CONFLICT", "name")]),
        ("createSyncedTable", {"name": NEW_TABLE, "timeseriesKey": "x"}, [("SOURCE_INVALID", "timeseriesKey")]),
    ):
        payload = operator.send(mutation, **given, dryRun=True)
        assert payload["operation"] is None
        assert payload["plan"]["steps"]
        assert told(payload["userErrors"]) == errors


@pytest.mark.parametrize(
    ("mutation", "name"),
    [
        ("deleteDatabaseInstance", "nowhere"),
        ("deleteDatabaseCatalog", "nowhere"),
        ("deleteSyncedTable", f"{CATALOG}.public.nowhere"),
        ("deleteSyncedTable", "nowhere.public.nowhere"),
    ],
)
def test_what_is_not_there_is_deleted_already(operator: Operator, mutation: str, name: str) -> None:
    """Not found is what was wanted, and is a success; no DELETE is sent."""
    operator.done(mutation, name=name, confirmDeletion=True)


def test_another_operation_at_work_is_named(operator: Operator, platform: LocalPlatform) -> None:
    """The same request again is that operation; another on the same resource waits for its end."""
    # The plan's look passes, and the step's is held.
    platform.fault("hold_before", method="GET", path=f"/api/2.0/database/synced_tables/{TABLE}", skip=1, times=1)
    begun = operator.send("ensureOrderIndexes")
    wait_for(lambda: bool(platform.held()), what=lambda: f"the step to be held: {begun}")
    assert operator.send("ensureOrderIndexes", tableName=TABLE)["operation"]["id"] == begun["operation"]["id"]
    others: list[tuple[str, dict[str, Any]]] = [
        ("deleteSyncedTable", {"name": TABLE, "confirmDeletion": True}),
        ("refreshSyncedTable", {}),
        ("teardownLakebase", {"confirmDeletion": True, "discardStatusChanges": True}),
    ]
    for mutation, given in others:
        (error,) = refused(operator, mutation, given)
        assert told([error]) == [("OPERATION_IN_PROGRESS", "")]
        assert error["operation"]["id"] == begun["operation"]["id"]
        assert TABLE in error["message"]
    platform.release()
    assert operator.ended(begun)["state"] == "SUCCEEDED"
