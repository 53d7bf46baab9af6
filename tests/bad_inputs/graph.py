"""Bad input for the graph around the orders: nested pages, cursors of other lists, composite ids, keys and filters."""

from __future__ import annotations

from typing import Any, Final

from schema.relay.cursors import opaque
from schema.relay.node import encode_global_id
from tests.bad_inputs.case import Case, Expected, Sent, ask, fine, partly, refused
from tests.bad_inputs.cursors import BY_KEY
from tests.support.values import anything

_TOO_LONG: Final = partly({"customers": None}, "VALUE_INVALID")
_DOCUMENT_INVALID: Final = refused(400, "DOCUMENT_INVALID")
_VARIABLES_INVALID: Final = refused(400, "VARIABLES_INVALID")
_LINES: Final = "line_items.order_key.order_key+"


def _lines(arguments: str) -> Sent:
    return ask(f"{{ order(orderKey: 1) {{ lineItems({arguments}) {{ nodes {{ id }} }} }} }}")


def _after(cursor: str) -> Sent:
    document = "query($c: String) { order(orderKey: 1) { lineItems(after: $c) { nodes { id } } } }"
    return ask(document, {"c": cursor})


def _null(reason: str) -> Expected:
    return partly({"order": {"lineItems": None}}, reason)


def _key(field: str, value: object) -> Sent:
    name = f"{field}Key"
    return ask(f"query($k: BigInt!) {{ {field}({name}: $k) {{ id }} }}", {"k": value})


def _customers(value: object) -> Sent:
    return ask("query($f: CustomerFilter) { customers(filter: $f) { totalCount } }", {"f": value})


def _related(value: object) -> Sent:
    """A filter of orders, beside a field that is answered whatever becomes of it."""
    document = "query($f: OrderFilter) { found: orderCount(filter: $f) { count } order(orderKey: 1) { orderKey } }"
    return ask(document, {"f": value})


def _found(count: int | None, reason: str = "") -> Expected:
    beside = {"order": {"orderKey": "1"}}
    if count is None:
        return partly({"found": None, **beside}, reason)
    return fine({"data": {"found": {"count": count}, **beside}})


def _relations(levels: int) -> dict[str, Any]:
    """Conditions on related rows within one another."""
    inner: dict[str, Any] = {}
    for level in range(levels):
        inner = {"orders": {"some": inner}} if level % 2 == levels % 2 else {"customer": inner}
    return inner


def _prefix(text: object) -> Sent:
    return _customers({"name": {"startsWith": text}})


def _none(field: str = "customers", answer: Any = None) -> Expected:
    return fine({"data": {field: {"totalCount": 0} if field == "customers" else answer}})


def _walk(levels: int) -> str:
    return "{ customer(customerKey: 1) { " + "orders { nodes { customer { " * levels + "id " + "} } } " * levels + "} }"


def _page_of_pages(size: int) -> str:
    inner = f"lineItems(first: {size}) {{ nodes {{ part {{ lineItems(first: {size}) {{ nodes {{ id }} }} }} }} }}"
    return f"{{ orders(first: {size}) {{ nodes {{ {inner} }} }} }}"


_CURSORS: Final[dict[str, str]] = {
    "empty": "",
    "a-word": "cursor",
    "of-orders": BY_KEY,
    "of-another-order": opaque([1, _LINES, 3, 3, 1]),
    "of-a-part": opaque([1, "line_items.part_key.order_key+", 1, 1, 1]),
    "of-a-customer": opaque([1, "orders.customer_key.order_key+", 1, 1]),
    "of-customers": opaque([1, "customers.customer_key+", 1]),
    "without-a-parent": opaque([1, _LINES]),
    "without-a-line": opaque([1, _LINES, 1, 1]),
    "with-another-part": opaque([1, _LINES, 1, 1, 1, 1]),
    "parent-is-a-string": opaque([1, _LINES, "1", 1, 1]),
    "parent-is-a-list": opaque([1, _LINES, [1], 1, 1]),
    "parent-is-true": opaque([1, _LINES, True, 1, 1]),
    "line-is-null": opaque([1, _LINES, 1, 1, None]),
    "line-above-the-range": opaque([1, _LINES, 1, 1, 2**63]),
    "10-kb": "A" * 10_240,
}
_IDS: Final[dict[str, tuple[str, str]]] = {
    "without-a-line": ("LineItem", "1"),
    "line-0": ("LineItem", "1:0"),
    "line-below-zero": ("LineItem", "1:-1"),
    "line-is-a-word": ("LineItem", "1:x"),
    "line-with-a-leading-zero": ("LineItem", "1:01"),
    "three-parts": ("LineItem", "1:1:1"),
    "no-order": ("LineItem", ":1"),
    "customer-of-two-parts": ("Customer", "1:1"),
    "customer-above-the-range": ("Customer", str(2**63)),
    "nation-by-name": ("Nation", "FRANCE"),
    "of-a-connection": ("CustomerConnection", "1"),
}
# No name of a customer starts with one of these.
_PREFIXES: Final[dict[str, str]] = {
    "sql": "'; DROP TABLE orders_synced; --",
    "sql-placeholder": "$1 :name %s %(name)s ?",
    "percent": "%",
    "underscores": "Customer#_",
    "backslashes": "\\" * 30_001,
    "last-characters": "\U0010ffff" * 3,
    "noncharacters": "\uffff\ufdd0",
    "terminal-escapes": "\x1b[2J\x1b]0;owned\x07",
    "right-to-left": "\N{RIGHT-TO-LEFT OVERRIDE}1",
    "60-kb": "x" * 60_000,
}

CASES: Final = (
    *(
        Case(f"nested-{argument}-{name}", _lines(f"{argument}: {value}"), _null("PAGE_SIZE_INVALID"))
        for argument in ("first", "last")
        for name, value in (("below-zero", -1), ("1001", 1_001), ("largest", 2**31 - 1))
    ),
    *(
        Case(f"nested-{name}", _lines(arguments), _null("PAGE_ARGUMENTS_CONFLICT"))
        for name, arguments in (("first-and-last", "first: 1, last: 1"), ("after-and-before", 'after: "", before: ""'))
    ),
    *(
        Case(f"nested-first-{name}", _lines(f"first: {value}"), _DOCUMENT_INVALID)
        for name, value in (("2-to-the-31st", 2**31), ("a-fraction", 1.5), ("a-string", '"1"'), ("a-list", "[1]"))
    ),
    *(
        Case(f"{levels}-relations-deep", _related(_relations(levels)), _found(None, "TOO_MANY_VALUES"))
        for levels in (4, 6)
    ),
    Case("eleven-relations", _related({"or": [{"customer": {}}] * 11}), _found(None, "TOO_MANY_VALUES")),
    Case("some-and-none", _related({"lineItems": {"some": {}, "none": {}}}), _found(0)),
    Case("related-and-not", _related({"customer": {}, "not": {"customer": {}}}), _found(0)),
    Case("related-to-nothing", _related({"customer": {"or": []}}), _found(0)),
    Case(
        "1001-related-keys",
        _related({"customer": {"customerKey": {"in": [*range(1_001)]}}}),
        _found(None, "TOO_MANY_VALUES"),
    ),
    Case(
        "a-long-text-of-related-rows",
        _related({"lineItems": {"none": {"comment": {"contains": "x" * 10_000}}}}),
        _found(None, "VALUE_INVALID"),
    ),
    *(
        Case(f"related-{name}", _related(value), _VARIABLES_INVALID)
        for name, value in (
            ("every", {"lineItems": {"every": {}}}),
            ("some-of-one", {"customer": {"some": {}}}),
            ("a-list", {"lineItems": {"some": [{}, {}]}}),
            ("a-key", {"customer": 1}),
            ("a-field-of-another-table", {"customer": {"totalPrice": {"eq": "1"}}}),
        )
    ),
    Case("nested-filter-that-is-not-there", _lines("filter: {}"), _DOCUMENT_INVALID),
    *(Case(f"nested-cursor-{name}", _after(cursor), _null("CURSOR_INVALID")) for name, cursor in _CURSORS.items()),
    Case(
        "nested-cursor-of-another-direction",
        _after(opaque([1, _LINES.replace("+", "-"), 1, 1, 1])),
        _null("CURSOR_ORDER_MISMATCH"),
    ),
    Case("sixteen-levels", ask(_walk(16)), refused(400, "LIMIT_EXCEEDED", limit="depth")),
    Case("a-page-of-pages-of-pages", ask(_page_of_pages(100)), refused(400, "COST_EXCEEDED", limit="cost")),
    *(
        Case(
            f"id-{name}",
            ask("query($id: ID!) { node(id: $id) { id } }", {"id": encode_global_id(*of)}),
            partly({"node": None}, "ID_INVALID"),
        )
        for name, of in _IDS.items()
    ),
    *(
        Case(f"{field}-{name}", _key(field, value), fine({"data": {field: None}}))
        for field in ("customer", "part")
        for name, value in (("zero", 0), ("below-zero", -1), ("largest", 2**63 - 1), ("smallest", -(2**63)))
    ),
    *(
        Case(f"{field}-{name}", _key(field, value), _VARIABLES_INVALID)
        for field in ("customer", "part")
        for name, value in zip(
            ("2-to-the-63rd", "a-fraction", "null", "nan"), anything(2**63, 1.5, None, "NaN"), strict=True
        )
    ),
    *(
        Case(f"customers-{name}", _customers(value), _VARIABLES_INVALID)
        for name, value in zip(
            (
                "a-string",
                "unknown-field",
                "unknown-operator",
                "a-segment-in-lower-case",
                "a-nation-of-64-bits",
                "a-list",
            ),
            anything(
                "x",
                {"city": {}},
                {"name": {"like": "%"}},
                {"marketSegment": {"eq": "building"}},
                {"nationKey": {"eq": 2**31}},
                {"name": {"startsWith": ["a"]}},
            ),
            strict=True,
        )
    ),
    *(
        Case(f"prefix-{name}", _prefix(text), _none() if len(text) <= 1_000 else _TOO_LONG)
        for name, text in _PREFIXES.items()
    ),
    Case("prefix-nul", _prefix("a\0"), partly({"customers": None}, "VALUE_INVALID")),
    Case("prefix-of-a-megabyte", _prefix("x" * 1_000_000), refused(400, "LIMIT_EXCEEDED", limit="variableCharacters")),
    Case(
        "customers-1001-nations",
        _customers({"nationKey": {"in": [*range(1_001)]}}),
        partly({"customers": None}, "TOO_MANY_VALUES"),
    ),
    Case("customers-by-phone", ask("{ customers(orderBy: {field: PHONE}) { nodes { id } } }"), _DOCUMENT_INVALID),
    Case("customers-without-a-selection", ask("{ customers }"), _DOCUMENT_INVALID),
)
