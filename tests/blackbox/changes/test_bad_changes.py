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


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ("", {"": "ORDER_UNDETERMINED"}),
        ("orderKey: null, id: null", {"": "ORDER_UNDETERMINED"}),
        (f'orderKey: 1, id: "{ORDER}"', {"": "ORDER_UNDETERMINED"}),
        ("orderKey: 0", {"orderKey": "VALUE_INVALID"}),
        ("orderKey: -1", {"orderKey": "VALUE_INVALID"}),
        ("orderKey: -9223372036854775808", {"orderKey": "VALUE_INVALID"}),
        ('id: "T3JkZXI6MA=="', {"id": "VALUE_INVALID"}),
        ('id: "nonsense"', {"id": "ID_INVALID"}),
        (f'id: "{CHANGE}"', {"id": "ID_INVALID"}),
        ('orderKey: 1, note: "a\\u0000b"', {"note": "VALUE_INVALID"}),
        (f'orderKey: 1, note: "{"x" * 1001}"', {"note": "VALUE_INVALID"}),
        (f'id: "x", note: "{"x" * 1001}"', {"id": "ID_INVALID", "note": "VALUE_INVALID"}),
    ],
)
def test_what_a_form_can_get_wrong_is_a_user_error_with_its_field(ask: Ask, given: str, errors: dict[str, str]) -> None:
    """In all three mutations. In an ATOMIC list it says which change it is, and no other change is made."""

    def expected(*path: str) -> list[dict[str, object]]:
        return [{"code": code, "field": [*path, *([name] if name else [])]} for name, code in errors.items()]

    selection = "change { id } userErrors { code field }"
    for mutation, status in (("setOrderStatus", "status: PARTIAL, "), ("clearOrderStatus", "")):
        answer = ask(f"mutation {{ outcome: {mutation}(input: {{{status}{given}}}) {{ {selection} }} }}")
        assert answer == {"data": {"outcome": {"change": None, "userErrors": expected("input")}}}
    listed = f"[{{orderKey: 2, status: PARTIAL}}, {{status: PARTIAL, {given}}}]"
    answer = ask(
        f"mutation {{ outcome: setOrderStatuses(input: {{changes: {listed}}}) {{ results {{ {selection} }} userErrors {{ code }} }} }}"
    )
    held_up = [{"code": "CHANGE_NOT_APPLIED", "field": ["input", "changes", "0"]}]
    assert answer["data"]["outcome"] == {
        "results": [
            {"change": None, "userErrors": held_up},
            {"change": None, "userErrors": expected("input", "changes", "1")},
        ],
        "userErrors": [],
    }


@pytest.mark.parametrize("status", ["SHIPPED", "o", "", "💥", 1, None, ["OPEN", "PARTIAL"], {}])
def test_an_unknown_status_is_refused_in_a_variable_too(ask: Ask, status: object) -> None:
    """An unknown status is refused before the server asks the database."""
    document = "mutation($s: OrderStatus!) { setOrderStatus(input: {orderKey: 1, status: $s}) { replayed } }"
    assert reason_of(ask(document, s=status)) == "VARIABLES_INVALID"


LIST = """mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) {
    results { userErrors { code field } } userErrors { code field } } }"""


@pytest.mark.parametrize(("second", "named"), [({"orderKey": "1"}, "orderKey"), ({"id": ORDER}, "id")])
def test_an_order_that_is_changed_twice_is_refused_the_second_time(
    ask: Ask, second: dict[str, str], named: str
) -> None:
    """An ATOMIC list then makes no change."""
    changes = [{"orderKey": 1, "status": "PARTIAL"}, {**second, "status": "PARTIAL"}]
    assert ask(LIST, i={"changes": changes})["data"]["setOrderStatuses"] == {
        "results": [
            {"userErrors": [{"code": "CHANGE_NOT_APPLIED", "field": ["input", "changes", "0"]}]},
            {"userErrors": [{"code": "ORDER_REPEATED", "field": ["input", "changes", "1", named]}]},
        ],
        "userErrors": [],
    }


@pytest.mark.parametrize("mode", ["ATOMIC", "INDEPENDENT"])
def test_a_list_that_is_too_long_is_refused_as_a_whole(ask: Ask, mode: str) -> None:
    """In either mode."""
    changes = [{"orderKey": key, "status": "PARTIAL"} for key in range(1, 1002)]
    assert ask(LIST, i={"changes": changes, "mode": mode})["data"]["setOrderStatuses"] == {
        "results": [],
        "userErrors": [{"code": "TOO_MANY_VALUES", "field": ["input", "changes"]}],
    }


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
    for mutation, named in (
        ("setOrderStatus(input: {orderKey: 9223372036854775807, status: OPEN})", "orderKey"),
        ('setOrderStatus(input: {id: "T3JkZXI6OA==", status: OPEN})', "id"),
        ("clearOrderStatus(input: {orderKey: 8})", "orderKey"),
    ):
        answer = ask(
            f"mutation {{ outcome: {mutation} {{ order {{ id }} change {{ id }} userErrors {{ code field }} }} }}"
        )
        missing = [{"code": "ORDER_NOT_FOUND", "field": ["input", named]}]
        assert answer == {"data": {"outcome": {"order": None, "change": None, "userErrors": missing}}}
    listed = "setOrderStatuses(input: {changes: [{orderKey: 1, status: PARTIAL}, {orderKey: 8, status: OPEN}]}) { results { userErrors { code field } } }"
    results = ask(f"mutation {{ {listed} }}")["data"]["setOrderStatuses"]["results"]
    assert [result["userErrors"] for result in results] == [
        [{"code": "CHANGE_NOT_APPLIED", "field": ["input", "changes", "0"]}],
        [{"code": "ORDER_NOT_FOUND", "field": ["input", "changes", "1", "orderKey"]}],
    ]


def test_one_mutation_in_two_fragments_is_one_change(ask: Ask) -> None:
    """Each component of a page selects what it needs of the payload."""
    field = "setOrderStatus(input: {orderKey: 8, status: OPEN})"
    answer = ask(
        f"mutation {{ ...A ...B }} fragment A on Mutation {{ {field} {{ replayed }} }}"
        f" fragment B on Mutation {{ {field} {{ userErrors {{ code }} }} }}"
    )
    assert answer["data"]["setOrderStatus"] == {"replayed": False, "userErrors": [{"code": "ORDER_NOT_FOUND"}]}


def test_a_change_is_not_made_by_get(server: Server) -> None:
    """Following a link changes nothing."""
    document = "mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL}) { replayed } }"
    assert httpx.get(server.graphql, params={"query": document}).status_code == 405


def test_a_subscription_over_post_says_where_it_is_served(ask: Ask) -> None:
    """It would never end there."""
    (error,) = ask("subscription { orderStatusChanged { id } }")["errors"]
    assert error["extensions"]["reason"] == "METHOD_NOT_ALLOWED"
    assert "/api/graphql/stream" in error["message"]
