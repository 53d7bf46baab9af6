"""WebSockets spoken byte by byte: frames that no client library would send, and the server's frames as they come."""

from __future__ import annotations

import json
import select
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n{headers}\r\n"
)
_SHORT, _LONG = 126, 1 << 16


class Frame(NamedTuple):
    """A frame that the server sent."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a close frame."""
        return int(struct.unpack("!H", self.payload[:2])[0])


def frame(  # the parts of a frame's header
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True
) -> bytes:
    """A client's frame."""
    size = len(payload)
    length, extended = size, b""
    if size >= _LONG:
        length, extended = 127, struct.pack("!Q", size)
    elif size >= _SHORT:
        length, extended = 126, struct.pack("!H", size)
    head = struct.pack("!BB", fin << 7 | reserved << 4 | opcode, masked << 7 | length) + extended
    # A mask of zeros leaves the payload unchanged.
    return head + (bytes(4) if masked else b"") + payload


def text(message: object) -> bytes:
    """A text frame with this message."""
    return frame(TEXT, json.dumps(message).encode())


class RawSocket:
    """A WebSocket after its handshake."""

    def __init__(self, connection: socket.socket, received: bytes) -> None:
        self._connection = connection
        self._received = received

    def send(self, data: bytes) -> None:
        """Send the data. A connection that the server has already closed is no error."""
        self._connection.sendall(data)

    def initialise(self, token: str | None = None) -> None:
        """Send the `connection_init`, and wait for its acknowledgement."""
        payload = {"authorization": f"Bearer {token}"} if token else None
        self.send(text({"type": "connection_init", "payload": payload}))
        assert (answer := self.read()).opcode == TEXT, answer

    def ended(self) -> bool:
        """Wait for the server to close the connection itself, and return whether it did."""
        try:
            while self._connection.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True

    def has_come(self) -> bool:
        """Whether the server has sent anything that was not read, or has closed."""
        return bool(self._received or select.select([self._connection], [], [], 0)[0])

    def read(self) -> Frame:
        """Read the next frame.

        Raises:
            ConnectionError: the connection has ended.
        """
        _, length = struct.unpack("!BB", head := self._exactly(2))
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        return Frame(head[0] & 15, self._exactly(length))

    def closed_with(self) -> int:
        """Read until the server closes, and return its close code; 1006 if it sends none."""
        try:
            while (found := self.read()).opcode != CLOSE:
                pass
        except ConnectionError:
            return 1006
        return found.code

    def pass_over(self, messages: int) -> None:
        """Read this many messages and drop them, much faster than one by one. Pings are answered.

        Raises:
            ConnectionError: the connection has ended.
        """
        received = bytearray(self._received)
        while True:
            start = 0
            while (end := _end_of_frame(received, start)) is not None and messages:
                messages -= received[start] & 15 == TEXT
                if received[start] & 15 == PING:
                    self.send(frame(PONG, bytes(received[start + 2 : end])))
                start = end
            del received[:start]
            if not messages:
                self._received = bytes(received)
                return
            if not (more := self._connection.recv(1 << 20)):
                raise ConnectionError("the server has closed")
            received += more

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not (more := self._connection.recv(1 << 16)):
                raise ConnectionError("the server has closed")
            self._received += more
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def _end_of_frame(received: bytearray, start: int) -> int | None:
    """Where the frame that starts here ends; None if it is not complete."""
    head = 2
    if len(received) < start + head:
        return None
    length = received[start + 1]
    if length >= _SHORT:
        form, head = ("!H", 4) if length == _SHORT else ("!Q", 10)
        if len(received) < start + head:
            return None
        (length,) = struct.unpack_from(form, received, start + 2)
    end = start + head + length
    return end if end <= len(received) else None


@contextmanager
def raw_socket(  # what differs between the tests' sockets
    url: str,
    *,
    deflate: bool = False,
    headers: str = "",
    init: bool = True,
    seconds: float = PATIENCE_SECONDS,
    token: str | None = None,
    source: str = "",
) -> Iterator[RawSocket]:
    """Open a WebSocket to the server at this URL, with `connection_init` acknowledged unless `init` is false.

    Args:
        url: the server's.
        deflate: whether to offer permessage-deflate.
        headers: further ones. Each ends with a line break.
        init: whether to send the `connection_init`.
        seconds: how long to wait for the server.
        token: the token for the `connection_init`.
        source: the address to connect from.
    """
    address = urlsplit(url)
    target = address.hostname or "", address.port or 0
    with socket.create_connection(target, timeout=seconds, source_address=(source, 0)) as connection:
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        request = _HANDSHAKE.format(path="/api/graphql", host=address.netloc, headers=extension + headers)
        connection.sendall(request.encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(1 << 16)
        answer, _, rest = received.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        raw = RawSocket(connection, rest)
        if init:
            raw.initialise(token)
        yield raw
