"""Global ids of the graph's types, and schemas that serve some of the tables and fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schema import build_schema
from schema.graph import TABLES
from schema.relay.node import encode_global_id
from server.http.error_response import present
from tests.server.tables.conftest import reasons
from tests.servers.graph_tables import make_graph, orders_of, served

if TYPE_CHECKING:
    import asyncpg

    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore


@pytest.mark.parametrize(
    ("type_name", "key", "there"),
    [
        *(("Customer", key, True) for key in ("1", "-2147483648", "50")),
        *(("Customer", key, False) for key in ("41", "9223372036854775807", "-9223372036854775808")),
        *(("LineItem", key, True) for key in ("1:1", "999999:1", "33:7")),
        *(("LineItem", key, False) for key in ("1:8", "-1:1", "9223372036854775807:9223372036854775807")),
        *(("Part", key, there) for key, there in (("8", True), ("99", False))),
        *(("Nation", key, there) for key, there in (("24", True), ("77", False))),
        *(("Region", key, there) for key, there in (("3", True), ("9", False), ("2147483648", False))),
    ],
)
async def test_every_type_is_a_node(
    execute: Execute,
    context: Context,
    type_name: str,
    key: str,
    there: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """Its global id fetches it again, alone and among others."""
    given = encode_global_id(type_name, key)
    document = "query($id: ID!) { node(id: $id) { __typename id } nodes(ids: [$id, $id]) { __typename id } }"
    found = {"__typename": type_name, "id": given} if there else None
    answer = await execute(document, context=context, id=given)
    assert answer == {"data": {"node": found, "nodes": [found, found]}}


async def test_nodes_of_all_types_are_fetched_at_once(
    execute: Execute, context: Context, statements: list[str]
) -> None:
    """In one statement for each table. What a type selects is read for it alone."""
    ids = [
        encode_global_id(*of)
        for of in (
            *(("LineItem", "1:1"), ("Nation", "0"), ("LineItem", "5:2"), ("Customer", "5"), ("Order", "1")),
            *(("Region", "4"), ("Part", "1"), ("Customer", "41")),
        )
    ]
    document = """query($ids: [ID!]!) { nodes(ids: $ids) {
      ... on LineItem { lineNumber part { partKey } } ... on Nation { name } ... on Customer { name }
      ... on Order { status } ... on Region { name } ... on Part { partKey }
    } }"""
    answer = await execute(document, context=context, ids=ids)
    assert answer == {
        "data": {
            "nodes": [
                {"lineNumber": 1, "part": {"partKey": "1"}},
                {"name": "ALGERIA"},
                {"lineNumber": 2, "part": {"partKey": "4"}},
                {"name": "Same"},
                {"status": "OPEN"},
                {"name": 'MIDDLE "EAST"'},
                {"partKey": "1"},
                None,
            ]
        }
    }
    # The six tables, and the parts of the line items.
    assert len(statements) == 7


@pytest.mark.parametrize(
    ("type_name", "key"),
    [
        *(("LineItem", key) for key in ("1", "1:0", "1:x", "1:1:1", "1:", ":1", "1:-1", "1:01", "01:1", "1::1")),
        *(("LineItem", key) for key in ("1:9223372036854775808", "1: 1", "1;1", "1:1.0")),
        *(("Customer", key) for key in ("1:1", "x", "01", "9223372036854775808", "-0")),
        *(("Region", key) for key in ("AFRICA", "1:1")),
        *((name, "1") for name in ("customer", "Customers", "CustomerConnection", "MarketSegment", "Query")),
    ],
)
async def test_an_id_that_no_row_can_have_is_refused(
    execute: Execute, context: Context, type_name: str, key: str
) -> None:
    """The other ids of the same list are answered."""
    good = encode_global_id("LineItem", "1:1")
    document = "query($bad: ID!, $good: ID!) { node(id: $bad) { id } nodes(ids: [$good, $bad]) { id } }"
    answer = await execute(document, context=context, bad=encode_global_id(type_name, key), good=good)
    assert answer["data"] == {"node": None, "nodes": [{"id": good}, None]}
    assert sorted(reasons(answer)) == [("ID_INVALID", ["node"]), ("ID_INVALID", ["nodes", 1])]


async def test_what_is_not_served_is_not_there(context: Context) -> None:
    """Without a table its fields are unknown, and the ids of its type are invalid. The other tables are served."""
    schema = build_schema(tables={"customers"})
    assert not {"LineItem", "Part", "Nation", "Region"} & schema._schema.type_map.keys()  # noqa: SLF001 # Strawberry has no public way to it
    ids = [encode_global_id(*of) for of in (("Customer", "1"), ("LineItem", "1:1"), ("Nation", "1"))]
    result = await schema.execute(
        "query($ids: [ID!]!) { nodes(ids: $ids) { id } order(orderKey: 1) { customer { name } } }",
        variable_values={"ids": ids},
        context_value=context,
    )
    answer, _ = present(result, is_admin=True)
    assert answer["data"] == {
        "nodes": [{"id": ids[0]}, None, None],
        "order": {"customer": {"name": "Customer#000000001"}},
    }
    assert reasons(answer) == [("ID_INVALID", ["nodes", 1]), ("ID_INVALID", ["nodes", 2])]
    refused = await schema.execute("{ order(orderKey: 1) { lineItems { totalCount } } }", context_value=context)
    assert refused.errors


@pytest.mark.parametrize("left_out", [None, *TABLES])
def test_the_schema_of_any_tables_is_whole(left_out: str | None) -> None:
    """Whichever table is left out, and with none but one."""
    for tables in (TABLES.keys() - {left_out}, TABLES.keys() & {left_out}):
        fields = build_schema(tables=tables)._schema.query_type  # noqa: SLF001 # as above
        assert fields
        assert ("customer" in fields.fields, "regions" in fields.fields) == (
            "customers" in tables,
            "regions" in tables,
        )


async def test_a_hidden_field_is_not_there_and_its_column_need_not_be(
    database: asyncpg.Connection, open_store: OpenStore
) -> None:
    """A deployment leaves out what is private, and need not sync it."""
    await make_graph(database, "graph_hidden")
    await database.execute("ALTER TABLE graph_hidden.customer_synced DROP COLUMN c_phone")
    hidden = {"Customer.phone", "LineItem.comment"}
    schema = build_schema(tables=TABLES, hidden_fields=hidden)
    _, context = open_store(orders_of("graph_hidden"), tables=served("graph_hidden"), hidden=hidden)
    answer = await schema.execute("{ customer(customerKey: 1) { name address } }", context_value=context)
    assert answer.data == {"customer": {"name": "Customer#000000001", "address": "1 Main St"}}
    for document in (
        "{ customer(customerKey: 1) { phone } }",
        "{ order(orderKey: 1) { lineItems { nodes { comment } } } }",
    ):
        assert (await schema.execute(document, context_value=context)).errors
