"""A response whose length is known leaves the server at once, head and body; any other part by part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.http.client import TRAILERS
from server.wire.response_writer import ResponseWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZED: Final = [(b"content-length", b"4")]


class Transport:
    """A transport that notes what is written to it, and whether it is closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written.append(data)

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.closed

    def close(self) -> None:
        """Note it."""
        self.closed = True


def begun(
    writer: ResponseWriter, transport: Transport, method: str = "POST", *, waits: bool = False
) -> RequestResponseCycle:
    """The cycle for a request, whose response the writer writes."""
    flow = FlowControl(cast("asyncio.Transport", transport))
    cycle = RequestResponseCycle(
        scope=cast("Any", {"type": "http", "method": method}),
        transport=cast("asyncio.Transport", writer),
        flow=flow,
        logger=cast("Any", None),
        access_logger=cast("Any", None),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=waits,
        keep_alive=True,
        on_response=lambda: None,
    )
    writer.begin(cycle)
    return cycle


@pytest.fixture
def transport() -> Transport:
    """The connection's transport."""
    return Transport()


@pytest.fixture
def writer(transport: Transport) -> ResponseWriter:
    """The writer of its responses."""
    return ResponseWriter(cast("asyncio.Transport", transport), transport.close)


async def send(cycle: RequestResponseCycle, status: int, headers: Any, *parts: bytes) -> None:
    """Send a response whose body has these parts."""
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    for number, part in enumerate(parts, 1):
        await cycle.send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})


@pytest.mark.parametrize(
    ("method", "status", "headers", "parts", "writes"),
    [
        ("POST", 200, SIZED, [b"body"], 1),
        ("POST", 200, SIZED, [b"bo", b"dy"], 2),
        ("POST", 200, [(b"content-length", b"0")], [b""], 1),
        ("HEAD", 200, SIZED, [b""], 1),
        # Not known how long: a stream of events, whose first may come after minutes.
        ("GET", 200, [], [b"event", b"event", b""], 4),
        ("GET", 304, [], [b""], 2),
    ],
)
async def test_the_head_goes_with_the_body(
    writer: ResponseWriter,
    transport: Transport,
    method: str,
    status: int,
    headers: Any,
    parts: Sequence[bytes],
    writes: int,
) -> None:
    """On a connection that serves one request after the other."""
    for _ in range(2):
        transport.written.clear()
        await send(begun(writer, transport, method), status, headers, *parts)
        assert len(transport.written) == writes
        head, _, body = b"".join(transport.written).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert body.startswith(parts[0]) or b"chunked" in head


async def test_a_stream_begins_before_its_first_event(writer: ResponseWriter, transport: Transport) -> None:
    """A browser's EventSource reports that it is open."""
    await send(begun(writer, transport), 200, [])
    assert b"chunked" in transport.written[0]


async def test_a_client_is_told_to_continue_before_the_response(writer: ResponseWriter, transport: Transport) -> None:
    """It waits for that, before it sends its body."""
    cycle = begun(writer, transport, waits=True)
    cycle.message_event.set()
    await cycle.receive()
    assert transport.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    await send(cycle, 200, SIZED, b"body")
    assert len(transport.written) == 2


async def test_a_response_that_fails_after_its_head_is_seen_to_be_incomplete(
    writer: ResponseWriter, transport: Transport
) -> None:
    """Clients repeat a request that got no response at all, and it may be a change."""
    cycle = begun(writer, transport)
    await send(cycle, 200, SIZED)
    assert transport.written == []
    cycle.transport.close()
    assert transport.closed
    assert transport.written[0].endswith(b"content-length: 4\r\n\r\n")


async def test_trailer_fields_follow_a_chunked_body(transport: Transport, writer: ResponseWriter) -> None:
    """They may be set until the end. The next response on the connection has none."""
    for fields in ([(b"x-rows", b"1")], []):
        cycle = begun(writer, transport)
        cycle.scope[TRAILERS] = given = []  # type: ignore[typeddict-unknown-key] # a key of our own
        await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
        await cycle.send({"type": "http.response.body", "body": b"0\r\n", "more_body": True})
        given += fields
        await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
    assert transport.written[1::3] == [b"3\r\n0\r\n\r\n"] * 2
    assert transport.written[2::3] == [b"0\r\nx-rows: 1\r\n\r\n", b"0\r\n\r\n"]
