"""Bad arguments: numbers out of range, and values of the wrong type."""

from __future__ import annotations

import json
from typing import Final

from schema.relay.node import encode_global_id
from tests.bad_inputs.case import Case, Expected, Sent, ask, fine, partly, post, refused
from tests.bad_inputs.cursors import BY_KEY
from tests.support.values import anything

_DOCUMENT_INVALID: Final = refused(400, "DOCUMENT_INVALID")
_VARIABLES_INVALID: Final = refused(400, "VARIABLES_INVALID")
_NULL: Final = {"orders": None}
_SIZE: Final = partly(_NULL, "PAGE_SIZE_INVALID")
_CONFLICT: Final = partly(_NULL, "PAGE_ARGUMENTS_CONFLICT")
_EMPTY: Final[object] = {"data": {"orders": {"nodes": []}}}
_ID: Final = encode_global_id("Order", "1")


def _limit(name: str) -> Expected:
    return refused(400, "LIMIT_EXCEEDED", limit=name)


def _orders(arguments: str) -> Sent:
    return ask(f"{{ orders({arguments}) {{ nodes {{ orderKey }} }} }}")


def _first(value: object) -> Sent:
    return ask("query($n: Int) { orders(first: $n) { nodes { orderKey } } }", {"n": value})


def _groups(arguments: str) -> Sent:
    return ask(f"{{ orderGroups({arguments}) {{ groups {{ count }} }} }}")


def _key(value: object) -> Sent:
    return ask("query($k: BigInt!) { order(orderKey: $k) { orderKey } }", {"k": value})


def _filter(value: object) -> Sent:
    return ask("query($f: OrderFilter) { orders(filter: $f) { totalCount } }", {"f": value})


CASES: Final = (
    *(
        Case(f"{argument}-{name}", _orders(f"{argument}: {value}"), _SIZE)
        for argument in ("first", "last")
        for name, value in (("below-zero", -1), ("1001", 1_001), ("largest", 2**31 - 1), ("smallest", -(2**31)))
    ),
    *(
        Case(f"first-{name}", _orders(f"first: {value}"), _DOCUMENT_INVALID)
        for name, value in (
            ("2-to-the-31st", "2147483648"),
            ("a-billion-billions", "1" + "0" * 18),
            ("of-5000-digits", "9" * 5_000),
            ("a-fraction", "1.5"),
            ("a-whole-float", "1.0"),
            ("with-an-exponent", "1e9"),
            ("a-string", '"5"'),
            ("true", "true"),
            ("an-enum", "FIVE"),
            ("a-list", "[5]"),
            ("an-object", "{}"),
        )
    ),
    *(
        Case(f"first-in-a-variable-{name}", _first(value), _VARIABLES_INVALID)
        for name, value in zip(
            ("2-to-the-31st", "a-fraction", "a-string", "true", "a-list", "an-object", "1e300"),
            anything(2**31, 1.5, "5", True, [5], {"a": 5}, 1e300),
            strict=True,
        )
    ),
    Case("first-in-a-variable-1001", _first(1_001), _SIZE),
    Case("first-in-a-variable-a-billion", _first(1_000_000_000), _SIZE),
    Case("first-of-zero", _orders("first: 0"), fine(_EMPTY)),
    Case("first-and-last", _orders("first: 1, last: 1"), _CONFLICT),
    Case("first-and-before", _orders(f'first: 1, before: "{BY_KEY}"'), _CONFLICT),
    Case("last-and-after", _orders(f'last: 1, after: "{BY_KEY}"'), _CONFLICT),
    Case("after-and-before", _orders(f'after: "{BY_KEY}", before: "{BY_KEY}"'), _CONFLICT),
    *(
        Case(f"key-{name}", _key(value), fine({"data": {"order": None}}))
        for name, value in (
            ("zero", 0),
            ("below-zero", -1),
            ("beyond-javascript", 2**53 + 1),
            ("largest", 2**63 - 1),
            ("largest-as-a-string", str(2**63 - 1)),
            ("smallest", -(2**63)),
            ("minus-zero", "-0"),
        )
    ),
    *(
        Case(f"key-{name}", _key(value), _VARIABLES_INVALID)
        for name, value in zip(
            *(
                ("2-to-the-63rd", "2-to-the-64th", "below-the-smallest", "a-float", "a-fraction", "true", "null"),
                anything(2**63, 2**64, -(2**63) - 1, 1.0, 1.5, True, None),
            ),
            strict=True,
        )
    ),
    *(
        Case(f"key-as-a-string-{name}", _key(value), _VARIABLES_INVALID)
        for name, value in (
            ("empty", ""),
            ("of-5000-digits", "9" * 5_000),
            ("with-an-exponent", "1e3"),
            ("nan", "NaN"),
            ("hexadecimal", "0x1"),
            ("with-a-plus", "+1"),
            ("with-white-space", " 1"),
            ("in-other-digits", "\N{ARABIC-INDIC DIGIT ONE}"),
            ("with-underscores", "1_000"),
        )
    ),
    Case(
        "key-of-5000-digits",
        post(
            b'{"query": "query($k: BigInt!) { order(orderKey: $k) { id } }", "variables": {"k": ' + b"9" * 5_000 + b"}}"
        ),
        refused(400, "BODY_INVALID"),
    ),
    Case("key-of-5000-digits-as-a-literal", ask(f"{{ order(orderKey: {'9' * 5_000}) {{ id }} }}"), _DOCUMENT_INVALID),
    Case("key-1e400", ask("{ order(orderKey: 1e400) { id } }"), _DOCUMENT_INVALID),
    Case("key-missing", ask("query($k: BigInt!) { order(orderKey: $k) { id } }"), _VARIABLES_INVALID),
    *(
        Case(f"filter-{name}", _filter(value), _VARIABLES_INVALID)
        for name, value in zip(
            (
                *("a-string", "a-list-of-numbers", "unknown-field", "unknown-operator", "status-in-lower-case"),
                *("an-invalid-day", "day-in-another-spelling", "day-as-a-number", "price-is-nan", "price-a-list"),
                *("price-of-1000-digits", "null-in-a-list", "clerk-like"),
            ),
            anything(
                "x",
                [1],
                {"nothing": {}},
                {"orderKey": {"like": 1}},
                {"status": {"eq": "open"}},
                {"orderDate": {"gte": "1996-02-30"}},
                {"orderDate": {"gte": "02/01/1996"}},
                {"orderDate": {"gte": 19960201}},
                {"totalPrice": {"gte": "NaN"}},
                {"totalPrice": {"gte": []}},
                {"totalPrice": {"gte": "9" * 1_000}},
                {"orderKey": {"in": [1, None]}},
                {"clerk": {"like": "a"}},
            ),
            strict=True,
        )
    ),
    Case("filter-1001-keys", _filter({"orderKey": {"in": [*range(1_001)]}}), partly(_NULL, "TOO_MANY_VALUES")),
    Case("filter-of-1000-unknown-fields", _filter({f"f{n}": n for n in range(1_000)}), _limit("variableNames")),
    Case("filter-of-20000-unknown-fields", _filter({f"f{n}": n for n in range(20_000)}), _limit("variableNames")),
    Case("filter-by-a-field-of-a-megabyte", _filter({"f" * 1_000_000: 1}), _limit("variableNameCharacters")),
    Case("status-of-a-megabyte", _filter({"status": {"eq": "S" * 1_000_000}}), _limit("variableCharacters")),
    Case("day-of-a-megabyte", _filter({"orderDate": {"gte": "1" * 1_000_000}}), _limit("variableCharacters")),
    Case("price-of-a-megabyte", _filter({"totalPrice": {"gte": "1" * 1_000_000}}), _limit("variableCharacters")),
    Case("filter-of-a-megabyte", _filter("x" * 1_000_000), _limit("variableCharacters")),
    Case("filter-of-300-unknown-fields", _filter({f"f{n}": n for n in range(300)}), _VARIABLES_INVALID),
    Case("status-of-60-kb", _filter({"status": {"eq": "S" * 60_000}}), _VARIABLES_INVALID),
    Case("statuses-of-60-kb", _filter({"status": {"in": ["S" * 60_000] * 20}}), _limit("variableCharacters")),
    Case("10000-keys", _filter({"orderKey": {"in": [1] * 9_900}}), partly(_NULL, "TOO_MANY_VALUES")),
    Case("objects-of-objects", _filter([{f"f{n}": {} for n in range(290)}] * 100), _limit("structure")),
    Case("objects-of-less-objects", _filter([{f"f{n}": {} for n in range(290)}] * 35), _limit("variableValues")),
    Case("filter-nested-deeply", _filter({"orderKey": {"in": json.loads("[" * 80 + "]" * 80)}}), _VARIABLES_INVALID),
    Case(
        "filter-that-contradicts-itself",
        _filter({"orderKey": {"gt": 5, "lt": 5}}),
        fine({"data": {"orders": {"totalCount": 0}}}),
    ),
    Case("order-by-an-unknown-column", _orders("orderBy: {field: COMMENT}"), _DOCUMENT_INVALID),
    Case("order-by-a-string", _orders('orderBy: {field: "ORDER_KEY; DROP TABLE x"}'), _DOCUMENT_INVALID),
    Case("page-zero", ask("{ ordersPage(page: 0) { page } }"), partly({"ordersPage": None}, "PAGE_SIZE_INVALID")),
    Case(
        "page-size-zero", ask("{ ordersPage(pageSize: 0) { page } }"), partly({"ordersPage": None}, "PAGE_SIZE_INVALID")
    ),
    Case(
        "page-far-beyond-the-end",
        ask("{ ordersPage(page: 2147483647, pageSize: 1000) { nodes { id } } }"),
        fine({"data": {"ordersPage": {"nodes": []}}}),
    ),
    *(
        Case(f"groups-{name}", _groups(arguments), partly({"orderGroups": None}, reason))
        for name, arguments, reason in (
            ("by-nothing", "by: []", "VALUE_INVALID"),
            ("by-the-same-twice", "by: [CLERK, CLERK]", "VALUE_INVALID"),
            ("by-three", "by: [CLERK, STATUS, PRIORITY]", "TOO_MANY_VALUES"),
            ("by-900", f"by: [{'CLERK ' * 900}]", "TOO_MANY_VALUES"),
            ("of-fewer-than-no-orders", "by: [CLERK], having: {count: {gte: -2147483648}}", "VALUE_INVALID"),
            ("1001", "by: [CLERK], first: 1001", "PAGE_SIZE_INVALID"),
            ("below-zero", "by: [CLERK], first: -1", "PAGE_SIZE_INVALID"),
        )
    ),
    Case("groups-by-an-unknown-value", _groups("by: [COMMENT]"), _DOCUMENT_INVALID),
    Case("groups-by-a-string", _groups('by: ["CLERK"]'), _DOCUMENT_INVALID),
    Case("groups-by-null", _groups("by: null"), _DOCUMENT_INVALID),
    Case("groups-by-absence", _groups("first: 1"), _DOCUMENT_INVALID),
    Case("groups-having-half-an-order", _groups("by: [CLERK], having: {count: {gte: 0.5}}"), _DOCUMENT_INVALID),
    Case(
        "groups-of-more-orders-than-there-are",
        _groups("by: [CLERK, ORDER_DAY], having: {count: {gte: 2147483647}}"),
        fine({"data": {"orderGroups": {"groups": []}}}),
    ),
    Case("no-groups", _groups("by: [CLERK], first: 0"), fine({"data": {"orderGroups": {"groups": []}}})),
    Case(
        "sample-below-zero", ask("{ orderSample(size: -1) { id } }"), partly({"orderSample": None}, "PAGE_SIZE_INVALID")
    ),
    Case(
        "sample-too-large",
        ask("{ orderSample(size: 2147483647) { id } }"),
        partly({"orderSample": None}, "PAGE_SIZE_INVALID"),
    ),
    *(
        Case(
            f"id-{name}",
            ask("query($id: ID!) { node(id: $id) { id } }", {"id": value}),
            partly({"node": None}, "ID_INVALID"),
        )
        for name, value in zip(
            ("empty", "a-number", "padded", "of-no-type", "of-an-input", "with-a-leading-zero", "of-10-kb"),
            anything(
                "",
                1,
                f"{_ID}=",
                encode_global_id("Nothing", "1"),
                encode_global_id("OrderFilter", "1"),
                encode_global_id("Order", "01"),
                "A" * 10_240,
            ),
            strict=True,
        )
    ),
    Case(
        "1001-ids",
        ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [_ID] * 1_001}),
        partly({"nodes": None}, "TOO_MANY_VALUES"),
    ),
    Case("an-id-that-is-a-list", ask("query($id: ID!) { node(id: $id) { id } }", {"id": [_ID]}), _VARIABLES_INVALID),
)
