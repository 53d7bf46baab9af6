"""Plans know what depends on a resource, take as found what is not named, and tell what a mutation brings with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service.database import (
    DatabaseInstanceRef,
    DatabaseTable,
    SyncedTableState,
)

from tests.blackbox.refusals import changing, codes_and_fields, refused
from tests.servers.operator import CATALOG, DATABASE, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform, synced_table
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

UNITY = "/api/2.1/unity-catalog"
CUSTOMERS = f"{CATALOG}.public.customers"
CUSTOMER_SPEC = {"sourceTable": "samples.tpch.customer", "primaryKey": ["c_custkey"]}
DELETIONS = {"confirmDeletion": True, "discardStatusChanges": True}
CONFIGURED = """{ lakebase { instanceName catalogName databaseName tableName
  instance { name } catalog { name } syncedTable { name } } }"""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator who has provisioned."""
    with operated(platform) as operator:
        operator.provisioned()
        yield operator


@pytest.fixture(autouse=True)
def _no_faults(platform: LocalPlatform) -> Iterator[None]:
    """Switch off the faults that the test has switched on."""
    yield
    platform.clear_faults()


@contextlib.contextmanager
def _catalog(platform: LocalPlatform, operator: Operator) -> Iterator[str]:
    """A catalog that only Unity Catalog lists."""
    del operator
    platform.create_catalog("elsewhere", INSTANCE, "elsewhere")
    yield "catalog elsewhere"
    platform.workspace().database.delete_database_catalog("elsewhere")


@contextlib.contextmanager
def _own_catalog(platform: LocalPlatform, operator: Operator) -> Iterator[str]:
    """A catalog that this server has created, while Unity Catalog lists none."""
    operator.done("createDatabaseCatalog", name="Second", instanceName=INSTANCE, databaseName="second")
    platform.fault("forbidden", method="GET", path=f"{UNITY}/catalogs", times=None)
    yield "catalog second"
    platform.workspace().database.delete_database_catalog("second")


@contextlib.contextmanager
def _table_elsewhere(platform: LocalPlatform, operator: Operator) -> Iterator[str]:
    """A synced table in a standard catalog."""
    del operator
    table = synced_table("main.default.orders")
    table.database_instance_name, table.logical_database_name = INSTANCE, DATABASE
    database = platform.workspace().database
    database.create_synced_database_table(table)
    platform.wait_for_table("main.default.orders")
    yield "synced table main.default.orders"
    database.delete_synced_database_table("main.default.orders", purge_data=True)


@contextlib.contextmanager
def _second_table(platform: LocalPlatform, operator: Operator) -> Iterator[str]:
    """Another synced table in the catalog."""
    operator.done("createSyncedTable", name=CUSTOMERS, **CUSTOMER_SPEC, acknowledgeCost=True)
    yield f"synced table {CUSTOMERS}"
    platform.workspace().database.delete_synced_database_table(CUSTOMERS, purge_data=True)


@contextlib.contextmanager
def _registered_table(platform: LocalPlatform, operator: Operator) -> Iterator[str]:
    """A table that was registered in the catalog without a sync."""
    del operator
    name, database = f"{CATALOG}.orders_app.order_status", platform.workspace().database
    database.create_database_table(DatabaseTable(name, INSTANCE, DATABASE))
    yield f"table {name}"
    database.delete_database_table(name)


@contextlib.contextmanager
def _child(platform: LocalPlatform, operator: Operator) -> Iterator[str]:
    """A copy of the instance."""
    del operator
    platform.create_instance("copy", parent_instance_ref=DatabaseInstanceRef(name=INSTANCE))
    yield "child instance copy"
    platform.workspace().database.delete_database_instance("copy", purge=True)
    wait_for(lambda: "copy" not in {one["name"] for one in platform.inventory()["instances"]}, what=platform.log)


@pytest.mark.parametrize(
    "dependent", [_catalog, _own_catalog, _table_elsewhere, _second_table, _registered_table, _child]
)
def test_a_teardown_that_the_platform_would_refuse_half_way_deletes_nothing(
    platform: LocalPlatform, operator: Operator, dependent: Any
) -> None:
    """The dry run and the mutation name what else is on the instance or in the catalog."""
    with dependent(platform, operator) as name:
        before = changing(platform), platform.inventory()
        for given in ({"dryRun": True}, DELETIONS):
            errors = refused(operator, "teardownLakebase", given)
            assert {error["code"] for error in errors} == {"RESOURCE_IN_USE"}
            assert any(name in error["message"] for error in errors), errors
            # What the teardown itself deletes does not stand in its way.
            assert not any(f"{kind}," in error["message"] for error in errors for kind in (CATALOG, TABLE))
        assert (changing(platform), platform.inventory()) == before


def test_an_instance_is_not_deleted_while_anything_is_on_it(platform: LocalPlatform, operator: Operator) -> None:
    """The refusal names all dependents at once."""
    with _table_elsewhere(platform, operator) as table, _catalog(platform, operator) as catalog:
        (error,) = refused(operator, "deleteDatabaseInstance", {"name": INSTANCE, **DELETIONS})
        for name in (table, catalog, f"catalog {CATALOG}", f"synced table {TABLE}"):
            assert name in error["message"]


async def test_a_table_with_a_view_on_it_is_not_deleted(platform: LocalPlatform, operator: Operator) -> None:
    """PostgreSQL would not drop it: the dry runs name the view."""
    host = operator.instance_host()
    connection = await platform.connect(host, database=DATABASE)
    await connection.execute("CREATE VIEW public.dear AS SELECT * FROM public.orders_synced WHERE o_totalprice > 9")
    for mutation, given in (("deleteSyncedTable", {"name": TABLE}), ("teardownLakebase", {})):
        errors = refused(operator, mutation, {**given, "dryRun": True})
        assert [error["code"] for error in errors] == ["RESOURCE_IN_USE"]
        assert "view dear" in errors[0]["message"] or "view public.dear" in errors[0]["message"]
    await connection.execute("DROP VIEW public.dear")
    await connection.close()
    assert operator.send("deleteSyncedTable", name=TABLE, dryRun=True)["userErrors"] == []


def test_names_are_the_same_in_any_case(operator: Operator) -> None:
    """Unity Catalog ignores case: the catalog is found with its table, and the table with its source."""
    upper = CATALOG.upper()
    (error,) = refused(operator, "deleteDatabaseCatalog", {"name": upper, **DELETIONS})
    assert (error["code"], TABLE in error["message"]) == ("RESOURCE_IN_USE", True)
    plan = operator.send("teardownLakebase", instanceName=INSTANCE, catalogName=upper, tableName=TABLE, dryRun=True)
    assert (plan["userErrors"], len(plan["plan"]["steps"])) == ([], 3)
    created = {"catalogName": upper, "tableName": TABLE.upper(), "sourceTable": "Samples.TPCH.Orders"}
    assert operator.send("provisionLakebase", **created, dryRun=True)["userErrors"] == []


def test_what_is_not_named_is_taken_as_found(platform: LocalPlatform, operator: Operator) -> None:
    """A creation that does not name a property of an instance, catalog or table finds any value of it as wanted."""
    operator.done(
        "updateDatabaseInstance",
        name=INSTANCE,
        capacity="CU_2",
        nodeCount=2,
        enableReadableSecondaries=True,
        retentionWindowInDays=9,
        acknowledgeCost=True,
    )
    operator.done("createSyncedTable", name=CUSTOMERS, **CUSTOMER_SPEC, acknowledgeCost=True)
    before = platform.inventory()
    # Readable secondaries are there with the two nodes that they need.
    operator.done("provisionLakebase", acknowledgeCost=True, enableReadableSecondaries=True)
    operator.done("provisionLakebase", tableName=CUSTOMERS, acknowledgeCost=True)
    operator.done("createSyncedTable", name=CUSTOMERS, acknowledgeCost=True)
    for mutation, given in (
        ("createDatabaseInstance", {"name": INSTANCE, "acknowledgeCost": True}),
        ("createDatabaseCatalog", {"name": CATALOG, "instanceName": INSTANCE, "databaseName": DATABASE}),
    ):
        payload = operator.send(mutation, **given)
        assert (payload["operation"], payload["userErrors"]) == (None, [])
    assert platform.inventory() == before
    # What is named is still compared.
    for field, value in (("capacity", "CU_1"), ("nodeCount", 1), ("retentionWindowInDays", 7)):
        errors = refused(operator, "provisionLakebase", {field: value, "acknowledgeCost": True})
        assert codes_and_fields(errors) == [("SPEC_CONFLICT", "instanceName")]
    operator.done("deleteSyncedTable", name=CUSTOMERS, confirmDeletion=True)
    operator.done(
        "updateDatabaseInstance", name=INSTANCE, capacity="CU_1", enableReadableSecondaries=False, nodeCount=1
    )


@pytest.mark.parametrize("named", [INSTANCE, ""])
def test_a_server_on_another_branch_leaves_the_main_branch_s_alone(
    platform: LocalPlatform, operator: Operator, named: str
) -> None:
    """Its names are those of its settings, but the catalog and the table with these names are the main branch's."""
    del operator
    endpoint = f"projects/{INSTANCE}/branches/dev/endpoints/primary"
    with operated(platform, LAKEBASE_ENDPOINT=endpoint, LAKEBASE_INSTANCE_NAME=named) as other:
        found = other.ask(CONFIGURED)["lakebase"]
        assert (found["instance"], found["catalog"], found["syncedTable"]) == ({"name": INSTANCE}, None, None)
        for mutation, given, error in (
            ("refreshSyncedTable", {}, ("SETTING_INVALID", "name")),
            ("ensureIndexes", {}, ("SETTING_INVALID", "tableName")),
            ("teardownLakebase", DELETIONS, ("SETTING_INVALID", "tableName")),
            ("provisionLakebase", {"acknowledgeCost": True}, ("SPEC_CONFLICT", "catalogName")),
        ):
            assert error in codes_and_fields(refused(other, mutation, given))


def test_a_refresh_says_that_it_costs_and_that_orders_may_be_away(operator: Operator) -> None:
    """Its pipeline costs only while it runs, so it needs no acknowledgement."""
    payload = operator.send("refreshSyncedTable", dryRun=True)
    (step,) = (step for step in payload["plan"]["steps"] if step["name"] == "sync_table")
    assert step["costs"] is True
    assert "missing or incomplete until the sync has ended" in step["message"]
    operator.done("refreshSyncedTable")


def test_a_refresh_of_a_table_whose_pipeline_is_gone_is_refused(platform: LocalPlatform, operator: Operator) -> None:
    """The platform would refuse to start it."""
    operator.done("createSyncedTable", name=CUSTOMERS, **CUSTOMER_SPEC, acknowledgeCost=True)
    pipeline = operator.ask(f'{{ syncedTable(name: "{CUSTOMERS}") {{ pipelineId }} }}')["syncedTable"]["pipelineId"]
    platform.workspace().pipelines.delete(pipeline)
    (error,) = refused(operator, "refreshSyncedTable", {"name": CUSTOMERS, "dryRun": True})
    assert (error["code"], "pipeline" in error["message"]) == ("RESOURCE_NOT_FOUND", True)
    operator.done("deleteSyncedTable", name=CUSTOMERS, confirmDeletion=True)


def test_a_resize_says_that_it_restarts(operator: Operator) -> None:
    """A longer retention does not restart the instance."""
    for change, restarts in (
        ({"capacity": "CU_2"}, True),
        ({"nodeCount": 2, "enableReadableSecondaries": True}, True),
        ({"retentionWindowInDays": 9}, False),
    ):
        (step,) = operator.send("updateDatabaseInstance", name=INSTANCE, **change, dryRun=True)["plan"]["steps"]
        assert ("restarts" in step["message"]) is restarts, step


def test_a_deletion_says_what_stays_and_what_goes(operator: Operator) -> None:
    """Status changes stay with the database. A teardown deletes it, and does not say that they stay."""
    operator.ask("mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL}) { change { cursor } } }")
    alone = operator.send("deleteSyncedTable", name=TABLE, dryRun=True)["plan"]
    assert alone["statusChangesLost"] == 0
    message = alone["steps"][-1]["message"]
    assert "orders cannot be read until" in message
    assert "status changes stay" in message
    torn = operator.send("teardownLakebase", dryRun=True)["plan"]
    assert torn["statusChangesLost"] == 1
    assert not any("stay" in step["message"] for step in torn["steps"])


def test_a_leftover_of_an_earlier_table_is_told(platform: LocalPlatform, operator: Operator) -> None:
    """A synced table that was deleted without its data leaves its PostgreSQL table, which the next one replaces."""
    creation = {"name": CUSTOMERS, **CUSTOMER_SPEC}
    fresh = operator.send("createSyncedTable", **creation, dryRun=True)["plan"]["steps"][0]["message"]
    assert "cannot be read until its first sync has ended" in fresh
    assert "left behind" not in fresh
    operator.done("createSyncedTable", **creation, acknowledgeCost=True)
    platform.workspace().database.delete_synced_database_table(CUSTOMERS)
    payload = operator.send("createSyncedTable", **creation, dryRun=True)
    assert payload["userErrors"] == []
    assert "left behind is replaced" in payload["plan"]["steps"][0]["message"]
    operator.done("createSyncedTable", **creation, acknowledgeCost=True)
    operator.done("deleteSyncedTable", name=CUSTOMERS, confirmDeletion=True)


def test_a_failed_sync_is_started_again_and_the_plan_says_so(platform: LocalPlatform, operator: Operator) -> None:
    """Its pipeline costs while it runs."""
    name, database = f"{CATALOG}.nowhere.orders", platform.workspace().database
    database.create_synced_database_table(synced_table(name, create_database_objects_if_missing=False))
    platform.wait_for_table(name, SyncedTableState.SYNCED_TABLE_OFFLINE_FAILED)
    step = operator.send("createSyncedTable", name=name, dryRun=True)["plan"]["steps"][0]
    assert (step["action"], step["costs"]) == ("SYNC", True)
    database.delete_synced_database_table(name, purge_data=True)


def test_what_changes_nothing_begins_no_operation(operator: Operator) -> None:
    """It succeeds with its plan."""
    for mutation, given in (
        ("createDatabaseInstance", {"name": INSTANCE}),
        ("updateDatabaseInstance", {"name": INSTANCE, "capacity": "CU_1", "stopped": False}),
        ("createDatabaseCatalog", {"name": CATALOG, "instanceName": INSTANCE, "databaseName": DATABASE}),
        ("ensureIndexes", {}),
        ("teardownLakebase", {"instanceName": "no", "catalogName": "no", "tableName": "no.public.t", **DELETIONS}),
    ):
        payload = operator.send(mutation, **given)
        assert (payload["operation"], payload["userErrors"]) == (None, []), payload
        assert {step["action"] for step in payload["plan"]["steps"]} == {"NOTHING"}
