"""Bad documents: invalid GraphQL, documents that do not match the schema, and documents that exceed a limit."""

from __future__ import annotations

from typing import Final

from graphql import get_introspection_query

from tests.bad_inputs.case import MARK, OLD, ORDER, Case, Expected, ask, fine, post, refused

_SYNTAX: Final = refused(400, "SYNTAX")
_INVALID: Final = refused(400, "DOCUMENT_INVALID")
_LIMIT: Final = refused(400, "LIMIT_EXCEEDED")
_NO_CHANGES: Final[object] = {"data": {"order": {"statusChanges": {"nodes": []}}}}


def _limit(name: str) -> Expected:
    return refused(400, "LIMIT_EXCEEDED", limit=name)


def _bomb(fragments: int) -> str:
    """Fragments that each spread the next one twice, so that the fields double with each."""
    parts = [f"fragment F{n} on Order {{ ...F{n + 1} ...F{n + 1} }}" for n in range(fragments)]
    return " ".join(("{ order(orderKey: 1) { ...F0 } }", *parts, f"fragment F{fragments} on Order {{ orderKey }}"))


def _wide_bomb(fragments: int) -> str:
    """The same with different fields, eight in each fragment."""
    parts = [
        f"fragment W{n} on OrderStatusChange {{ {' '.join(f'a{n}_{m}: order {{ statusChanges(first: 1) {{ nodes {{ ...W{n + 1} }} }} }}' for m in range(3))} }}"
        for n in range(fragments)
    ]
    last = f"fragment W{fragments} on OrderStatusChange {{ id }}"
    return " ".join(("{ orderStatusChanges(first: 1) { nodes { ...W0 } } }", *parts, last))


def _deep(times: int, leaf: str) -> str:
    """Orders in their changes in orders, nested this many times. It is at least 4 * times + 1 levels deep."""
    return (
        "{ order(orderKey: 1) { "
        + "statusChanges(first: 1) { nodes { order { " * times
        + leaf
        + " } } }" * times
        + " } }"
    )


def _introspection(times: int) -> str:
    """Every type of every field of every type, nested this many times."""
    return "{ __schema { types { " + "fields { type { " * times + "name" + " } }" * times + " } } }"


_CHANGE: Final = "setOrderStatus(input: {orderKey: 1, status: OPEN}) { replayed }"
_ALL_FIELDS: Final = "id orderKey customerKey status totalPrice orderDate orderPriority clerk shipPriority comment"

_NO_GRAPHQL: Final[dict[str, str]] = {
    "open-brace": "{",
    "closed-brace": "}",
    "900-open-braces": "{" * 900,
    "no-selection": "query",
    "fragment-on-on": "fragment on on Order { id } { __typename }",
    "argument-without-a-name": "{ order(: 1) { id } }",
    "argument-without-a-value": "{ order(orderKey:) { id } }",
    "string-without-an-end": '{ node(id: "abc',
    "block-string-without-an-end": '{ node(id: """abc"',
    "line-break-in-a-string": '{ node(id: "a\nb") { id } }',
    "an-invalid-escape": '{ node(id: "\\x41") { id } }',
    "number-with-a-leading-zero": "{ order(orderKey: 01) { id } }",
    "number-without-a-fraction": "{ order(orderKey: 1.) { id } }",
    "number-with-a-name": "{ order(orderKey: 1e) { id } }",
    "name-with-a-hyphen": "{ order-key }",
    "name-that-is-not-ascii": "{ n\N{LATIN SMALL LETTER A WITH DIAERESIS}me }",
    "name-that-looks-latin": "{ \N{CYRILLIC SMALL LETTER O}rders { totalCount } }",
    "nul": "{ __typename \0 }",
    "three-operations-in-words": "please give me all orders",
    "sql": "SELECT * FROM orders",
    "json": '{"query": "{ __typename }"}',
    "variable-in-a-default": "query($a: Int, $b: Int = $a) { orders(first: $b) { totalCount } }",
    "directive-without-a-name": "{ __typename @ }",
    "list-of-brackets": "{ orders(filter: {orderKey: {in: " + "[" * 450 + "]" * 450 + "}}) { totalCount } }",
    "type-of-brackets": f"query($a: {'[' * 450}Int{']' * 450}) {{ __typename }}",
}
_UNFIT: Final[dict[str, str]] = {
    "unknown-field": "{ nothing }",
    "unknown-argument": "{ order(orderKey: 1, nothing: 2) { id } }",
    "unknown-fragment": "{ ...F }",
    "unknown-type": "{ node(id: 1) { ... on Nothing { id } } }",
    "unknown-directive": "{ __typename @nothing }",
    "unknown-variable": "{ order(orderKey: $k) { id } }",
    "unused-variable": "query($k: BigInt) { __typename }",
    "unused-fragment": "{ __typename } fragment F on Order { id }",
    "variable-twice": "query($k: BigInt!, $k: BigInt!) { order(orderKey: $k) { id } }",
    "variable-of-an-output-type": "query($o: Order) { __typename @include(if: $o) }",
    "variable-of-another-type": "query($k: String!) { order(orderKey: $k) { id } }",
    "default-of-another-type": 'query($n: Int = "five") { orders(first: $n) { totalCount } }',
    "argument-twice": "{ order(orderKey: 1, orderKey: 2) { id } }",
    "input-field-twice": "{ orders(filter: {orderKey: {eq: 1, eq: 2}}) { totalCount } }",
    "argument-missing": "{ order { id } }",
    "object-without-a-selection": "{ orders }",
    "leaf-with-a-selection": "{ order(orderKey: 1) { id { id } } }",
    "fragment-on-a-leaf": "{ order(orderKey: 1) { ... on BigInt { id } } }",
    "fragment-that-cannot-be": "{ order(orderKey: 1) { ... on OrderStats { count } } }",
    "fragment-of-itself": "{ order(orderKey: 1) { ...F } } fragment F on Order { ...F }",
    "fragments-in-a-circle": "{ order(orderKey: 1) { ...F } } fragment F on Order { ...G } fragment G on Order { ...F }",
    "fragments-in-a-circle-of-fields": (
        "{ order(orderKey: 1) { ...F } } fragment F on Order { statusChanges { nodes { order { ...F } } } }"
    ),
    "fragment-twice": "{ order(orderKey: 1) { ...F } } fragment F on Order { id } fragment F on Order { orderKey }",
    "key-for-two-fields": "{ order(orderKey: 1) { a: id a: orderKey } }",
    "key-for-two-arguments": "{ a: order(orderKey: 1) { id } a: order(orderKey: 2) { id } }",
    "a-schema-beside-a-query": "{ __typename } directive @a on FIELD",
    "include-without-a-condition": "{ __typename @include }",
    "skip-twice": "{ __typename @skip(if: false) @skip(if: false) }",
    "specified-by-in-a-query": '{ __typename @specifiedBy(url: "x") }',
    "an-unknown-mutation": "mutation { dropOrders }",
}
_FINE: Final[dict[str, str]] = {
    "byte-order-mark": f"\ufeff{ORDER}",
    "commas-everywhere": ",,{,order,(,orderKey,:,1,,),{,orderKey,},},,",
    "comments-of-60-kb": f"# {MARK} {'c' * 60_000}\n{ORDER}",
    "carriage-returns": ORDER.replace(" ", "\r"),
    "bomb-that-is-small": "{ order(orderKey: 1) { ...A } } fragment A on Order { ...B ...B } fragment B on Order { orderKey }",
    "1000-tokens": "{ order(orderKey: 1) { orderKey } orders(first: 0, filter: {orderKey: {in: ["
    + "1 " * 961
    + "]}}) @skip(if: true) { totalCount } }",
}

CASES: Final = (
    *(Case(name, ask(document), _SYNTAX) for name, document in _NO_GRAPHQL.items()),
    *(Case(name, ask(document), _INVALID) for name, document in _UNFIT.items()),
    *(Case(name, ask(document), fine()) for name, document in _FINE.items()),
    # graphql-core's grammar is that of the next edition of the specification, which allows this.
    Case("empty-selection", ask("{ orders { } }"), fine({"data": {"orders": {}}})),
    Case(
        "operation-twice",
        post({"query": "query A { __typename } query A { __typename }", "operationName": "A"}),
        _INVALID,
    ),
    Case(
        "a-schema-alone",
        ask("type Query { hacked: Int } extend type Order { secret: String }"),
        refused(400, "OPERATION_UNDETERMINED"),
    ),
    Case("the-same-as-plain-json", ask("{ nothing }", accept=OLD), Expected(200, ("DOCUMENT_INVALID",))),
    Case(
        "a-subscription-by-post", ask("subscription { orderStatusChanged { id } }"), refused(405, "METHOD_NOT_ALLOWED")
    ),
    *(Case(f"fragment-bomb-of-{n}", ask(_bomb(n)), fine()) for n in (3, 7)),
    *(Case(f"fragment-bomb-of-{n}", ask(_bomb(n)), _limit("fields")) for n in (9, 12, 16, 18, 24, 40, 64)),
    Case("wide-fragment-bomb", ask(_wide_bomb(8)), _LIMIT),
    Case("bomb-in-a-fragment-unused", ask(f"{_bomb(16)} fragment Z on Order {{ ...F0 }}"), _LIMIT),
    Case("overlapping-fields", ask(f"{{ order(orderKey: 1) {{ {'orderKey ' * 290} }} }}"), _limit("repeats")),
    Case("overlapping-objects", ask("{ " + "order(orderKey: 1) { id } " * 100 + "}"), _LIMIT),
    Case("overlapping-in-depth", ask("{ " + "orders { edges { node { id } } } " * 31 + "}"), _limit("repeats")),
    Case(
        "100-aliases",
        ask("{ order(orderKey: 1) { " + " ".join(f"a{n}: orderKey" for n in range(100)) + " } }"),
        fine({"data": {"order": {f"a{n}": "1" for n in range(100)}}}),
    ),
    Case(
        "101-aliases",
        ask("{ order(orderKey: 1) { " + " ".join(f"a{n}: orderKey" for n in range(101)) + " } }"),
        _limit("aliases"),
    ),
    Case(
        "101-aliases-of-a-lookup",
        ask("{ " + " ".join(f"a{n}: order(orderKey: {n}) {{ id }}" for n in range(101)) + " }"),
        _LIMIT,
    ),
    Case(
        "51-root-fields",
        ask("{ " + " ".join(f"a{n}: order(orderKey: {n}) {{ id }}" for n in range(51)) + " }"),
        _limit("rootFields"),
    ),
    Case("depth-of-16", ask(_deep(4, "statusChanges(first: 1) { nodes { id } }")), fine(_NO_CHANGES)),
    Case("depth-of-17", ask(_deep(4, "statusChanges(first: 1) { nodes { order { id } } }")), _limit("depth")),
    Case("depth-of-90", ask("{ a " * 90 + "}" * 90), _limit("depth")),
    Case("depth-of-300", ask("{ a " * 300 + "}" * 300), _SYNTAX),
    Case("depth-of-5000", ask("{ a " * 5_000 + "}" * 5_000), _SYNTAX),
    Case(
        "1001-tokens",
        ask(
            "{ order(orderKey: 1) { orderKey } orders(first: 0, filter: {orderKey: {in: ["
            + "1 " * 962
            + "]}}) @skip(if: true) { totalCount } }"
        ),
        _limit("tokens"),
    ),
    Case("3000-unknown-fields", ask("{ " + " ".join(f"f{n}" for n in range(3_000)) + " }"), _limit("tokens")),
    Case("900-unknown-fields", ask("{ " + " ".join(f"f{n}" for n in range(900)) + " }"), _LIMIT),
    Case("20-unknown-fields", ask("{ " + " ".join(f"ordres{n}" for n in range(20)) + " }"), _INVALID),
    Case("101-directives", ask("{ __typename " + "@include(if: true) " * 101 + "}"), _limit("directives")),
    Case("300-unknown-directives", ask("{ __typename " + "@a " * 300 + "}"), _limit("directives")),
    Case("1000-definitions", ask(" ".join(f"query A{n} {{ a }}" for n in range(1_000))), _limit("tokens")),
    Case("101-definitions", ask(" ".join(f"query A{n} {{ __typename }}" for n in range(101))), _limit("definitions")),
    Case(
        "5000-literals-in-a-list",
        ask(f"{{ orders(filter: {{orderKey: {{in: [{'1 ' * 5_000}]}}}}) {{ totalCount }} }}"),
        _limit("tokens"),
    ),
    Case("200-variables", ask(f"query({' '.join(f'$v{n}: Int' for n in range(200))}) {{ nothing }}"), _INVALID),
    Case(
        "block-string-of-60-kb",
        ask(f'{{ orders(filter: {{clerk: {{eq: """{MARK}{"b" * 60_000}"""}}}}) {{ totalCount }} }}'),
        fine({"data": {"orders": {"totalCount": 0}}}),
    ),
    Case(
        "block-string-of-lines",
        ask('{ orders(filter: {clerk: {eq: """' + " \n" * 30_000 + '"""}}) { totalCount } }'),
        fine({"data": {"orders": {"totalCount": 0}}}),
    ),
    Case("30000-comments", ask("#\n" * 30_000 + ORDER), _limit("tokens")),
    Case("comments-of-70-kb", ask("#" * 70_000 + f"\n{ORDER}"), _limit("characters")),
    Case("a-megabyte-of-white-space", ask(" " * 1_000_000 + ORDER), _limit("characters")),
    Case("two-changes", ask(f"mutation {{ a: {_CHANGE} b: {_CHANGE} }}"), _limit("rootMutations")),
    Case(
        "pages-in-pages",
        ask("{ orders(first: 100) { nodes { statusChanges(first: 1000) { nodes { id } } } } }"),
        refused(400, "COST_EXCEEDED"),
    ),
    Case(
        "pages-in-pages-by-default",
        ask("{ orders { nodes { statusChanges { nodes { order { statusChanges { nodes { id } } } } } } } }"),
        refused(400, "COST_EXCEEDED"),
    ),
    Case(
        "a-page-in-a-variable",
        ask(
            "query($n: Int) { orders(first: 100) { nodes { statusChanges(first: $n) { nodes { id } } } } }",
            {"n": 1_000},
        ),
        refused(400, "COST_EXCEEDED"),
    ),
    Case(
        "three-large-pages",
        ask("{ " + " ".join(f"a{n}: orders(first: 1000) {{ nodes {{ {_ALL_FIELDS} }} }}" for n in range(3)) + " }"),
        refused(400, "COST_EXCEEDED"),
    ),
    Case(
        "500000-keys-in-a-variable",
        ask("query($k: [BigInt!]) { orders(filter: {orderKey: {in: $k}}) { totalCount } }", {"k": [1] * 500_000}),
        _limit("structure"),
    ),
    Case(
        "15000-keys-in-a-variable",
        ask("query($k: [BigInt!]) { orders(filter: {orderKey: {in: $k}}) { totalCount } }", {"k": [1] * 15_000}),
        _limit("variableValues"),
    ),
    Case(
        "introspection",
        ask(get_introspection_query()),
        Expected(200, contains={"data": {"__schema": {"queryType": {"name": "Query"}}}}),
    ),
    Case("introspection-in-a-circle", ask(_introspection(6)), _INVALID),
    Case(
        "introspection-by-60-names",
        ask("{ " + " ".join(f"a{n}: __schema {{ types {{ name }} }}" for n in range(60)) + " }"),
        _LIMIT,
    ),
)
