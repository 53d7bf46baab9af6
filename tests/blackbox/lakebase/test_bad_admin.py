"""Admin inputs that are invalid in themselves: each gets a reason and a field, and no operation is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schema.relay.node import encode_global_id
from tests.blackbox.refusals import NOWHERE, audited, codes_and_fields, progress, reasons, refused, touched
from tests.servers.operator import CATALOG, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform

CREATE_TABLE = {"name": TABLE, "acknowledgeCost": True}
CREATE_CATALOG = {"name": CATALOG, "instanceName": INSTANCE, "databaseName": "orders"}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, with nothing on it."""
    with platform_directory() as directory, running_platform(directory) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator with the admin role."""
    with operated(platform) as operator:
        yield operator


@pytest.fixture(autouse=True)
def _nothing_is_made(platform: LocalPlatform) -> Iterator[None]:
    """Whatever a test sends, the platform gets GETs only, and stays empty."""
    yield
    changing, inventory = touched(platform)
    assert changing == {}
    assert not any(inventory.values())


BAD_INSTANCES = [
    "",
    " ",
    "..",
    "../catalogs/orders_catalog",
    f"{INSTANCE}/roles",
    f"{INSTANCE}?purge=true",
    f"{INSTANCE}#",
    f"..%2F{INSTANCE}",
    "órders",
    "😀",
    "a" * 64,
    "a\nb",
    "orders_pg",
]
BAD_CATALOGS = [
    "",
    "..",
    "a/b",
    "a?b",
    "a#b",
    "a%2Fb",
    "ö",
    "c" * 256,
    "system",
    "samples",
    "main",
    "Information_Schema",
]
BAD_TABLES = [
    "orders_synced",
    f"{TABLE}?purge_data=false",
    f"{TABLE}#",
    f"../{TABLE}",
    f"{CATALOG}.public.orders%2Fsynced",
    f"{CATALOG}.public.örders",
    f"{CATALOG}.public.{'t' * 64}",
    f"{CATALOG}.public.",
    f"{CATALOG}.pg_catalog.t",
    f"{CATALOG}.information_schema.t",
    "samples.tpch.orders",
]


@pytest.mark.parametrize(
    ("mutation", "given", "field"),
    [
        *(("deleteDatabaseInstance", {"name": name, "confirmDeletion": True}, "name") for name in BAD_INSTANCES),
        *(("createDatabaseInstance", {"name": name, "acknowledgeCost": True}, "name") for name in BAD_INSTANCES[:4]),
        ("updateDatabaseInstance", {"name": "a/b", "stopped": True}, "name"),
        *(("deleteDatabaseCatalog", {"name": name, "confirmDeletion": True}, "name") for name in BAD_CATALOGS),
        ("createDatabaseCatalog", {**CREATE_CATALOG, "instanceName": "a/b"}, "instanceName"),
        *(
            ("createDatabaseCatalog", {**CREATE_CATALOG, "databaseName": name}, "databaseName")
            for name in ("", "a/b", "postgres", "template1", "d" * 64)
        ),
        *(("deleteSyncedTable", {"name": name, "confirmDeletion": True}, "name") for name in BAD_TABLES),
        *(("createSyncedTable", {**CREATE_TABLE, "name": name}, "name") for name in BAD_TABLES[:4]),
        ("createSyncedTable", {**CREATE_TABLE, "sourceTable": "samples.tpch.orders/../x"}, "sourceTable"),
        ("createSyncedTable", {**CREATE_TABLE, "primaryKey": ["o_orderkey", 'o"x']}, "primaryKey.1"),
        ("createSyncedTable", {**CREATE_TABLE, "storageSchema": "information_schema"}, "storageSchema"),
        ("refreshSyncedTable", {"name": "a.b"}, "name"),
        ("ensureIndexes", {"tableName": "a.b"}, "tableName"),
        ("provisionLakebase", {"instanceName": "a/b", "acknowledgeCost": True}, "instanceName"),
        ("teardownLakebase", {"instanceName": "..", "catalogName": "c", "tableName": "c.public.t"}, "instanceName"),
    ],
)
def test_a_bad_name_is_refused(operator: Operator, mutation: str, given: dict[str, Any], field: str) -> None:
    """Characters that would change the path of a call, names that are too long, and names reserved by the platform."""
    assert codes_and_fields(refused(operator, mutation, given)) == [("NAME_INVALID", field)]


@pytest.mark.parametrize(
    ("mutation", "given", "field"),
    [
        *(
            (mutation, {**given, field: value}, field)
            for mutation, given in (
                ("createDatabaseInstance", {"name": "new-pg", "acknowledgeCost": True}),
                ("updateDatabaseInstance", {"name": INSTANCE, "acknowledgeCost": True}),
                ("provisionLakebase", {"acknowledgeCost": True}),
            )
            for field, value in (
                ("retentionWindowInDays", 1),
                ("retentionWindowInDays", 36),
                ("nodeCount", 0),
            )
        ),
        (
            "updateDatabaseInstance",
            {"name": "a", "nodeCount": 1, "enableReadableSecondaries": True},
            "enableReadableSecondaries",
        ),
        ("provisionLakebase", {"nodeCount": 1, "enableReadableSecondaries": True}, "enableReadableSecondaries"),
        ("updateDatabaseInstance", {"name": INSTANCE}, ""),
        ("createSyncedTable", {**CREATE_TABLE, "primaryKey": []}, "primaryKey"),
        ("createSyncedTable", {**CREATE_TABLE, "instanceName": INSTANCE}, "databaseName"),
    ],
)
def test_an_impossible_setting_is_refused(operator: Operator, mutation: str, given: dict[str, Any], field: str) -> None:
    """It is out of its range, or lacks another value that it needs."""
    assert codes_and_fields(refused(operator, mutation, given)) == [("SETTING_INVALID", field)]


@pytest.mark.parametrize("capacity", ["CU_3", "cu_1", "", 1])
def test_an_unknown_capacity_is_refused(operator: Operator, capacity: object) -> None:
    """In the document and in a variable alike, before anything is executed."""
    literal = str(capacity) or '""'
    answer = operator.answer(
        f'mutation {{ createDatabaseInstance(input: {{name: "new-pg", capacity: {literal}, acknowledgeCost: true}}) {{ userErrors {{ code }} }} }}'
    )
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["DOCUMENT_INVALID"]
    answer = operator.answer(
        "mutation($input: CreateDatabaseInstanceInput!) { createDatabaseInstance(input: $input) { userErrors { code } } }",
        input={"name": "new-pg", "capacity": capacity, "acknowledgeCost": True},
    )
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["VARIABLES_INVALID"]


def test_a_refused_input_is_audited(operator: Operator) -> None:
    """An admin's invalid input leaves an audit entry too."""
    refused(operator, "createDatabaseInstance", {"name": "a/b"})
    wait_for(
        lambda: ("createDatabaseInstance", "NAME_INVALID") in audited(operator.server),
        what=lambda: f"the audit: {audited(operator.server)}",
    )


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        *((f'databaseInstance(name: "{name}")', "NAME_INVALID") for name in ("", "a/b", "..", "a?b#", "a" * 64)),
        *((f'databaseCatalog(name: "{name}")', "NAME_INVALID") for name in ("", "../b", "a%2Fb", "system")),
        *(
            (f'syncedTable(name: "{name}")', "NAME_INVALID")
            for name in ("t", "a.b.c/d", "a.b.c.d", "samples.tpch.orders")
        ),
        *(
            (f'node(id: "{encode_global_id(kind, name)}")', "ID_INVALID")
            for kind, name in (("DatabaseInstance", "a/b"), ("SyncedTable", "a.b"), ("Operation", "a/b"), ("Job", "1"))
        ),
        ('operation(id: "nonsense")', "ID_INVALID"),
        (f'operation(id: "{encode_global_id("DatabaseInstance", INSTANCE)}")', "ID_INVALID"),
        *(
            (f"{pages}(first: {first})", "PAGE_SIZE_INVALID")
            for pages in ("databaseInstances", "operations")
            for first in (-1, 101)
        ),
        *(
            (f'{pages}(after: "{after}")', "CURSOR_INVALID")
            for pages in ("databaseInstances", "operations")
            # One of these is a cursor of orders.
            for after in ("", "x", "WzEsIm9yZGVyX2tleSsiLDFd", "WzEsIm9wZXJhdGlvbnMiLCJnb25lIl0")
        ),
    ],
)
def test_an_invalid_query_is_refused(operator: Operator, field: str, reason: str) -> None:
    """Its field is null, with a reason."""
    answer = operator.answer(f"{{ found: {field} {{ __typename }} }}")
    assert reasons(answer) == [reason]
    assert answer["data"] == {"found": None}


def test_a_resource_that_does_not_exist_is_null(operator: Operator) -> None:
    """By name and by id, without an error."""
    fields = (
        'databaseInstance(name: "nowhere")',
        'databaseCatalog(name: "nowhere")',
        'syncedTable(name: "nowhere.public.t")',
        f'operation(id: "{NOWHERE}")',
        f'operation(id: "{encode_global_id("Operation", "none")}")',
        f'node(id: "{NOWHERE}")',
        f'node(id: "{encode_global_id("DatabaseInstance", "nowhere")}")',
    )
    for field in fields:
        assert operator.ask(f"{{ found: {field} {{ __typename }} }}") == {"found": None}


def test_an_operation_that_does_not_exist_cannot_be_watched(operator: Operator) -> None:
    """The subscription ends with an error."""
    assert [reasons(answer) for answer in progress(operator.server, NOWHERE)] == [["RESOURCE_NOT_FOUND"]]
