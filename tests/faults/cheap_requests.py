"""Requests of all kinds that look cheap: what an attacker would send, and what frontends send every day."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import get_introspection_query

from schema.limits.prices import REMEMBERED_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
GRAPHQL: Final = "/api/graphql"
STREAM: Final = "/api/graphql/stream"
# What the others are compared with.
ORDINARY: Final = "page of 10 orders with 5 fields"
FIELDS: Final = "id orderKey status totalPrice orderDate"
ALL_FIELDS: Final = (
    "id orderKey customerKey status totalPrice orderDate orderPriority clerk shipPriority comment statusVersion "
    "statusUpdatedAt statusUpdatedBy syncedStatus statusSuperseded"
)
LAST_KEY: Final = 6_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `make` returns what is sent the n-th time: a body or text, and for a GET the parameters of the URL.

    `transport` is `post`, `get`, `sse`, `websocket`, or `subscription`: server-sent events up to the first one.
    """

    name: str
    make: Callable[[int], Any]
    transport: str = "post"
    content_type: str = JSON


def _known(name: str, query: str, transport: str = "post", **variables: Any) -> Asked:
    """A request whose document is always the same."""
    return Asked(name, lambda _: _given(query, variables), transport)


def _new(name: str, query: Callable[[int], str], transport: str = "post") -> Asked:
    """A request with another document each time."""
    return Asked(name, lambda number: _given(query(number), {}), transport)


def _varied(name: str, query: str, variables: Callable[[int], dict[str, Any]]) -> Asked:
    return Asked(name, lambda number: _given(query, variables(number)))


def _given(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    return {"query": query, **({"variables": variables} if variables else {})}


def _page(arguments: str, selection: str = "id") -> str:
    return f"{{ orders({arguments}) {{ nodes {{ {selection} }} }} }}"


def _aliases(number: int, write: Callable[[int], str]) -> str:
    return f"{{ {' '.join(f'a{n}: {write(n)}' for n in range(number))} }}"


def pages() -> Iterator[Asked]:
    """Pages of orders, as frontends ask for them."""
    yield _known(ORDINARY, _page("first: 10", FIELDS))
    for size in (0, 1, 2, 5, 100, 1_000):
        yield _known(f"page of {size}", _page(f"first: {size}"))
    yield _known("page of 1,000 with all fields", _page("first: 1000", ALL_FIELDS))
    yield _known("last page of 10", _page("last: 10", FIELDS))
    yield _known("page with cursors", "{ orders(first: 10) { edges { cursor node { id } } pageInfo { endCursor } } }")
    yield _known("page of nothing but hasNextPage", "{ orders(first: 1) { pageInfo { hasNextPage } } }")
    yield _known("__typename", "{ __typename }")
    yield _known("__typename of 1,000 orders", _page("first: 1000", "__typename"))
    yield _known("__typename under 20 aliases", _page("first: 1000", " ".join(f"a{n}: __typename" for n in range(20))))
    yield _known("comment under 20 aliases", _page("first: 500", " ".join(f"a{n}: comment" for n in range(20))))
    yield _known("skipped fields", f"{{ orders(first: 10) {{ nodes {{ id {'clerk @skip(if: true) ' * 50} }} }} }}")
    yield _known("50 aliases of a page of 1", _aliases(50, lambda _: "orders(first: 1) { nodes { id } }"))
    yield _known("50 aliases of __typename", _aliases(50, lambda _: "__typename"))
    yield _known("estimated count", "{ orders(first: 0) { totalCount(precision: ESTIMATED) } }")
    yield _known(
        "20 estimated counts",
        f"{{ orders {{ {' '.join(f'a{n}: totalCount(precision: ESTIMATED)' for n in range(20))} }} }}",
    )
    yield _known("fragments 15 levels deep", _deep())
    yield _known("page over GET", _page("first: 10", FIELDS), "get")
    yield _known("page over SSE", _page("first: 10", FIELDS), "sse")
    yield _known("page over a WebSocket", _page("first: 10", FIELDS), "websocket")
    yield _known("__typename over a WebSocket", "{ __typename }", "websocket")
    yield _known("__typename over SSE", "{ __typename }", "sse")


def _deep() -> str:
    change = "order { statusChanges(first: 1) { nodes { "
    return f"{{ orderStatusChanges(first: 1) {{ nodes {{ {change * 4} id {'} } } ' * 4} }} }} }}"


def filters() -> Iterator[Asked]:
    """Pages, counts and statistics of a part of the orders, by every argument."""
    conditions = {
        "clerk": 'clerk: {eq: "nobody"}',
        "clerks": 'clerk: {in: ["nobody", "somebody"]}',
        "priority": "orderPriority: {in: []}",
        "status": "status: {in: []}",
        "status and date": 'status: {eq: OPEN}, orderDate: {lt: "1993-01-01"}',
        "clerk and month": 'clerk: {eq: "nobody"}, orderDate: {gte: "1998-07-01"}',
        "clerk and all dates": 'clerk: {eq: "nobody"}, orderDate: {gte: "1900-01-01"}',
        "clerk and customer": 'clerk: {eq: "nobody"}, customerKey: {eq: 7}',
        "customer": "customerKey: {eq: 7}",
        "key": "orderKey: {eq: 7}",
        "day": 'orderDate: {gte: "1995-01-01", lte: "1995-01-01"}',
        "price": 'totalPrice: {gte: "400000"}',
        "price and date": 'totalPrice: {lte: "2000"}, orderDate: {lte: "1992-03-01"}',
        "key and date": 'orderKey: {gt: "5900000"}, orderDate: {lte: "1992-03-01"}',
    }
    for name, condition in conditions.items():
        yield _known(f"page by {name}", _page(f"first: 1, filter: {{{condition}}}"))
        yield _known(f"count by {name}", f"{{ orderCount(filter: {{{condition}}}) {{ count }} }}")
    for name in ("clerk", "status", "month", "day", "price"):
        condition = conditions.get(name, 'orderDate: {gte: "1998-07-01"}')
        yield _known(
            f"statistics by {name}", f"{{ orderStats(filter: {{{condition}}}) {{ count byStatus {{ count }} }} }}"
        )
    for name in ("day", "price", "customer", "price and date", "key and date", "clerk", "status and date"):
        order = "orderBy: {field: ORDER_DATE}" if "price" in name else "orderBy: {field: TOTAL_PRICE}"
        yield _known(f"page by {name}, sorted", _page(f"first: 1, filter: {{{conditions[name]}}}, {order}"))
    week = 'orderDate: {gte: "1995-01-01", lt: "1995-01-08"}'
    yield _known("page by week, sorted", _page(f"first: 10, filter: {{{week}}}, orderBy: {{field: TOTAL_PRICE}}"))
    yield _known("sorted page", _page("first: 1, orderBy: {field: TOTAL_PRICE, direction: DESC}"))
    yield _varied(
        "page by 1,000 clerks",
        "query($c: [String!]) { orders(first: 1, filter: {clerk: {in: $c}}) { nodes { id } } }",
        lambda number: {"c": [f"nobody {number} {n}" for n in range(1_000)]},
    )
    yield _varied(
        "page by 1,000 customers",
        "query($c: [BigInt!]) { orders(first: 1, filter: {customerKey: {in: $c}}, orderBy: {field: TOTAL_PRICE}) { nodes { id } } }",
        lambda number: {"c": [number * 7 + 97 * n for n in range(1_000)]},
    )
    for page in (1, 2, 100, 1_000, 20_000, 149_000, 1_400_000):
        yield _known(f"numbered page {page}", f"{{ ordersPage(page: {page}, pageSize: 1) {{ nodes {{ id }} }} }}")
    far = f"ordersPage(page: 149000, pageSize: 1) {{ nodes {{ {ALL_FIELDS} }} }}"
    yield _known("numbered page 149000 with all fields", f"{{ {far} }}")
    by_price = f"ordersPage(page: 149000, pageSize: 1, orderBy: {{field: TOTAL_PRICE}}) {{ nodes {{ {ALL_FIELDS} }} }}"
    yield _known("numbered page 149000 by price", f"{{ {by_price} }}")
    yield _known(
        "numbered page 5,000 by date",
        "{ ordersPage(page: 5000, pageSize: 10, orderBy: {field: ORDER_DATE}) { nodes { id } } }",
    )
    yield _known("numbered page without orders", "{ ordersPage(page: 9, pageSize: 1) { page } }")
    yield _known("sample of 1", "{ orderSample(size: 1) { id } }")
    yield _known("sample of 100", "{ orderSample(size: 100) { id } }")
    yield _known("all orders counted", "{ orderCount { count } }")


def lookups() -> Iterator[Asked]:
    """Single orders, changes and other objects."""
    yield _varied("order", "query($k: BigInt!) { order(orderKey: $k) { id } }", lambda number: {"k": number})
    yield _known("order with all fields", f"{{ order(orderKey: 1) {{ {ALL_FIELDS} }} }}")
    yield _known("order that is missing", "{ order(orderKey: -1) { id } }")
    yield _known("50 aliases of order", _aliases(50, lambda n: f"order(orderKey: {n}) {{ id }}"))
    yield _varied("nodes of 100 ids", "query($i: [ID!]!) { nodes(ids: $i) { id } }", _ids(100))
    yield _varied("nodes of 1,000 ids", "query($i: [ID!]!) { nodes(ids: $i) { id } }", _ids(1_000))
    yield _known("nodes of 1,000 wrong ids", "query($i: [ID!]!) { nodes(ids: $i) { id } }", i=["x"] * 1_000)
    yield _known("node with a wrong id", '{ node(id: "x") { id } }')
    yield _known("changes of an order", "{ order(orderKey: 1) { statusChanges(first: 1) { nodes { version } } } }")
    yield _known("changes of 100 orders", _page("first: 100", "statusChanges(first: 1) { nodes { version } }"))
    yield _known("changes", "{ orderStatusChanges(first: 10) { nodes { id version status changedAt } } }")
    yield _known("change", "{ orderStatusChanges(first: 1) { nodes { version } } }")
    yield _known("head of the changes", "{ orderStatusChanges(first: 0) { headCursor } }")
    yield _known(
        "changes by nobody", '{ orderStatusChanges(first: 1, filter: {changedBy: "nobody"}) { nodes { id } } }'
    )
    yield _varied(
        "changes of 1,000 orders",
        "query($k: [BigInt!]) { orderStatusChanges(first: 1, filter: {orderKeys: $k}) { nodes { id } } }",
        lambda number: {"k": [LAST_KEY + number + n for n in range(1_000)]},
    )
    yield _known(
        "changes of an order by nobody",
        '{ orderStatusChanges(first: 1, filter: {orderKeys: [1], changedBy: "nobody"}) { nodes { id } } }',
    )
    yield _known("audit", "{ adminAudit(first: 10) { nodes { id action } } }")
    yield _known("audit entry", "{ adminAudit(first: 1) { nodes { id } } }")
    yield _known("audit by action", '{ adminAudit(first: 1, filter: {action: "x"}) { nodes { id } } }')
    yield _known("operations", "{ operations(first: 1) { nodes { id } } }")
    yield _known("operation", '{ operation(id: "x") { id } }')
    yield _known("lakebase", "{ lakebase { instanceName } }")


def _ids(count: int) -> Callable[[int], dict[str, Any]]:
    def ids(number: int) -> dict[str, Any]:
        return {"i": [base64.b64encode(f"Order:{number + 32 * n}".encode()).decode() for n in range(count)]}

    return ids


def changes() -> Iterator[Asked]:
    """Changes of statuses, made and refused."""
    one = "mutation($i: SetOrderStatusInput!) { setOrderStatus(input: $i) { change { version } } }"
    yield _varied(
        "change of an order", one, lambda n: {"i": {"orderKey": 32 * (n + 1), "status": ("OPEN", "PARTIAL")[n % 2]}}
    )
    yield _varied("change that changes nothing", one, lambda _: {"i": {"orderKey": 1, "status": "OPEN"}})
    yield _known("change of a missing order", one, i={"orderKey": -1, "status": "OPEN"})
    yield _known("change with a wrong key", one, i={"orderKey": "x", "status": "OPEN"})
    yield _varied(
        "clearing a status",
        "mutation($k: BigInt!) { clearOrderStatus(input: {orderKey: $k}) { change { version } } }",
        lambda n: {"k": 32 * (n + 1)},
    )
    many = "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { replayed } }"
    for size in (1, 100, 1_000):
        yield _varied(f"list of {size} changes", many, _changes(size))
    missing = [{"orderKey": -n, "status": "OPEN"} for n in range(1, 1_000)]
    yield _known("list of 1,000 missing orders", many, i={"changes": missing, "mode": "INDEPENDENT"})
    yield _known("list of 1,000 mistakes", many, i={"changes": [{"status": "OPEN"}] * 1_000})


def _changes(size: int) -> Callable[[int], dict[str, Any]]:
    def made(number: int) -> dict[str, Any]:
        status = ("OPEN", "PARTIAL")[number % 2]
        return {"i": {"changes": [{"orderKey": 32 * (n + 1) + 1, "status": status} for n in range(size)]}}

    return made


def texts() -> Iterator[Asked]:
    """Documents that are new each time: long, wrong, deep, wide."""
    yield _new("new small text", lambda n: f"{{ __typename }} # {n}")
    yield _new("new page", lambda n: f"{_page('first: 10', FIELDS)} # {n}")
    yield _new("new page over GET", lambda n: f"{_page('first: 10', FIELDS)} # {n}", "get")
    yield _new("new page over a WebSocket", lambda n: f"{_page('first: 10', FIELDS)} # {n}", "websocket")
    yield _new("new page over SSE", lambda n: f"{_page('first: 10', FIELDS)} # {n}", "sse")
    yield _new("comment of 65 KB", lambda n: f"{{ __typename }} # {n:06}{'x' * 65_000}")
    yield _new("comment of 10 KB", lambda n: f"{{ __typename }} # {n:06}{'x' * 10_000}")
    yield _new(
        "escapes of 64 KB",
        lambda n: (
            '{ orders(first: 0, filter: {clerk: {eq: "' + '\\"' * 32_000 + f'{n:06}"}}}}) {{ nodes {{ id }} }} }}'
        ),
    )
    yield _new(
        "text at the bound of the cache", lambda n: f"{{ __typename }} # {n:06}".ljust(REMEMBERED_CHARACTERS, "x")
    )
    yield _new(
        "300 unknown fields in a filter",
        lambda n: _page(f"first: 1, filter: {{{' '.join(f'x{i}: {n}' for i in range(300))}}}"),
    )
    yield _new("unknown field", lambda n: f"{{ nothing{n} }}")
    yield _new("90 unknown fields", lambda n: f"{{ {' '.join(f'nothing{i}x{n}' for i in range(90))} }}")
    yield _new("syntax error", lambda n: f"{{ nothing{n}")
    yield _new("200 new aliases", lambda n: f"{{ {' '.join(f'a{i}: __typename' for i in range(90))} }} # {n}")
    yield _new(
        "wide new document",
        lambda n: (
            _page("first: 0", " ".join(f"a{i}: statusChanges(first: 1) {{ nodes {{ version }} }}" for i in range(90)))
            + f"# {n}"
        ),
    )
    yield _new("100 new fragments", _fragments)
    yield _new("fragment bomb", _bomb)
    yield _new("100 new operations", lambda n: " ".join(f"query q{i}x{n} {{ __typename }}" for i in range(99)))
    yield _new("too deep", lambda n: f"{'{ a' * 200}{n}{' }' * 200}")
    yield _new("too many tokens", lambda n: f"{{ {'a ' * 2_000} }} # {n}")
    yield _new("too many characters", lambda n: f"{{ __typename }} # {n:06}{'x' * 70_000}")
    yield _new("introspection that is new", lambda n: f"{get_introspection_query()}# {n}")
    yield _known("introspection that is known", get_introspection_query())
    yield _known("type that is known", '{ __type(name: "Order") { name } }')
    yield _known("wrong text that is the same", "{ nothing }")
    yield _known("two operations without a name", "query a { __typename } query b { __typename }")
    yield _known("too dear", _page("first: 1000", f"{ALL_FIELDS} statusChanges {{ nodes {{ id }} }}"))


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
    yield _varied("variables", page, lambda _: {"n": 10})
    yield _varied("17 unknown fields in a variable", page, lambda _: {"f": {f"status{n}": 1 for n in range(17)}})
    yield _varied("300 unknown fields in a variable", page, lambda _: {"f": {f"status{n}": 1 for n in range(300)}})
    yield _varied("1,000 wrong values in a variable", page, lambda _: {"f": {"orderKey": {"in": ["x" * 50] * 1_000}}})
    yield _varied(
        "1,000 values in a variable", page, lambda n: {"n": 1, "f": {"orderKey": {"in": [*range(n, n + 1_000)]}}}
    )
    yield _varied("300 variables that nobody declared", "{ __typename }", lambda _: {f"v{n}": n for n in range(299)})
    yield _varied("9,000 values that nobody declared", "{ __typename }", lambda _: {"v": [0] * 9_000})
    yield _varied("too many values", "{ __typename }", lambda _: {"v": [0] * 20_000})
    yield _varied("text of 60 KB that nobody declared", "{ __typename }", lambda _: {"v": "x" * 60_000})
    yield _varied("text of 2 MB that nobody declared", "{ __typename }", lambda _: {"v": "x" * 2_000_000})
    yield _varied("wrong page size", page, lambda _: {"n": -1})
    yield _varied("wrong cursor", "query($a: String) { orders(after: $a) { nodes { id } } }", lambda _: {"a": "x"})
    yield Asked("unknown hash", lambda n: {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": f"{n:064x}"}}})
    yield Asked("wrong hash", lambda n: {"query": "{ __typename }", "documentId": f"sha256:{n:064x}"})
    yield Asked("unknown hash over GET", lambda n: {"documentId": f"sha256:{n:064x}"}, "get")
    yield Asked("unknown hash over a WebSocket", lambda n: {"documentId": f"sha256:{n:064x}"}, "websocket")
    yield Asked("no operation of that name", lambda n: {"query": "{ __typename }", "operationName": f"x{n}"})
    yield Asked("body that is no JSON", lambda _: "{")
    yield Asked("body of 2 MB that is no object", lambda _: json.dumps([0] * 600_000))
    yield Asked("wrong content type", lambda _: "{", content_type="text/plain")
    yield Asked("2 MB of extensions", lambda _: {"query": "{ __typename }", "extensions": {"x": "x" * 2_000_000}})
    yield _known("mutation over GET", "mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }", "get")


def subscriptions() -> Iterator[Asked]:
    """The start of subscriptions."""
    feed = "subscription { orderStatusChanged { version } }"
    yield _known("start of a subscription", feed, "subscription")
    yield _known(
        "subscription with a wrong cursor", 'subscription { orderStatusChanged(after: "x") { version } }', "sse"
    )
    yield _known(
        "wrong subscription over a WebSocket",
        'subscription { orderStatusChanged(after: "x") { version } }',
        "websocket",
    )
    yield _known("subscription over HTTP", feed)
    yield _known(
        "progress of an operation that is missing", 'subscription { operationProgress(id: "x") { id } }', "websocket"
    )


def all_requests() -> list[Asked]:
    """All of them; the ordinary page is the first."""
    return [
        *pages(),
        *filters(),
        *lookups(),
        *changes(),
        *texts(),
        *values(),
        *subscriptions(),
    ]
