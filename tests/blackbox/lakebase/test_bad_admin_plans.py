"""Admin mutations that do not fit what exists: each gets a code and a field, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.blackbox.refusals import changing, codes_and_fields, refused
from tests.servers.operator import CATALOG, DATABASE, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

STOPPED, EMPTY, ASLEEP = "stopped-pg", "empty_catalog", "stopped_catalog"
ASLEEP_TABLE = f"{ASLEEP}.public.orders"
NEW_TABLE = f"{EMPTY}.public.orders"
CREATE_TABLE = {"name": NEW_TABLE, "acknowledgeCost": True}
CREATE_CATALOG = {"name": "another_catalog", "instanceName": INSTANCE, "databaseName": "another"}
IN_USE = ("RESOURCE_IN_USE", "instanceName")
COST, CONFIRM = ("COST_NOT_ACKNOWLEDGED", "acknowledgeCost"), ("DELETION_NOT_CONFIRMED", "confirmDeletion")
AT_STAKE = ("STATUS_CHANGES_AT_STAKE", "discardStatusChanges")


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator with everything provisioned, one status change, an empty catalog, and a stopped instance with a table."""
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
def _nothing_is_changed(operator: Operator, platform: LocalPlatform) -> Iterator[None]:  # noqa: ARG001 # it has provisioned before
    """The platform has the same resources before and after all tests."""
    before = platform.inventory()
    yield
    assert platform.inventory() == before


@pytest.fixture(autouse=True)
def _nothing_is_requested(platform: LocalPlatform) -> Iterator[None]:
    """Whatever a test sends, the platform gets GETs and requests for credentials only."""
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
    """To create, start or enlarge a resource needs the acknowledgement, and the plan says what costs."""
    for unacknowledged in ({}, {"acknowledgeCost": False}):
        payload = operator.send(mutation, **given, **unacknowledged)
        assert payload["operation"] is None
        assert codes_and_fields(payload["userErrors"]) == [COST]
        assert any(step["costs"] for step in payload["plan"]["steps"])


@pytest.mark.parametrize(
    ("mutation", "given", "errors", "lost"),
    [
        ("deleteDatabaseCatalog", {"name": EMPTY}, [CONFIRM], 0),
        ("deleteSyncedTable", {"name": TABLE}, [CONFIRM], 0),
        ("deleteSyncedTable", {"name": f"{CATALOG}.public.nowhere"}, [CONFIRM], 0),
        # The empty catalog is on the instance, too.
        ("teardownLakebase", {}, [IN_USE, CONFIRM, AT_STAKE], 1),
        ("teardownLakebase", {"confirmDeletion": True}, [IN_USE, AT_STAKE], 1),
        ("teardownLakebase", {"discardStatusChanges": True}, [IN_USE, CONFIRM], 1),
        # The changes in a stopped instance cannot be counted.
        (
            "deleteDatabaseInstance",
            {"name": STOPPED, "confirmDeletion": True},
            [("RESOURCE_IN_USE", "name"), AT_STAKE],
            None,
        ),
        (
            "deleteDatabaseInstance",
            {"name": STOPPED, "discardStatusChanges": True},
            [("RESOURCE_IN_USE", "name"), CONFIRM],
            None,
        ),
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
def test_nothing_is_deleted_without_confirmation(
    operator: Operator, mutation: str, given: dict[str, Any], errors: list[tuple[str, str]], lost: int | None
) -> None:
    """A deletion is refused without confirmation, for the only copy of status changes, and for a resource in use."""
    payload = operator.send(mutation, **given)
    assert payload["operation"] is None
    assert codes_and_fields(payload["userErrors"]) == errors
    assert payload["plan"]["statusChangesLost"] == lost


def test_the_user_of_a_resource_is_named(operator: Operator) -> None:
    """The message names the catalog on an instance, and the synced table in a catalog."""
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
        ("createDatabaseCatalog", {**CREATE_CATALOG, "createDatabase": False}, ("RESOURCE_NOT_FOUND", "databaseName")),
        (
            "provisionLakebase",
            {
                "instanceName": "new-pg",
                "catalogName": "new",
                "tableName": "new.public.orders",
                "createDatabase": False,
                "acknowledgeCost": True,
            },
            ("RESOURCE_NOT_FOUND", "databaseName"),
        ),
        ("createSyncedTable", {**CREATE_TABLE, "policy": "TRIGGERED"}, ("SETTING_INVALID", "policy")),
        (
            "provisionLakebase",
            {"tableName": f"{CATALOG}.public.others", "policy": "CONTINUOUS", "acknowledgeCost": True},
            ("SETTING_INVALID", "policy"),
        ),
        ("createSyncedTable", {**CREATE_TABLE, "sourceTable": TABLE}, ("SOURCE_INVALID", "sourceTable")),
        ("createSyncedTable", {**CREATE_TABLE, "storageCatalog": "nowhere"}, ("RESOURCE_NOT_FOUND", "storageCatalog")),
        ("createSyncedTable", {**CREATE_TABLE, "storageSchema": "nowhere"}, ("RESOURCE_NOT_FOUND", "storageSchema")),
        ("createSyncedTable", {**CREATE_TABLE, "storageCatalog": CATALOG}, ("SETTING_INVALID", "storageCatalog")),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "storageCatalog": EMPTY.upper()},
            ("SETTING_INVALID", "storageCatalog"),
        ),
        (
            "provisionLakebase",
            {
                "catalogName": "new",
                "tableName": "new.public.orders",
                "storageCatalog": "New",
                "acknowledgeCost": True,
            },
            ("SETTING_INVALID", "storageCatalog"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "instanceName": INSTANCE, "databaseName": "others"},
            ("SETTING_INVALID", "databaseName"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "name": "main.nowhere.t", "instanceName": INSTANCE, "databaseName": DATABASE},
            ("RESOURCE_NOT_FOUND", "name"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "name": "nowhere.public.t", "instanceName": INSTANCE, "databaseName": DATABASE},
            ("RESOURCE_NOT_FOUND", "name"),
        ),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "name": "main.default.t", "instanceName": "nowhere", "databaseName": DATABASE},
            ("RESOURCE_NOT_FOUND", "instanceName"),
        ),
        (
            "createDatabaseInstance",
            {"name": "new-pg", "enableReadableSecondaries": True, "acknowledgeCost": True},
            ("SETTING_INVALID", "enableReadableSecondaries"),
        ),
        ("createSyncedTable", {**CREATE_TABLE, "name": f"{ASLEEP}.public.t"}, ("RESOURCE_NOT_READY", "name")),
        (
            "createSyncedTable",
            {**CREATE_TABLE, "name": "main.default.t", "instanceName": STOPPED, "databaseName": "orders"},
            ("RESOURCE_NOT_READY", "instanceName"),
        ),
        ("refreshSyncedTable", {"name": ASLEEP_TABLE}, ("RESOURCE_NOT_READY", "name")),
        ("ensureIndexes", {"tableName": ASLEEP_TABLE}, ("RESOURCE_NOT_READY", "tableName")),
        # The embedded PostgreSQL has no extension pg_trgm.
        ("ensureIndexes", {"tableName": TABLE, "text": True}, ("SETTING_INVALID", "text")),
        ("deleteSyncedTable", {"name": ASLEEP_TABLE, "confirmDeletion": True}, ("RESOURCE_NOT_READY", "name")),
        ("updateDatabaseInstance", {"name": "nowhere", "stopped": True}, ("RESOURCE_NOT_FOUND", "name")),
        (
            "updateDatabaseInstance",
            {"name": INSTANCE, "enableReadableSecondaries": True, "acknowledgeCost": True},
            ("SETTING_INVALID", "enableReadableSecondaries"),
        ),
        ("refreshSyncedTable", {"name": f"{CATALOG}.public.nowhere"}, ("RESOURCE_NOT_FOUND", "name")),
        ("ensureIndexes", {"tableName": f"{CATALOG}.public.nowhere"}, ("RESOURCE_NOT_FOUND", "tableName")),
    ],
)
def test_what_a_request_needs_has_to_exist(
    operator: Operator, mutation: str, given: dict[str, Any], error: tuple[str, str]
) -> None:
    """A source with its columns and changes, storage, a place to copy to, a running instance, and a second node."""
    assert codes_and_fields(refused(operator, mutation, given)) == [error]


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
def test_a_name_taken_by_a_different_resource_is_a_conflict(
    operator: Operator,
    mutation: str,
    given: dict[str, Any],
    field: str,
    differences: list[tuple[str, str, str]],
) -> None:
    """The differences have the names of the input's fields."""
    if mutation != "createDatabaseCatalog":
        given = {**given, "acknowledgeCost": True}
    (error,) = refused(operator, mutation, given)
    assert codes_and_fields([error]) == [("SPEC_CONFLICT", field)]
    assert [(one["field"], one["current"], one["wanted"]) for one in error["differences"]] == differences


def test_all_mistakes_are_reported_at_once(operator: Operator) -> None:
    """Mistakes in the input are reported together, and so are conflicts with what exists."""
    names = {"instanceName": "a/b", "catalogName": "main", "databaseName": "postgres", "sourceTable": "x"}
    errors = refused(operator, "provisionLakebase", {**names, "nodeCount": 0, "tableName": "main.public.t"})
    assert {field for _, field in codes_and_fields(errors)} == {*names, "nodeCount"}
    errors = refused(
        operator, "provisionLakebase", {"capacity": "CU_2", "databaseName": "others", "policy": "CONTINUOUS"}
    )
    assert codes_and_fields(errors) == [
        ("SPEC_CONFLICT", field) for field in ("instanceName", "catalogName", "tableName")
    ]


def test_a_dry_run_needs_no_confirmation_and_reports_conflicts(operator: Operator) -> None:
    """Nothing is begun, and conflicts come with the plan."""
    for mutation, given, errors in (
        ("createDatabaseInstance", {"name": "new-pg"}, []),
        ("teardownLakebase", {}, [IN_USE]),
        ("deleteDatabaseInstance", {"name": INSTANCE}, [("RESOURCE_IN_USE", "name")]),
        ("createDatabaseInstance", {"name": INSTANCE, "capacity": "CU_2"}, [("SPEC_CONFLICT", "name")]),
        ("createSyncedTable", {"name": NEW_TABLE, "timeseriesKey": "x"}, [("SOURCE_INVALID", "timeseriesKey")]),
    ):
        payload = operator.send(mutation, **given, dryRun=True)
        assert payload["operation"] is None
        assert payload["plan"]["steps"]
        assert codes_and_fields(payload["userErrors"]) == errors


@pytest.mark.parametrize(
    ("mutation", "name"),
    [
        ("deleteDatabaseInstance", "nowhere"),
        ("deleteDatabaseCatalog", "nowhere"),
        ("deleteSyncedTable", f"{CATALOG}.public.nowhere"),
        ("deleteSyncedTable", "nowhere.public.nowhere"),
    ],
)
def test_deleting_what_does_not_exist_begins_nothing(operator: Operator, mutation: str, name: str) -> None:
    """It succeeds with its plan, and has no operation."""
    payload = operator.send(mutation, name=name, confirmDeletion=True)
    assert payload["operation"] is None
    assert payload["userErrors"] == []
    assert [step["action"] for step in payload["plan"]["steps"]] == ["NOTHING"]


def test_a_conflicting_operation_is_named(operator: Operator, platform: LocalPlatform) -> None:
    """The same request again gets that operation; another one on the same resource is refused."""
    # The plan's read passes, and the step's is held.
    platform.fault("hold_before", method="GET", path=f"/api/2.0/database/synced_tables/{TABLE}", skip=1, times=1)
    begun = operator.send("provisionLakebase")
    wait_for(lambda: bool(platform.held()), what=lambda: f"the step to be held: {begun}")
    assert operator.send("provisionLakebase", tableName=TABLE)["operation"]["id"] == begun["operation"]["id"]
    others: list[tuple[str, dict[str, Any]]] = [
        ("deleteSyncedTable", {"name": TABLE, "confirmDeletion": True}),
        ("refreshSyncedTable", {}),
        ("ensureIndexes", {}),
        ("teardownLakebase", {"confirmDeletion": True, "discardStatusChanges": True}),
    ]
    for mutation, given in others:
        (error,) = refused(operator, mutation, given)
        assert codes_and_fields([error]) == [("OPERATION_IN_PROGRESS", "")]
        assert error["operation"]["id"] == begun["operation"]["id"]
        assert TABLE in error["message"]
    platform.release()
    assert operator.ended(begun)["state"] == "SUCCEEDED"
