"""Arguments that make no sense get a clear error with a code at their field, and the server goes on."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.values import anything

if TYPE_CHECKING:
    import httpx

Ask = Callable[..., dict[str, Any]]
BY_KEY = "WzEsIm9yZGVyX2tleSsiLDFd"  # the cursor of the order with key 1


def error_of(answer: dict[str, Any], field: str) -> dict[str, Any]:
    """The only error, which is at that field."""
    (error,) = answer["errors"]
    assert error["path"] == [field]
    assert answer["data"][field] is None
    return {**error["extensions"], "message": error["message"]}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *(
            (arguments, "PAGE_SIZE_INVALID")
            for arguments in ("first: -1", "last: -1", "first: 1001", "last: 2147483647")
        ),
        *(
            (arguments, "PAGE_ARGUMENTS_CONFLICT")
            for arguments in (
                "first: 1, last: 1",
                f'first: 1, before: "{BY_KEY}"',
                f'last: 1, after: "{BY_KEY}"',
                f'after: "{BY_KEY}", before: "{BY_KEY}"',
            )
        ),
        *(
            (f'after: "{cursor}"', "CURSOR_INVALID")
            for cursor in ("", "x", "YXJyYXljb25uZWN0aW9uOjQ=", "MTIz", "A" * 5000, "\\u0000", "\\u00e9")
        ),
        (f'after: "{BY_KEY}", orderBy: {{field: ORDER_DATE}}', "CURSOR_ORDER_MISMATCH"),
        (f'after: "{BY_KEY}", orderBy: {{direction: DESC}}', "CURSOR_ORDER_MISMATCH"),
        (f'last: 2, before: "{BY_KEY}", orderBy: {{field: TOTAL_PRICE}}', "CURSOR_ORDER_MISMATCH"),
        ('filter: {clerk: {eq: "a\\u0000b"}}', "VALUE_INVALID"),
        ('filter: {clerk: {in: ["a", "\\u0000"]}}', "VALUE_INVALID"),
        ("filter: {customerKey: {in: $keys}}", "TOO_MANY_VALUES"),
    ],
)
def test_a_bad_page_is_null_with_a_reason_and_the_rest_is_answered(ask: Ask, arguments: str, reason: str) -> None:
    """Only `orders` is null."""
    # As literals in the document, a thousand values would exceed the limit on tokens.
    declared, given = ("query($keys: [BigInt!]) ", {"keys": [*range(1001)]}) if "$keys" in arguments else ("", {})
    answer = ask(
        f"{declared}{{ orders({arguments}) {{ nodes {{ orderKey }} }} order(orderKey: 1) {{ orderKey }} }}", **given
    )
    error = error_of(answer, "orders")
    assert (error["code"], error["reason"], error["retryable"]) == ("BAD_USER_INPUT", reason, False)
    assert answer["data"]["order"] == {"orderKey": "1"}
    assert "Traceback" not in error["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        *("first: 2147483648", "first: 99999999999999999999", "first: 1.5", 'first: "5"', "first: true", "first: ABC"),
        *(
            "after: 5",
            "nope: 1",
            "filter: []",
            'filter: "x"',
            "filter: {nope: {eq: 1}}",
            "filter: {status: {eq: open}}",
        ),
        *('filter: {status: {eq: "OPEN"}}', "filter: {status: {in: [null]}}", "filter: {orderKey: {eq: 1.0}}"),
        *(
            "filter: {orderKey: {eq: 9223372036854775808}}",
            'filter: {orderKey: {eq: "1e3"}}',
            "filter: {clerk: {gt: 1}}",
        ),
        *(
            'filter: {orderDate: {gte: "1992-02-30"}}',
            'filter: {orderDate: {gte: "01/02/1992"}}',
            "filter: {orderDate: {gte: 1992}}",
        ),
        *(
            'filter: {totalPrice: {gte: "NaN"}}',
            "filter: {totalPrice: {gte: 1e400}}",
            'filter: {totalPrice: {gte: "a"}}',
        ),
        *(
            "orderBy: ORDER_DATE",
            "orderBy: {field: order_date}",
            "orderBy: {field: CLERK}",
            "orderBy: {direction: ascending}",
        ),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_before_anything_runs(http: httpx.Client, arguments: str) -> None:
    """A validation error names the place in the document."""
    body = {"query": f"{{ orders({arguments}) {{ nodes {{ orderKey }} }} }}"}
    response = http.post("/api/graphql", json=body, headers={"accept": "application/graphql-response+json"})
    assert response.status_code == 400
    for error in response.json()["errors"]:
        assert error["extensions"] == {
            "code": "GRAPHQL_VALIDATION_FAILED",
            "reason": "DOCUMENT_INVALID",
            "retryable": False,
        }
        assert error["locations"]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        *(("BigInt!", value) for value in anything(1.5, True, "", "x", [], {}, 2**63, -(2**63) - 1, "9" * 5000, None)),
        *(
            ("OrderFilter", value)
            for value in anything("x", 1, {"nope": 1}, {"status": {"eq": "open"}}, {"status": {"in": [None]}})
        ),
        *(
            ("OrderFilter", value)
            for value in anything({"orderDate": {"gte": "1992-1-1"}}, {"totalPrice": {"lt": []}}, {"clerk": {"eq": 1}})
        ),
        *(("Int", value) for value in anything(2**31, -(2**31) - 1, 1.5, "1", True, [1], 1e300)),
    ],
)
def test_a_variable_of_the_wrong_type_is_refused_before_anything_runs(
    http: httpx.Client, type_: str, value: object
) -> None:
    """BAD_USER_INPUT, with the variable's name in the message."""
    field = {
        "BigInt!": "order(orderKey: $given) { id }",
        "OrderFilter": "orders(filter: $given) { totalCount }",
        "Int": "orders(first: $given) { totalCount }",
    }[type_]
    body = {"query": f"query($given: {type_}) {{ {field} }}", "variables": {"given": value}}
    response = http.post("/api/graphql", json=body, headers={"accept": "application/graphql-response+json"})
    (error,) = response.json()["errors"]
    assert response.status_code == 400
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("BAD_USER_INPUT", "VARIABLES_INVALID")
    assert "$given" in error["message"]


@pytest.mark.parametrize(
    "global_id",
    [
        *("", "x", "1", "T3JkZXI6MQ", "T3JkZXI6MQ===", " T3JkZXI6MQ==", "\0", "é", "A" * 10_000),
        *(base64.b64encode(text.encode()).decode() for text in ("Order", "Order:", "Order:x", "Order:1.0", "Order:01")),
        *(base64.b64encode(text.encode()).decode() for text in ("Order:+1", "Order: 1", "Order:9223372036854775808")),
        *(
            base64.b64encode(text.encode()).decode()
            for text in ("Query:1", "Customer:1", "order:1", ":1", "OrderFilter:1")
        ),
    ],
)
def test_a_bad_global_id_is_null_with_a_reason(ask: Ask, global_id: str) -> None:
    """Alone and in a list, where its neighbours are found."""
    good = "T3JkZXI6MQ=="
    answer = ask("query($id: ID!) { node(id: $id) { id } }", id=global_id)
    error = error_of(answer, "node")
    assert (error["code"], error["reason"]) == ("BAD_USER_INPUT", "ID_INVALID")
    answer = ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[good, global_id, good])
    assert answer["data"]["nodes"] == [{"id": good}, None, {"id": good}]
    (error,) = answer["errors"]
    assert error["path"] == ["nodes", 1]
    assert error["extensions"]["reason"] == "ID_INVALID"


def test_what_is_not_found_is_null_without_an_error(ask: Ask) -> None:
    """An order that does not exist, by key or id: below one, in a gap, at either end of the range."""
    keys = [0, -1, 9, 2**63 - 1, -(2**63), "9223372036854775807"]
    document = " ".join(f'k{index}: order(orderKey: "{key}") {{ id }}' for index, key in enumerate(keys))
    missing = base64.b64encode(b"Order:9").decode()
    answer = ask(f'{{ {document} node(id: "{missing}") {{ id }} nodes(ids: ["{missing}"]) {{ id }} }}')
    assert "errors" not in answer
    assert set(map(str, answer["data"].values())) == {"None", "[None]"}


@pytest.mark.parametrize(
    "filter_",
    [
        "{status: {in: []}}",
        "{orderKey: {gt: 5, lt: 5}}",
        "{orderKey: {eq: 1, in: [2, 3]}}",
        '{totalPrice: {gte: "5", lt: "4"}}',
        '{orderDate: {gt: "1998-01-01", lt: "1992-01-01"}}',
        "{clerk: {in: []}, status: {eq: OPEN}}",
    ],
)
def test_a_filter_that_contradicts_itself_matches_nothing(ask: Ask, filter_: str) -> None:
    """No orders, exact flags, no error."""
    answer = ask(
        f"""{{ orders(filter: {filter_}) {{ nodes {{ id }} totalCount pageInfo {{ hasNextPage hasPreviousPage startCursor }} }}
        orderCount(filter: {filter_}) {{ count }} ordersPage(filter: {filter_}) {{ nodes {{ id }} totalPages }} }}"""
    )
    assert "errors" not in answer
    assert answer["data"]["orders"] == {
        "nodes": [],
        "totalCount": 0,
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None},
    }
    assert answer["data"]["orderCount"] == {"count": 0}
    assert answer["data"]["ordersPage"] == {"nodes": [], "totalPages": 0}


@pytest.mark.parametrize(
    "filter_", ["null", "{}", "{status: null}", "{status: {}}", "{status: {eq: null, in: null}, orderKey: {}}"]
)
def test_a_filter_that_says_nothing_restricts_nothing(ask: Ask, filter_: str) -> None:
    """Absent, null and empty mean the same."""
    answer = ask(f"{{ orders(filter: {filter_}) {{ totalCount }} all: orders {{ totalCount }} }}")
    assert answer["data"]["orders"] == answer["data"]["all"] == {"totalCount": 15_000}


@pytest.mark.parametrize("arguments", ["page: 0", "page: -5", "pageSize: 0", "pageSize: -1", "pageSize: 1001"])
def test_a_bad_page_number_is_refused(ask: Ask, arguments: str) -> None:
    """Numbers and sizes start at one."""
    assert error_of(ask(f"{{ ordersPage({arguments}) {{ page }} }}"), "ordersPage")["reason"] == "PAGE_SIZE_INVALID"


def test_a_page_far_beyond_the_end_is_empty(ask: Ask) -> None:
    """The largest page there can be is not an overflow."""
    answer = ask(
        "{ ordersPage(page: 2147483647, pageSize: 1000) { nodes { id } hasNextPage hasPreviousPage totalPages } }"
    )
    assert answer["data"]["ordersPage"] == {
        "nodes": [],
        "hasNextPage": False,
        "hasPreviousPage": True,
        "totalPages": 15,
    }


@pytest.mark.parametrize("size", [-1, 1001, 2**31 - 1])
def test_a_bad_sample_size_is_refused(ask: Ask, size: int) -> None:
    """From 0 to the cap."""
    assert error_of(ask(f"{{ orderSample(size: {size}) {{ id }} }}"), "orderSample")["reason"] == "PAGE_SIZE_INVALID"


def test_too_many_ids_are_refused(ask: Ask) -> None:
    """A thousand are fine, in one statement; one more is an error."""
    ids = ["T3JkZXI6MQ=="] * 1000
    document = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    assert ask(document, ids=ids)["data"]["nodes"] == [{"id": ids[0]}] * 1000
    (error,) = ask(document, ids=[*ids, ids[0]])["errors"]
    assert error["extensions"]["reason"] == "TOO_MANY_VALUES"


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE orders_synced; --",
        "%",
        "_",
        "\\",
        '"',
        "\r\nX-Evil: 1",
        "\x1b[31m",
        "💥",
        "{{7*7}}",
        "x" * 60_000,
    ],
)
def test_a_string_is_only_ever_compared(ask: Ask, text: str) -> None:
    """Whatever is in it, it matches the orders with just that clerk: none."""
    answer = ask(
        "query($filter: OrderFilter) { orders(filter: $filter) { totalCount } }", filter={"clerk": {"eq": text}}
    )
    assert answer == {"data": {"orders": {"totalCount": 0}}}


def test_a_page_size_of_zero_is_legal(ask: Ask) -> None:
    """It gives no orders and true flags."""
    answer = ask("{ orders(first: 0) { edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor } } }")
    assert answer["data"]["orders"] == {
        "edges": [],
        "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "endCursor": None},
    }
