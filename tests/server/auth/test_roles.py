"""Every read and every change needs a role."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from graphql import GraphQLObjectType, is_non_null_type, print_type
from strawberry.utils.str_converters import to_camel_case

from schema import Mutation, build_schema
from schema.admin.guard import RequiresAdmin
from schema.errors import ForbiddenError, Reason
from schema.graph import TABLES
from schema.nodes import NODE_TYPES
from schema.permissions import Principal, Role
from schema.relay.node import encode_global_id
from server.http.error_response import present

if TYPE_CHECKING:
    from tests.server.conftest import Execute, OpenStore

SCHEMA = build_schema(tables=TABLES)
CORE = SCHEMA._schema  # noqa: SLF001 # Strawberry has no public name for it
ARGUMENTS = {
    "order": "(orderKey: 1)",
    "customer": "(customerKey: 1)",
    "part": "(partKey: 1)",
    "orderGroups": "(by: [STATUS])",
    "node": '(id: "T3JkZXI6MQ==")',
    "nodes": '(ids: ["T3JkZXI6MQ=="])',
    "setOrderStatus": "(input: {orderKey: 1, status: OPEN})",
    "clearOrderStatus": "(input: {orderKey: 1})",
    "setOrderStatuses": "(input: {changes: []})",
    "databaseInstance": '(name: "orders-pg")',
    "databaseCatalog": '(name: "orders")',
    "syncedTable": '(name: "orders.public.orders_synced")',
    "operation": f'(id: "{encode_global_id("Operation", "1")}")',
    "operationProgress": f'(id: "{encode_global_id("Operation", "1")}")',
    "createDatabaseInstance": '(input: {name: "orders-pg"})',
    "updateDatabaseInstance": '(input: {name: "orders-pg", stopped: true})',
    "deleteDatabaseInstance": '(input: {name: "orders-pg"})',
    "undeleteDatabaseInstance": '(input: {name: "orders-pg"})',
    "createDatabaseBranch": '(input: {name: "dev"})',
    "updateDatabaseBranch": '(input: {name: "dev", protected: true})',
    "deleteDatabaseBranch": '(input: {name: "dev"})',
    "undeleteDatabaseBranch": '(input: {name: "dev"})',
    "restoreDatabase": '(input: {to: "2026-11-23T12:00:00Z"})',
    "createDatabaseSnapshot": '(input: {name: "monday"})',
    "deleteDatabaseSnapshot": '(input: {name: "monday"})',
    "createDatabaseCatalog": '(input: {name: "orders", instanceName: "orders-pg", databaseName: "orders"})',
    "deleteDatabaseCatalog": '(input: {name: "orders"})',
    "createSyncedTable": '(input: {name: "orders.public.orders_synced"})',
    "deleteSyncedTable": '(input: {name: "orders.public.orders_synced"})',
    "cancelOperation": f'(input: {{id: "{encode_global_id("Operation", "1")}"}})',
}
# A key that an object of the type may have.
KEYS = {
    "LineItem": "1:1",
    "DatabaseInstance": "orders-pg",
    "DatabaseCatalog": "orders",
    "SyncedTable": "orders.public.orders_synced",
    "AdminAuditEntry": "6f1ed002-ab55-4f4e-a7d3-0b1f1c9dc1a5",
    "DatabaseBranch": "orders-pg/dev",
    "DatabaseEndpoint": "orders-pg/dev/primary",
}


def documents() -> list[str]:
    """A document for each root field."""
    return [
        f"{operation} {{ {name}{ARGUMENTS.get(name, '')} {{ __typename }} }}"
        for operation in ("query", "mutation", "subscription")
        for name in root(operation).fields
    ]


def root(operation: str) -> GraphQLObjectType:
    """The root type of an operation."""
    type_ = getattr(CORE, f"{operation}_type")
    assert isinstance(type_, GraphQLObjectType), print_type(type_)
    return type_


@pytest.mark.parametrize("document", documents())
async def test_a_caller_without_a_role_gets_nothing(
    document: str, open_store: OpenStore, statements: list[str]
) -> None:
    """Each root field of each operation type is refused, and no statement is sent for it."""
    _, context = open_store(roles=frozenset())
    results: Any = await SCHEMA.stream(document, context_value=context)
    answers = [present(result)[0] async for result in results]
    assert len(answers) == 1
    (error,) = answers[0]["errors"]
    assert error["extensions"] == {"code": "FORBIDDEN", "reason": "ROLE_MISSING", "retryable": False}
    assert all(value is None for value in (answers[0].get("data") or {}).values())
    assert statements == []


async def test_node_does_not_bypass_a_role(
    execute: Execute, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, statements: list[str]
) -> None:
    """`node` and `nodes` need the role of the type that they return."""
    _, context = open_store(roles=frozenset({Role.READER}))
    for name, kind in NODE_TYPES.items():
        monkeypatch.setattr(kind, "role", Role.ADMIN)
        document = "query($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } }"
        answer = await execute(document, context=context, id=encode_global_id(name, KEYS.get(name, "1")))
        assert answer["data"] == {"node": None, "nodes": [None]}
        assert {error["extensions"]["reason"] for error in answer["errors"]} == {"ROLE_MISSING"}
    assert statements == []


async def test_a_reader_reads_and_does_not_write(execute: Execute, open_store: OpenStore) -> None:
    """The error names the missing role."""
    _, context = open_store(roles=frozenset({Role.READER}))
    assert (await execute("{ order(orderKey: 1) { orderKey } }", context=context))["data"]["order"]
    answer = await execute("mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }", context=context)
    assert answer["errors"][0]["message"] == "This needs the role `writer`; tester has: reader."


@pytest.mark.parametrize(
    ("began_with", "has", "missing"),
    [
        ({Role.READER}, {Role.READER}, None),
        ({Role.READER}, {Role.ADMIN}, None),
        ({Role.READER, Role.WRITER}, {Role.WRITER}, None),
        (set(), set(), None),
        ({Role.WRITER}, {Role.READER}, "writer"),
        ({Role.READER, Role.ADMIN}, {Role.READER}, "admin"),
        ({Role.READER}, set(), "reader"),
    ],
)
async def test_an_operation_that_lasts_needs_the_roles_with_which_it_began(
    open_store: OpenStore, began_with: set[Role], has: set[Role], missing: str | None
) -> None:
    """Others that the caller was given or lost meanwhile do not count."""

    async def renew(principal: Principal) -> Principal:
        return replace(principal, roles=frozenset(has))

    _, context = open_store(roles=frozenset(began_with))
    await context.check_roles()
    context = replace(context, renew=renew)
    if missing is None:
        await context.check_roles()
        return
    with pytest.raises(ForbiddenError, match=f"needs the role `{missing}`") as refused:
        await context.check_roles()
    assert refused.value.reason is Reason.ROLE_MISSING


def test_every_mutation_of_an_order_has_a_payload_that_is_not_nullable() -> None:
    """An admin mutation's payload is nullable, so that its failure leaves the fields beside it."""
    administers = {
        to_camel_case(field.python_name)
        for field in Mutation.__strawberry_definition__.fields  # type: ignore[attr-defined] # Strawberry adds it
        if any(isinstance(extension, RequiresAdmin) for extension in field.extensions)
    }
    fields = root("mutation").fields
    assert {name for name, field in fields.items() if not is_non_null_type(field.type)} == administers
