"""The log lines and the response of a bad request: both are bounded, and no value passes for a line."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

MOST_LOGGED, MOST_ANSWERED = 2_048, 16_384
MANY_VARIABLES = ", ".join(f"$v{number}: Int!" for number in range(1000))
# New lines, colours, a bell, an erased line, and a change of the writing's direction.
FORGED = 'a\r\n{"event": "forged"}\n2026-01-01T00:00:00Z [info] forged \x1b[2K\x1b[31m\x07\x9b1m\u2028\u202e'
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]")
BAD: dict[str, dict[str, Any]] = {
    "100 directives": {"json": {"query": "{ __typename %s }" % ("@include(if: true) " * 100)}},
    "3,000 unknown fields": {"json": {"query": f"{{ {' '.join(f'f{number}' for number in range(3000))} }}"}},
    "290 unknown fields": {"json": {"query": f"{{ order(orderKey: 1) {{ {' '.join(f'f{number}' for number in range(290))} }} }}"}},
    "1,000 variables": {
        "json": {
            "query": f"query({MANY_VARIABLES}) {{ __typename }}",
            "variables": {f"v{number}": "x" * 50 for number in range(1000)},
        }
    },
    "a variable that nobody declared as": {"json": {"query": "query($v: Int) { __typename }", "variables": {"v": "x" * 60_000}}},
    "a list of 1,000 wrong values": {
        "json": {
            "query": "query($v: [BigInt!]!) { orders(filter: {orderKey: {in: $v}}) { nodes { orderKey } } }",
            "variables": {"v": ["x"] * 1000},
        }
    },
    "a long name": {"json": {"query": f"query {'N' * 50_000} {{ nothing }}"}},
    "an operation that is not there": {"json": {"query": "{ __typename }", "operationName": FORGED * 500}},
    "a token of 60,000 characters": {"json": {"query": f"{{ {'a' * 60_000} }}"}},
    "a number of 5,000 digits": {"json": {"query": f"{{ order(orderKey: {'9' * 5000}) {{ orderKey }} }}"}},
    "a string of 60,000 characters": {"json": {"query": f'{{ orders(after: "{"a" * 60_000}") {{ nodes {{ orderKey }} }} }}'}},
    "no JSON": {"content": b"\xff" * 50_000, "headers": {"content-type": "application/json"}},
    "a batch": {"json": [{"query": "{ __typename }"}] * 1000},
    "a content type": {"content": b"{}", "headers": {"content-type": "x" * 8000}},
    "an Accept": {"json": {"query": "{"}, "headers": {"accept": "x/y," * 2000}},
    "a path": {"url": f"/{quote(FORGED * 20)}"},
    "a path of four bytes a character": {"url": f"/{quote(chr(0x1F600) * 500)}"},
    "a query string": {"url": f"/api/graphql?query={quote(FORGED * 20)}"},
    "a request id": {"json": {"query": "{ nothing }"}, "headers": {"x-request-id": '"}{"event":"forged"}' * 100}},
}  # fmt: skip


@pytest.fixture(scope="module", params=["json", "console"])
def logging_server(orders_url: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose log has only this module's requests."""
    with running_server(orders_url, LOG_FORMAT=request.param) as server:
        yield server


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_request_causes_little_log_and_a_short_response(logging_server: Server, bad: str) -> None:
    """It causes less than 2 KB of log, in lines that the server made, and a response of less than 16 KB with a code."""
    before = len(logging_server.log())
    sent = {"method": "POST", "url": "/api/graphql", **BAD[bad]}
    response = httpx.request(**{**sent, "url": f"{logging_server.url}{sent['url']}"}, verify=NO_TLS)
    request_id = response.headers["x-request-id"]
    wait_for(lambda: request_id in logging_server.log()[before:], what=lambda: f"{request_id} in the log")
    written = logging_server.log()[before:]
    assert len(written.encode()) <= MOST_LOGGED, written
    assert not CONTROL.search(written)
    assert [line for line in written.splitlines() if "forged" in line and request_id not in line] == []
    assert len(response.content) <= MOST_ANSWERED
    errors = response.json()["errors"]
    assert 1 <= len(errors) <= 21
    assert all(error["extensions"]["reason"] for error in errors)
    assert max(len(error["message"]) for error in errors) <= 500


def test_the_last_of_many_errors_says_that_there_may_be_more(logging_server: Server) -> None:
    """A person corrects the first ten and tries again."""
    query = f"{{ order(orderKey: 1) {{ {' '.join(f'f{number}' for number in range(60))} }} }}"
    errors = httpx.post(logging_server.graphql, json={"query": query}, verify=NO_TLS).json()["errors"]
    message = ["Too many validation errors, error limit reached. Validation aborted."]
    assert [error["message"] for error in errors[10:]] == message
    assert errors[10]["extensions"] == errors[0]["extensions"]


def test_bytes_that_are_not_http_cause_a_short_line_at_most(logging_server: Server) -> None:
    """As every refusal does. The line repeats nothing that was sent, and uvicorn adds no line of its own."""
    before = len(logging_server.log())
    host, port = logging_server.url.removeprefix("http://").split(":")
    for _ in range(50):
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(b"\x16\x03\x01 nothing of HTTP \x1b[31m\r\n\r\n")
            while connection.recv(4096):
                pass
    # Lines are written after the responses, in the same order.
    last = httpx.get(f"{logging_server.url}/nowhere", verify=NO_TLS).headers["x-request-id"]
    wait_for(lambda: last in logging_server.log(), what=lambda: "the last line")
    written = logging_server.log()[before:]
    assert written.count("\n") <= 53
    assert max(map(len, written.splitlines()), default=0) < 400
    assert "nothing of HTTP" not in written
    assert written.count("Invalid HTTP") <= 2
    assert not CONTROL.search(written)


def test_values_are_in_no_line(orders_url: str) -> None:
    """At INFO no value of a variable, a literal, a URL's query or a header is logged."""
    secret = "value-that-nobody-reads"  # noqa: S105 # a test's
    token = f"Bearer eyJ{secret}"
    documents: list[dict[str, Any]] = [
        {"query": "query($v: String) { orders(filter: {clerk: {eq: $v}}) { totalCount } }", "variables": {"v": secret}},
        {"query": f'{{ orders(filter: {{clerk: {{eq: "{secret}"}}}}) {{ totalCount }} }}'},
        {"query": "query($v: Int) { __typename }", "variables": {"v": secret}},
        {
            "query": "mutation($n: String) { setOrderStatus(input: {orderKey: 1, status: OPEN, note: $n}) { replayed } }",
            "variables": {"n": secret},
        },
        {"query": "{ nothing }", "operationName": secret},
    ]
    with running_server(orders_url, SLOW_STATEMENT="0.001", APP_SCHEMA="unlogged") as server:
        with httpx.Client(verify=NO_TLS, headers={"authorization": token}) as client:
            for document in documents:
                client.post(server.graphql, json=document)
            client.get(server.graphql, params=documents[1])
            last = client.get(f"{server.graphql}/stream", params=documents[1]).headers["x-request-id"]
        wait_for(lambda: last in server.log(), what=server.log)
        log = server.log()
    assert "slow statement" in log
    assert secret not in log
    for line in log.splitlines():
        json.loads(line)
