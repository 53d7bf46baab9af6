"""The graph around the orders: every relation in each direction, and rows that the schema does not expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schema.relay.node import encode_global_id
from tests.server.tables.conftest import reasons

if TYPE_CHECKING:
    from schema.context import Context
    from tests.server.conftest import Execute


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            "{ order(orderKey: 4) { customer { customerKey name nation { nationKey name region { name } } } } }",
            {
                "order": {
                    "customer": {
                        "customerKey": "2",
                        "name": 'O\'Brien "the" \\ Great',
                        "nation": {"nationKey": 1, "name": "ARGENTINA", "region": {"name": "AMERICA"}},
                    }
                }
            },
        ),
        (
            "{ order(orderKey: 3) { lineItems { nodes { lineNumber order { orderKey } part { partKey name } } } } }",
            {
                "order": {
                    "lineItems": {
                        "nodes": [
                            {
                                "lineNumber": number,
                                "order": {"orderKey": "3"},
                                "part": {"partKey": "2", "name": "blush 'thistle' blue"},
                            }
                            for number in (1, 3)
                        ]
                    }
                }
            },
        ),
        (
            "{ part(partKey: 2) { lineItems { nodes { lineNumber order { orderKey } } totalCount } } }",
            {
                "part": {
                    "lineItems": {
                        "nodes": [
                            {"lineNumber": line, "order": None if order is None else {"orderKey": order}}
                            for order, line in (
                                *(("1", 2), ("1", 3), ("3", 1), ("3", 3), ("5", 1), ("33", 2)),
                                (None, 1),
                            )
                        ],
                        "totalCount": 7,
                    }
                }
            },
        ),
        (
            "{ customer(customerKey: 1) { orders { nodes { orderKey } totalCount } nation { customers(first: 2) { nodes { name } } } } }",
            {
                "customer": {
                    "orders": {
                        "nodes": [{"orderKey": key} for key in ("1", "2", "3", "36", "37", "38", "39")],
                        "totalCount": 7,
                    },
                    "nation": {"customers": {"nodes": [{"name": "Before all"}, {"name": "Customer#000000001"}]}},
                }
            },
        ),
        (
            "{ regions { regionKey nations { nationKey } } }",
            {
                "regions": [
                    {"regionKey": key, "nations": [{"nationKey": nation} for nation in nations]}
                    for key, nations in ((0, (0, 3)), (1, (1, 2, 24)), (2, (4,)), (3, ()), (4, ()))
                ]
            },
        ),
        (
            "{ nations { nationKey region { regionKey } } }",
            {
                "nations": [
                    {"nationKey": key, "region": None if region is None else {"regionKey": region}}
                    for key, region in ((0, 0), (1, 1), (2, 1), (3, 0), (4, 2), (5, None), (6, None), (24, 1))
                ]
            },
        ),
        (
            "{ orders(filter: {orderKey: {in: [33, 34, 35]}}) { nodes { customer { nation { name } } } } }",
            {"orders": {"nodes": [{"customer": None}, {"customer": None}, {"customer": {"nation": None}}]}},
        ),
        (
            "{ order(orderKey: 1) { lineItems(first: 3) { nodes { part { partKey } } } last: lineItems(last: 3) { nodes { part { partKey } } } } }",
            {
                "order": {
                    "lineItems": {"nodes": [{"part": {"partKey": key}} for key in ("1", "2", "2")]},
                    "last": {"nodes": [{"part": None}, {"part": None}, {"part": {"partKey": "1"}}]},
                }
            },
        ),
        (
            "{ order(orderKey: 2) { lineItems { edges { cursor } nodes { id } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }",
            {
                "order": {
                    "lineItems": {
                        "edges": [],
                        "nodes": [],
                        "totalCount": 0,
                        "pageInfo": {
                            "hasNextPage": False,
                            "hasPreviousPage": False,
                            "startCursor": None,
                            "endCursor": None,
                        },
                    }
                }
            },
        ),
        (
            "{ part(partKey: 8) { lineItems { nodes { id } totalCount } } customer(customerKey: 7) { orders { totalCount } } }",
            {"part": {"lineItems": {"nodes": [], "totalCount": 0}}, "customer": {"orders": {"totalCount": 0}}},
        ),
        (
            "{ part(partKey: 9) { id } customer(customerKey: 41) { id } }",
            {"part": None, "customer": None},
        ),
    ],
    ids=[
        *("order to region", "order to parts", "part to orders", "customer both ways", "region to nations"),
        *("nation to region", "orphans", "parts that are missing", "no lines", "no parents", "no rows"),
    ],
)
async def test_a_relation_leads_to_its_rows(
    answer_either_way: Execute, context: Context, document: str, expected: dict[str, Any]
) -> None:
    """To one and to many, in each direction. Where no row is there, the relation is null or empty."""
    assert await answer_either_way(document, context=context) == {"data": expected}


async def test_a_field_has_the_stored_value_in_its_form(answer_either_way: Execute, context: Context) -> None:
    """Keys and amounts are strings, char(n) has no padding, and enums have words."""
    document = """{ order(orderKey: 1) { lineItems(last: 1) { nodes {
      id quantity extendedPrice discount tax returnFlag status shipDate commitDate receiptDate shipInstructions shipMode
      comment part { id partKey name manufacturer brand type size container retailPrice comment }
    } } customer { id address phone accountBalance marketSegment comment nation { id region { id } } } } }"""
    answer = await answer_either_way(document, context=context)
    assert answer == {
        "data": {
            "order": {
                "lineItems": {
                    "nodes": [
                        {
                            "id": encode_global_id("LineItem", "1:7"),
                            "quantity": "17.00",
                            "extendedPrice": "24710.35",
                            "discount": "0.04",
                            "tax": "0.02",
                            "returnFlag": "NONE",
                            "status": "OPEN",
                            "shipDate": "1996-03-13",
                            "commitDate": "1996-02-12",
                            "receiptDate": "1996-03-22",
                            "shipInstructions": "DELIVER IN PERSON",
                            "shipMode": "TRUCK",
                            "comment": "line 7",
                            "part": {
                                "id": encode_global_id("Part", "1"),
                                "partKey": "1",
                                "name": "goldenrod lavender",
                                "manufacturer": "Manufacturer#1",
                                "brand": "Brand#13",
                                "type": "PROMO BURNISHED COPPER",
                                "size": 7,
                                "container": "JUMBO PKG",
                                "retailPrice": "901.00",
                                "comment": "part 1",
                            },
                        }
                    ]
                },
                "customer": {
                    "id": encode_global_id("Customer", "1"),
                    "address": "1 Main St",
                    "phone": "10-100-200",
                    "accountBalance": "100.00",
                    "marketSegment": "BUILDING",
                    "comment": "customer 1",
                    "nation": {
                        "id": encode_global_id("Nation", "0"),
                        "region": {"id": encode_global_id("Region", "0")},
                    },
                },
            }
        }
    }


async def test_a_value_that_its_type_refuses_nulls_its_own_row(execute: Execute, context: Context) -> None:
    """Each has an error of its own, and the rows beside it keep their data."""
    document = """{ order(orderKey: 4) { customer { name } lineItems { nodes {
      lineNumber quantity discount tax returnFlag status shipDate receiptDate shipMode
    } } } }"""
    answer = await execute(document, context=context)
    nodes = answer["data"]["order"].pop("lineItems")["nodes"]
    assert answer["data"] == {"order": {"customer": {"name": 'O\'Brien "the" \\ Great'}}}
    assert nodes == [None] * 6
    at = ["order", "lineItems", "nodes"]
    found = {tuple(path) for _, path in reasons(answer)}
    assert {path[3] for path in found} == {*range(6)}
    assert found >= {(*at, 0, "returnFlag"), (*at, 1, "quantity"), (*at, 2, "discount"), (*at, 3, "shipDate")}
    assert {reason for reason, _ in reasons(answer)} == {"DATA_INVALID"}


async def test_a_refused_value_of_a_row_that_one_leads_to_nulls_the_relation(
    execute: Execute, context: Context
) -> None:
    """A relation to one is nullable, so the row that leads to it stays. A listed row nulls its list."""
    document = """{
      customer(customerKey: 59) { name nation { name } }
      regions { regionKey nations { name } }
      part(partKey: 3) { name retailPrice }
      order(orderKey: 39) { orderKey lineItems { nodes { lineNumber part { name size } } } }
    }"""
    answer = await execute(document, context=context)
    assert answer["data"] == {
        "customer": {"name": "\U0010ffff\U0010ffffz", "nation": None},
        "regions": None,
        "part": None,
        "order": {
            "orderKey": "39",
            "lineItems": {"nodes": [{"lineNumber": number, "part": {"name": "", "size": 32767}} for number in (1, 2)]},
        },
    }
    assert sorted(path for _, path in reasons(answer)) == [
        ["customer", "nation", "name"],
        ["part", "retailPrice"],
        ["regions", 2, "nations", 0, "name"],
    ]
