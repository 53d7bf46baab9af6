"""What administration is asked for of the tables beside the orders, and how it shows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schema.graph import TABLES
from schema.ports.admin import administration as ports
from schema.ports.admin.tables import ServedTable, SyncedTableSpec
from tests.schema.admin.test_inputs import document
from tests.schema.recording import CONFIGURED, RecordingAdministration, answer

CUSTOMERS, NATIONS = "orders.public.customer_synced", "orders.tpch.nation_synced"
SERVING = replace(
    CONFIGURED,
    others=(ServedTable(CUSTOMERS, TABLES["customers"]), ServedTable(NATIONS, TABLES["nations"])),
)
NAMES = (SyncedTableSpec(CUSTOMERS), SyncedTableSpec(NATIONS))
# The four mutations about all served tables, with the names in their inputs.
ALL_NAMES = {"instanceName": "orders-pg", "catalogName": "orders", "tableName": "orders.public.orders_synced"}


async def others_of(mutation: str, given: dict[str, Any]) -> tuple[SyncedTableSpec, ...]:
    """The other tables in the request of a mutation with this input."""
    administration = RecordingAdministration(SERVING, outcome=ports.AdminOutcome())
    await answer(administration, document(mutation), input=given)
    ((_, submitted),) = [call for call in administration.calls if call[0] == "submit"]
    request: ports.AdminRequest = submitted[1]  # type: ignore[index] # the user and the request
    return request.others


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("refreshSyncedTable", {}),
        ("refreshSyncedTable", {"safetyNet": False, "dryRun": True}),
        ("ensureIndexes", {}),
        ("provisionLakebase", {}),
        ("provisionLakebase", {"tableName": "Orders.public.ORDERS_synced"}),
        ("teardownLakebase", {}),
        ("teardownLakebase", ALL_NAMES),
    ],
)
async def test_what_is_asked_of_everything_is_asked_of_all_served_tables(mutation: str, given: dict[str, Any]) -> None:
    """Without names, or with the configured ones where an input names instance and catalog too."""
    assert await others_of(mutation, given) == NAMES


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("refreshSyncedTable", {"name": "orders.public.orders_synced"}),
        ("refreshSyncedTable", {"name": NATIONS}),
        ("ensureIndexes", {"tableName": "orders.public.orders_synced"}),
        ("createSyncedTable", {"name": NATIONS}),
        ("deleteSyncedTable", {"name": NATIONS}),
        ("provisionLakebase", {"tableName": "orders.public.others"}),
        ("teardownLakebase", {**ALL_NAMES, "catalogName": "scratch", "tableName": "scratch.public.orders_synced"}),
    ],
)
async def test_what_is_asked_of_one_table_is_about_that_one_alone(mutation: str, given: dict[str, Any]) -> None:
    """Whatever else the server serves."""
    assert await others_of(mutation, given) == ()


async def test_the_others_are_made_in_the_manner_of_the_orders() -> None:
    """From the same schema, by the same policy, with the same storage. Keys of the orders are the orders' alone."""
    given = {
        "sourceTable": "shop.sales.orders",
        "primaryKey": ["id"],
        "timeseriesKey": "at",
        "policy": "TRIGGERED",
        "storageCatalog": "main",
        "storageSchema": "meta",
    }
    of_both: Any = {"policy": "TRIGGERED", "storage_catalog": "main", "storage_schema": "meta"}
    assert await others_of("provisionLakebase", given) == (
        SyncedTableSpec(CUSTOMERS, source="shop.sales.customer", **of_both),
        SyncedTableSpec(NATIONS, source="shop.sales.nation", **of_both),
    )


async def test_all_served_tables_are_looked_up_if_they_are_selected() -> None:
    """That of the orders first. The names alone need no call."""
    administration = RecordingAdministration(SERVING)
    names = ["orders.public.orders_synced", CUSTOMERS, NATIONS]
    found = await answer(administration, "{ lakebase { tableName tableNames } }")
    assert found["lakebase"] == {"tableName": names[0], "tableNames": names}
    assert administration.calls == []
    found = await answer(administration, "{ lakebase { syncedTables { name } } }")
    assert found["lakebase"]["syncedTables"] == [{"name": name} for name in names]
    assert administration.calls == [("synced_table", name) for name in names]
    nothing = await answer(RecordingAdministration(replace(CONFIGURED, table_name=None)), "{ lakebase { tableNames } }")
    assert nothing["lakebase"] == {"tableNames": []}
