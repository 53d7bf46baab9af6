"""Admin inputs: all mistakes of an input are reported at once and audited, and nothing is sent to the platform."""

from __future__ import annotations

from typing import Any

import pytest

from schema.ports.admin import administration as ports
from schema.ports.admin import instances as instance_ports
from schema.ports.admin import operations as operation_ports
from schema.ports.admin import tables as table_ports
from schema.relay.node import encode_global_id
from tests.schema.recording import CONFIGURED, SCHEMA, UNSET, RecordingAdministration, answer, context, reasons, run

BAD_PARTS = [
    "",
    " ",
    "a/b",
    "../b",
    "..",
    ".",
    "a?force=true",
    "a#b",
    "a%2Fb",
    "a b",
    "a;b",
    "a\nb",
    "a\0b",
    "a\\b",
    "a'b",
    "örders",
    "orders\u200b",
    "\u0661",
    "\uff41",
    "😀",
]
BAD_INSTANCES = [*BAD_PARTS, "a.b", "a_b", "1a", "-a", "a-", "a\n", "a" * 64, "a" * 10_000]
BAD_CATALOGS = [
    *BAD_PARTS,
    "a-b",
    "a" * 256,
    *("system", "samples", "main", "hive_metastore", "information_schema", "__databricks_internal", "Main", "SYSTEM"),
]
BAD_DATABASES = [*BAD_PARTS, "a-b", "1a", "a" * 64, "postgres", "template0", "Template1"]
BAD_TABLES = [
    *BAD_PARTS,
    "orders",
    "orders.public",
    "orders.public.t.t",
    ".public.t",
    "orders..t",
    "orders.public.",
    "orders/../x.public.t",
    "orders.public.t?purge_data=false",
    "orders.public.t#",
    "or-ders.public.t",
    f"orders.public.{'t' * 64}",
    f"orders.{'s' * 64}.t",
    f"{'c' * 256}.public.t",
    "system.public.t",
    "samples.tpch.orders",
    "hive_metastore.public.t",
    "orders.information_schema.t",
    "orders.pg_catalog.t",
    "orders.PG_toast.t",
]
BAD_COLUMNS = ["", "a b", "a-b", "1a", 'a"b', "ä", "a" * 64]
INSTANCE, CATALOG, TABLE = "orders-pg", "orders", "orders.public.orders_synced"
CATALOG_INPUT = {"name": CATALOG, "instanceName": INSTANCE, "databaseName": "orders_db"}


def bad_names() -> list[tuple[str, dict[str, Any], str]]:
    """A mutation, an input whose only mistake is a name, and the field with the name."""
    of_instances: list[tuple[str, dict[str, Any], str]] = [
        ("createDatabaseInstance", {}, "name"),
        ("updateDatabaseInstance", {"stopped": True}, "name"),
        ("deleteDatabaseInstance", {}, "name"),
        ("createDatabaseCatalog", CATALOG_INPUT, "instanceName"),
        ("createSyncedTable", {"name": TABLE, "databaseName": "orders_db"}, "instanceName"),
        ("provisionLakebase", {}, "instanceName"),
        ("teardownLakebase", {"catalogName": CATALOG, "tableName": TABLE}, "instanceName"),
    ]
    of_catalogs = [("createDatabaseCatalog", CATALOG_INPUT, "name"), ("deleteDatabaseCatalog", {}, "name")]
    of_databases = [
        ("createDatabaseCatalog", CATALOG_INPUT, "databaseName"),
        ("createSyncedTable", {"name": TABLE, "instanceName": INSTANCE}, "databaseName"),
        ("provisionLakebase", {}, "databaseName"),
    ]
    of_tables: list[tuple[str, dict[str, Any], str]] = [
        ("createSyncedTable", {}, "name"),
        ("deleteSyncedTable", {}, "name"),
        ("refreshSyncedTable", {}, "name"),
        ("ensureIndexes", {}, "tableName"),
    ]
    of_columns = [("createSyncedTable", {"name": TABLE}, "timeseriesKey"), ("provisionLakebase", {}, "timeseriesKey")]
    return [
        (mutation, {**given, field: name}, field)
        for cases, names in (
            (of_instances, BAD_INSTANCES),
            (of_catalogs, BAD_CATALOGS),
            (of_databases, BAD_DATABASES),
            (of_tables, BAD_TABLES),
            (of_columns, BAD_COLUMNS),
        )
        for mutation, given, field in cases
        for name in names
    ]


def document(mutation: str) -> str:
    """A mutation that takes its input as a variable."""
    type_ = f"{mutation[0].upper()}{mutation[1:]}Input!"
    selection = "operation { id } plan { statusChangesLost } userErrors { code field message operation { id } }"
    return f"mutation($input: {type_}) {{ {mutation}(input: $input) {{ {selection} }} }}"


async def refusals(
    administration: RecordingAdministration, mutation: str, given: dict[str, Any]
) -> list[tuple[str, str]]:
    """The code and the path of every mistake, if nothing was sent and each reason was audited once."""
    payload = (await answer(administration, document(mutation), input=given))[mutation]
    assert payload["operation"] is None
    assert payload["plan"] is None
    assert administration.calls == []
    told = [(error["code"], ".".join(error["field"])) for error in payload["userErrors"]]
    assert [(user, action) for user, action, _ in administration.refused] == [("ann", mutation)] * len(
        {code for code, _ in told}
    )
    assert {reason.name for _, _, reason in administration.refused} == {code for code, _ in told}
    return told


@pytest.mark.parametrize(("mutation", "given", "field"), bad_names())
async def test_a_bad_name_is_never_sent(mutation: str, given: dict[str, Any], field: str) -> None:
    """It would become part of a URL path. The mistake names its field and is audited; the platform is not called."""
    assert await refusals(RecordingAdministration(), mutation, given) == [("NAME_INVALID", f"input.{field}")]


@pytest.mark.parametrize("name", ["main", "system", "no/where"])
async def test_a_catalog_of_the_platforms_is_not_torn_down(name: str) -> None:
    """Nor is a table in such a catalog."""
    given = {"instanceName": INSTANCE, "catalogName": name, "tableName": TABLE}
    assert await refusals(RecordingAdministration(), "teardownLakebase", given) == [
        ("NAME_INVALID", "input.catalogName"),
        ("NAME_INVALID", "input.tableName"),
    ]


@pytest.mark.parametrize(
    ("mutation", "given", "told"),
    [
        *(
            (mutation, {**given, field: value}, [("SETTING_INVALID", f"input.{field}")])
            for mutation, given in (
                ("createDatabaseInstance", {"name": INSTANCE}),
                ("updateDatabaseInstance", {"name": INSTANCE}),
                ("provisionLakebase", {}),
            )
            for field, value in (
                ("retentionWindowInDays", 1),
                ("retentionWindowInDays", 36),
                ("retentionWindowInDays", -7),
                ("nodeCount", 0),
                ("nodeCount", -1),
                ("nodeCount", 4),
            )
        ),
        *(
            (
                mutation,
                {**given, "nodeCount": 1, "enableReadableSecondaries": True},
                [("SETTING_INVALID", "input.enableReadableSecondaries")],
            )
            for mutation, given in (
                ("createDatabaseInstance", {"name": INSTANCE}),
                ("updateDatabaseInstance", {"name": INSTANCE}),
                ("provisionLakebase", {}),
            )
        ),
        ("updateDatabaseInstance", {"name": INSTANCE}, [("SETTING_INVALID", "input")]),
        ("updateDatabaseInstance", {"name": INSTANCE, "capacity": None}, [("SETTING_INVALID", "input")]),
        ("createSyncedTable", {"name": TABLE, "primaryKey": []}, [("SETTING_INVALID", "input.primaryKey")]),
        ("createSyncedTable", {"name": TABLE, "primaryKey": ["a", "a"]}, [("SETTING_INVALID", "input.primaryKey")]),
        (
            "createSyncedTable",
            {"name": TABLE, "primaryKey": [f"c{index}" for index in range(33)]},
            [("SETTING_INVALID", "input.primaryKey")],
        ),
        ("createSyncedTable", {"name": TABLE, "primaryKey": ["a", "b c"]}, [("NAME_INVALID", "input.primaryKey.1")]),
        ("createSyncedTable", {"name": TABLE, "sourceTable": "orders"}, [("NAME_INVALID", "input.sourceTable")]),
        ("createSyncedTable", {"name": TABLE, "sourceTable": "a.b.c/d"}, [("NAME_INVALID", "input.sourceTable")]),
        ("createSyncedTable", {"name": TABLE, "storageCatalog": "a/b"}, [("NAME_INVALID", "input.storageCatalog")]),
        ("createSyncedTable", {"name": TABLE, "storageCatalog": "samples"}, [("NAME_INVALID", "input.storageCatalog")]),
        ("createSyncedTable", {"name": TABLE, "storageSchema": "a?b"}, [("NAME_INVALID", "input.storageSchema")]),
        (
            "createSyncedTable",
            {"name": TABLE, "storageSchema": "information_schema"},
            [("NAME_INVALID", "input.storageSchema")],
        ),
        ("createSyncedTable", {"name": TABLE, "instanceName": INSTANCE}, [("SETTING_INVALID", "input.databaseName")]),
        (
            "createSyncedTable",
            {"name": TABLE, "databaseName": "orders_db"},
            [("SETTING_INVALID", "input.instanceName")],
        ),
        ("provisionLakebase", {"tableName": "others.public.t"}, [("NAME_INVALID", "input.tableName")]),
        ("provisionLakebase", {"catalogName": "others"}, [("NAME_INVALID", "input.tableName")]),
        (
            "provisionLakebase",
            {"catalogName": "main", "tableName": "main.public.t"},
            [("NAME_INVALID", "input.catalogName")],
        ),
        (
            "teardownLakebase",
            {"instanceName": "scratch"},
            [("NAME_INVALID", "input.catalogName"), ("NAME_INVALID", "input.tableName")],
        ),
        (
            "teardownLakebase",
            {"tableName": TABLE, "confirmDeletion": True},
            [("NAME_INVALID", "input.instanceName"), ("NAME_INVALID", "input.catalogName")],
        ),
        (
            "teardownLakebase",
            {"instanceName": INSTANCE, "catalogName": "scratch", "tableName": TABLE},
            [("NAME_INVALID", "input.tableName")],
        ),
    ],
)
async def test_what_does_not_go_together_is_never_sent(
    mutation: str, given: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    """A setting out of range, against another, or without its counterpart: the mistake names the field."""
    assert await refusals(RecordingAdministration(), mutation, given) == told


async def test_all_mistakes_are_reported_at_once() -> None:
    """Nobody has to correct one mistake to learn of the next."""
    given = {
        "instanceName": "a/b",
        "catalogName": "main",
        "databaseName": "postgres",
        "tableName": "main.pg_x.t",
        "nodeCount": 0,
        "retentionWindowInDays": 36,
        "sourceTable": "x",
        "primaryKey": ["a b", ""],
        "timeseriesKey": "?",
        "storageCatalog": "system",
        "storageSchema": "#",
    }
    told = await refusals(RecordingAdministration(), "provisionLakebase", given)
    assert {path.split(".")[1] for _, path in told} == given.keys()
    assert len(told) == len(given) + 1


@pytest.mark.parametrize("mutation", ["provisionLakebase", "teardownLakebase", "refreshSyncedTable", "ensureIndexes"])
async def test_a_missing_name_is_a_mistake(mutation: str) -> None:
    """If neither the input nor the settings have it, the mistake names both."""
    administration = RecordingAdministration(UNSET)
    payload = (await answer(administration, f"mutation {{ {mutation} {{ userErrors {{ code field message }} }} }}"))[
        mutation
    ]
    assert administration.calls == []
    for error in payload["userErrors"]:
        assert error["code"] == "NAME_INVALID"
        assert f"`{error['field'][1]}`" in error["message"]
        assert "`LAKEBASE_" in error["message"]
    assert payload["userErrors"]


async def test_a_configured_name_is_checked_too() -> None:
    """Settings can be wrong too: the mistake names the setting."""
    administration = RecordingAdministration(ports.Configured("a/b", "orders", "orders_db", TABLE))
    payload = (await answer(administration, "mutation { teardownLakebase { userErrors { field message } } }"))[
        "teardownLakebase"
    ]
    (error,) = payload["userErrors"]
    assert error["field"] == ["input", "instanceName"]
    assert "`LAKEBASE_INSTANCE_NAME`" in error["message"]


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("createDatabaseInstance", '{name: "a", capacity: CU_3}'),
        ("createDatabaseInstance", '{name: "a", capacity: "CU_1"}'),
        ("createDatabaseInstance", '{name: "a", nodeCount: 1.5}'),
        ("createDatabaseInstance", '{name: "a", acknowledgeCost: null}'),
        ("createDatabaseInstance", "{}"),
        ("createSyncedTable", '{name: "a.b.c", policy: SOMETIMES}'),
        ("deleteDatabaseInstance", '{name: "a", force: true}'),
    ],
)
async def test_what_the_schema_does_not_allow_is_never_run(mutation: str, given: str) -> None:
    """Such as an unknown capacity: the document is invalid, and the error has its location."""
    administration = RecordingAdministration()
    result = await run(administration, f"mutation {{ {mutation}(input: {given}) {{ userErrors {{ code }} }} }}")
    assert result.data is None
    assert result.errors
    assert administration.calls == []


REQUESTS: list[tuple[str, dict[str, Any], ports.AdminRequest]] = [
    (
        "createDatabaseInstance",
        {"name": "a" * 63},
        ports.AdminRequest(
            operation_ports.OperationKind.CREATE_INSTANCE, instance=instance_ports.InstanceSpec("a" * 63)
        ),
    ),
    (
        "createDatabaseInstance",
        {
            "name": "A-1",
            "capacity": "CU_8",
            "nodeCount": 2,
            "enableReadableSecondaries": True,
            "retentionWindowInDays": 35,
            "acknowledgeCost": True,
            "dryRun": True,
        },
        ports.AdminRequest(
            operation_ports.OperationKind.CREATE_INSTANCE,
            instance=instance_ports.InstanceSpec("A-1", "CU_8", 2, readable_secondaries=True, retention_days=35),
            acknowledge_cost=True,
            dry_run=True,
        ),
    ),
    (
        "updateDatabaseInstance",
        {"name": "a", "stopped": False, "capacity": "CU_2", "acknowledgeCost": True},
        ports.AdminRequest(
            operation_ports.OperationKind.UPDATE_INSTANCE,
            change=instance_ports.InstanceChange("a", capacity="CU_2", stopped=False),
            acknowledge_cost=True,
        ),
    ),
    (
        "updateDatabaseInstance",
        {"name": "a", "enableReadableSecondaries": True, "retentionWindowInDays": 2, "dryRun": True},
        ports.AdminRequest(
            operation_ports.OperationKind.UPDATE_INSTANCE,
            change=instance_ports.InstanceChange("a", readable_secondaries=True, retention_days=2),
            dry_run=True,
        ),
    ),
    (
        "deleteDatabaseInstance",
        {"name": "a", "confirmDeletion": True, "discardStatusChanges": True},
        ports.AdminRequest(
            operation_ports.OperationKind.DELETE_INSTANCE,
            instance_name="a",
            confirm_deletion=True,
            discard_status_changes=True,
        ),
    ),
    (
        "createDatabaseCatalog",
        {**CATALOG_INPUT, "databaseName": "databricks_postgres", "createDatabase": False},
        ports.AdminRequest(
            operation_ports.OperationKind.CREATE_CATALOG,
            catalog=table_ports.CatalogSpec(CATALOG, INSTANCE, "databricks_postgres", create_database=False),
        ),
    ),
    (
        "deleteDatabaseCatalog",
        {"name": "c" * 255, "dryRun": True},
        ports.AdminRequest(operation_ports.OperationKind.DELETE_CATALOG, catalog_name="c" * 255, dry_run=True),
    ),
    (
        "createSyncedTable",
        {"name": TABLE},
        ports.AdminRequest(
            operation_ports.OperationKind.CREATE_SYNCED_TABLE,
            table=table_ports.SyncedTableSpec(TABLE),
        ),
    ),
    (
        # An explicit null is the same as no word.
        "createSyncedTable",
        dict.fromkeys(("sourceTable", "primaryKey", "policy", "timeseriesKey", "instanceName"), None) | {"name": TABLE},
        ports.AdminRequest(operation_ports.OperationKind.CREATE_SYNCED_TABLE, table=table_ports.SyncedTableSpec(TABLE)),
    ),
    (
        "createSyncedTable",
        {
            "name": "main.default.t",
            "sourceTable": "main.default.s",
            "primaryKey": ["a", "b"],
            "policy": "CONTINUOUS",
            "timeseriesKey": "at",
            "instanceName": INSTANCE,
            "databaseName": "orders_db",
            "storageCatalog": "main",
            "storageSchema": "meta",
            "acknowledgeCost": True,
        },
        ports.AdminRequest(
            operation_ports.OperationKind.CREATE_SYNCED_TABLE,
            table=table_ports.SyncedTableSpec(
                "main.default.t",
                "main.default.s",
                ("a", "b"),
                "CONTINUOUS",
                "at",
                INSTANCE,
                "orders_db",
                "main",
                "meta",
            ),
            acknowledge_cost=True,
        ),
    ),
    (
        "deleteSyncedTable",
        {"name": TABLE, "confirmDeletion": True},
        ports.AdminRequest(operation_ports.OperationKind.DELETE_SYNCED_TABLE, table_name=TABLE, confirm_deletion=True),
    ),
    (
        "refreshSyncedTable",
        {},
        ports.AdminRequest(operation_ports.OperationKind.REFRESH_SYNCED_TABLE, table_name=CONFIGURED.table_name),
    ),
    (
        "ensureIndexes",
        {"tableName": "c.s.t", "dryRun": True},
        ports.AdminRequest(operation_ports.OperationKind.ENSURE_INDEXES, table_name="c.s.t", dry_run=True),
    ),
    (
        "provisionLakebase",
        {"acknowledgeCost": True},
        ports.AdminRequest(
            operation_ports.OperationKind.PROVISION,
            instance=instance_ports.InstanceSpec("orders-pg"),
            catalog=table_ports.CatalogSpec("orders", "orders-pg", "orders_db"),
            table=table_ports.SyncedTableSpec(TABLE),
            acknowledge_cost=True,
        ),
    ),
    (
        "teardownLakebase",
        {"dryRun": True},
        ports.AdminRequest(
            operation_ports.OperationKind.TEARDOWN,
            instance_name="orders-pg",
            catalog_name="orders",
            table_name=TABLE,
            dry_run=True,
        ),
    ),
    (
        "teardownLakebase",
        {"instanceName": "i", "catalogName": "C", "tableName": "c.s.t", "confirmDeletion": True},
        ports.AdminRequest(
            operation_ports.OperationKind.TEARDOWN,
            instance_name="i",
            catalog_name="C",
            table_name="c.s.t",
            confirm_deletion=True,
        ),
    ),
]


@pytest.mark.parametrize(("mutation", "given", "request_"), REQUESTS)
async def test_a_good_input_is_handed_on_as_it_is(
    mutation: str, given: dict[str, Any], request_: ports.AdminRequest
) -> None:
    """With the recipe's defaults, the configured names if none is given, and every flag as the operator set it."""
    administration = RecordingAdministration(outcome=ports.AdminOutcome())
    await answer(administration, document(mutation), input=given)
    assert administration.calls == [("submit", ("ann", request_))]
    assert administration.refused == []


@pytest.mark.parametrize(
    ("field", "names"),
    [("databaseInstance", BAD_INSTANCES), ("databaseCatalog", BAD_CATALOGS), ("syncedTable", BAD_TABLES)],
)
async def test_a_bad_name_is_not_looked_up(field: str, names: list[str]) -> None:
    """The same rules hold for reading."""
    administration = RecordingAdministration()
    for name in names:
        result = await run(administration, f"query($name: String!) {{ {field}(name: $name) {{ name }} }}", name=name)
        assert result.data == {field: None}
        assert reasons(result) == ["NAME_INVALID"]
    assert administration.calls == []


@pytest.mark.parametrize(
    ("type_name", "keys"),
    [
        ("DatabaseInstance", BAD_INSTANCES),
        ("DatabaseCatalog", BAD_CATALOGS),
        ("SyncedTable", BAD_TABLES),
        ("Operation", [*BAD_PARTS, "a" * 65, "a.b"]),
    ],
)
async def test_an_id_does_not_bypass_the_rules(type_name: str, keys: list[str]) -> None:
    """A forged global id does not get another name to the platform either."""
    administration = RecordingAdministration()
    for key in keys:
        id_ = encode_global_id(type_name, key)
        result = await run(administration, "query($id: ID!) { node(id: $id) { id } operation(id: $id) { id } }", id=id_)
        assert result.data == {"node": None, "operation": None}
        assert reasons(result) == ["ID_INVALID"] * 2
        stream: Any = await SCHEMA.subscribe(
            "subscription($id: ID!) { operationProgress(id: $id) { id } }",
            variable_values={"id": id_},
            context_value=context(administration),
        )
        assert [reasons(result) async for result in stream] == [["ID_INVALID"]]
    assert administration.calls == []
