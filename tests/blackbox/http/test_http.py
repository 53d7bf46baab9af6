"""GraphQL over HTTP: methods, media types, status codes, headers."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.blackbox.auth.test_csrf import logged
from tests.servers.process import wait_for
from tests.support.values import anything

if TYPE_CHECKING:
    import httpx

    from tests.servers.process import Server

GRAPHQL = "/api/graphql"
NEW = {"accept": "application/graphql-response+json"}
OLD = {"accept": "application/json"}
QUERY = "{ order(orderKey: 1) { orderKey } }"
DATA = {"data": {"order": {"orderKey": "1"}}}


def code_of(response: httpx.Response) -> tuple[int, str, str]:
    """The status, and the code and reason of the only error."""
    (error,) = response.json()["errors"]
    assert "data" not in response.json()
    return response.status_code, error["extensions"]["code"], error["extensions"]["reason"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        ("application/graphql-response+json", "application/graphql-response+json"),
        ("application/graphql-response+json, application/json;q=0.9", "application/graphql-response+json"),
        ("application/graphql-response+json;q=0.1, application/json", "application/json"),
        ("application/json;q=0, */*", "application/graphql-response+json"),
        (
            "application/graphql-response+json, application/graphql+json, application/json, text/event-stream",
            "application/graphql-response+json",
        ),
        ("text/html, */*;q=0.8", "application/json"),
        ("APPLICATION/JSON; charset=utf-8", "application/json"),
    ],
)
def test_the_response_has_the_accepted_media_type(http: httpx.Client, accept: str | None, media_type: str) -> None:
    """Weights are respected. urql's list, which also names event streams, gets plain GraphQL."""
    request = http.build_request("POST", GRAPHQL, json={"query": QUERY})
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    response = http.send(request)
    assert (response.status_code, response.json()) == (200, DATA)
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert response.headers["vary"] == "accept, accept-encoding"


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/json;q=0", "application/xml, text/*"])
def test_a_response_in_no_accepted_media_type_is_not_computed(http: httpx.Client, accept: str) -> None:
    """406. Its body is JSON all the same, so that the client can read it."""
    response = http.post(GRAPHQL, json={"query": QUERY}, headers={"accept": accept})
    assert code_of(response) == (406, "BAD_REQUEST", "NOT_ACCEPTABLE")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_a_refused_method_gets_the_allowed_ones(http: httpx.Client, method: str) -> None:
    """405 with `allow`."""
    response = http.request(method, GRAPHQL)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("method", "path", "refused", "allowed"),
    [
        ("GET", "/nowhere", (404, "NOT_FOUND", "PATH_UNKNOWN"), None),
        ("POST", "/", (405, "BAD_REQUEST", "METHOD_NOT_ALLOWED"), {"GET", "HEAD"}),
        ("DELETE", "/livez", (405, "BAD_REQUEST", "METHOD_NOT_ALLOWED"), {"GET", "HEAD"}),
        ("POST", "/static/graphiql.js", (405, "BAD_REQUEST", "METHOD_NOT_ALLOWED"), {"GET", "HEAD"}),
        ("GET", "/static/", (404, "NOT_FOUND", "PATH_UNKNOWN"), None),
        ("GET", "/static/%00", (404, "NOT_FOUND", "PATH_UNKNOWN"), None),
        ("GET", f"/static/{'a' * 5000}", (404, "NOT_FOUND", "PATH_UNKNOWN"), None),
        ("GET", "/static/%2e%2e/app.py", (404, "NOT_FOUND", "PATH_UNKNOWN"), None),
        ("GET", "/static/%2e%2e%2f%2e%2e%2fREADME.md", (404, "NOT_FOUND", "PATH_UNKNOWN"), None),
    ],
)
def test_other_paths_refuse_in_json_too(
    http: httpx.Client, method: str, path: str, refused: tuple[int, str, str], allowed: set[str] | None
) -> None:
    """With a code, like all errors. Only the served files can be read."""
    response = http.request(method, path)
    assert code_of(response) == refused
    assert set(response.headers.get("allow", "").split(", ")) == (allowed or {""})


QUERYING = {"query": "{ __typename }"}
SUBSCRIBING = {"query": "subscription { orderStatusChanged { version } }"}
EVENTS = {"accept": "text/event-stream"}
TO_STREAM = "Event streams, also of subscriptions, are at /api/graphql/stream."
TO_SUBSCRIBE = "A subscription needs a WebSocket at /api/graphql, or server-sent events at /api/graphql/stream."


@pytest.mark.parametrize("by", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "asked", "accept", "status", "message"),
    [
        (GRAPHQL, SUBSCRIBING, EVENTS, 406, TO_STREAM),
        (GRAPHQL, QUERYING, EVENTS, 406, TO_STREAM),
        (GRAPHQL, SUBSCRIBING, {"accept": "text/event-stream, multipart/mixed"}, 406, TO_STREAM),
        (GRAPHQL, SUBSCRIBING, NEW, 405, TO_SUBSCRIBE),
        (GRAPHQL, SUBSCRIBING, {"accept": "*/*"}, 405, TO_SUBSCRIBE),
        (f"{GRAPHQL}/stream", SUBSCRIBING, NEW, 406, "Accept text/event-stream. Answers in JSON are at /api/graphql."),
        (f"{GRAPHQL}/stream", QUERYING, NEW, 406, "Accept text/event-stream. Answers in JSON are at /api/graphql."),
    ],
)
def test_a_refused_request_is_told_where_to_go(
    http: httpx.Client, by: str, path: str, asked: dict[str, str], accept: dict[str, str], status: int, message: str
) -> None:
    """A subscription or an event stream on the path for JSON, and JSON on the path for event streams, by GET and POST."""
    sent: dict[str, Any] = {"json": asked} if by == "POST" else {"params": asked}
    response = http.request(by, path, headers=accept, **sent)
    assert response.status_code == status
    assert response.json()["errors"][0]["message"].endswith(message)


@pytest.mark.parametrize("path", [GRAPHQL, f"{GRAPHQL}/stream"])
def test_a_mutation_by_get_is_told_to_use_post(http: httpx.Client, path: str) -> None:
    """As JSON, and as the first event of a stream."""
    change = "mutation { clearOrderStatus(input: {orderKey: 99999999}) { replayed } }"
    response = http.get(path, params={"query": change}, headers=EVENTS if path.endswith("stream") else NEW)
    assert "A mutation cannot be run over GET. Use POST." in response.text


@pytest.mark.parametrize("path", [GRAPHQL, f"{GRAPHQL}/stream", "/livez", "/nothing"])
def test_a_preflight_is_refused_if_no_origin_is_allowed(server: Server, http: httpx.Client, path: str) -> None:
    """The log names the origin, which ALLOWED_ORIGINS may need. Other responses have no CORS headers."""
    origin = f"https://{path.strip('/').replace('/', '-')}.example"
    preflight = {"origin": origin, "access-control-request-method": "POST"}
    response = http.options(path, headers=preflight)
    assert (response.status_code, response.text) == (400, "Disallowed CORS origin")
    assert logged(server, "preflight refused", origin=origin)
    plain = http.post(GRAPHQL, json={"query": QUERY})
    assert not any(name.startswith("access-control-") for name in plain.headers)


def test_a_query_may_be_sent_by_get(http: httpx.Client) -> None:
    """With variables and a name. An empty parameter counts as absent."""
    parameters = {
        "query": "query A($k: BigInt!) { order(orderKey: $k) { orderKey } } query B { __typename }",
        "variables": '{"k": 1}',
        "operationName": "A",
        "extensions": "",
    }
    assert http.get(GRAPHQL, params=parameters).json() == DATA
    assert http.get(GRAPHQL, params={"query": QUERY, "variables": "", "operationName": ""}).json() == DATA


def test_several_operations_need_a_name(http: httpx.Client) -> None:
    """The server does not just run the first one, and it refuses a name that the document does not have."""
    document = "query A { __typename } query B { __typename }"
    for extra in ({}, {"operationName": None}, {"operationName": "C"}, {"operationName": ""}):
        response = http.post(GRAPHQL, json={"query": document, **extra}, headers=NEW)
        assert code_of(response) == (400, "OPERATION_RESOLUTION_FAILURE", "OPERATION_UNDETERMINED")
    anonymous = http.post(GRAPHQL, json={"query": "{ __typename } { __typename }"}, headers=NEW)
    assert code_of(anonymous) == (400, "OPERATION_RESOLUTION_FAILURE", "OPERATION_UNDETERMINED")
    assert anonymous.json()["errors"][0]["message"].endswith("which operation to run: none has a name.")
    assert http.post(GRAPHQL, json={"query": document, "operationName": "B"}).json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED", "SYNTAX"),
        ({"query": "{" * 5000}, "GRAPHQL_PARSE_FAILED", "SYNTAX"),
        ({"query": "{ a" * 3000 + "}" * 3000}, "GRAPHQL_PARSE_FAILED", "SYNTAX"),
        ({"query": "{ nope }"}, "GRAPHQL_VALIDATION_FAILED", "DOCUMENT_INVALID"),
        ({"query": "{ ...F }"}, "GRAPHQL_VALIDATION_FAILED", "DOCUMENT_INVALID"),
        ({"query": "query($k: BigInt!) { order(orderKey: $k) { id } }"}, "BAD_USER_INPUT", "VARIABLES_INVALID"),
        (
            {"query": "query($k: BigInt!) { order(orderKey: $k) { id } }", "variables": {"k": 1.5}},
            "BAD_USER_INPUT",
            "VARIABLES_INVALID",
        ),
    ],
)
def test_a_document_that_cannot_run_has_no_data(
    http: httpx.Client, body: dict[str, Any], code: str, reason: str
) -> None:
    """400 if the client accepts GraphQL's media type, 200 if it knows only JSON; and no `data`."""
    assert code_of(http.post(GRAPHQL, json=body, headers=NEW)) == (400, code, reason)
    assert code_of(http.post(GRAPHQL, json=body, headers=OLD)) == (200, code, reason)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"1", b"null", b'"x"', b"[", b"[" * 20_000, b"{", b"\xff\xfe", b'{"query": "\xff"}', b"true"),
        *(b"[]", b'[{"query": "{__typename}"}]', b'{"query": NaN}', b'{"query": "\\ud800"}', b"\x00", b"{} {}"),
        b'{"query": "{__typename}", "variables": {"a": ' + b"9" * 5000 + b"e}}",
    ],
)
@pytest.mark.parametrize("accept", [NEW, OLD])
def test_a_body_that_is_not_a_json_object_is_refused(http: httpx.Client, body: bytes, accept: dict[str, str]) -> None:
    """400, never 500, whatever the bytes are."""
    response = http.post(GRAPHQL, content=body, headers={**accept, "content-type": "application/json"})
    assert code_of(response) == (400, "BAD_REQUEST", "BODY_INVALID")


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"query": None}, {"query": ""}, {"query": 1}, {"query": {}}, {"query": []}, {"query": True}),
        *({"query": QUERY, "variables": value} for value in anything("x", 1, [], True)),
        *({"query": QUERY, "operationName": value} for value in anything(1, {}, [], False)),
        *({"query": QUERY, "extensions": value} for value in anything("x", 1, [], True)),
    ],
)
def test_a_parameter_of_the_wrong_type_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    """400, in either media type."""
    assert code_of(http.post(GRAPHQL, json=body, headers=OLD)) == (400, "BAD_REQUEST", "PARAMETER_INVALID")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"query": ""},
        {"query": QUERY, "variables": "{"},
        {"query": QUERY, "variables": "[1]"},
        {"query": QUERY, "extensions": "x"},
    ],
)
def test_a_url_with_bad_parameters_is_refused(http: httpx.Client, parameters: dict[str, str]) -> None:
    """400, unless a browser asks for a page."""
    response = http.get(GRAPHQL, params=parameters, headers={"accept": "*/*"})
    assert code_of(response) == (400, "BAD_REQUEST", "PARAMETER_INVALID")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/jsonp",
        "application/json5",
        "multipart/form-data",
        "application/json; charset=latin-1",
        "text/plain; x=application/json",
    ],
)
def test_another_content_type_is_refused(http: httpx.Client, content_type: str | None) -> None:
    """415. The type is compared whole, so that a form on another page cannot pass for a client."""
    headers = {} if content_type is None else {"content-type": content_type}
    response = http.post(GRAPHQL, content=json.dumps({"query": QUERY}).encode(), headers=headers)
    assert code_of(response) == (415, "BAD_REQUEST", "CONTENT_TYPE_UNSUPPORTED")


def test_json_may_name_its_charset(http: httpx.Client) -> None:
    """UTF-8, in any spelling."""
    for content_type in ("application/json;charset=UTF-8", 'application/json; charset="utf-8"', "Application/JSON"):
        response = http.post(GRAPHQL, content=json.dumps({"query": QUERY}), headers={"content-type": content_type})
        assert response.json() == DATA


def test_every_answer_says_its_request_id_and_time(http: httpx.Client, server: Server) -> None:
    """The id is the client's if it is valid, otherwise a new one. The log has one line with it."""
    response = http.post(
        GRAPHQL,
        json={"query": "query Mine { orders(first: 3) { nodes { clerk } } }"},
        headers={"x-request-id": "mine-1"},
    )
    assert response.headers["x-request-id"] == "mine-1"
    assert "db;dur=" in response.headers["server-timing"]
    # It is written after the response.
    wait_for(lambda: '"request_id":"mine-1"' in server.log(), what=lambda: "the line in the log")
    (line,) = [line for line in server.log().splitlines() if '"request_id":"mine-1"' in line]
    entry = json.loads(line)
    assert entry | {"operation": "Mine", "outcome": "ok", "status": 200, "rows": 4, "caller": "127.0.0.1"} == entry
    assert entry["duration_ms"] >= entry["database_ms"] > 0
    again = {"query": "query Mine { orders(first: 3) { nodes { clerk } } }"}
    http.post(GRAPHQL, json=again, headers={"x-request-id": "mine-2"})
    wait_for(lambda: '"mine-2"' in server.log(), what=lambda: "the line in the log")
    (other,) = [json.loads(line) for line in server.log().splitlines() if '"mine-2"' in line]
    timed = {"request_id", "timestamp", "duration_ms", "database_ms", "fast"}
    assert {name: value for name, value in other.items() if name not in timed} == {
        name: value for name, value in entry.items() if name not in timed
    }
    assert (entry["fast"], other["fast"]) == (False, True)
    for bad in ("a b", "x" * 129, 'x","admin":"y', ""):
        assert http.get("/livez", headers={"x-request-id": bad}).headers["x-request-id"] not in {bad, ""}


def test_the_root_leads_a_browser_to_graphiql(http: httpx.Client) -> None:
    """By a redirect."""
    assert http.get("/").headers["location"] == GRAPHQL


def test_a_client_that_disconnects_is_no_failure(server: Server) -> None:
    """Half a body and a closed connection leave a line with CLIENT_GONE, and no traceback."""
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\nX-Request-Id: gone-1\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"\r\n{")
    wait_for(lambda: '"gone-1"' in server.log(), what=lambda: "the line in the log")
    (line,) = [line for line in server.log().splitlines() if '"gone-1"' in line]
    assert json.loads(line)["outcome"] == "CLIENT_GONE"
    assert "Traceback" not in server.log()


def test_probes_are_cheap_and_not_logged(http: httpx.Client, server: Server) -> None:
    """/livez and /readyz answer, and are not logged at INFO."""
    assert http.get("/livez").json() == {"status": "alive"}
    assert http.get("/readyz").json() == {
        "status": "ready",
        "orders": "ok",
        "changes": "ok",
        "token": "none is needed",
        "replica": "there is none",
        "memory": "ok",
        "copy": "no",
        "draining": "no",
    }
    assert "readyz" not in server.log()
