"""Tests of deadlines for requests and for reading responses, and of the room for other connections."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.blackbox.raw_connection import Wire, request
from tests.blackbox.raw_sockets import raw_socket
from tests.servers.process import PATIENCE_SECONDS, ROOT, answers, environment, free_port, running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

pytestmark = pytest.mark.faults

HEADERS, BODY = 0.6, 1.0
SEND = 2.0
QUICK = {
    "server.wire.connections._HEADERS_SECONDS": HEADERS,
    "server.wire.connections._BODY_SECONDS": BODY,
    "server.wire.connections._CHECK_SECONDS": HEADERS / 4,
}
CONNECTIONS = 12
HEAD = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
STREAM = b"GET /api/graphql/stream?query=subscription{orderStatusChanged{orderKey}} HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def hasty(orders_url: str) -> Iterator[Server]:
    """A server with short deadlines for requests."""
    with running_server(orders_url, APP_SCHEMA="deadlines", altered=QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def small(orders_url: str) -> Iterator[Server]:
    """A server with a dozen connections."""
    with running_server(orders_url, APP_SCHEMA="connections", MAX_CONNECTIONS=str(CONNECTIONS)) as server:
        yield server


def trickle(wire: Wire, part: bytes) -> float:
    """Send the bytes repeatedly until the server answers or closes. Return the seconds it took."""
    began = time.monotonic()
    while not wire.has_come(seconds=0.05):
        assert time.monotonic() < began + PATIENCE_SECONDS, "timed out"
        try:
            wire.send(part)
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.parametrize("begun", [b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"GET /", HEAD])
def test_headers_that_trickle_are_cut(hasty: Server, begun: bytes) -> None:
    """The server answers 408 and closes. The deadline counts from the connection's start, not from the last byte."""
    with Wire(hasty) as wire:
        wire.send(begun)
        seconds = trickle(wire, b"X-A: b\r\n" if begun == HEAD else b"a")
        hold("headers that trickle", seconds, computing_seconds=0.5, waiting_seconds=HEADERS)
        assert wire.refused() == (408, "HEADERS_TOO_SLOW")
        assert wire.ended()


def test_later_requests_have_as_much_time(hasty: Server) -> None:
    """The deadline counts from the request's first byte, however long the connection was idle before."""
    # A busy machine may take too long between the two halves of a request, but not each time.
    for _ in range(20):
        with Wire(hasty) as wire:
            wire.send(request(1))
            assert wire.answer()[0] == "HTTP/1.1 200 OK"
            assert not wire.has_come(seconds=2 * HEADERS)
            whole = request(2)
            wire.send(whole[:20])
            assert not wire.has_come(seconds=HEADERS / 6)
            wire.send(whole[20:])
            if wire.answer()[0] != "HTTP/1.1 200 OK":
                continue
            wire.send(b"GET /")
            seconds = trickle(wire, b"a")
            hold("later headers that trickle", seconds, computing_seconds=0.5, waiting_seconds=HEADERS)
            assert wire.refused() == (408, "HEADERS_TOO_SLOW")
            assert wire.ended()
            return
    pytest.fail("none had its time")


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
def test_a_connection_on_which_nothing_is_asked_is_closed(hasty: Server, sent: bytes) -> None:
    """The server closes it without a response, because there was no request."""
    with Wire(hasty) as wire:
        wire.send(sent)
        assert wire.ended()


@pytest.mark.parametrize(
    ("begun", "part"),
    [
        (HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", b"a"),
    ],
    ids=["a length", "chunks", "an extension", "a trailer"],
)
def test_a_body_that_trickles_is_cut(hasty: Server, begun: bytes, part: bytes) -> None:
    """The server answers 408 and closes, and its log line gives the reason."""
    with Wire(hasty) as wire:
        wire.send(begun)
        hold("a body that trickles", trickle(wire, part), computing_seconds=0.6, waiting_seconds=BODY)
        assert wire.refused() == (408, "BODY_TOO_SLOW")
        assert wire.ended()
    assert "Traceback" not in hasty.log()


def test_a_body_that_is_not_read_has_a_deadline_too(hasty: Server) -> None:
    """A client that is answered before its body is complete cannot send it for ever."""
    with Wire(hasty) as wire:
        wire.send(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        assert wire.answer()[0] == "HTTP/1.1 404 Not Found"
        hold("a body that the server does not read", trickle(wire, b" "), computing_seconds=0.6, waiting_seconds=BODY)
        assert wire.ended()


def test_a_client_that_does_not_read_its_response_is_cut(orders_url: str) -> None:
    """A client that reads slowly is not cut."""
    fields = "orderKey status clerk comment orderDate"
    query = f"{{ orders(first: 1000) {{ nodes {{ {fields} }} }} }}"
    body = json.dumps({"query": query}).encode()
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with (
        running_server(
            orders_url, APP_SCHEMA="deadlines", altered={"server.wire.sending.SEND_SECONDS": SEND}
        ) as server,
        Wire(server, receives=4096) as stuck,
        Wire(server, receives=4096) as slow,
    ):
        # This many responses exceed the kernel's buffers of a connection.
        for _ in range(100):
            stuck.send(sent)
            slow.send(sent)
        began = time.monotonic()
        while not stuck.was_reset():
            assert time.monotonic() < began + PATIENCE_SECONDS, "timed out"
            assert len(slow.read(20_000)) == 20_000
            time.sleep(0.02)  # makes the client slow
        hold(
            "a response that the client does not read",
            time.monotonic() - began,
            computing_seconds=2,
            waiting_seconds=SEND,
        )
        assert len(slow.read(20_000)) == 20_000
        assert answers(f"{server.url}/livez")


def test_idle_and_trickling_connections_make_room(small: Server) -> None:
    """For each new connection the server closes the one idle for longest. Connections with a request in flight stay."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(small)) for _ in range(CONNECTIONS)]
        for number, wire in enumerate(wires):
            wire.send(request(1) if number % 2 else b"GET /")
            if number % 2:
                assert wire.answer()[0] == "HTTP/1.1 200 OK"
        for _ in range(2 * CONNECTIONS):
            with Wire(small) as another:
                another.send(request(2))
                assert another.answer()[0] == "HTTP/1.1 200 OK"
        for _ in range(CONNECTIONS):
            more = stack.enter_context(Wire(small))
            more.send(request(1))
            assert more.answer()[0] == "HTTP/1.1 200 OK"
        assert all(wire.ended() for wire in wires)


def test_subscribers_leave_room_to_others(small: Server) -> None:
    """Subscribers may hold three quarters of the connections. One more is refused; the rest is for requests."""
    with ExitStack() as stack:
        wires = []
        for number in range(CONNECTIONS * 3 // 4):
            if number % 2:
                stack.enter_context(raw_socket(small.url))
            else:
                wires.append(stack.enter_context(Wire(small)))
                wires[-1].send(STREAM + b"Accept: text/event-stream\r\n\r\n")
                assert wires[-1].head()[0] == "HTTP/1.1 200 OK"
        with Wire(small) as stream, Wire(small) as socket_, Wire(small) as other:
            stream.send(STREAM + b"Accept: text/event-stream\r\n\r\n")
            assert stream.refused() == (503, "OVERLOADED")
            upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            socket_.send(
                b"GET /api/graphql HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"Sec-WebSocket-Key: YQ==\r\n\r\n"
            )
            assert socket_.refused() == (503, "OVERLOADED")
            other.send(request(1))
            assert other.answer()[0] == "HTTP/1.1 200 OK"
        wires[0].close()
        with Wire(small) as stream:

            def taken() -> bool:
                stream.send(STREAM + b"Accept: text/event-stream\r\n\r\n")
                status, headers = stream.head()
                stream.read(int(headers.get("content-length", "0")))
                return status == "HTTP/1.1 200 OK"

            wait_for(taken, what=lambda: "the place of the one that has gone")


def test_one_connection_too_many_is_refused_if_all_are_busy(orders_url: str) -> None:
    """The server answers 503 with Retry-After, and closes."""
    with running_server(orders_url, APP_SCHEMA="connections", MAX_CONNECTIONS="1") as server, Wire(server) as busy:
        busy.send(STREAM + b"Accept: text/event-stream\r\n\r\n")
        assert busy.head()[0] == "HTTP/1.1 200 OK"
        for _ in range(3):
            with Wire(server) as wire:
                status, headers, body = wire.answer()
                assert (status, headers["retry-after"]) == ("HTTP/1.1 503 Service Unavailable", "1")
                assert json.loads(body)["errors"][0]["extensions"]["reason"] == "OVERLOADED"
                assert wire.ended()


def test_the_limit_of_open_files_is_raised(orders_url: str) -> None:
    """The process raises its own limit. If it may not, it serves fewer connections and logs it once."""
    limited = f"ulimit -n 200; exec {sys.executable} -m server"
    port = free_port()
    process = subprocess.Popen(
        ["/bin/sh", "-c", limited],
        cwd=ROOT,
        env=environment(PORT=str(port), DATABASE_URL=orders_url, APP_SCHEMA="connections"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/livez"), what=lambda: "the server to be alive")
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    (line,) = [json.loads(line) for line in output.splitlines() if "MAX_CONNECTIONS" in line]
    assert 0 < line["connections"] < line["open_files"] == 200
