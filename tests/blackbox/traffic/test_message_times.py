"""No message or body stops the server for long, whatever it consists of: others are answered meanwhile."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.bad_inputs.connection import connect, read_reply
from tests.bad_inputs.watching import Prober
from tests.blackbox.raw_sockets import TEXT, frame, raw_socket
from tests.servers.process import running_server
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

pytestmark = [pytest.mark.long, pytest.mark.faults]

BODY_BYTES: Final = 2 << 20
# The promise: a message takes no more of the event loop at a stretch.
LOOP_SECONDS: Final = 0.025
TIMES: Final = 3
ORDER: Final = "{ order(orderKey: 1) { orderKey } }"
KEYS: Final = "query ($k: [BigInt!]) { orders(filter: {orderKey: {in: $k}}) { totalCount } }"
CHANGES: Final = "mutation ($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { replayed } }"


def filled(part: bytes, *, start: bytes = b"[", end: bytes = b"]", size: int = BODY_BYTES - 1_000) -> bytes:
    """A value of this size that repeats a part, whose last byte is a comma that ends it."""
    return start + part * ((size - len(start) - len(end)) // len(part)) + part[:-1] + end


def text_of(part: bytes) -> bytes:
    """A string that repeats a part, nearly as long as a body may be."""
    return b'"' + part * ((BODY_BYTES - 1_000) // len(part)) + b'"'


def fields(count: int, value: bytes, *, name: str = "f{}") -> bytes:
    """An object with this many fields of a value."""
    return b"{" + b",".join(b'"%s":%s' % (name.format(n).encode(), value) for n in range(count)) + b"}"


# JSON values of all kinds, as large as is read, or larger.
VALUES: Final[dict[str, bytes]] = {
    "lists": filled(b"[],"),
    "objects": filled(b"{},"),
    "nested lists": filled(b"[" * 900 + b"]" * 900 + b","),
    "open brackets": b"[" * (BODY_BYTES - 1_000),
    "numbers": filled(b"1,"),
    "strings": filled(b'"ab",'),
    "fields": fields(100_000, b"{}"),
    "equal fields": filled(b'"a":{},', start=b"{", end=b"}"),
    "lists up to the limit": filled(b"[],", size=31_000),
    "nested lists up to the limit": filled(b"[" * 900 + b"]" * 900 + b",", size=36_000),
    "fields up to the limit": fields(20_000, b"1", name="{:0>90}"),
    "strings up to the limit": filled(b'"%s",' % (b"\\u00e9" * 16)),
    "a text": text_of(b"a"),
    "a text of line breaks": text_of(b"\\n"),
    "a text of quotes": text_of(b'\\"'),
    "a text of escapes": text_of(b"\\u00e9"),
    "a text of escaped pairs": text_of(b"\\ud83d\\ude00"),
    "a text of halves of pairs": text_of(b"\\ud83d"),
    "a text of two bytes each": text_of("é".encode()),
    "a text of four bytes each": text_of("\N{GRINNING FACE}".encode()),
    "a text of commas": text_of(b","),
    "a text with one wide character": text_of(b"a")[:-1] + "\N{GRINNING FACE}".encode() + b'"',
    "a long name": b"{" + text_of(b"a") + b":1}",
    "a number of many digits": b"0." + b"7" * (BODY_BYTES - 1_000),
    "numbers of many digits": filled(b"0.%s," % (b"7" * 110)),
    "numbers with exponents": filled(b"%s.%se-300," % (b"7" * 60, b"7" * 50)),
    "white space": b" " * (BODY_BYTES - 1_000) + b"1",
}


def request_of(**parts: bytes) -> bytes:
    """A request with these parts, beside a document unless they have one."""
    given = {"query": json.dumps(ORDER).encode(), **parts}
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), value) for name, value in given.items())


def bodies() -> Iterator[tuple[str, bytes]]:
    """The requests: each kind of value at each place, and the largest that are legal."""
    for kind, value in VALUES.items():
        yield f"extensions: {kind}", request_of(extensions=b'{"a":%s}' % value)
        yield f"variables: {kind}", request_of(variables=b'{"a":%s}' % value)
        yield f"an unknown parameter: {kind}", request_of(a=value)
    for kind in ("a text", "a text of commas", "a text of escapes", "a text of four bytes each"):
        yield f"document: {kind}", request_of(query=VALUES[kind])
        yield f"operationName: {kind}", request_of(operationName=VALUES[kind])
        yield f"documentId: {kind}", request_of(documentId=VALUES[kind])
        hashed = b'{"persistedQuery":{"version":1,"sha256Hash":"%s"}}' % (b"0" * 64)
        yield f"another hash: {kind}", request_of(query=VALUES[kind], extensions=hashed)
    keys = json.dumps(KEYS).encode()
    yield "a thousand keys", request_of(query=keys, variables=json.dumps({"k": [*range(1_000)]}).encode())
    yield "9,900 keys", request_of(query=keys, variables=json.dumps({"k": [*range(9_900)]}).encode())
    yield "9,900 wrong keys", request_of(query=keys, variables=json.dumps({"k": ["x" * 190] * 9_900}).encode())
    changes = [{"orderKey": str(9_000_000 + n), "status": "OPEN", "note": "n" * 1_000} for n in range(1_000)]
    listed = json.dumps({"i": {"changes": changes}}).encode()
    yield "a thousand changes", request_of(query=json.dumps(CHANGES).encode(), variables=listed)


BODIES: Final = dict(bodies())


@pytest.fixture(scope="module")
def server(orders_url: str) -> Iterator[Server]:
    """A server as it is shipped."""
    with running_server(orders_url, patient=False, APP_SCHEMA="message_times") as server:
        yield server


@pytest.fixture(scope="module")
def prober(server: Server) -> Iterator[Prober]:
    """Asks the server again and again, and notes the longest wait."""
    prober = Prober(server.url, server.process.pid)
    yield prober
    prober.stop()


def posted(server: Server, body: bytes, path: str) -> None:
    """Send a body, and wait for the answer."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream, application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with connect(server.url) as connection, connection.makefile("rb") as stream:
        connection.sendall(head.encode() + body)
        assert read_reply(stream) is not None


def told(server: Server, message: bytes) -> None:
    """Send a message, and wait for an answer or a close."""
    with raw_socket(server.url) as socket:
        socket.send(frame(TEXT, message))
        assert socket.read()


def shortest(prober: Prober, work: Any) -> float:
    """The longest wait of others during some work; of several times the shortest, as the machine may be busy."""
    waits = []
    for _ in range(TIMES):
        with prober.watching() as worst:
            work()
        waits += worst
    return min(waits)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("path", ["/api/graphql", "/api/graphql/stream"])
def test_a_body_takes_little_of_the_loop(server: Server, prober: Prober, kind: str, path: str) -> None:
    """From its first byte to its answer."""
    waited = shortest(prober, lambda: posted(server, BODIES[kind], path))
    hold(f"others during {path} {kind}", waited, computing_seconds=LOOP_SECONDS)


@pytest.mark.parametrize("kind", BODIES)
def test_a_message_takes_little_of_the_loop(server: Server, prober: Prober, kind: str) -> None:
    """From its first byte to its answer, or to the close."""
    message = b'{"id":"1","type":"subscribe","payload":%s}' % BODIES[kind]
    waited = shortest(prober, lambda: told(server, message))
    hold(f"others during a subscribe, {kind}", waited, computing_seconds=LOOP_SECONDS)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("type_", ["ping", "pong", "complete", "connection_init"])
def test_other_messages_take_little_of_the_loop(server: Server, prober: Prober, kind: str, type_: str) -> None:
    """They are closed for their length."""
    message = b'{"type":"%s","payload":{"a":%s}}' % (type_.encode(), VALUES[kind])
    waited = shortest(prober, lambda: told(server, message))
    hold(f"others during a {type_}, {kind}", waited, computing_seconds=LOOP_SECONDS)


@pytest.mark.parametrize("kind", VALUES)
def test_a_compressed_init_takes_little_of_the_loop(server: Server, prober: Prober, kind: str) -> None:
    """A few kilobytes before any token, which could unpack to two megabytes."""
    compressor = zlib.compressobj(wbits=-12)
    init = b'{"type":"connection_init","payload":{"a":%s}}' % VALUES[kind]
    packed = compressor.compress(init) + compressor.flush(zlib.Z_SYNC_FLUSH)

    def work() -> None:
        with raw_socket(server.url, deflate=True, init=False) as socket:
            socket.send(frame(TEXT, packed[:-4], reserved=4))
            assert socket.read()

    hold(f"others during a compressed init, {kind}", shortest(prober, work), computing_seconds=LOOP_SECONDS)
