"""Deadlines: for what a caller sends, and for what it takes of its answer; room for others meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.blackbox.raw_connection import Wire, request
from tests.calibration import hold
from tests.process import PATIENCE_SECONDS, ROOT, answers, environment, free_port, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.process import Server

pytestmark = pytest.mark.faults

HEADERS, BODY = 0.6, 1.0
SEND = 2.0
QUICK = {
    "server.wire.connections._HEADERS_SECONDS": HEADERS,
    "server.wire.connections._BODY_SECONDS": BODY,
    "server.wire.connections._LOOK_SECONDS": HEADERS / 4,
}
CONNECTIONS = 12
HEAD = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
STREAM = b"GET /api/graphql/stream?query=subscription{orderStatusChanged{orderKey}} HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def hasty(orders_url: str) -> Iterator[Server]:
    """A server that waits for no request."""
    with running_server(orders_url, APP_SCHEMA="deadlines", altered=QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def small(orders_url: str) -> Iterator[Server]:
    """A server that has a dozen connections."""
    with running_server(orders_url, APP_SCHEMA="connections", MAX_CONNECTIONS=str(CONNECTIONS)) as server:
        yield server


def trickle(wire: Wire, part: bytes) -> float:
    """Send this again and again until the server answers or closes; how long that took."""
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
    """408 and closed, by the time from the connection's beginning: one from the last byte would never be over."""
    with Wire(hasty) as wire:
        wire.send(begun)
        seconds = trickle(wire, b"X-A: b\r\n" if begun == HEAD else b"a")
        hold("headers that trickle", seconds, computing_seconds=0.5, waiting_seconds=HEADERS)
        assert wire.refused() == (408, "HEADERS_TOO_SLOW")
        assert wire.ended()


def test_later_requests_have_as_much_time(hasty: Server) -> None:
    """Counted from their first byte, however long the connection was idle before."""
    # A busy machine may take too long between the two halves of a request; not each time.
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
    """Without a word, for nobody asked anything."""
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
    """408 and closed, and the line in the log says why."""
    with Wire(hasty) as wire:
        wire.send(begun)
        hold("a body that trickles", trickle(wire, part), computing_seconds=0.6, waiting_seconds=BODY)
        assert wire.refused() == (408, "BODY_TOO_SLOW")
        assert wire.ended()
    assert "Traceback" not in hasty.log()


def test_a_body_that_is_not_read_has_a_deadline_too(hasty: Server) -> None:
    """Whoever is answered before its body is there may not send it for ever."""
    with Wire(hasty) as wire:
        wire.send(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        assert wire.answer()[0] == "HTTP/1.1 404 Not Found"
        hold("a body that nobody reads", trickle(wire, b" "), computing_seconds=0.6, waiting_seconds=BODY)
        assert wire.ended()


def test_a_caller_who_takes_nothing_of_its_answer_is_cut(orders_url: str) -> None:
    """And one who takes it slowly is not."""
    fields = "orderKey status clerk comment orderDate"
    query = f"{{ orders(first: 1000) {{ nodes {{ {fields} }} }} }}"
    body = json.dumps({"query": query}).encode()
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with (
        running_server(
            orders_url, APP_SCHEMA="deadlines", altered={"server.wire.connections.SEND_SECONDS": SEND}
        ) as server,
        Wire(server, receives=4096) as stuck,
        Wire(server, receives=4096) as slow,
    ):
        # So many answers do not fit into what the kernel keeps for a connection.
        for _ in range(100):
            stuck.send(sent)
            slow.send(sent)
        began = time.monotonic()
        while not stuck.was_reset():
            assert time.monotonic() < began + PATIENCE_SECONDS, "timed out"
            assert len(slow.read(20_000)) == 20_000
            time.sleep(0.02)  # that is what makes it slow
        hold("an answer that nobody takes", time.monotonic() - began, computing_seconds=2, waiting_seconds=SEND)
        assert len(slow.read(20_000)) == 20_000
        assert answers(f"{server.url}/livez")


def test_idle_and_trickling_connections_make_room(small: Server) -> None:
    """The one idle for the longest is closed for each that comes, and those at work are not."""
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
        more = [stack.enter_context(Wire(small)) for _ in range(CONNECTIONS)]
        more[-1].send(request(1))
        assert more[-1].answer()[0] == "HTTP/1.1 200 OK"
        assert all(wire.ended() for wire in wires)


def test_subscribers_leave_room_to_others(small: Server) -> None:
    """Three quarters of the connections may last; one more is refused, and the rest are for requests."""
    url = f"{small.url.replace('http', 'ws', 1)}/api/graphql"
    with ExitStack() as stack:
        wires = []
        for number in range(CONNECTIONS * 3 // 4):
            if number % 2:
                stack.enter_context(connect(url, subprotocols=["graphql-transport-ws"]))  # type: ignore[list-item] # its NewType of str
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


def test_where_all_are_at_work_one_more_is_told_so(orders_url: str) -> None:
    """503 with Retry-After, and closed."""
    with running_server(orders_url, APP_SCHEMA="connections", MAX_CONNECTIONS="1") as server, Wire(server) as busy:
        busy.send(STREAM + b"Accept: text/event-stream\r\n\r\n")
        assert busy.head()[0] == "HTTP/1.1 200 OK"
        for _ in range(3):
            with Wire(server) as wire:
                status, headers, body = wire.answer()
                assert (status, headers["retry-after"]) == ("HTTP/1.1 503 Service Unavailable", "1")
                assert json.loads(body)["errors"][0]["extensions"]["reason"] == "OVERLOADED"
                assert wire.ended()


def test_as_many_files_as_are_needed_are_asked_for(orders_url: str) -> None:
    """The process raises its own limit; where it may not, it has fewer connections and says so once."""
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
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    (line,) = [json.loads(line) for line in said.splitlines() if "MAX_CONNECTIONS" in line]
    assert 0 < line["connections"] < line["open_files"] == 200
