"""A connection that sends bytes unchanged and reads the responses."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from typing import TYPE_CHECKING, Self

from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.servers.process import Server


class Wire:
    """A connection that sends bytes unchanged."""

    def __init__(self, server: Server, *, receives: int | None = None, source: str | None = None) -> None:
        """Connect, from the address `source`. `receives` is the size of the kernel's receive buffer in bytes."""
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.socket()
        if receives is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        if source is not None:
            self._socket.bind((source, 0))
        self._socket.settimeout(PATIENCE_SECONDS)
        self._socket.connect((host, int(port)))
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def send(self, *requests: bytes) -> None:
        """Send all the requests at once."""
        self._socket.sendall(b"".join(requests))

    def answer(self) -> tuple[str, dict[str, str], bytes]:
        """The status line, the headers and the body of the next response."""
        status, headers = self.head()
        return status, headers, self.read(int(headers.get("content-length", "0")))

    def head(self) -> tuple[str, dict[str, str]]:
        """The status line and the headers of the next response."""
        status = self._file.readline().decode().strip()
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers

    def line(self) -> str:
        """The next line, without its end."""
        return self._file.readline().decode().rstrip("\r\n")

    def read(self, length: int) -> bytes:
        """Read this many bytes, or fewer if the connection ends before."""
        return self._file.read(length)

    def rest(self) -> int:
        """Read until the server closes or resets the connection, and return the number of bytes."""
        number = 0
        with contextlib.suppress(ConnectionResetError):
            while data := self._socket.recv(1 << 20):
                number += len(data)
        return number

    def has_come(self, *, seconds: float) -> bool:
        """Whether the server sends anything, or closes, within this many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def was_reset(self) -> bool:
        """Whether the server has reset the connection, although the client reads nothing."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    def refused(self) -> tuple[int, str]:
        """The status and the reason of the next response, which has to be a single error in JSON."""
        status, headers, body = self.answer()
        assert headers["content-type"].startswith("application/"), (status, headers, body)
        (error,) = json.loads(body)["errors"]
        assert error["message"]
        assert error["extensions"]["code"]
        return int(status.split()[1]), error["extensions"]["reason"]

    def ended(self) -> bool:
        """Wait for the server to close the connection, and return whether it did."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def request(key: int, *headers: str, version: str = "1.1") -> bytes:
    """A request for one order."""
    body = json.dumps({"query": "query($k: BigInt!) { order(orderKey: $k) { orderKey } }", "variables": {"k": key}})
    lines = (f"POST /api/graphql HTTP/{version}", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", *headers, "", body)).encode()
