"""The statements of a graph: one for each relation of each level, whatever the number of rows; or one for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from schema.context import Context
    from tests.server.conftest import Execute

# A document with the size of its outermost page, and the number of its relations, pages and counts.
LEVELS = {
    "an order page": (
        """query($n: Int!) { orders(first: $n) { nodes {
          orderKey customer { name nation { name region { name } } }
          lineItems(first: 2) { nodes { lineNumber part { partKey brand } } pageInfo { hasNextPage endCursor } }
        } } }""",
        6,
    ),
    "counts": (
        """query($n: Int!) { orders(first: $n) { nodes {
          lineItems { totalCount } customer { orders { totalCount nodes { orderKey lineItems { totalCount } } } }
        } } }""",
        6,
    ),
    "a relation and back": (
        """query($n: Int!) { orders(first: $n) { nodes {
          customer { orders(first: 2) { nodes { customer { orders(last: 2) { nodes { orderKey } } } } } }
        } } }""",
        5,
    ),
    "one relation in two places": (
        """query($n: Int!) { orders(first: $n) { nodes {
          lineItems(first: 1) { nodes { lineNumber } } last: lineItems(last: 1) { nodes { lineNumber } }
          customer { name } again: customer { address }
        } } }""",
        4,
    ),
}


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("name", LEVELS)
async def test_a_level_is_one_statement(
    request: pytest.FixtureRequest,
    answer_either_way: Execute,
    context: Context,
    statements: list[str],
    name: str,
    size: int,
) -> None:
    """For a page of one order or of many. Answered from a plan, the whole operation is one."""
    document, levels = LEVELS[name]
    answer = await answer_either_way(document, context=context, n=size)
    assert "errors" not in answer
    planned = request.node.callspec.params["answer_either_way"] == "fast"
    assert len(statements) == (1 if planned else levels)


async def test_equal_relations_of_one_level_share_a_statement(
    execute: Execute, context: Context, statements: list[str]
) -> None:
    """Two places that lead to the same table read its rows together."""
    document = """{ orders(first: 3) { nodes { customer { name } again: customer { address } } } }"""
    assert "errors" not in await execute(document, context=context)
    assert len(statements) == 2
    assert "c_name" in statements[1]
    assert "c_address" in statements[1]


async def test_what_nobody_selects_is_not_read(
    answer_either_way: Execute, context: Context, statements: list[str]
) -> None:
    """Neither a page of which only the type is wanted, nor a count."""
    document = "{ orders(first: 3) { nodes { orderKey lineItems { __typename pageInfo { __typename } } } } }"
    assert "errors" not in await answer_either_way(document, context=context)
    assert len(statements) == 1
    assert "lineitem" not in statements[0]


async def test_where_no_row_leads_on_nothing_is_read(execute: Execute, context: Context, statements: list[str]) -> None:
    """A key that is null leads nowhere."""
    answer = await execute("{ order(orderKey: 34) { customer { name nation { name } } } }", context=context)
    assert answer == {"data": {"order": {"customer": None}}}
    assert len(statements) == 1
