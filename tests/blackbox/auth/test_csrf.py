"""Foreign pages can change nothing: what a browser sends for them without a preflight is refused.

Each row is a request as a browser sends it today, or as an older one sends it, without `Sec-Fetch-Site`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.datastructures import Headers

from schema.errors import ForbiddenError
from server.http.origins import Origins
from tests.servers.process import running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

GRAPHQL, STREAM = "/api/graphql", "/api/graphql/stream"
SHOP, EVIL = "https://shop.example", "https://evil.example"
QUERY = "{ __typename }"
MUTATION = "mutation { clearOrderStatus(input: {orderKey: 99999999}) { userErrors { reason } } }"
JSON = {"content-type": "application/json"}
EVENTS = {"accept": "text/event-stream"}
FORM = "application/x-www-form-urlencoded"
HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol": "graphql-transport-ws",
}
EVERY_PATH = (GRAPHQL, STREAM, "/api/metrics", "/livez", "/readyz", "/static/graphiql.css", "/", "/nothing")


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server that allows one other origin."""
    with running_server(orders_url, ALLOWED_ORIGINS=SHOP, APP_SCHEMA="csrf") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server.url) as client:
        yield client


def body(document: str = MUTATION) -> bytes:
    """A request in JSON. A page can send it as text of any type."""
    return b'{"query": "%s"}' % document.encode()


@pytest.mark.parametrize(
    ("method", "path", "options", "expected"),
    [
        # Requests without a preflight: the server reads none of the content types that a page may set.
        ("POST", GRAPHQL, {"content": body(), "headers": {"content-type": "text/plain"}}, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", GRAPHQL, {"content": body(), "headers": {"content-type": FORM}}, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", GRAPHQL, {"data": {"query": MUTATION}}, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", GRAPHQL, {"files": {"query": MUTATION.encode()}}, "CONTENT_TYPE_UNSUPPORTED"),
        (
            "POST",
            GRAPHQL,
            {"content": body(), "headers": {"content-type": "text/plain; x=application/json"}},
            "CONTENT_TYPE_UNSUPPORTED",
        ),
        (
            "POST",
            GRAPHQL,
            {"content": body(), "headers": {"content-type": "text/plain, application/json"}},
            "CONTENT_TYPE_UNSUPPORTED",
        ),
        ("POST", GRAPHQL, {"content": body()}, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", GRAPHQL, {}, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", f"{GRAPHQL}?query={QUERY}", {}, "CONTENT_TYPE_UNSUPPORTED"),
        (
            "POST",
            STREAM,
            {"content": body(), "headers": EVENTS | {"content-type": "text/plain"}},
            "CONTENT_TYPE_UNSUPPORTED",
        ),
        ("POST", STREAM, {"content": body(), "headers": EVENTS}, "CONTENT_TYPE_UNSUPPORTED"),
        ("GET", GRAPHQL, {"params": {"query": MUTATION}}, "METHOD_NOT_ALLOWED"),
        ("HEAD", GRAPHQL, {"params": {"query": MUTATION}}, 405),
        ("HEAD", GRAPHQL, {"params": {"query": QUERY}}, 405),
        # An OPTIONS request that is not a preflight.
        ("OPTIONS", GRAPHQL, {}, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", STREAM, {}, "METHOD_NOT_ALLOWED"),
        # Any page may send a query by GET, but cannot read the response.
        ("GET", GRAPHQL, {"params": {"query": QUERY}, "headers": {"sec-fetch-site": "cross-site"}}, 200),
        ("GET", GRAPHQL, {"params": {"query": QUERY}, "headers": {"origin": EVIL}}, 200),
        # Requests with a preflight are refused as well.
        ("POST", GRAPHQL, {"content": body(), "headers": JSON | {"origin": EVIL}}, "ORIGIN_FORBIDDEN"),
        ("POST", GRAPHQL, {"content": body(), "headers": JSON | {"origin": "null"}}, "ORIGIN_FORBIDDEN"),
        ("POST", GRAPHQL, {"content": body(), "headers": JSON | {"sec-fetch-site": "cross-site"}}, "ORIGIN_FORBIDDEN"),
        (
            "POST",
            GRAPHQL,
            {"content": body(), "headers": JSON | {"origin": EVIL, "sec-fetch-site": "same-site"}},
            "ORIGIN_FORBIDDEN",
        ),
        ("POST", STREAM, {"content": body(), "headers": EVENTS | JSON | {"origin": EVIL}}, "ORIGIN_FORBIDDEN"),
        ("GET", STREAM, {"params": {"query": QUERY}, "headers": EVENTS | {"origin": EVIL}}, "ORIGIN_FORBIDDEN"),
        (
            "GET",
            STREAM,
            {"params": {"query": QUERY}, "headers": EVENTS | {"sec-fetch-site": "cross-site"}},
            "ORIGIN_FORBIDDEN",
        ),
        # A page may fetch with this Accept and without CORS, and the browser sends no Origin then.
        (
            "GET",
            STREAM,
            {"params": {"query": QUERY}, "headers": EVENTS | {"sec-fetch-site": "same-site"}},
            "ORIGIN_FORBIDDEN",
        ),
        ("GET", GRAPHQL, {"headers": HANDSHAKE | {"origin": EVIL}}, "ORIGIN_FORBIDDEN"),
        ("GET", GRAPHQL, {"headers": HANDSHAKE | {"origin": EVIL, "sec-fetch-site": "cross-site"}}, "ORIGIN_FORBIDDEN"),
        ("GET", GRAPHQL, {"headers": HANDSHAKE | {"sec-fetch-site": "cross-site"}}, "ORIGIN_FORBIDDEN"),
        # The requests that are allowed.
        ("POST", GRAPHQL, {"content": body(QUERY), "headers": JSON}, 200),
        ("POST", GRAPHQL, {"content": body(QUERY), "headers": JSON | {"origin": SHOP}}, 200),
        (
            "POST",
            GRAPHQL,
            {"content": body(QUERY), "headers": JSON | {"origin": SHOP, "sec-fetch-site": "cross-site"}},
            200,
        ),
        # A proxy of our own page's origin that asks under another name.
        (
            "POST",
            GRAPHQL,
            {"content": body(QUERY), "headers": JSON | {"origin": EVIL, "sec-fetch-site": "same-origin"}},
            200,
        ),
        ("GET", STREAM, {"params": {"query": QUERY}, "headers": EVENTS | {"origin": SHOP}}, 200),
    ],
)
def test_what_a_page_sends(
    client: httpx.Client, method: str, path: str, options: dict[str, Any], expected: str | int
) -> None:
    """`expected` is the reason of the refusal, or the status."""
    answer = client.request(method, path, **options)
    if isinstance(expected, int):
        assert answer.status_code == expected
        return
    assert [error["extensions"]["reason"] for error in answer.json()["errors"]] == [expected]
    assert answer.status_code == {"CONTENT_TYPE_UNSUPPORTED": 415, "METHOD_NOT_ALLOWED": 405}.get(expected, 403)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.status_code == 405:
        assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_page_of_our_own_may_ask(server: Server, scheme: str) -> None:
    """Its origin has the host that it calls. The scheme does not count: a proxy may terminate TLS."""
    origin = server.url.replace("http", scheme, 1)
    answer = httpx.post(server.graphql, content=body(QUERY), headers=JSON | {"origin": origin})
    assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://orders.example", "orders.example:80", True),
        ("https://orders.example", "orders.example:443", True),
        ("https://orders.example", "orders.example:80", False),
        ("http://orders.example:8080", "orders.example", False),
        ("http://[::1]", "[::1]:80", True),
    ],
)
def test_a_default_port_may_be_named_in_the_host(origin: str, host: str, *, own: bool) -> None:
    """In nginx `proxy_set_header Host $host:$server_port` names it. An origin never does. Other ports count."""
    assert _passes(Origins(set()), {"origin": origin, "host": host}) is own


@pytest.mark.parametrize("upgrade", [{}, HANDSHAKE], ids=["http", "websocket"])
def test_the_refusal_names_the_setting_that_allows_the_origin(
    server: Server, client: httpx.Client, upgrade: dict[str, str]
) -> None:
    """So does the refusal of a WebSocket behind a proxy that changes `Host`. Browsers hide it, so the log has the origin."""
    origin = f"http://localhost:{'5173' if upgrade else '5174'}"
    headers = {"origin": origin, **(upgrade or EVENTS)}
    answer = client.get(GRAPHQL if upgrade else STREAM, params={"query": QUERY}, headers=headers)
    (error,) = answer.json()["errors"]
    assert answer.status_code == 403
    assert error["extensions"]["reason"] == "ORIGIN_FORBIDDEN"
    assert f"ALLOWED_ORIGINS={origin}" in error["message"]
    line = logged(server, "origin refused", origin=origin)
    assert line["host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize("origin", ["null", "nonsense", "http://a b", f"https://{'a' * 5000}", 'https://x"\\'])
def test_a_refusal_repeats_only_an_origin(client: httpx.Client, origin: str) -> None:
    """Anything else in that header is no setting, so the message is the general one."""
    answer = client.get(STREAM, params={"query": QUERY}, headers=EVENTS | {"origin": origin})
    (error,) = answer.json()["errors"]
    assert error["extensions"]["reason"] == "ORIGIN_FORBIDDEN"
    assert error["message"] == "Pages of other origins may not call. ALLOWED_ORIGINS names the origins that may."


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"host": "internal:8000", "x-forwarded-host": "orders.example", "origin": "https://orders.example"}, True),
        ({"host": "internal:8000", "x-forwarded-host": "orders.example", "origin": EVIL}, False),
    ],
)
def test_behind_the_platforms_proxy_the_forwarded_host_is_our_name(given: dict[str, str], *, allowed: bool) -> None:
    """The proxy sends that name as `X-Forwarded-Host`, which counts nowhere else."""
    assert _passes(Origins(set(), forwarded=True), given) is allowed
    assert not _passes(Origins(set()), given)


def _passes(origins: Origins, given: dict[str, str]) -> bool:
    try:
        origins.check(_Connection(given))  # type: ignore[arg-type] # that is all that `check` reads
    except ForbiddenError:
        return False
    return True


class _Connection:
    """A connection with these headers."""

    def __init__(self, given: dict[str, str]) -> None:
        self.headers = Headers(given)
        self.scope = {"headers": self.headers.raw}


def logged(server: Server, event: str, **fields: object) -> dict[str, Any]:
    """The log's line of this event with these fields, as soon as it is there."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        lines = (json.loads(line) for line in server.log().splitlines() if f'"{event}"' in line)
        found.extend(line for line in lines if line["event"] == event and line | fields == line)
        return bool(found)

    wait_for(look, what=server.log)
    return found[0]


@pytest.mark.parametrize("path", EVERY_PATH)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_name_that_points_at_loopback_gets_nothing(client: httpx.Client, path: str, host: str) -> None:
    """With AUTH_MODE=local this holds for every path: a page of that name could read the answer."""
    answer = client.get(path, headers={"host": host})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["reason"]) == (403, "HOST_FORBIDDEN")
    handshake = client.get(path, headers=HANDSHAKE | {"host": host})
    assert handshake.status_code == 403


def preflight(client: httpx.Client, path: str = GRAPHQL, **changed: str) -> httpx.Response:
    """The preflight of a POST from a page of the allowed origin."""
    asked = {
        "origin": SHOP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    return client.options(path, headers=asked | {name.replace("_", "-"): value for name, value in changed.items()})


@pytest.mark.parametrize("path", [GRAPHQL, STREAM])
def test_a_preflight_of_an_allowed_origin_is_answered_once(client: httpx.Client, path: str) -> None:
    """The answer holds for two hours and for the headers that the server reads. It has no wildcard, and no credentials."""
    answer = preflight(client, path)
    assert answer.status_code == 200
    given = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    assert given["access-control-allow-origin"] == SHOP
    assert given["access-control-allow-methods"] == "GET, POST"
    assert given["access-control-max-age"] == "7200"
    assert "access-control-allow-credentials" not in given
    assert not any("*" in value for value in given.values())
    named = set(given["access-control-allow-headers"].lower().split(", "))
    assert {"authorization", "content-type", "last-event-id", "x-graphql-cost", "x-consistency-token"} <= named
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    "names",
    [
        "apollographql-client-name, apollographql-client-version, content-type",
        "apollo-require-preflight, content-type",
        "baggage, content-type, sentry-trace",
        "content-type, traceparent, tracestate",
        "x-graphql-client-name, x-graphql-client-version, x-graphql-client-anything",
        "x-datadog-origin, x-datadog-parent-id, x-datadog-sampling-priority, x-datadog-trace-id",
        "cache-control,last-event-id,x-requested-with",
        "Authorization, Content-Type, X-Consistency-Token, X-GraphQL-Cost, X-Request-Id",
    ],
)
def test_headers_that_clients_add_pass_a_preflight(client: httpx.Client, names: str) -> None:
    """Apollo, error reporters and tracers add headers. Their names count in any case, with or without spaces."""
    answer = preflight(client, access_control_request_headers=names)
    assert answer.status_code == 200
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {name.strip().lower() for name in names.split(",")} <= allowed


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-email", "x-forwarded-user", "x-forwarded-host", "x-forwarded-for", "forwarded", "x-real-ip", "host"],
)
def test_headers_that_only_a_proxy_may_send_do_not_pass(client: httpx.Client, name: str) -> None:
    """Headers that name the caller, the host or the address are refused."""
    assert preflight(client, access_control_request_headers=name).status_code == 400


@pytest.mark.parametrize(
    ("changed", "message", "wrong"),
    [
        ({"origin": EVIL}, "origin", {"origin": EVIL}),
        ({"origin": "null"}, "origin", {"origin": "null"}),
        ({"origin": f"{SHOP}.evil.example"}, "origin", {"origin": f"{SHOP}.evil.example"}),
        ({"origin": SHOP.upper()}, "origin", {"origin": SHOP.upper()}),
        ({"access_control_request_method": "DELETE"}, "method", {"method": "DELETE"}),
        ({"access_control_request_headers": "x-anything"}, "headers", {"headers": ["x-anything"]}),
        (
            {"access_control_request_headers": "Content-Type, X-One,traceparent, x-two"},
            "headers",
            {"headers": ["x-one", "x-two"]},
        ),
        ({"access_control_request_headers": f"x-{'y' * 9000}"}, "headers", {"headers": [f"x-{'y' * 98}"]}),
        ({"access_control_request_private_network": "true"}, "private-network", {"private_network": True}),
    ],
)
def test_a_preflight_of_another_origin_is_refused(
    server: Server, client: httpx.Client, changed: dict[str, str], message: str, wrong: dict[str, Any]
) -> None:
    """The browser then sends nothing, and shows no reason. The log names the origin, the method or the headers."""
    answer = preflight(client, **changed)
    assert (answer.status_code, answer.text) == (400, f"Disallowed CORS {message}")
    if message == "origin":
        assert "access-control-allow-origin" not in answer.headers
    line = logged(server, "preflight refused", **wrong)
    assert {"origin", "method", "headers", "private_network"} & line.keys() == wrong.keys()


@pytest.mark.parametrize(
    ("method", "options", "status"),
    [
        ("POST", {"content": b"{", "headers": JSON}, 400),
        ("POST", {"content": body(), "headers": {"content-type": "text/plain"}}, 415),
        ("POST", {"content": body(), "headers": JSON | {"accept": "image/png"}}, 406),
        ("DELETE", {}, 405),
        ("GET", {"params": {"query": QUERY}, "headers": {"host": "evil.example"}}, 403),
    ],
)
def test_an_allowed_page_can_read_why_it_is_refused(
    client: httpx.Client, method: str, options: dict[str, Any], status: int
) -> None:
    """A refusal has the same CORS headers as any other answer."""
    options = options | {"headers": options.get("headers", {}) | {"origin": SHOP}}
    answer = client.request(method, GRAPHQL, **options)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "retry-after" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", EVERY_PATH)
def test_every_response_has_security_headers(client: httpx.Client, path: str) -> None:
    """Browsers must not guess its type, and foreign pages must not embed it. It does not name the server."""
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in answer.headers
    if answer.headers.get("content-type", "").startswith("application/"):
        assert answer.headers["cache-control"] == "no-store"


def test_graphiql_is_isolated_from_other_pages(client: httpx.Client) -> None:
    """It may not be framed, cached, held by the window that opened it, or use devices."""
    answer = client.get(GRAPHQL, headers={"accept": "text/html"})
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["cache-control"] == "no-store"
    # The proxy that terminates TLS sends it.
    assert "strict-transport-security" not in answer.headers
