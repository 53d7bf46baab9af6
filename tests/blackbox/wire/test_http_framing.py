"""Tests of malformed and unusual HTTP: the server refuses with a reason and closes, or answers correctly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.blackbox.raw_connection import Wire, request
from tests.servers.process import answers

if TYPE_CHECKING:
    from tests.servers.process import Server

GET = b"GET /api/graphql?query={__typename} HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"query": "{__typename}"}'
UPGRADE = (
    b"GET /api/graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
INVALID = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "no method": b"\x00\x01\x02\x03\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0 in words": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": GET + b"\r\n",
    "two Hosts": GET + HOST + HOST + b"\r\n",
    "a Host that is none": GET + b"Host: a, b\r\n\r\n",
    "bare line feeds": b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    "a header of two lines": GET + HOST + b"X-A: b\r\n c\r\n\r\n",
    "a space before the colon": GET + b"Host : localhost\r\n\r\n",
    "a header without a name": GET + HOST + b": x\r\n\r\n",
    "NUL in a header": GET + HOST + b"X-A: a\x00b\r\n\r\n",
    "a lone CR in a header": GET + HOST + b"X-A: a\rX-B: b\r\n\r\n",
    "an address that is none": b"GET /a\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address without a path": b"GET http://localhost HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address whose host is none": b"GET http://:x/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 25\r\nContent-Length: 26\r\n\r\n" + BODY,
    "one length twice": POST + b"Content-Length: 25\r\nContent-Length: 25\r\n\r\n" + BODY,
    "a list of lengths": POST + b"Content-Length: 25, 25\r\n\r\n" + BODY,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +25\r\n\r\n" + BODY,
    "a length in hexadecimal": POST + b"Content-Length: 0x19\r\n\r\n" + BODY,
    "a length beyond all bounds": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "another coding before chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "nearly chunks": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk's size that is none": CHUNKED + b"zz\r\n",
    "a chunk's size that is negative": CHUNKED + b"-1\r\n",
    "a chunk's size beyond all bounds": CHUNKED + b"fffffffffffffffff\r\n",
    "a chunk that is longer than it says": CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n",
    "a chunk with bare line feeds": CHUNKED + b"2\n{}\n0\n\n",
    "a WebSocket by POST": POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a WebSocket with a length": UPGRADE + b"Content-Length: 1\r\n\r\n",
    "a WebSocket with a body": UPGRADE + b"Content-Length: 1\r\n\r\nx",
    "a WebSocket with a length of two digits": UPGRADE + b"Content-Length: 00\r\n\r\n",
    "a WebSocket with chunks": UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("sent", INVALID.values(), ids=INVALID)
def test_what_is_not_http_is_refused_and_closed(server: Server, sent: bytes) -> None:
    """The server answers 400 with a reason, and reads no more: it cannot know where the next request begins."""
    with Wire(server) as wire:
        wire.send(sent)
        assert wire.refused() == (400, "HTTP_INVALID")
        assert wire.ended()


def test_malformed_http_is_no_fault_of_the_server(server: Server) -> None:
    """The server logs no traceback and one short line for each, and goes on serving."""
    assert answers(f"{server.url}/livez")
    assert "Traceback" not in server.log()
    lines = [line for line in server.log().splitlines() if "HTTP_INVALID" in line]
    assert max(map(len, lines), default=0) < 500


@pytest.mark.parametrize(
    "head",
    [
        GET + HOST + b"".join(b"X-%d: 1\r\n" % number for number in range(101)) + b"\r\n",
        GET + HOST + b"X-A: " + b"a" * 16_384 + b"\r\n\r\n",
        GET + HOST + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(20)) + b"\r\n",
        GET + HOST + b"X-A: " + b"a" * 70_000,
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /" + b"a" * 70_000,
    ],
    ids=["101", "one long one", "many", "without an end", "the address", "an address without an end"],
)
def test_headers_have_a_size_limit(server: Server, head: bytes) -> None:
    """The server answers 431, even if the headers never end."""
    with Wire(server) as wire:
        wire.send(head)
        assert wire.refused() == (431, "HEADERS_TOO_LARGE")
        assert wire.ended()


def test_headers_up_to_the_limit_are_read(server: Server) -> None:
    """A hundred headers with 16 KiB in all."""
    hundred = b"".join(b"X-%d: 1\r\n" % number for number in range(99))
    long = b"X-A: " + b"a" * 16_000 + b"\r\n"
    with Wire(server) as wire:
        for more in (hundred, long):
            wire.send(GET + HOST + more + b"\r\n")
            assert wire.answer()[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET http://localhost/api/graphql?query={__typename} HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\r\n\r\n" + GET + HOST + b"\r\n",
        GET + b"Host: \r\n\r\n",
        GET + b"Host: [::1]:8000\r\n\r\n",
        CHUNKED + b"19;a=b\r\n" + BODY + b"\r\n0\r\nX-Trailer: x\r\n\r\n",
        POST + b"Content-Length: 25\r\nX-A: \xe4\r\n\r\n" + BODY,
        GET + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    ],
    ids=["a whole address", "empty lines", "no name", "IPv6", "chunks", "Latin-1", "h2c"],
)
def test_what_is_http_is_answered(server: Server, sent: bytes) -> None:
    """Few clients send these. A request to upgrade to another protocol is answered in HTTP/1.1."""
    with Wire(server) as wire:
        wire.send(sent)
        status, _, body = wire.answer()
        # A Host other than loopback gets the 403.
        assert status in {"HTTP/1.1 200 OK", "HTTP/1.1 403 Forbidden"}
        assert b"localhost\r\n" not in sent or json.loads(body) == {"data": {"__typename": "Query"}}


def test_an_answer_that_is_owed_comes_before_the_refusal(server: Server) -> None:
    """Requests before the refused one are answered in order. Those after it are not read."""
    with Wire(server) as wire:
        wire.send(request(1), request(2), GET + b"\r\n", request(3))
        for key in ("1", "2"):
            assert json.loads(wire.answer()[2])["data"]["order"]["orderKey"] == key
        assert wire.refused() == (400, "HTTP_INVALID")
        assert wire.ended()


def test_a_socket_is_not_opened_before_an_answer_that_is_owed(server: Server) -> None:
    """The response comes whole, before any frame."""
    with Wire(server) as wire:
        wire.send(request(1), UPGRADE + b"\r\n")
        assert json.loads(wire.answer()[2])["data"]["order"]["orderKey"] == "1"
        assert wire.refused() == (400, "HTTP_INVALID")
        assert wire.ended()


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
def test_a_socket_without_a_body_is_opened(server: Server, length: bytes) -> None:
    """Some clients announce that there is none."""
    with Wire(server) as wire:
        wire.send(UPGRADE + length + b"\r\n")
        assert wire.head()[0] == "HTTP/1.1 101 Switching Protocols"


def test_a_hundred_requests_may_be_sent_at_once(server: Server) -> None:
    """They are answered in order. The server does not buffer thousands from one packet."""
    with Wire(server) as wire:
        wire.send(*(request(key) for key in [1, 2, 3, 4] * 25))
        answered = [json.loads(wire.answer()[2])["data"]["order"]["orderKey"] for _ in range(100)]
        assert answered == ["1", "2", "3", "4"] * 25
    with Wire(server) as wire:
        wire.send((GET + HOST + b"\r\n") * 500)
        statuses: list[str] = []
        while not statuses or statuses[-1] == "HTTP/1.1 200 OK":
            statuses.append(wire.answer()[0])
        assert statuses[-1] == "HTTP/1.1 400 Bad Request"
        assert 100 <= len(statuses) < 200


def test_a_trailer_is_no_header(server: Server) -> None:
    """Fields after the body do not name the caller, or anything else."""
    with Wire(server) as wire:
        trailer = b"X-Request-Id: from-trailer\r\n"
        wire.send(CHUNKED + b"19\r\n" + BODY + b"\r\n0\r\n" + trailer + b"\r\n")
        status, headers, _ = wire.answer()
        assert status == "HTTP/1.1 200 OK"
        assert headers["x-request-id"] != "from-trailer"


@pytest.mark.parametrize("part", [b"G", GET, GET + HOST, POST + b"Content-Length: 25\r\n\r\n{", CHUNKED + b"5\r\n{"])
def test_a_client_that_leaves_early_leaves_nothing_behind(server: Server, part: bytes) -> None:
    """The server goes on serving."""
    with Wire(server) as wire:
        wire.send(part)
    assert answers(f"{server.url}/livez")
    assert "Traceback" not in server.log()
