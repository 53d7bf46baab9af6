"""HTTP/1.1 as spoken by a client that checks nothing: raw bytes on a socket, and the responses to them."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from io import BufferedReader

    from tests.bad_inputs.case import Sent

_AT_ONCE_BYTES: Final = 1 << 16
_TRICKLE_SECONDS: Final = 0.05
_CONTINUE: Final = 100
_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Reply:
    """A response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header of this name."""
        return next((value for given, value in self.headers if given == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON, or as text if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body.decode("latin-1")

    def __str__(self) -> str:
        return f"{self.status} {self.body[:600].decode('latin-1')}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """The responses on a connection, and whether the server closed it after them."""

    replies: tuple[Reply, ...]
    closed: bool


def connect(url: str) -> socket.socket:
    """Connect to the server at this URL."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port or 80), timeout=PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(url: str, sent: Sent, *, replies: int = 1, to_the_end: bool = False) -> Exchange:
    """Send bytes on a new connection, and read the expected number of responses.

    With `to_the_end`, also wait for the server to close the connection.

    Raises:
        TimeoutError: no response came.
    """
    with connect(url) as connection, connection.makefile("rb") as stream:
        # A server that refuses a request early may close the connection before it has read everything.
        with contextlib.suppress(ConnectionError):
            _send(connection, sent)
            if sent.ended:
                connection.shutdown(socket.SHUT_WR)
        received: list[Reply] = []
        for _ in range(replies):
            reply = read_reply(stream, headless=sent.headless)
            if reply is None:
                return Exchange(tuple(received), closed=True)
            received.append(reply)
        return Exchange(tuple(received), closed=to_the_end and _is_closed(stream))


def read_reply(stream: BufferedReader, *, headless: bool = False) -> Reply | None:
    """Read the next response. None if the connection is closed before it starts."""
    try:
        line = stream.readline()
        if not line:
            return None
        status = int(line.split(b" ", 2)[1])
        headers = []
        while (line := stream.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
    except ConnectionError:
        return None
    if status == _CONTINUE:
        return read_reply(stream, headless=headless)
    body = b"" if headless or status in _BODILESS else _body(stream, dict(headers))
    return Reply(status, tuple(headers), body)


def _body(stream: BufferedReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return stream.read(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return stream.read()
    chunks = []
    while size := int(stream.readline(), 16):
        chunks.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(chunks)


def _send(connection: socket.socket, sent: Sent) -> None:
    """Send everything, or stop as soon as a response comes."""
    at_once = len(sent.content) if sent.trickled_from is None else sent.trickled_from
    left = memoryview(sent.content)
    while left:
        trickles = len(sent.content) - len(left) >= at_once
        answered, _, _ = select.select([connection], [], [], _TRICKLE_SECONDS if trickles else 0)
        if answered:
            return
        left = left[connection.send(left[: 1 if trickles else min(_AT_ONCE_BYTES, at_once)]) :]


def _is_closed(stream: BufferedReader) -> bool:
    try:
        return stream.read(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False
