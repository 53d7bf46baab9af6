"""Owns a connection on which bytes are sent as they are, and what is read of the answers."""

from __future__ import annotations

import json
import select
import socket
from typing import TYPE_CHECKING, Self

from tests.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.process import Server


class Wire:
    """A connection on which bytes are sent as they are."""

    def __init__(self, server: Server, *, receives: int | None = None) -> None:
        """Connect. `receives` is how many bytes the kernel keeps of what has not been read."""
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.socket()
        if receives is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self._socket.settimeout(PATIENCE_SECONDS)
        self._socket.connect((host, int(port)))
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away."""
        self._file.close()
        self._socket.close()

    def send(self, *requests: bytes) -> None:
        """Send all of them at once."""
        self._socket.sendall(b"".join(requests))

    def answer(self) -> tuple[str, dict[str, str], bytes]:
        """The next answer: its status line, its headers, its body."""
        status, headers = self.head()
        return status, headers, self.read(int(headers.get("content-length", "0")))

    def head(self) -> tuple[str, dict[str, str]]:
        """The status line and the headers of the next answer."""
        status = self._file.readline().decode().strip()
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers

    def read(self, length: int) -> bytes:
        """So many bytes, or as many as come before the end."""
        return self._file.read(length)

    def has_come(self, *, seconds: float) -> bool:
        """Whether anything comes, an end too, within the seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def was_reset(self) -> bool:
        """Whether the server has cut it, although nothing is read."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    def refused(self) -> tuple[int, str]:
        """Status and reason of the next answer, which has to be one error in JSON."""
        status, headers, body = self.answer()
        assert headers["content-type"].startswith("application/"), (status, headers, body)
        (error,) = json.loads(body)["errors"]
        assert error["message"]
        assert error["extensions"]["code"]
        return int(status.split()[1]), error["extensions"]["reason"]

    def ended(self) -> bool:
        """Whether the server has closed it; that is waited for."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def request(key: int, *headers: str, version: str = "1.1") -> bytes:
    """A request for one order."""
    body = json.dumps({"query": "query($k: BigInt!) { order(orderKey: $k) { orderKey } }", "variables": {"k": key}})
    lines = (f"POST /api/graphql HTTP/{version}", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", *headers, "", body)).encode()
