"""Bad statuses: values that are not a status, and changes that conflict with the current state."""

from __future__ import annotations

from typing import Final

from tests.bad_inputs.case import Case, Sent, ask, fine, refused
from tests.support.values import anything

_DOCUMENT_INVALID: Final = refused(400, "DOCUMENT_INVALID")
_VARIABLES_INVALID: Final = refused(400, "VARIABLES_INVALID")
_PAYLOAD: Final = "change { id } userErrors { code currentVersion }"
_KEY: Final = "6f1ed002-ab55-9f4e-a7d3-0b1f1c9dc1a5"


def _set(arguments: str) -> Sent:
    return ask(f"mutation {{ outcome: setOrderStatus(input: {{{arguments}}}) {{ {_PAYLOAD} }} }}")


def _status(value: object) -> Sent:
    document = "mutation($s: OrderStatus!) { setOrderStatus(input: {orderKey: 1, status: $s}) { replayed } }"
    return ask(document, {"s": value})


def _list(changes: list[dict[str, object]]) -> Sent:
    document = (
        "mutation($i: SetOrderStatusesInput!) { outcome: setOrderStatuses(input: $i)"
        " { results { userErrors { code } } userErrors { code } } }"
    )
    return ask(document, {"i": {"changes": changes}})


def _listed_errors(results: list[str], *errors: str) -> object:
    each = [{"userErrors": [{"code": code}]} for code in results]
    return {"data": {"outcome": {"results": each, "userErrors": [{"code": code} for code in errors]}}}


def _user_error(code: str, version: int | None = None) -> object:
    return {"data": {"outcome": {"change": None, "userErrors": [{"code": code, "currentVersion": version}]}}}


CASES: Final = (
    *(
        Case(f"status-{name}", _set(f"orderKey: 1, status: {word}"), _DOCUMENT_INVALID)
        for name, word in (
            ("in-lower-case", "open"),
            ("of-one-letter", "O"),
            ("of-two-letters", "OO"),
            ("a-string", '"OPEN"'),
            ("empty", '""'),
            ("unknown", "SHIPPED"),
            ("null", "null"),
            ("a-number", "1"),
            ("two-of-them", "[OPEN, PARTIAL]"),
        )
    ),
    *(
        Case(f"status-in-a-variable-{name}", _status(value), _VARIABLES_INVALID)
        for name, value in zip(
            ("in-lower-case", "as-stored", "empty", "emoji", "with-a-nul", "null", "a-number", "a-list", "an-object"),
            anything("open", "F", "", "\N{PACKAGE}", "OPEN\0", None, 1, ["OPEN"], {"eq": "OPEN"}),
            strict=True,
        )
    ),
    Case("status-missing", _set("orderKey: 1"), _DOCUMENT_INVALID),
    Case("expected-status-unknown", _set("orderKey: 1, status: OPEN, expectedStatus: NONE"), _DOCUMENT_INVALID),
    Case(
        "expected-version-too-large", _set("orderKey: 1, status: OPEN, expectedVersion: 2147483648"), _DOCUMENT_INVALID
    ),
    Case(
        "another-expected-version",
        _set("orderKey: 1, status: PARTIAL, expectedVersion: 77"),
        fine(_user_error("STATUS_CONFLICT", 0)),
    ),
    Case(
        "expected-version-below-zero",
        _set("orderKey: 1, status: PARTIAL, expectedVersion: -1"),
        fine(_user_error("STATUS_CONFLICT", 0)),
    ),
    Case(
        "expected-status-in-conflict",
        _set("orderKey: 1, status: PARTIAL, expectedStatus: PARTIAL"),
        fine(_user_error("STATUS_CONFLICT", 0)),
    ),
    Case(
        "order-that-is-not-there",
        _set("orderKey: 9223372036854775807, status: OPEN"),
        fine(_user_error("ORDER_NOT_FOUND")),
    ),
    Case("order-zero", _set("orderKey: 0, status: OPEN"), fine(_user_error("VALUE_INVALID"))),
    Case("no-order", _set("status: OPEN"), fine(_user_error("ORDER_UNDETERMINED"))),
    Case("two-orders", _set('orderKey: 1, id: "T3JkZXI6Mg==", status: OPEN'), fine(_user_error("ORDER_UNDETERMINED"))),
    Case(
        "id-of-something-else",
        _set('id: "T3JkZXJTdGF0dXNDaGFuZ2U6MQ==", status: OPEN'),
        fine(_user_error("ID_INVALID")),
    ),
    Case("idempotency-key-is-a-word", _set('orderKey: 1, status: OPEN, idempotencyKey: "again"'), _DOCUMENT_INVALID),
    Case(
        "idempotency-key-in-braces", _set(f'orderKey: 1, status: OPEN, idempotencyKey: "{{{_KEY}}}"'), _DOCUMENT_INVALID
    ),
    Case(
        "the-same-order-twice",
        _list([{"orderKey": 1, "status": "OPEN"}, {"orderKey": "1", "status": "PARTIAL"}]),
        fine(_listed_errors(["CHANGE_NOT_APPLIED", "ORDER_REPEATED"])),
    ),
    Case(
        "1001-changes",
        _list([{"orderKey": key, "status": "OPEN"} for key in range(1, 1_002)]),
        fine(_listed_errors([], "TOO_MANY_VALUES")),
    ),
    Case(
        "one-bad-change-of-1000",
        _list(
            [*({"orderKey": key, "status": "OPEN"} for key in range(1, 1_000)), {"orderKey": 1_000, "status": "open"}]
        ),
        _VARIABLES_INVALID,
    ),
    Case(
        "1000-bad-changes",
        _list([{"orderKey": key, "status": "nothing"} for key in range(1, 1_001)]),
        _VARIABLES_INVALID,
    ),
)
