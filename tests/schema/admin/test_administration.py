"""Admin fields: what they answer, who may use them, and how each fails without the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from graphql import is_enum_type

from schema.admin import guard as admin
from schema.errors import ForbiddenError, Reason, UnavailableError
from schema.permissions import Role
from schema.ports.admin import administration as ports
from schema.ports.admin import instances as instance_ports
from schema.ports.admin import operations as operation_ports
from schema.ports.admin import plans as plan_ports
from schema.ports.admin import tables as table_ports
from schema.relay.node import encode_global_id
from tests.schema.recording import SCHEMA, UNSET, RecordingAdministration, answer, context, operation, reasons, run
from tests.support.clock import in_virtual_time, now

if TYPE_CHECKING:
    from enum import Enum

OPERATION_ID = encode_global_id("Operation", "op1")
DOWN = UnavailableError(Reason.CONTROL_PLANE_UNAVAILABLE, "It does not answer.")
FORBIDDEN = ForbiddenError(Reason.PERMISSION_MISSING, "Grant CAN MANAGE on it.")
LAKEBASE = "{ lakebase { tableName instance { name } catalog { name } syncedTable { name indexes { name } } } }"
PLAN = plan_ports.Plan(
    (
        plan_ports.PlannedStep(
            "create instance",
            plan_ports.PlanAction.CREATE,
            "instance orders-pg",
            exists=False,
            message="Make it.",
            costs=True,
        ),
        plan_ports.PlannedStep(
            "create catalog",
            plan_ports.PlanAction.NOTHING,
            "catalog orders",
            exists=True,
            message="It is there.",
            differences=(plan_ports.Difference("databaseName", "a", "b"),),
        ),
    ),
    status_changes_lost=None,
)


async def test_everything_is_told_of_a_synced_table() -> None:
    """Including row counts beyond 32 bits, the pipeline's page, the instance, the catalog, and the indexes."""
    data = await answer(
        RecordingAdministration(),
        """{ syncedTable(name: "orders.public.orders_synced") { id name sourceTable primaryKey policy state message
            progress rowsSynced rowsTotal estimatedCompletionSeconds lastSyncFinishedAt pipelineId pipelineUrl
            instance { name state capacity nodeCount readableSecondaries retentionWindowInDays postgresVersion creator
                createdAt host readOnlyHost stopped }
            catalog { name instanceName databaseName instance { name } }
            indexes { name valid definition } } }""",
    )
    assert data["syncedTable"] == {
        "id": encode_global_id("SyncedTable", "orders.public.orders_synced"),
        "name": "orders.public.orders_synced",
        "sourceTable": "samples.tpch.orders",
        "primaryKey": ["o_orderkey"],
        "policy": "SNAPSHOT",
        "state": "PROVISIONING_INITIAL_SNAPSHOT",
        "message": "Copying.",
        "progress": 0.5,
        "rowsSynced": "3000000000",
        "rowsTotal": "6000000000",
        "estimatedCompletionSeconds": 60.0,
        "lastSyncFinishedAt": None,
        "pipelineId": "p1",
        "pipelineUrl": "https://example.com/pipelines/p1",
        "instance": {
            "name": "orders-pg",
            "state": "AVAILABLE",
            "capacity": "CU_1",
            "nodeCount": 1,
            "readableSecondaries": False,
            "retentionWindowInDays": 7,
            "postgresVersion": "PG_VERSION_16",
            "creator": "ann@example.com",
            "createdAt": "2026-11-23T12:00:00.000Z",
            "host": "10.0.0.1",
            "readOnlyHost": None,
            "stopped": False,
        },
        "catalog": {
            "name": "orders",
            "instanceName": "orders-pg",
            "databaseName": "orders_db",
            "instance": {"name": "orders-pg"},
        },
        "indexes": [{"name": "orders_pkey", "valid": True, "definition": "CREATE UNIQUE INDEX ..."}],
    }


async def test_what_is_not_selected_is_not_looked_up() -> None:
    """The platform and the database are asked only for what is selected."""
    administration = RecordingAdministration()
    await answer(administration, '{ lakebase { tableName } syncedTable(name: "a.b.c") { name instanceName } }')
    assert administration.calls == [("synced_table", "a.b.c")]


@pytest.mark.parametrize(
    ("failing", "path"),
    [
        ("instance", ["lakebase", "instance"]),
        ("catalog", ["lakebase", "catalog"]),
        ("synced_table", ["lakebase", "syncedTable"]),
        ("indexes", ["lakebase", "syncedTable", "indexes"]),
    ],
)
async def test_a_failing_field_leaves_the_others_alone(failing: str, path: list[str]) -> None:
    """Only its field is null, with its own error."""
    result = await run(RecordingAdministration(failures={failing: DOWN}), LAKEBASE)
    assert reasons(result) == ["CONTROL_PLANE_UNAVAILABLE"]
    assert result.errors
    assert result.errors[0].path == path
    found: Any = await answer(RecordingAdministration(), LAKEBASE)
    at = found
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = None
    assert result.data == found


async def test_without_configured_names_nothing_is_looked_up() -> None:
    """Its `lakebase` field is empty, without an error."""
    administration = RecordingAdministration(UNSET)
    assert await answer(administration, LAKEBASE) == {
        "lakebase": {"tableName": None, "instance": None, "catalog": None, "syncedTable": None}
    }
    assert administration.calls == []


@pytest.mark.parametrize(
    ("type_name", "key", "field"),
    [
        ("DatabaseInstance", "orders-pg", "name"),
        ("DatabaseCatalog", "orders", "name"),
        ("SyncedTable", f"{'c' * 255}.{'s' * 63}.{'t' * 63}", "name"),
        ("Operation", "op1", "requestedBy"),
    ],
)
async def test_an_id_leads_back_to_its_object(type_name: str, key: str, field: str) -> None:
    """By `node` and `nodes`, even with the longest name. Several ids of one object take one call."""
    administration, id_ = RecordingAdministration(story=[operation()]), encode_global_id(type_name, key)
    selection = f"__typename id ... on {type_name} {{ {field} }}"
    data = await answer(
        administration,
        f"query($id: ID!) {{ node(id: $id) {{ {selection} }} nodes(ids: [$id, $id]) {{ {selection} }} }}",
        id=id_,
    )
    assert data["node"] == {"__typename": type_name, "id": id_, field: "ann" if type_name == "Operation" else key}
    assert data["nodes"] == [data["node"]] * 2
    assert len(administration.calls) == 2


async def test_an_object_that_cannot_be_looked_up_is_null_with_its_reason() -> None:
    """The other elements of the list are there."""
    ids = [encode_global_id("DatabaseInstance", "a"), encode_global_id("DatabaseCatalog", "b")]
    administration = RecordingAdministration(failures={"instance": FORBIDDEN})
    result = await run(administration, "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
    assert result.data == {"nodes": [None, {"id": ids[1]}]}
    assert reasons(result) == ["PERMISSION_MISSING"]


async def test_a_dry_run_answers_with_the_plan() -> None:
    """For each step: what exists, what would change, what costs money, and what cannot be counted."""
    data = await answer(
        RecordingAdministration(outcome=ports.AdminOutcome(plan=PLAN)),
        """mutation { provisionLakebase(input: {dryRun: true}) { operation { id } userErrors { code }
            plan { statusChangesLost steps { name action resource exists message costs
                differences { field current wanted } } } } }""",
    )
    assert data["provisionLakebase"] == {
        "operation": None,
        "userErrors": [],
        "plan": {
            "statusChangesLost": None,
            "steps": [
                {
                    "name": "create instance",
                    "action": "CREATE",
                    "resource": "instance orders-pg",
                    "exists": False,
                    "message": "Make it.",
                    "costs": True,
                    "differences": [],
                },
                {
                    "name": "create catalog",
                    "action": "NOTHING",
                    "resource": "catalog orders",
                    "exists": True,
                    "message": "It is there.",
                    "costs": False,
                    "differences": [{"field": "databaseName", "current": "a", "wanted": "b"}],
                },
            ],
        },
    }


async def test_a_mutation_answers_with_its_operation_and_what_is_there() -> None:
    """The operation is the one that was started. Instance, catalog and table are looked up if selected."""
    failure = operation_ports.OperationFailure(Reason.SYNC_FAILED, "It failed.", retryable=True)
    begun = operation(state=operation_ports.OperationState.FAILED, failure=failure)
    administration = RecordingAdministration(outcome=ports.AdminOutcome(plan=PLAN, operation=begun))
    data = await answer(
        administration,
        """mutation { provisionLakebase(input: {acknowledgeCost: true}) {
            ... on AdminPayload { operation { id kind state progress requestedBy requestedAt finishedAt durable
                steps { name state startedAt finishedAt message resource progress }
                failure { reason message retryable } } }
            databaseInstance { name } databaseCatalog { name } syncedTable { name } } }""",
    )
    assert data["provisionLakebase"] == {
        "operation": {
            "id": OPERATION_ID,
            "kind": "PROVISION",
            "state": "FAILED",
            "progress": 0.5,
            "requestedBy": "ann",
            "requestedAt": "2026-11-23T12:00:00.000Z",
            "finishedAt": None,
            "durable": False,
            "steps": [
                {
                    "name": "create instance",
                    "state": "FAILED",
                    "startedAt": "2026-11-23T12:00:00.000Z",
                    "finishedAt": None,
                    "message": None,
                    "resource": "instance orders-pg",
                    "progress": 0.5,
                }
            ],
            "failure": {"reason": "SYNC_FAILED", "message": "It failed.", "retryable": True},
        },
        "databaseInstance": {"name": "orders-pg"},
        "databaseCatalog": {"name": "orders"},
        "syncedTable": {"name": "orders.public.orders_synced"},
    }
    assert [method for method, _ in administration.calls] == ["submit", "instance", "catalog", "synced_table"]


@pytest.mark.parametrize(
    ("mutation", "given", "field", "name"),
    [
        ("createDatabaseInstance", '{name: "a"}', "databaseInstance", "a"),
        ("updateDatabaseInstance", '{name: "a", stopped: true}', "databaseInstance", "a"),
        ("createDatabaseCatalog", '{name: "c", instanceName: "a", databaseName: "d"}', "databaseCatalog", "c"),
        ("createSyncedTable", '{name: "c.s.t"}', "syncedTable", "c.s.t"),
        ("refreshSyncedTable", '{name: "c.s.t"}', "syncedTable", "c.s.t"),
        ("ensureIndexes", '{tableName: "c.s.t"}', "syncedTable", "c.s.t"),
    ],
)
async def test_a_mutation_shows_what_it_is_about(mutation: str, given: str, field: str, name: str) -> None:
    """As it is now, by the name in the input. If the input is refused, nothing is looked up."""
    document = f"mutation {{ {mutation}(input: {given}) {{ {field} {{ name }} }} }}"
    administration = RecordingAdministration(outcome=ports.AdminOutcome())
    assert await answer(administration, document) == {mutation: {field: {"name": name}}}
    refused = RecordingAdministration()
    bad = document.replace(f'"{name}"', '"a/b"')
    assert await answer(refused, bad) == {mutation: {field: None}}
    assert refused.calls == []


async def test_a_refusal_of_the_ports_stands_in_user_errors() -> None:
    """With its path, its differences, and the operation that prevents it, which is looked up."""
    refusals = (
        ports.AdminRefusal(Reason.COST_NOT_ACKNOWLEDGED, "It costs.", "acknowledgeCost"),
        ports.AdminRefusal(
            Reason.SPEC_CONFLICT, "It is otherwise.", differences=(plan_ports.Difference("capacity", "CU_1", "CU_2"),)
        ),
        ports.AdminRefusal(Reason.OPERATION_IN_PROGRESS, "Wait.", operation_id="op1"),
    )
    administration = RecordingAdministration(
        outcome=ports.AdminOutcome(plan=PLAN, refusals=refusals), story=[operation()]
    )
    data = await answer(
        administration,
        """mutation { createDatabaseInstance(input: {name: "a"}) { operation { id } userErrors {
            code field message differences { field current wanted } operation { id } } } }""",
    )
    assert data["createDatabaseInstance"] == {
        "operation": None,
        "userErrors": [
            {
                "code": "COST_NOT_ACKNOWLEDGED",
                "field": ["input", "acknowledgeCost"],
                "message": "It costs.",
                "differences": [],
                "operation": None,
            },
            {
                "code": "SPEC_CONFLICT",
                "field": ["input"],
                "message": "It is otherwise.",
                "differences": [{"field": "capacity", "current": "CU_1", "wanted": "CU_2"}],
                "operation": None,
            },
            {
                "code": "OPERATION_IN_PROGRESS",
                "field": ["input"],
                "message": "Wait.",
                "differences": [],
                "operation": {"id": OPERATION_ID},
            },
        ],
    }
    # The audit entry is written where the refusal happens.
    assert administration.refused == []


async def test_an_operation_is_cancelled_by_its_id_and_for_its_caller() -> None:
    """The answer has the operation, or says that there is none. A bad id reaches no port, and is audited."""
    document = """mutation($id: ID!) { cancelOperation(input: {id: $id}) {
        operation { id state cancelRequestedBy } plan { statusChangesLost } userErrors { code field } } }"""
    administration = RecordingAdministration(outcome=ports.AdminOutcome(operation=operation(cancel_requested_by="ann")))
    assert (await answer(administration, document, id=OPERATION_ID))["cancelOperation"] == {
        "operation": {"id": OPERATION_ID, "state": "RUNNING", "cancelRequestedBy": "ann"},
        "plan": None,
        "userErrors": [],
    }
    assert administration.calls == [("cancel", ("op1", "ann", {"input": {"id": OPERATION_ID}}))]
    unknown = ports.AdminRefusal(Reason.RESOURCE_NOT_FOUND, "There is none.", "id")
    administration = RecordingAdministration(outcome=ports.AdminOutcome(refusals=(unknown,)))
    assert (await answer(administration, document, id=OPERATION_ID))["cancelOperation"] == {
        "operation": None,
        "plan": None,
        "userErrors": [{"code": "RESOURCE_NOT_FOUND", "field": ["input", "id"]}],
    }
    administration = RecordingAdministration()
    assert reasons(await run(administration, document, id=encode_global_id("SyncedTable", "a.b.c"))) == ["ID_INVALID"]
    assert administration.calls == []
    assert administration.refused == [("ann", "cancelOperation", Reason.ID_INVALID)]


async def test_what_the_platform_refuses_is_an_error_of_that_field() -> None:
    """A mutation beside it is still made."""
    administration = RecordingAdministration(failures={"submit": FORBIDDEN})
    result = await run(
        administration,
        """mutation { a: teardownLakebase { userErrors { code } }
            b: deleteDatabaseInstance(input: {name: "a/b"}) { userErrors { code } } }""",
    )
    assert result.data == {"a": None, "b": {"userErrors": [{"code": "NAME_INVALID"}]}}
    assert reasons(result) == ["PERMISSION_MISSING"]
    assert administration.refused == [
        ("ann", "teardownLakebase", Reason.PERMISSION_MISSING),
        ("ann", "deleteDatabaseInstance", Reason.NAME_INVALID),
    ]


async def test_a_failed_read_is_not_audited() -> None:
    """Reading is not audited. Changes are, and callers without the role."""
    administration = RecordingAdministration(failures={"instance": DOWN})
    assert reasons(await run(administration, '{ databaseInstance(name: "a") { name } }')) == [
        "CONTROL_PLANE_UNAVAILABLE"
    ]
    assert administration.refused == []


@pytest.mark.parametrize(
    ("document", "action"),
    [
        ("{ lakebase { tableName } }", "lakebase"),
        ("{ other: databaseInstances { nodes { name } } }", "databaseInstances"),
        ("mutation { teardownLakebase { userErrors { code } } }", "teardownLakebase"),
        ('mutation { deleteDatabaseInstance(input: {name: "a/b"}) { userErrors { code } } }', "deleteDatabaseInstance"),
        (f'{{ node(id: "{OPERATION_ID}") {{ id }} }}', "node"),
    ],
)
async def test_a_caller_without_the_role_is_audited(document: str, action: str) -> None:
    """Refused before anything else is checked, with an audit entry of who tried what."""
    administration = RecordingAdministration()
    result = await run(administration, document, Role.WRITER)
    assert reasons(result) == ["ROLE_MISSING"]
    assert administration.refused == [("ann", action, Reason.ROLE_MISSING)]
    assert administration.calls == []


@pytest.mark.parametrize("role", [Role.ADMIN, Role.WRITER])
async def test_the_audit_gets_the_input_as_it_was_given(role: Role) -> None:
    """By its names in the schema, without defaults, for what is done and for what is refused."""
    administration = RecordingAdministration(outcome=ports.AdminOutcome())
    document = """mutation($name: String!) { teardownLakebase(input: {
        instanceName: $name, catalogName: "c", tableName: "c.s.t", confirmDeletion: true }) { userErrors { code } } }"""
    await run(administration, document, role, name="orders-pg")
    assert administration.given == [
        {"input": {"instanceName": "orders-pg", "catalogName": "c", "tableName": "c.s.t", "confirmDeletion": True}}
    ]


async def test_many_ids_are_one_entry() -> None:
    """A single document with a thousand ids cannot flood the audit."""
    administration = RecordingAdministration()
    ids = [encode_global_id("Operation", f"op{number}") for number in range(1000)]
    result = await run(administration, "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", Role.READER, ids=ids)
    assert reasons(result) == ["ROLE_MISSING"] * 1000
    assert administration.refused == [("ann", "nodes", Reason.ROLE_MISSING)]


@pytest.mark.parametrize(
    ("slow", "document", "data"),
    [
        ("instance", '{ databaseInstance(name: "a") { name } }', {"databaseInstance": None}),
        ("submit", "mutation { teardownLakebase { userErrors { code } } }", {"teardownLakebase": None}),
        ("operation", f'{{ node(id: "{OPERATION_ID}") {{ id }} }}', {"node": None}),
        (
            "catalog",
            "{ lakebase { tableName catalog { name } } }",
            {"lakebase": {"tableName": "orders.public.orders_synced", "catalog": None}},
        ),
    ],
)
@in_virtual_time
async def test_no_field_waits_for_ever(slow: str, document: str, data: dict[str, Any]) -> None:
    """If the platform does not answer, the field that called it becomes an error after a while."""
    administration = RecordingAdministration(slow=frozenset({slow}), outcome=ports.AdminOutcome())
    result = await run(administration, document)
    assert result.data == data
    assert reasons(result) == ["CONTROL_PLANE_TIMEOUT"]
    assert now() == admin.ADMIN_SECONDS
    # A change that may have started is audited all the same.
    assert [action for _, action, _ in administration.refused] == (["teardownLakebase"] if slow == "submit" else [])


async def test_a_timeout_of_the_port_is_not_the_deadlines() -> None:
    """An error that the port itself raises is reported unchanged."""
    result = await run(
        RecordingAdministration(failures={"instance": TimeoutError()}), '{ databaseInstance(name: "a") { name } }'
    )
    assert result.errors
    assert isinstance(result.errors[0].original_error, TimeoutError)


async def progress(
    administration: RecordingAdministration, id_: str = OPERATION_ID, role: Role = Role.ADMIN
) -> list[Any]:
    """Every result of the subscription."""
    stream: Any = await SCHEMA.subscribe(
        "subscription($id: ID!) { operationProgress(id: $id) { state progress } }",
        variable_values={"id": id_},
        context_value=context(administration, role),
    )
    return [result async for result in stream]


async def test_an_operation_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every progress is sent, however long it takes: the deadline of the other fields does not apply."""
    monkeypatch.setattr(admin, "ADMIN_SECONDS", 0.0)
    states = [
        operation_ports.OperationState.PENDING,
        operation_ports.OperationState.RUNNING,
        operation_ports.OperationState.SUCCEEDED,
    ]
    results = await progress(RecordingAdministration(story=[operation(state=state) for state in states]))
    assert [result.errors for result in results] == [None] * 3
    assert [result.data["operationProgress"]["state"] for result in results] == ["PENDING", "RUNNING", "SUCCEEDED"]


async def test_an_operation_that_is_not_there_cannot_be_followed() -> None:
    """Its id may be from a process that has ended: the subscription ends with an error that says so."""
    administration = RecordingAdministration(story=[operation("another")])
    (result,) = await progress(administration)
    assert reasons(result) == ["RESOURCE_NOT_FOUND"]
    (result,) = await progress(administration, encode_global_id("DatabaseInstance", "op1"))
    assert reasons(result) == ["ID_INVALID"]
    (result,) = await progress(administration, role=Role.WRITER)
    assert reasons(result) == ["ROLE_MISSING"]
    assert administration.refused == [("ann", "operationProgress", Reason.ROLE_MISSING)]


async def test_unsubscribing_ends_the_work_of_the_port() -> None:
    """The port's generator is closed with the subscription, not when it is collected."""
    closed = asyncio.Event()

    class Endless(RecordingAdministration):
        async def progress(self, id_: str) -> Any:
            try:
                while True:
                    yield operation(id_)
            finally:
                closed.set()

    stream: Any = await SCHEMA.subscribe(
        f'subscription {{ operationProgress(id: "{OPERATION_ID}") {{ state }} }}', context_value=context(Endless())
    )
    await anext(stream)
    await stream.aclose()
    assert closed.is_set()


async def test_an_operation_is_found_by_its_id() -> None:
    """And an operation that does not exist is null."""
    document = "query($id: ID!) { operation(id: $id) { id } }"
    assert await answer(RecordingAdministration(story=[operation()]), document, id=OPERATION_ID) == {
        "operation": {"id": OPERATION_ID}
    }
    assert await answer(RecordingAdministration(), document, id=OPERATION_ID) == {"operation": None}


@pytest.mark.parametrize(
    ("port", "served"),
    [
        (instance_ports.InstanceState, "DatabaseInstanceState"),
        (table_ports.SyncState, "SyncedTableState"),
        (table_ports.SyncPolicy, "SyncPolicy"),
        (operation_ports.OperationKind, "OperationKind"),
        (operation_ports.OperationState, "OperationState"),
        (plan_ports.PlanAction, "PlanAction"),
    ],
)
def test_no_value_of_the_ports_is_unknown_to_the_schema(port: type[Enum], served: str) -> None:
    """So that a new value cannot become an internal error."""
    type_ = SCHEMA._schema.type_map[served]  # noqa: SLF001 # Strawberry has no public name for it
    assert is_enum_type(type_)
    assert type_.values.keys() == {word.name for word in port}
