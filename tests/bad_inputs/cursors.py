"""Bad cursors: not issued by this server, issued for another connection, or tampered with."""

from __future__ import annotations

import base64
import json
from typing import Final

from schema.ports.changes import FeedPlace
from schema.relay.cursors import encode_change_cursor, opaque
from tests.bad_inputs.case import Case, ask, partly

# The cursor of the order with key 1.
BY_KEY: Final = "WzEsIm9yZGVyX2tleSsiLDFd"

_BAD: Final[dict[str, str]] = {
    "empty": "",
    "a-word": "cursor",
    "a-number": "1",
    "not-base64": "*** no base64 ***",
    "of-strawberry": base64.b64encode(b"arrayconnection:4").decode(),
    "of-another-api": base64.b64encode(b'{"id": 4, "last": true}').decode(),
    "of-changes": encode_change_cursor(FeedPlace(1)),
    "a-global-id": base64.b64encode(b"Order:1").decode(),
    "key-below-the-range": opaque([1, "order_key+", -(2**63) - 1]),
    "key-above-the-range": opaque([1, "order_key+", 2**63]),
    "key-of-4000-digits": opaque([1, "order_key+", 10**140]),
    "key-is-a-float": opaque([1, "order_key+", 1.0]),
    "key-is-a-string": opaque([1, "order_key+", "1"]),
    "key-is-true": opaque([1, "order_key+", True]),
    "key-is-null": opaque([1, "order_key+", None]),
    "key-is-a-list": opaque([1, "order_key+", [1]]),
    "of-version-2": opaque([2, "order_key+", 1]),
    "version-is-a-string": opaque(["1", "order_key+", 1]),
    "one-part-more": opaque([1, "order_key+", 1, "1996-01-02"]),
    "one-part-less": opaque([1, "order_key+"]),
    "an-object": base64.urlsafe_b64encode(b'{"1":"order_key+"}').decode().rstrip("="),
    "nested-deeply": base64.urlsafe_b64encode(b"[" * 120).decode(),
    "padded": f"{BY_KEY}====",
    "white-space-before": f" {BY_KEY}",
    "white-space-after": f"{BY_KEY}\n",
    "white-space-within": f"{BY_KEY[:8]} {BY_KEY[8:]}",
    "spelled-otherwise": base64.urlsafe_b64encode(json.dumps([1, "order_key+", 1]).encode()).decode().rstrip("="),
    "a-letter-changed": f"{BY_KEY[:-1]}c",
    "10-kb": "A" * 10_240,
    "homoglyphs": BY_KEY.replace("o", "\N{CYRILLIC SMALL LETTER O}").replace("z", "\N{FULLWIDTH LATIN SMALL LETTER Z}"),
    "nul": f"{BY_KEY}\0",
    "sql": "' OR 1=1 --",
}
_OF_DATES: Final[dict[str, list[object]]] = {
    "an-invalid-day": [1, "order_date+", 1, "1996-02-30"],
    "day-is-a-number": [1, "order_date+", 1, 19960102],
    "day-with-sql": [1, "order_date+", 1, "1996-01-02'; SELECT 1 --"],
}
_OF_PRICES: Final[dict[str, list[object]]] = {
    "price-with-an-exponent": [1, "total_price+", 1, "1e3"],
    "price-of-1000-digits": [1, "total_price+", 1, "9" * 1_000],
    "price-is-a-float": [1, "total_price+", 1, 1.5],
}
_DOCUMENT: Final = (
    "query($c: String, $o: OrderOrder) { orders(first: 1, after: $c, orderBy: $o) { nodes { orderKey } } }"
)
_BACKWARD: Final = "query($c: String) { orders(last: 1, before: $c) { nodes { orderKey } } }"
_HISTORY: Final = "query($c: String) { orderStatusChanges(first: 1, after: $c) { nodes { id } } }"
_NULL: Final = {"orders": None}

CASES: Final = (
    *(Case(name, ask(_DOCUMENT, {"c": cursor}), partly(_NULL, "CURSOR_INVALID")) for name, cursor in _BAD.items()),
    *(
        Case(name, ask(_DOCUMENT, {"c": opaque(parts), "o": {"field": field}}), partly(_NULL, "CURSOR_INVALID"))
        for field, bad in (("ORDER_DATE", _OF_DATES), ("TOTAL_PRICE", _OF_PRICES))
        for name, parts in bad.items()
    ),
    Case("backward", ask(_BACKWARD, {"c": "x"}), partly(_NULL, "CURSOR_INVALID")),
    Case(
        "of-another-order",
        ask(_DOCUMENT, {"c": BY_KEY, "o": {"field": "ORDER_DATE"}}),
        partly(_NULL, "CURSOR_ORDER_MISMATCH"),
    ),
    Case(
        "of-another-direction",
        ask(_DOCUMENT, {"c": BY_KEY, "o": {"direction": "DESC"}}),
        partly(_NULL, "CURSOR_ORDER_MISMATCH"),
    ),
    *(
        Case(
            f"of-the-history-{name}",
            ask(_HISTORY, {"c": cursor}),
            partly({"orderStatusChanges": None}, "CURSOR_INVALID"),
        )
        for name, cursor in (
            ("of-an-order", BY_KEY),
            ("below-zero", opaque([1, "changes", -1])),
            ("above-the-range", opaque([1, "changes", 2**63])),
            ("without-a-number", opaque([1, "changes"])),
            ("with-three-numbers", opaque([1, "changes", 1, 1, 1])),
            ("with-a-float", opaque([1, "changes", 1, 1.0])),
            ("with-a-time-above-the-range", opaque([1, "changes", 1, 2**63])),
            ("with-a-time-at-the-beginning", opaque([1, "changes", 0, 1])),
            ("ahead-of-the-feed", encode_change_cursor(FeedPlace(2**62))),
            ("ahead-of-the-feed-with-a-time", encode_change_cursor(FeedPlace(2**62, 1))),
        )
    ),
)
