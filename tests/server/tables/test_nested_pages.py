"""Pages of rows that belong to a parent, and pages of customers: to their end in both directions, and cursors of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schema.relay.cursors import opaque
from tests.server.tables.conftest import reasons

if TYPE_CHECKING:
    from schema.context import Context
    from tests.server.conftest import Execute

# A page takes two of the three customers with one name and one balance.
SIZE = 2
_ARGUMENTS = "first: $first, after: $after, last: $last, before: $before"
_VARIABLES = "$first: Int, $after: String, $last: Int, $before: String"
# Each list: the fields around it, its own, the field of a row, and its order.
_LISTS = {
    "lines of an order": ("order(orderKey: 1)", "lineItems", "lineNumber", None),
    "lines of a part": ("part(partKey: 1)", "lineItems", "id", None),
    "orders of a customer": ("customer(customerKey: 1)", "orders", "orderKey", None),
    "orders by price": ("customer(customerKey: 1)", "orders", "orderKey", ("OrderOrder", "TOTAL_PRICE", "ASC")),
    "orders by date, descending": (
        "customer(customerKey: 1)",
        "orders",
        "orderKey",
        ("OrderOrder", "ORDER_DATE", "DESC"),
    ),
    "customers of a nation": ("order(orderKey: 1) { customer { nation", "customers", "customerKey", None),
    **{
        f"customers by {field}, {direction}": (None, "customers", "customerKey", ("CustomerOrderBy", field, direction))
        for field in ("CUSTOMER_KEY", "NAME", "ACCOUNT_BALANCE")
        for direction in ("ASC", "DESC")
    },
}


def document(parent: str | None, field: str, of_row: str, by: tuple[str, str, str] | None) -> str:
    """The document of a page of a list."""
    variables = _VARIABLES + (f", $by: {by[0]} = {{field: {by[1]}, direction: {by[2]}}}" if by else "")
    page = f"""{field}({_ARGUMENTS}{", orderBy: $by" if by else ""}) {{
      edges {{ cursor node {{ {of_row} }} }} nodes {{ {of_row} }} totalCount
      pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
    }}"""
    around = f"{parent} {{ {page} }}" if parent else page
    return f"query({variables}) {{ {around}{' }' * around.count('{', 0, len(parent or ''))} }}"


def page_in(data: dict[str, Any], field: str) -> dict[str, Any]:
    """The page in an answer, however deep it is."""
    while field not in data:
        (data,) = data.values()
    page: dict[str, Any] = data[field]
    return page


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("name", _LISTS)
async def test_pages_to_the_end_are_the_whole_list(
    answer_either_way: Execute,
    context: Context,
    name: str,
    backward: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """Page by page in either direction: each row once, in one order, with exact flags, whatever the sort values are."""
    parent, field, of_row, by = _LISTS[name]
    text = document(parent, field, of_row, by)
    whole = page_in((await answer_either_way(text, context=context, first=100))["data"], field)
    rows = whole["nodes"]
    assert whole["totalCount"] == len(rows) > SIZE
    assert whole["edges"] == [
        {"cursor": edge["cursor"], "node": row} for edge, row in zip(whole["edges"], rows, strict=True)
    ]
    found: list[Any] = []
    given: dict[str, Any] = {"last" if backward else "first": SIZE}
    there = True
    while there:
        answer = await answer_either_way(text, context=context, **given)
        assert "errors" not in answer
        page = page_in(answer["data"], field)
        info = page["pageInfo"]
        assert 0 < len(page["nodes"]) <= SIZE
        assert page["totalCount"] == len(rows)
        assert info["startCursor"] == page["edges"][0]["cursor"]
        assert info["endCursor"] == page["edges"][-1]["cursor"]
        # There are rows behind a page unless it is the first.
        assert info["hasNextPage" if backward else "hasPreviousPage"] is bool(found)
        found = [*page["edges"], *found] if backward else [*found, *page["edges"]]
        given |= {"before": info["startCursor"]} if backward else {"after": info["endCursor"]}
        there = info["hasPreviousPage" if backward else "hasNextPage"]
    assert found == whole["edges"]


async def test_a_page_of_each_of_many_parents_is_the_page_of_each_alone(
    answer_either_way: Execute, context: Context
) -> None:
    """Of parents with many rows, few or none; the order of the parents is that of their list."""
    lines = "lineItems(last: 2) { nodes { lineNumber } totalCount pageInfo { hasNextPage hasPreviousPage endCursor } }"
    together = await answer_either_way(f"{{ orders {{ nodes {{ orderKey {lines} }} }} }}", context=context)
    orders = together["data"]["orders"]["nodes"]
    assert len(orders) == 15
    for order in orders:
        alone = await answer_either_way(
            f"{{ order(orderKey: {order['orderKey']}) {{ orderKey {lines} }} }}", context=context
        )
        assert alone["data"]["order"] == order


async def test_a_page_of_size_0_has_its_flags_and_its_count(answer_either_way: Execute, context: Context) -> None:
    """The flags say whether there are any rows."""
    document = """{ orders(first: 3) { nodes {
      lineItems(first: 0) { nodes { id } totalCount pageInfo { hasNextPage hasPreviousPage endCursor } }
    } } }"""
    answer = await answer_either_way(document, context=context)
    assert [order["lineItems"] for order in answer["data"]["orders"]["nodes"]] == [
        {
            "nodes": [],
            "totalCount": count,
            "pageInfo": {"hasNextPage": count > 0, "hasPreviousPage": False, "endCursor": None},
        }
        for count in (7, 0, 2)
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *(
            (f"{argument}: {size}", "PAGE_SIZE_INVALID")
            for argument in ("first", "last")
            for size in (-1, 1001, 2**31 - 1)
        ),
        *((arguments, "PAGE_ARGUMENTS_CONFLICT") for arguments in ("first: 1, last: 1", 'after: "x", before: "x"')),
        *((f'{argument}: "{cursor}"', "CURSOR_INVALID") for argument in ("after", "before") for cursor in ("", "x")),
    ],
)
async def test_bad_arguments_of_a_nested_page_null_it_alone(
    execute: Execute, context: Context, arguments: str, reason: str
) -> None:
    """Of each parent; the parents and other pages of theirs keep their data."""
    document = f"""{{ orders(first: 2) {{ nodes {{
      orderKey bad: lineItems({arguments}) {{ nodes {{ id }} }} good: lineItems {{ totalCount }}
    }} }} }}"""
    answer = await execute(document, context=context)
    assert answer["data"]["orders"]["nodes"] == [
        {"orderKey": "1", "bad": None, "good": {"totalCount": 7}},
        {"orderKey": "2", "bad": None, "good": {"totalCount": 0}},
    ]
    assert reasons(answer) == [(reason, ["orders", "nodes", index, "bad"]) for index in (0, 1)]


CURSORS = {
    "of the same list": (opaque([1, "line_items.order_key.order_key+", 1, 1, 2]), None),
    "of another parent": (opaque([1, "line_items.order_key.order_key+", 3, 3, 1]), "CURSOR_INVALID"),
    "of another relation": (opaque([1, "line_items.part_key.order_key+", 1, 1, 1]), "CURSOR_INVALID"),
    "of another table": (opaque([1, "orders.customer_key.order_key+", 1, 1]), "CURSOR_INVALID"),
    "of the root": (opaque([1, "order_key+", 1]), "CURSOR_INVALID"),
    "of the same table without a parent": (opaque([1, "line_items.order_key+", 1, 1]), "CURSOR_INVALID"),
    "of another order": (opaque([1, "line_items.order_key.order_key-", 1, 1, 2]), "CURSOR_ORDER_MISMATCH"),
    "without a part of the key": (opaque([1, "line_items.order_key.order_key+", 1, 1]), "CURSOR_INVALID"),
    "without a parent": (opaque([1, "line_items.order_key.order_key+"]), "CURSOR_INVALID"),
    "with another part": (opaque([1, "line_items.order_key.order_key+", 1, 1, 2, 3]), "CURSOR_INVALID"),
    "with a parent that is a string": (opaque([1, "line_items.order_key.order_key+", "1", 1, 2]), "CURSOR_INVALID"),
    "with a parent that is true": (opaque([1, "line_items.order_key.order_key+", True, 1, 2]), "CURSOR_INVALID"),
    "with a parent that is a float": (opaque([1, "line_items.order_key.order_key+", 1.0, 1, 2]), "CURSOR_INVALID"),
    "with a part that is true": (opaque([1, "line_items.order_key.order_key+", 1, 1, True]), "CURSOR_INVALID"),
    "with a part that is null": (opaque([1, "line_items.order_key.order_key+", 1, 1, None]), "CURSOR_INVALID"),
    "with a part that is too large": (opaque([1, "line_items.order_key.order_key+", 1, 1, 2**63]), "CURSOR_INVALID"),
}


@pytest.mark.parametrize("name", CURSORS)
async def test_a_cursor_is_valid_in_its_own_list_alone(execute: Execute, context: Context, name: str) -> None:
    """One of another parent, table or order is refused, and the page beside it is answered."""
    cursor, reason = CURSORS[name]
    document = """query($after: String) { order(orderKey: 1) {
      page: lineItems(first: 1, after: $after) { nodes { lineNumber } } lineItems(first: 1) { nodes { lineNumber } }
    } }"""
    answer = await execute(document, context=context, after=cursor)
    assert answer["data"]["order"] == {
        "page": None if reason else {"nodes": [{"lineNumber": 3}]},
        "lineItems": {"nodes": [{"lineNumber": 1}]},
    }
    assert reasons(answer) == ([(reason, ["order", "page"])] if reason else [])


async def test_a_cursor_of_one_of_several_parents_pages_that_one(execute: Execute, context: Context) -> None:
    """The other parents get an error for their own page."""
    document = """query($after: String) { orders(first: 3) { nodes {
      orderKey lineItems(first: 1, after: $after) { nodes { lineNumber } pageInfo { hasPreviousPage } }
    } } }"""
    cursor = opaque([1, "line_items.order_key.order_key+", 3, 3, 1])
    answer = await execute(document, context=context, after=cursor)
    assert [order["lineItems"] for order in answer["data"]["orders"]["nodes"]] == [
        None,
        None,
        {"nodes": [{"lineNumber": 3}], "pageInfo": {"hasPreviousPage": True}},
    ]
    at = ["orders", "nodes"]
    assert reasons(answer) == [("CURSOR_INVALID", [*at, index, "lineItems"]) for index in (0, 1)]


CURSORS_OF_CUSTOMERS = {
    "by name": ("NAME", opaque([1, "customers.name+", 1, "Customer#000000001"]), None),
    "by a null name": ("NAME", opaque([1, "customers.name+", 50, None]), None),
    "by a name that is not ASCII": ("NAME", opaque([1, "customers.name+", 40, "Łukasz 🦀"], escaped=False), None),
    "with that name escaped": ("NAME", opaque([1, "customers.name+", 40, "Łukasz 🦀"]), "CURSOR_INVALID"),
    "by a name with a NUL": ("NAME", opaque([1, "customers.name+", 1, "a\0"]), "CURSOR_INVALID"),
    "by half a character": ("NAME", opaque([1, "customers.name+", 1, "\ud800"]), "CURSOR_INVALID"),
    "by a name that is a number": ("NAME", opaque([1, "customers.name+", 1, 1]), "CURSOR_INVALID"),
    "by a long name": ("NAME", opaque([1, "customers.name+", 1, "n" * 5_000]), None),
    "by a name that is too long": ("NAME", opaque([1, "customers.name+", 1, "n" * 9_000]), "CURSOR_INVALID"),
    "by a balance, for names": (
        "NAME",
        opaque([1, "customers.account_balance+", 1, "100.00"]),
        "CURSOR_ORDER_MISMATCH",
    ),
    "by a balance": ("ACCOUNT_BALANCE", opaque([1, "customers.account_balance+", 1, "100.00"]), None),
    "by NaN": ("ACCOUNT_BALANCE", opaque([1, "customers.account_balance+", 51, "NaN"]), None),
    "by a balance with an exponent": (
        "ACCOUNT_BALANCE",
        opaque([1, "customers.account_balance+", 1, "1e2"]),
        "CURSOR_INVALID",
    ),
    "of orders": ("CUSTOMER_KEY", opaque([1, "order_key+", 1]), "CURSOR_INVALID"),
    "of a nation's customers": (
        "CUSTOMER_KEY",
        opaque([1, "customers.nation_key.customer_key+", 0, 1]),
        "CURSOR_INVALID",
    ),
    "by key": ("CUSTOMER_KEY", opaque([1, "customers.customer_key+", 1]), None),
}


@pytest.mark.parametrize("name", CURSORS_OF_CUSTOMERS)
async def test_a_cursor_of_customers_is_one_that_they_can_have(execute: Execute, context: Context, name: str) -> None:
    """A text is read as it was written, and any other spelling is refused."""
    field, cursor, reason = CURSORS_OF_CUSTOMERS[name]
    document = """query($after: String, $by: CustomerOrderBy) {
      customers(first: 2, after: $after, orderBy: $by) { nodes { customerKey } pageInfo { hasPreviousPage } }
    }"""
    answer = await execute(document, context=context, after=cursor, by={"field": field})
    assert reasons(answer) == ([(reason, ["customers"])] if reason else [])
    assert (answer["data"]["customers"] is None) is bool(reason)
