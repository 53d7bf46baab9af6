"""Request bodies: how long they may be, with a length or in chunks, and that they may not be compressed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.blackbox.raw_connection import Wire, request
from tests.servers.process import NO_TLS, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

MOST = 4_000
PATHS = ("/api/graphql", "/api/graphql/stream")


@pytest.fixture(scope="module")
def narrow(orders_url: str) -> Iterator[Server]:
    """A server that reads only short bodies."""
    with running_server(orders_url, BODY_BYTES=str(MOST), APP_SCHEMA="bodies") as server:
        yield server


def head(path: str, *headers: str) -> bytes:
    """The head of a request."""
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Accept: */*")
    return "\r\n".join((*lines, *headers, "", "")).encode()


def padded(length: int) -> bytes:
    """A request whose body has that many bytes."""
    body = b'{"query": "{__typename}"}'
    return body + b" " * (length - len(body))


@pytest.mark.parametrize("path", PATHS)
def test_a_body_with_too_large_a_content_length_is_refused_at_once(narrow: Server, path: str) -> None:
    """413 before any of it is sent, also to a client that sent Expect: 100-continue."""
    for more in ((), ("Expect: 100-continue",)):
        with Wire(narrow) as wire:
            wire.send(head(path, f"Content-Length: {MOST + 1}", *more))
            assert wire.refused() == (413, "BODY_TOO_LARGE")
            assert wire.ended()


@pytest.mark.parametrize("path", PATHS)
def test_a_body_in_chunks_is_counted(narrow: Server, path: str) -> None:
    """413 as soon as it is too long, although its end has not been sent."""
    with Wire(narrow) as wire:
        wire.send(head(path, "Transfer-Encoding: chunked"), b"%x\r\n" % MOST, padded(MOST), b"\r\n2\r\n  ")
        assert wire.refused() == (413, "BODY_TOO_LARGE")
        assert wire.ended()


def test_a_body_of_exactly_the_allowed_length_is_read(narrow: Server) -> None:
    """With a length or in chunks. The connection is kept."""
    with Wire(narrow) as wire:
        for _ in range(2):
            wire.send(head(PATHS[0], f"Content-Length: {MOST}"), padded(MOST))
            assert json.loads(wire.answer()[2]) == {"data": {"__typename": "Query"}}
            wire.send(head(PATHS[0], "Transfer-Encoding: chunked"), b"%x\r\n" % MOST, padded(MOST), b"\r\n0\r\n\r\n")
            assert json.loads(wire.answer()[2]) == {"data": {"__typename": "Query"}}


def test_a_client_that_sends_the_whole_body_still_gets_the_refusal(narrow: Server) -> None:
    """The server reads none of it, and the client sends more than a socket holds before it reads the response."""
    with httpx.Client(verify=NO_TLS) as client:
        for path in (*PATHS, "/nowhere"):
            answer = client.post(f"{narrow.url}{path}", content=b" " * 8_000_000)
            assert answer.status_code == 413
            assert answer.headers["connection"] == "close"
            parts = (b" " * 100_000 for _ in range(80))
            status = client.post(f"{narrow.url}{path}", content=parts, headers={"content-type": "application/json"})
            assert status.status_code == (404 if path == "/nowhere" else 413)


def test_chunk_extensions_and_trailers_are_bounded_too(narrow: Server) -> None:
    """The server ignores their content, but counts their length."""
    for more in (b"1;" + b"a" * 200_000, b"1\r\n \r\n0\r\n" + b"X-A: " + b"a" * 200_000):
        with Wire(narrow) as wire:
            wire.send(head(PATHS[0], "Transfer-Encoding: chunked"), more)
            assert wire.refused() == (413, "BODY_TOO_LARGE")
            assert wire.ended()


def test_a_malformed_body_is_refused_like_any_other_request(narrow: Server) -> None:
    """The refusal has the request's id, and the code and reason of invalid HTTP."""
    with Wire(narrow) as wire:
        wire.send(head(PATHS[0], "Transfer-Encoding: chunked", "X-Request-Id: chunks-1"), b"zz\r\n")
        status, headers, body = wire.answer()
        assert (status, headers["x-request-id"]) == ("HTTP/1.1 400 Bad Request", "chunks-1")
        assert json.loads(body)["errors"][0]["extensions"] == {
            "code": "BAD_REQUEST",
            "reason": "HTTP_INVALID",
            "retryable": False,
        }
        assert wire.ended()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "x"])
@pytest.mark.parametrize("path", PATHS)
def test_a_compressed_body_is_refused(server: Server, path: str, encoding: str) -> None:
    """415, without reading it."""
    headers = {"content-encoding": encoding, "content-type": "application/json", "accept": "*/*"}
    answer = httpx.post(f"{server.url}{path}", content=b"\x1f\x8b", headers=headers, verify=NO_TLS)
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["extensions"]["reason"] == "CONTENT_ENCODING_UNSUPPORTED"


def test_a_body_may_say_that_it_is_not_compressed(server: Server) -> None:
    """`identity` means no encoding."""
    with Wire(server) as wire:
        wire.send(request(1, "Content-Encoding: identity"))
        assert wire.answer()[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "types",
    [
        ["application/json", "application/json"],
        ["text/plain", "application/json"],
        ["application/json", "text/plain"],
        ["application/json, text/plain"],
        ["application/jsonp"],
        ["text/plain; x=application/json"],
        ["application/json; charset=utf-7"],
        ["application/json; charset=utf-8; charset=latin-1"],
        ["application/json+x"],
        ["application/graphql"],
        ["multipart/form-data; boundary=application/json"],
    ],
)
def test_there_is_one_content_type_and_it_is_compared_whole(server: Server, path: str, types: list[str]) -> None:
    """415 if there are two: a proxy in front may have believed the other one."""
    body = padded(25)
    with Wire(server) as wire:
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Accept: */*", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {given}" for given in types]
        wire.send("\r\n".join([*lines, "", ""]).encode() + body)
        assert wire.refused() == (415, "CONTENT_TYPE_UNSUPPORTED")


def test_a_message_of_a_websocket_is_no_longer_than_a_body(narrow: Server) -> None:
    """A longer message closes the socket with 1009."""
    url = f"{narrow.url.replace('http', 'ws', 1)}/api/graphql"
    with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item] # its NewType of str
        socket.send('{"type": "connection_init"}')
        assert json.loads(socket.recv())["type"] == "connection_ack"
        socket.send('{"type": "ping"}' + " " * (MOST - 16))
        assert json.loads(socket.recv())["type"] == "pong"
        socket.send('{"type": "ping"}' + " " * MOST)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
