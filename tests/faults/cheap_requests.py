"""Requests of all kinds that look cheap: what an attacker would send, and what frontends send every day."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from graphql import get_introspection_query

from schema.limits.prices import REMEMBERED_CHARACTERS
from tests.faults.asked import (
    ALL_FIELDS,
    FIELDS,
    LAST_KEY,
    ORDINARY,
    Asked,
    aliases,
    known,
    new,
    page_of,
    varied,
)
from tests.faults.cheap_filters import attacks, filters, lists, surprises
from tests.faults.cheap_nested import nested_pages, relations, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pages() -> Iterator[Asked]:
    """Pages of orders, as frontends ask for them."""
    yield known(ORDINARY, page_of("first: 10", FIELDS))
    for size in (0, 1, 2, 5, 100, 1_000):
        yield known(f"page of {size}", page_of(f"first: {size}"))
    yield known("page of 1,000 with all fields", page_of("first: 1000", ALL_FIELDS))
    yield known("last page of 10", page_of("last: 10", FIELDS))
    yield known("page with cursors", "{ orders(first: 10) { edges { cursor node { id } } pageInfo { endCursor } } }")
    yield known("page of nothing but hasNextPage", "{ orders(first: 1) { pageInfo { hasNextPage } } }")
    yield known("__typename", "{ __typename }")
    yield known("__typename of 1,000 orders", page_of("first: 1000", "__typename"))
    yield known("__typename under 20 aliases", page_of("first: 1000", " ".join(f"a{n}: __typename" for n in range(20))))
    yield known("comment under 20 aliases", page_of("first: 500", " ".join(f"a{n}: comment" for n in range(20))))
    yield known("skipped fields", f"{{ orders(first: 10) {{ nodes {{ id {'clerk @skip(if: true) ' * 50} }} }} }}")
    yield known("50 aliases of a page of 1", aliases(50, lambda _: "orders(first: 1) { nodes { id } }"))
    yield known("50 aliases of __typename", aliases(50, lambda _: "__typename"))
    yield known("estimated count", "{ orders(first: 0) { totalCount(precision: ESTIMATED) } }")
    yield known(
        "20 estimated counts",
        f"{{ orders {{ {' '.join(f'a{n}: totalCount(precision: ESTIMATED)' for n in range(20))} }} }}",
    )
    yield known("fragments 15 levels deep", _deep())
    yield known("page over GET", page_of("first: 10", FIELDS), "get")
    yield known("page over SSE", page_of("first: 10", FIELDS), "sse")
    yield known("page over a WebSocket", page_of("first: 10", FIELDS), "websocket")
    yield known("__typename over a WebSocket", "{ __typename }", "websocket")
    yield known("__typename over SSE", "{ __typename }", "sse")


def _deep() -> str:
    change = "order { statusChanges(first: 1) { nodes { "
    return f"{{ orderStatusChanges(first: 1) {{ nodes {{ {change * 4} id {'} } } ' * 4} }} }} }}"


def lookups() -> Iterator[Asked]:
    """Single orders, changes and other objects."""
    yield varied("order", "query($k: BigInt!) { order(orderKey: $k) { id } }", lambda number: {"k": number})
    yield known("order with all fields", f"{{ order(orderKey: 1) {{ {ALL_FIELDS} }} }}")
    yield known("order that is missing", "{ order(orderKey: -1) { id } }")
    yield known("50 aliases of order", aliases(50, lambda n: f"order(orderKey: {n}) {{ id }}"))
    yield varied("nodes of 100 ids", "query($i: [ID!]!) { nodes(ids: $i) { id } }", _ids(100))
    yield varied("nodes of 1,000 ids", "query($i: [ID!]!) { nodes(ids: $i) { id } }", _ids(1_000))
    yield known("nodes of 1,000 wrong ids", "query($i: [ID!]!) { nodes(ids: $i) { id } }", i=["x"] * 1_000)
    yield known("node with a wrong id", '{ node(id: "x") { id } }')
    yield known("changes of an order", "{ order(orderKey: 1) { statusChanges(first: 1) { nodes { version } } } }")
    yield known("changes of 100 orders", page_of("first: 100", "statusChanges(first: 1) { nodes { version } }"))
    yield known("changes", "{ orderStatusChanges(first: 10) { nodes { id version status changedAt } } }")
    yield known("change", "{ orderStatusChanges(first: 1) { nodes { version } } }")
    yield known("head of the changes", "{ orderStatusChanges(first: 0) { headCursor } }")
    yield known("changes by nobody", '{ orderStatusChanges(first: 1, filter: {changedBy: "nobody"}) { nodes { id } } }')
    yield varied(
        "changes of 1,000 orders",
        "query($k: [BigInt!]) { orderStatusChanges(first: 1, filter: {orderKeys: $k}) { nodes { id } } }",
        lambda number: {"k": [LAST_KEY + number + n for n in range(1_000)]},
    )
    yield known(
        "changes of an order by nobody",
        '{ orderStatusChanges(first: 1, filter: {orderKeys: [1], changedBy: "nobody"}) { nodes { id } } }',
    )
    yield known("audit", "{ adminAudit(first: 10) { nodes { id action } } }")
    yield known("audit entry", "{ adminAudit(first: 1) { nodes { id } } }")
    yield known("audit by action", '{ adminAudit(first: 1, filter: {action: "x"}) { nodes { id } } }')
    yield known("operations", "{ operations(first: 1) { nodes { id } } }")
    yield known("operation", '{ operation(id: "x") { id } }')
    yield known("lakebase", "{ lakebase { instanceName } }")


def _ids(count: int) -> Callable[[int], dict[str, Any]]:
    def ids(number: int) -> dict[str, Any]:
        return {"i": [base64.b64encode(f"Order:{number + 32 * n}".encode()).decode() for n in range(count)]}

    return ids


def changes() -> Iterator[Asked]:
    """Changes of statuses, made and refused."""
    one = "mutation($i: SetOrderStatusInput!) { setOrderStatus(input: $i) { change { version } } }"
    yield varied(
        "change of an order", one, lambda n: {"i": {"orderKey": 32 * (n + 1), "status": ("OPEN", "PARTIAL")[n % 2]}}
    )
    yield varied("change that changes nothing", one, lambda _: {"i": {"orderKey": 1, "status": "OPEN"}})
    yield known("change of a missing order", one, i={"orderKey": -1, "status": "OPEN"})
    yield known("change with a wrong key", one, i={"orderKey": "x", "status": "OPEN"})
    yield varied(
        "clearing a status",
        "mutation($k: BigInt!) { clearOrderStatus(input: {orderKey: $k}) { change { version } } }",
        lambda n: {"k": 32 * (n + 1)},
    )
    many = "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { replayed } }"
    for size in (1, 100, 1_000):
        yield varied(f"list of {size} changes", many, _changes(size))
    missing = [{"orderKey": -n, "status": "OPEN"} for n in range(1, 1_000)]
    yield known("list of 1,000 missing orders", many, i={"changes": missing, "mode": "INDEPENDENT"})
    yield known("list of 1,000 mistakes", many, i={"changes": [{"status": "OPEN"}] * 1_000})


def _changes(size: int) -> Callable[[int], dict[str, Any]]:
    def made(number: int) -> dict[str, Any]:
        status = ("OPEN", "PARTIAL")[number % 2]
        return {"i": {"changes": [{"orderKey": 32 * (n + 1) + 1, "status": status} for n in range(size)]}}

    return made


def texts() -> Iterator[Asked]:
    """Documents that are new each time: long, wrong, deep, wide."""
    yield new("new small text", lambda n: f"{{ __typename }} # {n}")
    yield new("new page", lambda n: f"{page_of('first: 10', FIELDS)} # {n}")
    yield new("new page over GET", lambda n: f"{page_of('first: 10', FIELDS)} # {n}", "get")
    yield new("new page over a WebSocket", lambda n: f"{page_of('first: 10', FIELDS)} # {n}", "websocket")
    yield new("new page over SSE", lambda n: f"{page_of('first: 10', FIELDS)} # {n}", "sse")
    yield new("comment of 65 KB", lambda n: f"{{ __typename }} # {n:06}{'x' * 65_000}")
    yield new("comment of 10 KB", lambda n: f"{{ __typename }} # {n:06}{'x' * 10_000}")
    yield new(
        "escapes of 64 KB",
        lambda n: (
            '{ orders(first: 0, filter: {clerk: {eq: "' + '\\"' * 32_000 + f'{n:06}"}}}}) {{ nodes {{ id }} }} }}'
        ),
    )
    yield new(
        "text at the bound of the cache", lambda n: f"{{ __typename }} # {n:06}".ljust(REMEMBERED_CHARACTERS, "x")
    )
    yield new(
        "300 unknown fields in a filter",
        lambda n: page_of(f"first: 1, filter: {{{' '.join(f'x{i}: {n}' for i in range(300))}}}"),
    )
    yield new("unknown field", lambda n: f"{{ nothing{n} }}")
    yield new("90 unknown fields", lambda n: f"{{ {' '.join(f'nothing{i}x{n}' for i in range(90))} }}")
    yield new("syntax error", lambda n: f"{{ nothing{n}")
    yield new("200 new aliases", lambda n: f"{{ {' '.join(f'a{i}: __typename' for i in range(90))} }} # {n}")
    yield new(
        "wide new document",
        lambda n: (
            page_of("first: 0", " ".join(f"a{i}: statusChanges(first: 1) {{ nodes {{ version }} }}" for i in range(90)))
            + f"# {n}"
        ),
    )
    yield new("100 new fragments", _fragments)
    yield new("fragment bomb", _bomb)
    yield new("100 new operations", lambda n: " ".join(f"query q{i}x{n} {{ __typename }}" for i in range(99)))
    yield new("too deep", lambda n: f"{'{ a' * 200}{n}{' }' * 200}")
    yield new("too many tokens", lambda n: f"{{ {'a ' * 2_000} }} # {n}")
    yield new("too many characters", lambda n: f"{{ __typename }} # {n:06}{'x' * 70_000}")
    yield new("introspection that is new", lambda n: f"{get_introspection_query()}# {n}")
    yield known("introspection that is known", get_introspection_query())
    yield known("type that is known", '{ __type(name: "Order") { name } }')
    yield known("wrong text that is the same", "{ nothing }")
    yield known("two operations without a name", "query a { __typename } query b { __typename }")
    yield known("too dear", page_of("first: 1000", f"{ALL_FIELDS} statusChanges {{ nodes {{ id }} }}"))


def _fragments(number: int) -> str:
    spread = " ".join(f"...F{n}" for n in range(90))
    return (
        f"{{ orders(first: 1) {{ nodes {{ {spread} }} }} }} "
        + " ".join(f"fragment F{n} on Order {{ id }}" for n in range(90))
        + f"# {number}"
    )


def _bomb(number: int) -> str:
    bomb = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(40))
    return f"{{ ...F0 }} {bomb} fragment F40 on Query {{ __typename }} # {number}"


def values() -> Iterator[Asked]:
    """Variables and bodies of all sizes, right and wrong."""
    page = "query($f: OrderFilter, $n: Int) { orders(first: $n, filter: $f) { nodes { id } } }"
    yield varied("variables", page, lambda _: {"n": 10})
    yield varied("17 unknown fields in a variable", page, lambda _: {"f": {f"status{n}": 1 for n in range(17)}})
    yield varied("300 unknown fields in a variable", page, lambda _: {"f": {f"status{n}": 1 for n in range(300)}})
    yield varied("1,000 wrong values in a variable", page, lambda _: {"f": {"orderKey": {"in": ["x" * 50] * 1_000}}})
    yield varied(
        "1,000 values in a variable", page, lambda n: {"n": 1, "f": {"orderKey": {"in": [*range(n, n + 1_000)]}}}
    )
    yield varied("300 variables that nobody declared", "{ __typename }", lambda _: {f"v{n}": n for n in range(299)})
    yield varied("9,000 values that nobody declared", "{ __typename }", lambda _: {"v": [0] * 9_000})
    yield varied("too many values", "{ __typename }", lambda _: {"v": [0] * 20_000})
    yield varied("text of 60 KB that nobody declared", "{ __typename }", lambda _: {"v": "x" * 60_000})
    yield varied("text of 2 MB that nobody declared", "{ __typename }", lambda _: {"v": "x" * 2_000_000})
    yield varied("wrong page size", page, lambda _: {"n": -1})
    yield varied("wrong cursor", "query($a: String) { orders(after: $a) { nodes { id } } }", lambda _: {"a": "x"})
    yield Asked("unknown hash", lambda n: {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": f"{n:064x}"}}})
    yield Asked("wrong hash", lambda n: {"query": "{ __typename }", "documentId": f"sha256:{n:064x}"})
    yield Asked("unknown hash over GET", lambda n: {"documentId": f"sha256:{n:064x}"}, "get")
    yield Asked("unknown hash over a WebSocket", lambda n: {"documentId": f"sha256:{n:064x}"}, "websocket")
    yield Asked("no operation of that name", lambda n: {"query": "{ __typename }", "operationName": f"x{n}"})
    yield Asked("body that is no JSON", lambda _: "{")
    yield Asked("body of 2 MB that is no object", lambda _: json.dumps([0] * 600_000))
    yield Asked("wrong content type", lambda _: "{", content_type="text/plain")
    yield Asked("2 MB of extensions", lambda _: {"query": "{ __typename }", "extensions": {"x": "x" * 2_000_000}})
    yield known("mutation over GET", "mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }", "get")


def subscriptions() -> Iterator[Asked]:
    """The start of subscriptions."""
    feed = "subscription { orderStatusChanged { version } }"
    yield known("start of a subscription", feed, "subscription")
    yield known(
        "subscription with a wrong cursor", 'subscription { orderStatusChanged(after: "x") { version } }', "sse"
    )
    yield known(
        "wrong subscription over a WebSocket",
        'subscription { orderStatusChanged(after: "x") { version } }',
        "websocket",
    )
    yield known("subscription over HTTP", feed)
    yield known(
        "progress of an operation that is missing", 'subscription { operationProgress(id: "x") { id } }', "websocket"
    )


def all_requests() -> list[Asked]:
    """All of them; the ordinary page is the first."""
    return [
        *pages(),
        *filters(),
        *lists(),
        *attacks(),
        *surprises(),
        *tables(),
        *relations(),
        *nested_pages(),
        *lookups(),
        *changes(),
        *texts(),
        *values(),
        *subscriptions(),
    ]
