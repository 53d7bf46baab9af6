"""The statements for a query: one for each page, with only the selected columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from schema.orders.types import ORDERS

if TYPE_CHECKING:
    from tests.server.conftest import Execute

AFTER = "WzEsIm9yZGVyX2tleSsiLDEwMF0"  # the order key 100


def columns_of(statement: str) -> set[str]:
    """The columns in the select list of a statement; of the innermost one if they are nested."""
    select = statement.split(" FROM public.", 1)[0].rpartition("SELECT ")[2]
    names = [column.stored for column in ORDERS.columns if column.stored is not None]
    return {name for name in names if re.search(rf"\b{name}\b", select)}


@pytest.mark.parametrize(
    ("selection", "columns"),
    [
        ("nodes { comment }", {"o_comment"}),
        ("nodes { id }", {"o_orderkey"}),
        ("nodes { __typename }", set()),
        (
            "edges { node { total: totalPrice ...on Order { status } ...on Node { id } } }",
            {"o_totalprice", "o_orderstatus", "o_orderkey"},
        ),
        ("edges { node { clerk @skip(if: true) orderDate } }", {"o_orderdate"}),
        ("edges { cursor }", {"o_orderkey"}),
        ("nodes { clerk } again: nodes { orderDate }", {"o_clerk", "o_orderdate"}),
        ("pageInfo { hasNextPage }", set()),
        ("pageInfo { endCursor }", {"o_orderkey"}),
        ("...Part nodes { shipPriority }", {"o_shippriority", "o_custkey"}),
    ],
)
async def test_a_page_reads_the_selected_columns_in_one_statement(
    answer_either_way: Execute, statements: list[str], selection: str, columns: set[str]
) -> None:
    """A page is one statement, and only the selected columns are in it."""
    fragment = "fragment Part on OrderConnection { nodes { customerKey } }" if "Part" in selection else ""
    answer = await answer_either_way(f"{{ orders(first: 3) {{ {selection} }} }} {fragment}")
    assert "errors" not in answer
    assert len(statements) == 1
    assert columns_of(statements[0]) == columns


async def test_a_cursor_reads_the_column_it_is_made_of(answer_either_way: Execute, statements: list[str]) -> None:
    """Cursors of an order by price need the price and the key, and nothing else."""
    await answer_either_way("{ orders(orderBy: {field: TOTAL_PRICE}) { edges { cursor node { clerk } } } }")
    assert [columns_of(statement) for statement in statements] == [{"o_totalprice", "o_orderkey", "o_clerk"}]


@pytest.mark.parametrize("selection", ["totalCount", "__typename", "totalCount(precision: ESTIMATED)"])
async def test_no_page_is_read_where_none_is_selected(
    answer_either_way: Execute, statements: list[str], selection: str
) -> None:
    """A count alone costs only the count."""
    answer = await answer_either_way(f"{{ orders(filter: {{orderKey: {{lt: 50}}}}) {{ {selection} }} }}")
    assert "errors" not in answer
    assert not [statement for statement in statements if "LIMIT" in statement]


_EMPTY_PAGE = "edges { cursor } nodes { id } pageInfo { startCursor endCursor }"


@pytest.mark.parametrize(
    ("arguments", "selection"),
    [("", "__typename"), ("", "pageInfo { __typename }"), ("(first: 0)", _EMPTY_PAGE), ("(last: 0)", _EMPTY_PAGE)],
)
async def test_what_needs_no_page_takes_no_statement(
    answer_either_way: Execute, statements: list[str], arguments: str, selection: str
) -> None:
    """Neither the type of a connection, nor a page of size 0 without its flags."""
    assert "errors" not in await answer_either_way(f"{{ orders{arguments} {{ {selection} }} }}")
    assert statements == []


@pytest.mark.parametrize("arguments", ["first: 0", "last: 0"])
async def test_the_flags_of_an_empty_page_are_read(
    answer_either_way: Execute, statements: list[str], arguments: str
) -> None:
    """They say whether there are any orders."""
    answer = await answer_either_way(
        f"{{ orders({arguments}) {{ nodes {{ id }} pageInfo {{ hasNextPage hasPreviousPage }} }} }}"
    )
    forward = arguments == "first: 0"
    assert answer["data"]["orders"] == {
        "nodes": [],
        "pageInfo": {"hasNextPage": forward, "hasPreviousPage": not forward},
    }
    assert len(statements) == 1


@pytest.mark.parametrize(
    ("selection", "answered", "sent"),
    [
        ("__typename page pageSize hasPreviousPage", {"page": 3, "pageSize": 4, "hasPreviousPage": True}, 0),
        ("page totalCount totalPages", {"page": 3, "totalCount": 55, "totalPages": 14}, 1),
        ("hasNextPage", {"hasNextPage": True}, 1),
        ("nodes { orderKey }", {"nodes": [{"orderKey": str(key)} for key in (33, 34, 35, 36)]}, 1),
    ],
)
async def test_a_numbered_page_is_read_only_for_its_orders_and_what_follows(
    execute: Execute, statements: list[str], selection: str, answered: dict[str, object], sent: int
) -> None:
    """A user interface that asks only for the number of pages pays only for the count, not for the OFFSET."""
    document = f"{{ ordersPage(page: 3, pageSize: 4, filter: {{orderKey: {{lt: 200}}}}) {{ {selection} }} }}"
    answer = await execute(document)
    assert "errors" not in answer
    assert answered.items() <= answer["data"]["ordersPage"].items()
    assert len(statements) == sent
    assert ("OFFSET" in "".join(statements)) is ("nodes" in selection or "hasNextPage" in selection)


@pytest.mark.parametrize(
    ("document", "sent"),
    [
        ("{ orderStatusChanges { __typename pageInfo { __typename } } }", 0),
        ("{ orderStatusChanges { headCursor } }", 1),
        ("{ orderStatusChanges(first: 0) { nodes { id } } }", 0),
        ("{ orderStatusChanges(first: 0) { pageInfo { hasNextPage } } }", 1),
        ("{ orders(first: 5) { nodes { statusChanges { __typename pageInfo { __typename } } } } }", 1),
        ("{ orders(first: 5) { nodes { statusChanges { headCursor } } } }", 2),
        ("{ orders(first: 5) { nodes { statusChanges(first: 0) { nodes { id } } } } }", 1),
        ("{ orders(first: 5) { nodes { statusChanges { ...Page } } } }", 2),
        ("{ orders(first: 5) { nodes { statusChanges { nodes { id } pageInfo { endCursor } } } } }", 2),
    ],
)
async def test_a_page_of_changes_is_read_only_where_something_of_it_is_selected(
    execute: Execute, statements: list[str], document: str, sent: int
) -> None:
    """The head of the feed is one statement, the pages of all orders are another."""
    fragment = " fragment Page on OrderStatusChangeConnection { edges { cursor } }" if "...Page" in document else ""
    assert "errors" not in await execute(document + fragment)
    assert len(statements) == sent


async def test_the_look_back_is_part_of_the_page_and_only_where_selected(
    answer_either_way: Execute, statements: list[str]
) -> None:
    """`hasPreviousPage` after a cursor is a probe within the page's statement. Without the flag there is no probe."""
    selects = []
    for flag in ("hasPreviousPage", "hasNextPage"):
        statements.clear()
        document = f'{{ orders(first: 2, after: "{AFTER}") {{ pageInfo {{ {flag} }} nodes {{ clerk }} }} }}'
        assert "errors" not in await answer_either_way(document)
        (statement,) = statements
        selects.append(statement.count("SELECT"))
    assert selects[0] > selects[1]


async def test_all_single_orders_of_a_request_are_one_statement(
    answer_either_way: Execute, statements: list[str]
) -> None:
    """Aliases of order, node and nodes share one statement, with all their columns."""
    answer = await answer_either_way(
        """
        query($id: ID!, $ids: [ID!]!) {
          a: order(orderKey: 1) { clerk } b: order(orderKey: 2) { status } c: order(orderKey: "8") { id }
          d: node(id: $id) { ... on Order { orderDate } }
          e: nodes(ids: $ids) { id __typename }
        }
        """,
        id="T3JkZXI6Mw==",
        ids=["T3JkZXI6NA==", "T3JkZXI6OA==", "T3JkZXI6NA=="],
    )
    assert answer["data"]["c"] is None
    assert answer["data"]["e"][0] == answer["data"]["e"][2] == {"id": "T3JkZXI6NA==", "__typename": "Order"}
    assert answer["data"]["d"] == {"orderDate": "1993-10-14"}
    assert [columns_of(statement) for statement in statements] == [
        {"o_orderkey", "o_clerk", "o_orderstatus", "o_orderdate"}
    ]


async def test_twenty_pages_of_a_request_are_twenty_statements(execute: Execute, statements: list[str]) -> None:
    """Each page has its own statement, even if there are more pages than connections."""
    aliases = " ".join(f"p{n}: orders(first: {n}) {{ nodes {{ orderKey }} }}" for n in range(1, 21))
    answer = await execute(f"{{ {aliases} }}")
    assert [len(answer["data"][f"p{n}"]["nodes"]) for n in range(1, 21)] == list(range(1, 21))
    assert len(statements) == 20


@pytest.mark.parametrize(
    ("selection", "sets"), [("count", 0), ("byStatus { count }", 1), ("byStatus { count } byPriority { count }", 2)]
)
async def test_statistics_group_by_what_is_selected(
    execute: Execute, statements: list[str], selection: str, sets: int
) -> None:
    """Statistics are one statement, which groups only by what is selected."""
    answer = await execute(f"{{ orderStats(filter: {{orderKey: {{lt: 1000}}}}) {{ {selection} }} }}")
    assert "errors" not in answer
    assert len(statements) == 1
    assert len(columns_of(statements[0]) & {"o_orderstatus", "o_orderpriority"}) == sets
