"""The 27 items of OWASP's GraphQL cheat sheet, in its order, against the server in its production configuration."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest

from tests.security.conftest import Attacked
from tests.security.documents import ORDER_ID, arguments, root_fields
from tests.servers import faulty
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.security.conftest import Caller
    from tests.servers.process import Server

ORDER = "{ order(orderKey: 1) { orderKey } }"
CLERK = "query($v: String!) { orders(first: 1, filter: {clerk: {eq: $v}}) { totalCount } }"
INJECTED = [
    "' OR 1=1 --",
    "'; DROP TABLE orders_synced; --",
    "Clerk%",
    "Clerk_________0",
    "\\' OR ''='",
    "$1",
    ":clerk",
    "{0}",
]
REVEALING = re.compile(
    r"Traceback|asyncpg|sqlalchemy|SELECT|orders_synced|SQLSTATE|\.py\b|site-packages", re.IGNORECASE
)


@pytest.fixture(scope="module")
def reader(attacked: Attacked) -> Caller:
    """A caller who may read orders."""
    return attacked.caller("reader")


@pytest.fixture(scope="module")
def writer(attacked: Attacked) -> Caller:
    """A caller who may also change their status."""
    return attacked.caller("reader", "writer")


@pytest.fixture(scope="module")
def anybody(attacked: Attacked) -> Caller:
    """A caller with a valid token and no role."""
    return attacked.caller()


def limit_of(caller: Caller, query: str) -> tuple[str, str]:
    """The reason of a refusal, and the limit that it names."""
    answer = caller.answer(query)
    assert "data" not in answer, answer
    extensions = answer["errors"][0]["extensions"]
    return extensions["reason"], extensions["limit"]


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """The log line of a request."""

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in server.log().splitlines() if request_id in line]
        return [line for line in found if line["event"] == "request"]

    wait_for(lambda: bool(lines()), what=lambda: f"the line of {request_id}")
    return lines()[0]


# Input validation.


@pytest.mark.parametrize(
    "arguments_",
    [
        "filter: {status: {eq: open}}",
        'filter: {status: {eq: "OPEN"}}',
        'filter: {orderDate: {gte: "1992-02-30"}}',
        'filter: {orderKey: {eq: "1e3"}}',
        'filter: {totalPrice: {gte: "NaN"}}',
    ],
)
def test_owasp_01_specific_types(reader: Caller, arguments_: str) -> None:
    """Specific types such as scalars and enums: a value outside its type is refused before execution."""
    assert reader.refused(f"{{ orders({arguments_}) {{ totalCount }} }}") == "DOCUMENT_INVALID"


@pytest.mark.parametrize(
    "given",
    ["", "input: {}", "input: {orderKey: 1, status: OPEN, admin: true}", "input: {orderKey: 1, status: OPEN, note: 5}"],
)
def test_owasp_02_mutation_inputs(writer: Caller, given: str) -> None:
    """Input types for mutations: a missing, unknown or mistyped field is refused, and nothing is written."""
    query = f"mutation {{ setOrderStatus{f'({given})' if given else ''} {{ replayed }} }}"
    assert writer.refused(query) == "DOCUMENT_INVALID"


def test_owasp_03_allow_lists(attacked: Attacked, reader: Caller) -> None:
    """Allow-lists instead of deny-lists: sort fields are an enum, and platform names have few valid characters."""
    for order in ("{field: COMMENT}", '{field: "orderKey; DROP"}', "{direction: RANDOM}"):
        assert reader.refused(f"{{ orders(orderBy: {order}) {{ totalCount }} }}") == "DOCUMENT_INVALID"
    admin = attacked.caller("admin")
    create = (
        "mutation($n: String!) { createDatabaseInstance(input: {name: $n, capacity: CU_1}) { userErrors { code } } }"
    )
    for name in ("a/../b", "a b", "ä", "a;b", "x" * 256, "", "-"):
        answer = admin.answer(create, n=name)
        assert [error["code"] for error in answer["data"]["createDatabaseInstance"]["userErrors"]] == ["NAME_INVALID"]


def test_owasp_04_one_encoding(reader: Caller) -> None:
    """A single character encoding: UTF-8, declared or not. No other, no compressed bodies, no truncated characters."""
    body = json.dumps({"query": ORDER})

    def status(content: bytes, type_: str = "application/json", **headers: str) -> int:
        return reader.send(content=content, headers={"content-type": type_, **headers}).status_code

    assert status(body.encode()) == 200
    assert status(body.encode(), "application/json; charset=utf-8") == 200
    assert status(body.encode("utf-16"), "application/json; charset=utf-16") == 415
    assert status(body.encode("latin-1"), "application/json; charset=iso-8859-1") == 415
    assert status(gzip.compress(body.encode()), **{"content-encoding": "gzip"}) == 415
    for content in (body.encode("utf-16"), b"\xef\xbb\xbf" + body.encode(), b"\xff", b'{"query": "\\ud800"}'):
        assert status(content) == 400


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (CLERK, {"v": "a\0b"}),
        (CLERK, {"v": ["' OR"]}),
        ("query($v: BigInt!) { order(orderKey: $v) { orderKey } }", {"v": 2**63 - 1}),
        ("query($v: BigInt!) { order(orderKey: $v) { orderKey } }", {"v": "1; --"}),
        ("query($v: ID!) { node(id: $v) { id } }", {"v": "' OR 1=1"}),
        ("query($v: String!) { orders(after: $v) { totalCount } }", {"v": "' OR 1=1"}),
        ("{ orders(first: 1 { ' OR", {}),
    ],
)
def test_owasp_05_rejected_without_revealing(reader: Caller, query: str, variables: dict[str, Any]) -> None:
    """Invalid input is refused without revealing how the API and its validation work."""
    answer = reader.answer(query, **variables)
    assert not REVEALING.search(json.dumps(answer))
    for error in answer.get("errors", []):
        assert error["extensions"].keys() == {"code", "reason", "retryable"}


# Injection.


@pytest.mark.parametrize("value", INJECTED)
def test_owasp_06_parameters_only(reader: Caller, value: str) -> None:
    """Safe APIs with parameters: any value is compared literally, and matches nothing."""
    assert reader.answer(CLERK, v=value) == {"data": {"orders": {"totalCount": 0}}}
    both = "query($v: [String!]!) { orders(first: 1, filter: {clerk: {in: $v}}) { totalCount } }"
    assert reader.answer(both, v=INJECTED) == {"data": {"orders": {"totalCount": 0}}}
    assert reader.answer(ORDER) == {"data": {"order": {"orderKey": "1"}}}


def test_owasp_07_no_addresses_of_callers() -> None:
    """The server sends no request to an address that a caller gives: no argument is an address or a command.

    A new branch's endpoint is given by its size. A customer's address is compared with what is stored.
    """
    names = re.compile(r"ur[il]|host|address|endpoint|callback|webhook|redirect|command|path|query|sql", re.IGNORECASE)
    found = [(where, name) for where, name in arguments() if names.search(name)]
    assert found == [("CreateDatabaseBranchInput", "endpoint"), ("CustomerFilter", "address")]


# Denial of service.


def test_owasp_08_depth(reader: Caller) -> None:
    """Depth is limited, also within fragments, which count where they are spread."""
    deep = "{ orders { nodes { " + "statusChanges { nodes { order { " * 6 + "orderKey" + " } } }" * 6 + " } } }"
    assert limit_of(reader, deep) == ("LIMIT_EXCEEDED", "depth")
    spread = " ".join(
        f"fragment F{n} on Order {{ statusChanges {{ nodes {{ order {{ {f'...F{n + 1}' if n < 6 else 'orderKey'} }} }} }} }}"
        for n in range(7)
    )
    assert limit_of(reader, f"{{ orders {{ nodes {{ ...F0 }} }} }} {spread}") == ("LIMIT_EXCEEDED", "depth")


def test_owasp_09_amount(reader: Caller) -> None:
    """Amount is limited: aliases, fields, repeats, directives, ids, values, and the rows of a page."""
    fields = " ".join(f"a{n}: orderKey" for n in range(101))
    assert limit_of(reader, f"{{ order(orderKey: 1) {{ {fields} }} }}") == ("LIMIT_EXCEEDED", "aliases")
    assert limit_of(reader, f"{{ {'__typename ' * 100} }}") == ("LIMIT_EXCEEDED", "repeats")
    assert limit_of(reader, f"{{ __typename {'@include(if: true) ' * 101} }}") == ("LIMIT_EXCEEDED", "directives")
    assert limit_of(reader, f"{{ __typename }} #{'x' * 70_000}") == ("LIMIT_EXCEEDED", "characters")
    assert limit_of(reader, "{ order(orderKey: 1) { %s } }" % ("orderKey " * 2_000)) == ("LIMIT_EXCEEDED", "tokens")
    assert reader.refused("{ orders(first: 1001) { nodes { orderKey } } }") == "PAGE_SIZE_INVALID"
    listed = "query($v: [ID!]!) { nodes(ids: $v) { id } }"
    assert reader.refused(listed, v=[ORDER_ID] * 1_001) == "TOO_MANY_VALUES"
    assert reader.refused(listed, v=[ORDER_ID] * 10_001) == "LIMIT_EXCEEDED"


def test_owasp_10_pages(reader: Caller) -> None:
    """Pagination: a connection without a size returns a page, and no field returns everything."""
    data = reader.answer(
        "{ orders { nodes { orderKey } totalCount } ordersPage { nodes { orderKey } } orderSample { orderKey } }"
    )["data"]
    assert data["orders"]["totalCount"] > 1_000
    assert len(data["orders"]["nodes"]) <= 100
    assert len(data["ordersPage"]["nodes"]) <= 100
    assert len(data["orderSample"]) <= 100


async def test_owasp_11_timeouts(orders_url: str, attacked: Attacked) -> None:
    """Timeouts: a request waits for the database only briefly, then gets an error. Nothing hangs."""
    settings = attacked.issuer.settings(APP_ENV="production", STATEMENT_TIMEOUT="0.5")
    with running_server(orders_url, **settings) as server:
        reader = Attacked(server, attacked.issuer).caller("reader")
        answer, _ = await asked_under_lock(orders_url, reader)
        assert answer.status_code in {503, 504}
        assert answer.json()["errors"][0]["extensions"]["code"] in {"SERVICE_UNAVAILABLE", "GATEWAY_TIMEOUT"}
        wait_for(lambda: reader.answer(ORDER).get("data") is not None, what=lambda: "orders again")


@pytest.mark.long
async def test_owasp_11_timeouts_are_short(orders_url: str, attacked: Attacked) -> None:
    """By default a request waits half a second for a lock, and less than six seconds in all."""
    settings = attacked.issuer.settings(APP_ENV="production")
    with running_server(orders_url, patient=False, **settings) as server:
        reader = Attacked(server, attacked.issuer).caller("reader")
        answer, seconds = await asked_under_lock(orders_url, reader)
        assert answer.status_code in {503, 504}
        hold("an order under a lock of its table", seconds, computing_seconds=5.5, waiting_seconds=0.5)


async def asked_under_lock(orders_url: str, reader: Caller) -> tuple[httpx.Response, float]:
    """The response while another transaction has locked the orders table, and the seconds it took."""
    connection = await asyncpg.connect(orders_url, timeout=PATIENCE_SECONDS)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE orders_synced IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            async with httpx.AsyncClient(verify=NO_TLS, headers=reader.headers) as client:
                answer = await client.post(reader.server.graphql, json={"query": ORDER})
            return answer, time.monotonic() - began
    finally:
        await connection.close()


def test_owasp_12_cost(reader: Caller) -> None:
    """Cost is known before execution: nested pages multiply, however a page's size is given."""
    nested = "query($n: Int) { orders(first: $n) { nodes { orderKey statusChanges(first: $n) { nodes { version note } } } } }"
    assert reader.refused(nested, n=1000) == "COST_EXCEEDED"
    assert "errors" not in reader.answer(nested, n=10)


def test_owasp_13_rate_limit(orders_url: str, attacked: Attacked) -> None:
    """Rate limits per caller: a caller without points is refused, and no other is."""
    # The rate is so low that the caller cannot regain the points for a page, however long these requests take.
    settings = attacked.issuer.settings(APP_ENV="production", RATE_LIMIT="0.001", RATE_BURST="60")
    query = "{ orders(first: 50) { nodes { orderKey } } }"
    with running_server(orders_url, **settings) as server:

        def sent(name: str) -> httpx.Response:
            token = attacked.issuer.token(sub=name, roles=["reader"])
            headers = {"authorization": f"Bearer {token}", "accept": "application/graphql-response+json"}
            return httpx.post(server.graphql, json={"query": query}, headers=headers, verify=NO_TLS)

        answers = [sent("ann") for _ in range(3)]
        assert answers[0].status_code == 200
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert sent("bob").status_code == 200


def test_owasp_14_batching_and_caching(reader: Caller) -> None:
    """Batching and caching on the server: what a request selects many times is read from the database at once."""
    orders = " ".join(
        f"o{n}: order(orderKey: {n}) {{ orderKey statusChanges(first: 1) {{ nodes {{ id }} }} }}" for n in range(1, 20)
    )
    response = reader.send(json={"query": f"{{ {orders} }}"})
    assert "errors" not in response.json()
    assert line_of(reader.server, response.headers["x-request-id"])["statements"] <= 3


async def test_owasp_15_resources(orders_url: str, reader: Caller) -> None:
    """Resources are bounded: bodies by size, the database by its connections, whatever the number of requests."""
    huge = json.dumps({"query": ORDER, "variables": {"v": "x" * 2_200_000}}).encode()
    assert reader.send(content=huge, headers={"content-type": "application/json"}).status_code == 413

    def chunks() -> Iterator[bytes]:
        yield from (huge[at : at + 65_536] for at in range(0, len(huge), 65_536))

    with contextlib.suppress(httpx.TransportError):
        # The server may refuse the body before all of it is sent.
        chunked = reader.send(content=chunks(), headers={"content-type": "application/json"})
        assert chunked.status_code == 413
    connection = await asyncpg.connect(orders_url, timeout=PATIENCE_SECONDS)
    try:
        async with httpx.AsyncClient(verify=NO_TLS, headers=reader.headers) as client:
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(client.post(reader.server.graphql, json={"query": "{ orderCount { count } }"}))
            ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lakebase-orders-graphql%'"
            assert await connection.fetchval(ours) < 60
    finally:
        await connection.close()


# Access.


@pytest.mark.parametrize(("name", "query"), [*root_fields("query")])
def test_owasp_16_queries_are_authorised(anybody: Caller, attacked: Attacked, name: str, query: str) -> None:
    """Every query needs a token and a role."""
    assert attacked.nobody.refused(query) == "UNAUTHENTICATED"
    answer = anybody.answer(query)
    assert (answer.get("data") or {}).get(name) in (None, [None])
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"ROLE_MISSING"}


@pytest.mark.parametrize(("name", "query"), [*root_fields("mutation")])
def test_owasp_17_mutations_are_authorised(reader: Caller, attacked: Attacked, name: str, query: str) -> None:
    """So does every mutation: a reader may not write."""
    assert attacked.nobody.refused(query) == "UNAUTHENTICATED"
    answer = reader.answer(query)
    assert (answer.get("data") or {}).get(name) is None
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"ROLE_MISSING"}


@pytest.mark.parametrize(
    "query",
    [
        f'{{ node(id: "{ORDER_ID}") {{ id }} }}',
        f'{{ node(id: "{ORDER_ID}") {{ ... on Order {{ clerk }} }} }}',
        f'{{ nodes(ids: ["{ORDER_ID}", "{ORDER_ID}"]) {{ id }} }}',
        "{ orders(first: 1) { edges { node { clerk } } } }",
        "{ orders(first: 1) { pageInfo { hasNextPage } totalCount } }",
        "{ orderStatusChanges(first: 1) { edges { node { order { clerk } } } } }",
    ],
)
def test_owasp_18_edges_and_nodes(anybody: Caller, query: str) -> None:
    """Both edges and nodes are authorised: an indirect path needs the same role as the direct one."""
    answer = anybody.answer(query)
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"ROLE_MISSING"}
    assert "clerk" not in json.dumps(answer.get("data"))


@pytest.mark.parametrize(
    ("id_", "reasons"),
    [
        # An operation, which only administrators may see.
        ("T3BlcmF0aW9uOjAwMDAwMDAwLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMA==", {"ROLE_MISSING"}),
        # Order:-1, Order:1 OR 1=1, User:1, and a value that is not an id.
        ("T3JkZXI6MSBPUiAxPTE=", {"ID_INVALID"}),
        ("VXNlcjox", {"ID_INVALID"}),
        ("1", {"ID_INVALID"}),
        ("../../etc/passwd", {"ID_INVALID"}),
    ],
)
def test_owasp_19_ids_of_others(reader: Caller, id_: str, reasons: set[str]) -> None:
    """An id gives no access: `node` and `nodes` need the role for its type, and refuse made-up ids."""
    for query, given in (
        ("query($v: ID!) { node(id: $v) { id } }", id_),
        ("query($v: [ID!]!) { nodes(ids: $v) { id } }", [id_]),
    ):
        answer = reader.answer(query, v=given)
        assert {error["extensions"]["reason"] for error in answer["errors"]} == reasons
        assert id_ not in json.dumps(answer.get("data"))


@pytest.mark.parametrize("how", ["alias", "fragment", "second operation", "stream", "header"])
def test_owasp_20_roles_in_resolvers(reader: Caller, how: str) -> None:
    """Roles are checked in the resolvers, so no form of request and no transport bypasses them."""
    field = "setOrderStatus(input: {orderKey: 2, status: FULFILLED}) { replayed }"
    body: dict[str, Any] = {"query": f"mutation {{ {field} }}"}
    request: dict[str, Any] = {}
    if how == "alias":
        body["query"] = f"mutation {{ orders: {field} }}"
    elif how == "fragment":
        body["query"] = f"mutation {{ ...F }} fragment F on Mutation {{ ... @include(if: true) {{ {field} }} }}"
    elif how == "second operation":
        body = {"query": f"query A {{ __typename }} mutation B {{ {field} }}", "operationName": "B"}
    elif how == "stream":
        request = {"path": "/api/graphql/stream", "headers": {"accept": "text/event-stream"}}
    else:
        request = {
            "headers": {"x-forwarded-user": "admin", "x-forwarded-email": "admin@example.com", "x-roles": "admin"}
        }
    assert "ROLE_MISSING" in reader.send(json=body, **request).text
    assert reader.answer("{ order(orderKey: 2) { statusVersion } }")["data"]["order"]["statusVersion"] == 0


def test_owasp_21_introspection(attacked: Attacked, reader: Caller, writer: Caller) -> None:
    """Introspection is off in production, except for administrators. `__typename` alone is allowed."""
    for query in ("{ __schema { queryType { name } } }", '{ __type(name: "Order") { name } }'):
        assert reader.refused(query) == "INTROSPECTION_DISABLED"
        assert writer.refused(query) == "INTROSPECTION_DISABLED"
        assert "errors" not in attacked.caller("admin").answer(query)
    assert reader.answer("{ __typename }") == {"data": {"__typename": "Query"}}


def test_owasp_22_ide(attacked: Attacked, reader: Caller) -> None:
    """GraphiQL is off too."""
    for caller in (attacked.nobody, reader):
        page = caller.send("GET", headers={"accept": "text/html"})
        assert page.status_code >= 400
        assert page.headers["content-type"].startswith("application/json")


# Batching attacks.


def test_owasp_23_objects_are_counted(reader: Caller) -> None:
    """The number of objects in a request is limited, whether by aliases, ids or keys."""
    orders = " ".join(f"o{n}: order(orderKey: {n}) {{ orderKey }}" for n in range(1, 52))
    assert limit_of(reader, f"{{ {orders} }}") == ("LIMIT_EXCEEDED", "rootFields")
    keys = ", ".join(map(str, range(1, 1_200)))
    assert reader.answer(f"{{ orders(filter: {{orderKey: {{in: [{keys}]}}}}) {{ totalCount }} }}")["errors"]


def test_owasp_24_no_batches_of_what_is_sensitive(writer: Caller) -> None:
    """A mutation cannot be sent many times in one request, neither by aliases nor as an array."""
    change = "setOrderStatus(input: {orderKey: 4, status: OPEN}) { replayed }"
    assert limit_of(writer, f"mutation {{ a: {change} b: {change} }}") == ("LIMIT_EXCEEDED", "rootMutations")
    batch = writer.send(json=[{"query": f"mutation {{ {change} }}"}] * 3)
    assert batch.status_code == 400
    assert batch.json()["errors"][0]["extensions"]["reason"] == "BODY_INVALID"
    assert writer.answer("{ order(orderKey: 4) { statusVersion } }")["data"]["order"]["statusVersion"] == 0


def test_owasp_25_operations_are_capped(reader: Caller) -> None:
    """A request runs one operation, and the document may not contain many."""
    operations = " ".join(f"query Q{n} {{ __typename }}" for n in range(101))
    answer = reader.send(json={"query": operations, "operationName": "Q0"}).json()
    assert answer["errors"][0]["extensions"]["limit"] == "definitions"
    assert reader.refused("query A { __typename } query B { __typename }") == "OPERATION_UNDETERMINED"


# Configuration.


def test_owasp_26_no_stack_traces(orders_url: str, attacked: Attacked) -> None:
    """An error does not reveal its internal cause. The log has the cause under the error's id."""
    with running_server(
        orders_url, module="tests.servers.faulty", **attacked.issuer.settings(APP_ENV="production")
    ) as server:
        token = attacked.issuer.token(roles=["reader"])
        response = httpx.post(
            server.graphql, json={"query": ORDER}, headers={"authorization": f"Bearer {token}"}, verify=NO_TLS
        )
        assert response.status_code == 500
        assert not REVEALING.search(response.text)
        assert "canary" not in response.text
        assert faulty.SAID[:12] in server.log()
        assert response.json()["errors"][0]["extensions"]["errorId"] in server.log()


@pytest.mark.parametrize(
    "query",
    ["{ ordres { totalCount } }", "{ order(orderKeys: 1) { orderKey } }", "{ orders { nodes { clrk } } }", "{ orders(orderBy: {field: ORDER_DAT}) { totalCount } }",
     "{ orders(filter: {clrk: {eq: 1}}) { totalCount } }", "{ ...on Ordr { id } }", "query($v: OrderFiltr) { orders(filter: $v) { totalCount } }"],
)  # fmt: skip
def test_owasp_27_no_suggestions(attacked: Attacked, reader: Caller, query: str) -> None:
    """An almost correct name gets no suggestion, which would reveal the schema's names one by one."""
    assert "Did you mean" not in json.dumps(reader.answer(query))
    assert "Did you mean" in json.dumps(attacked.caller("admin").answer(query))
