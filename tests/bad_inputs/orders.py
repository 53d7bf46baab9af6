"""Bad orders: too many fields, fields named twice, and cursors of another order."""

from __future__ import annotations

from typing import Any, Final

from schema.relay.cursors import opaque
from tests.bad_inputs.case import Case, Expected, Sent, ask, fine, partly, refused

_BESIDE: Final = {"order": {"orderKey": "1"}}
_WRONG: Final = refused(400, "VARIABLES_INVALID")
_DATE: Final = {"field": "ORDER_DATE"}
_PRICE: Final = {"field": "TOTAL_PRICE", "direction": "DESC", "nulls": "LAST"}
_KEY: Final = {"field": "ORDER_KEY"}
# A cursor by date, and then by price from the highest one.
_CURSOR: Final = opaque([1, "order_date+,total_price-last", 7, "1996-01-02", "9.50"])


def _page(order_by: object, cursor: str | None = None) -> Sent:
    """A page in an order, beside a field that is answered whatever becomes of it."""
    document = (
        "query($o: [OrderOrder!], $after: String) { found: orders(first: 0, orderBy: $o, after: $after) "
        "{ pageInfo { hasNextPage } nodes { id } } order(orderKey: 1) { orderKey } }"
    )
    return ask(document, {"o": order_by, "after": cursor})


def _refused(reason: str) -> Expected:
    return partly({"found": None, **_BESIDE}, reason)


_FOUND: Final = fine({"data": {"found": {"pageInfo": {"hasNextPage": True}, "nodes": []}, **_BESIDE}})
_TOO_MANY: Final[list[Any]] = [_DATE, _PRICE, _KEY, {"field": "CUSTOMER_KEY"}]

CASES: Final = (
    Case("order-by-four-fields", _page(_TOO_MANY), _refused("TOO_MANY_VALUES")),
    Case("order-by-a-thousand-fields", _page([_DATE] * 1_000), _refused("TOO_MANY_VALUES")),
    Case("order-by-a-field-twice", _page([_PRICE, _DATE, {"field": "TOTAL_PRICE"}]), _refused("VALUE_INVALID")),
    Case("order-by-the-key-twice", _page([{}, _KEY]), _refused("VALUE_INVALID")),
    Case("order-by-nothing", _page([]), _FOUND),
    Case("order-by-null", _page(None), _FOUND),
    Case("order-by-an-empty-object", _page({}), _FOUND),
    Case("order-by-a-single-object", _page(_PRICE), _FOUND),
    Case("order-by-more-than-the-key", _page([_KEY, _DATE]), _FOUND),
    Case("order-by-with-null-for-all", _page([{"field": None, "direction": None, "nulls": None}]), _FOUND),
    Case("order-by-a-null-in-a-list", _page([_DATE, None]), _WRONG),
    Case("order-by-lists-in-a-list", _page([[_DATE]]), _WRONG),
    Case("order-by-with-other-nulls", _page([{"field": "ORDER_DATE", "nulls": "MIDDLE"}]), _WRONG),
    Case("order-by-a-field-in-lower-case", _page([{"field": "order_date"}]), _WRONG),
    Case("order-by-with-its-cursor", _page([_DATE, _PRICE], _CURSOR), _FOUND),
    Case("order-by-with-a-cursor-of-less", _page([_DATE], _CURSOR), _refused("CURSOR_ORDER_MISMATCH")),
    Case(
        "order-by-with-a-cursor-of-more",
        _page([_DATE, _PRICE, {"field": "SHIP_PRIORITY"}], _CURSOR),
        _refused("CURSOR_ORDER_MISMATCH"),
    ),
    Case(
        "order-by-with-a-cursor-the-other-way-round", _page([_PRICE, _DATE], _CURSOR), _refused("CURSOR_ORDER_MISMATCH")
    ),
    Case(
        "order-by-with-a-cursor-of-other-nulls",
        _page([_DATE, {**_PRICE, "nulls": "FIRST"}], _CURSOR),
        _refused("CURSOR_ORDER_MISMATCH"),
    ),
    *(
        Case(f"order-by-with-a-cursor-{name}", _page([_DATE, _PRICE], opaque(parts)), _refused("CURSOR_INVALID"))
        for name, parts in (
            ("without-a-value", [1, "order_date+,total_price-last", 7, "1996-01-02"]),
            ("with-values-in-another-order", [1, "order_date+,total_price-last", 7, "9.50", "1996-01-02"]),
            ("of-a-field-twice", [1, "order_date+,order_date+", 7, "1996-01-02", "1996-01-02"]),
            ("that-names-more-than-the-key", [1, "order_key+,order_date+", 7, "1996-01-02"]),
            ("that-names-the-usual-nulls", [1, "order_date+last,total_price-last", 7, "1996-01-02", "9.50"]),
            ("of-an-unknown-field", [1, "order_date+,nothing-", 7, "1996-01-02", "9.50"]),
            ("of-no-order", [1, "", 7]),
            ("of-an-order-of-a-thousand-commas", [1, "," * 300, 7]),
        )
    ),
    *(
        Case(
            f"order-by-time-with-a-cursor-{name}",
            _page({"field": "STATUS_UPDATED_AT"}, opaque([1, "status_updated_at+", 7, text])),
            _refused("CURSOR_INVALID"),
        )
        for name, text in (
            ("of-no-time", "2026-01-01 25:00:00"),
            ("in-another-spelling", "2026-01-01T10:00:00Z"),
            ("of-digits-that-are-not-written", "2026-01-01 10:00:00.500"),
            ("of-no-day", "10000-02-30 10:00:00+00"),
            ("of-no-time-zone", "10000-02-01 10:00:00+99"),
            ("of-no-year", "999999-02-01 10:00:00+00"),
            ("of-a-number", 5),
        )
    ),
)
