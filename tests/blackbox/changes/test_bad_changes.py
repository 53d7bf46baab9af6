"""Tests of invalid changes and subscriptions: each gets an error with a reason, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers.process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

Ask = Callable[..., dict[str, Any]]
ORDER = "T3JkZXI6MQ=="
CHANGE = "T3JkZXJTdGF0dXNDaGFuZ2U6MQ=="
BY_KEY = "WzEsIm9yZGVyX2tleSsiLDFd"  # the cursor of the order with key 1
KEY = "6f1ed002-ab55-9f4e-a7d3-0b1f1c9dc1a5"


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server with a history of its own."""
    with running_server(orders_url, APP_SCHEMA="bad_changes") as server:
        yield server


@pytest.fixture(scope="module")
def ask(server: Server) -> Ask:
    """A function that runs a document and returns the response."""

    def ask_(document: str, **variables: object) -> dict[str, Any]:
        answer = httpx.post(server.graphql, json={"query": document, "variables": variables}).json()
        assert isinstance(answer, dict)
        return answer

    return ask_


@pytest.fixture(autouse=True)
def _nothing_is_written(ask: Ask) -> Iterator[None]:
    """No test in this file may write anything."""
    yield
    assert ask("{ orderStatusChanges { nodes { id } } }") == {"data": {"orderStatusChanges": {"nodes": []}}}


def reason_of(answer: dict[str, Any]) -> str:
    """The reason of the response's only error. It may have no data."""
    (error,) = answer["errors"]
    assert answer.get("data") is None
    assert error["extensions"]["retryable"] is False
    return str(error["extensions"]["reason"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("status: OPEN", "ORDER_UNDETERMINED"),
        ("orderKey: null, id: null, status: OPEN", "ORDER_UNDETERMINED"),
        (f'orderKey: 1, id: "{ORDER}", status: OPEN', "ORDER_UNDETERMINED"),
        ("orderKey: 0, status: OPEN", "VALUE_INVALID"),
        ("orderKey: -1, status: OPEN", "VALUE_INVALID"),
        ("orderKey: -9223372036854775808, status: OPEN", "VALUE_INVALID"),
        ('id: "T3JkZXI6MA==", status: OPEN', "VALUE_INVALID"),
        ('id: "nonsense", status: OPEN', "ID_INVALID"),
        (f'id: "{CHANGE}", status: OPEN', "ID_INVALID"),
        ('orderKey: 1, status: PARTIAL, note: "a\\u0000b"', "VALUE_INVALID"),
        (f'orderKey: 1, status: PARTIAL, note: "{"x" * 1001}"', "VALUE_INVALID"),
        ("orderKey: 9223372036854775808, status: OPEN", "DOCUMENT_INVALID"),
        ("orderKey: 1.5, status: OPEN", "DOCUMENT_INVALID"),
        ("orderKey: 1", "DOCUMENT_INVALID"),
        ("orderKey: 1, status: null", "DOCUMENT_INVALID"),
        ("orderKey: 1, status: SHIPPED", "DOCUMENT_INVALID"),
        ("orderKey: 1, status: open", "DOCUMENT_INVALID"),
        ("orderKey: 1, status: O", "DOCUMENT_INVALID"),
        ('orderKey: 1, status: "OPEN"', "DOCUMENT_INVALID"),
        ("orderKey: 1, status: OPEN, expectedVersion: 1.5", "DOCUMENT_INVALID"),
        ("orderKey: 1, status: OPEN, expectedVersion: 2147483648", "DOCUMENT_INVALID"),
        ("orderKey: 1, status: OPEN, expectedStatus: NONE", "DOCUMENT_INVALID"),
        *(
            (f'orderKey: 1, status: OPEN, idempotencyKey: "{key}"', "DOCUMENT_INVALID")
            for key in ("", "x", KEY[:-1], f"{{{KEY}}}", KEY.replace("-", ""), f"urn:uuid:{KEY}", f"{KEY} ")
        ),
        ("orderKey: 1, status: OPEN, idempotencyKey: 5", "DOCUMENT_INVALID"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(ask: Ask, given: str, reason: str) -> None:
    """Alone or in a list, it is refused, and the message has the path of the invalid part."""
    assert reason_of(ask(f"mutation {{ setOrderStatus(input: {{{given}}}) {{ replayed }} }}")) == reason
    if "idempotencyKey" not in given:
        listed = f"{{changes: [{{orderKey: 2, status: PARTIAL}}, {{{given}}}]}}"
        answer = ask(f"mutation {{ setOrderStatuses(input: {listed}) {{ replayed }} }}")
        assert reason_of(answer) == reason


@pytest.mark.parametrize("status", ["SHIPPED", "o", "", "💥", 1, None, ["OPEN", "PARTIAL"], {}])
def test_an_unknown_status_is_refused_in_a_variable_too(ask: Ask, status: object) -> None:
    """An unknown status is refused before the server asks the database."""
    document = "mutation($s: OrderStatus!) { setOrderStatus(input: {orderKey: 1, status: $s}) { replayed } }"
    assert reason_of(ask(document, s=status)) == "VARIABLES_INVALID"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([{"orderKey": "1", "status": "PARTIAL"}] * 2, "ORDER_REPEATED"),
        ([{"orderKey": 1, "status": "PARTIAL"}, {"id": ORDER, "status": "PARTIAL"}], "ORDER_REPEATED"),
        ([{"orderKey": key, "status": "PARTIAL"} for key in range(1, 1002)], "TOO_MANY_VALUES"),
    ],
)
@pytest.mark.parametrize("mode", ["ATOMIC", "INDEPENDENT"])
def test_a_list_that_makes_no_sense_is_refused(ask: Ask, mode: str, changes: list[dict[str, Any]], reason: str) -> None:
    """It is refused as a whole, in either mode."""
    document = "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { replayed } }"
    assert reason_of(ask(document, i={"changes": changes, "mode": mode})) == reason


def test_an_empty_list_is_a_success(ask: Ask) -> None:
    """An empty list changes nothing. With an idempotency key, that outcome is recorded."""
    document = "mutation($k: UUID) { setOrderStatuses(input: {changes: [], idempotencyKey: $k}) { results { previousStatus } replayed userErrors { code } } }"
    for key, replayed in ((None, False), (KEY, False), (KEY, True)):
        done = ask(document, k=key)["data"]["setOrderStatuses"]
        assert done == {"results": [], "replayed": replayed, "userErrors": []}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("first: -1", "PAGE_SIZE_INVALID"),
        ("first: 1001", "PAGE_SIZE_INVALID"),
        ('after: "x"', "CURSOR_INVALID"),
        (f'after: "{BY_KEY}"', "CURSOR_INVALID"),
        ('after: "WzEsImNoYW5nZXMiLC0xXQ"', "CURSOR_INVALID"),
        ('after: "WzEsImNoYW5nZXMiLCIxIl0"', "CURSOR_INVALID"),
        ('after: "WzEsImNoYW5nZXMiLDFlM10"', "CURSOR_INVALID"),
        ('filter: {changedBy: "a\\u0000"}', "VALUE_INVALID"),
        ("filter: {orderKeys: $keys}", "TOO_MANY_VALUES"),
    ],
)
def test_a_bad_page_of_the_history_is_refused(ask: Ask, arguments: str, reason: str) -> None:
    """The reasons are the same as for a page of orders, and the orders beside it are answered."""
    # A thousand values in the document itself would exceed the limit of tokens.
    declared, given = ("query($keys: [BigInt!]) ", {"keys": [*range(1001)]}) if "$keys" in arguments else ("", {})
    answer = ask(
        f"{declared}{{ order(orderKey: 1) {{ orderKey }} orderStatusChanges({arguments}) {{ headCursor }} }}", **given
    )
    assert [error["extensions"]["reason"] for error in answer["errors"]] == [reason]
    assert answer["data"] == {"order": {"orderKey": "1"}, "orderStatusChanges": None}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("first: 1, last: 1", "PAGE_ARGUMENTS_CONFLICT"),
        ("last: 1001", "PAGE_SIZE_INVALID"),
        ('before: "x"', "CURSOR_INVALID"),
    ],
)
def test_a_bad_page_of_an_orders_history_is_refused(ask: Ask, arguments: str, reason: str) -> None:
    """Only the history is null, not its order, in a page of orders too."""
    selection = f"orderKey statusChanges({arguments}) {{ nodes {{ id }} }}"
    answer = ask(f"{{ order(orderKey: 1) {{ {selection} }} orders(first: 2) {{ nodes {{ {selection} }} }} }}")
    assert [error["extensions"]["reason"] for error in answer["errors"]] == [reason] * 3
    first, second = ({"orderKey": key, "statusChanges": None} for key in ("1", "2"))
    assert answer["data"] == {"order": first, "orders": {"nodes": [first, second]}}


def test_too_many_ids_null_only_their_own_field(ask: Ask) -> None:
    """The orders beside them are answered."""
    document = "query($ids: [ID!]!) { order(orderKey: 1) { orderKey } nodes(ids: $ids) { id } }"
    answer = ask(document, ids=[ORDER] * 1001)
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["TOO_MANY_VALUES"]
    assert answer["data"] == {"order": {"orderKey": "1"}, "nodes": None}


def test_an_order_that_is_not_there_is_not_found(ask: Ask) -> None:
    """Each mutation returns a user error for it."""
    missing = [{"code": "ORDER_NOT_FOUND", "field": ["input"]}]
    for mutation in (
        "setOrderStatus(input: {orderKey: 9223372036854775807, status: OPEN}) { order { id } change { id } userErrors { code field } }",
        "clearOrderStatus(input: {orderKey: 8}) { order { id } change { id } userErrors { code field } }",
    ):
        answer = ask(f"mutation {{ outcome: {mutation} }}")
        assert answer == {"data": {"outcome": {"order": None, "change": None, "userErrors": missing}}}
    listed = "setOrderStatuses(input: {changes: [{orderKey: 1, status: PARTIAL}, {orderKey: 8, status: OPEN}]}) { results { userErrors { code field } } }"
    results = ask(f"mutation {{ {listed} }}")["data"]["setOrderStatuses"]["results"]
    assert [result["userErrors"] for result in results] == [
        [{"code": "CHANGE_NOT_APPLIED", "field": ["input", "changes", "0"]}],
        [{"code": "ORDER_NOT_FOUND", "field": ["input", "changes", "1"]}],
    ]


def test_a_change_is_not_made_by_get(server: Server) -> None:
    """Following a link changes nothing."""
    document = "mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL}) { replayed } }"
    assert httpx.get(server.graphql, params={"query": document}).status_code == 405


def test_a_subscription_over_post_says_where_it_is_served(ask: Ask) -> None:
    """It would never end there."""
    (error,) = ask("subscription { orderStatusChanged { id } }")["errors"]
    assert error["extensions"]["reason"] == "METHOD_NOT_ALLOWED"
    assert "/api/graphql/stream" in error["message"]
