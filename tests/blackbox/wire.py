"""Owns a connection on which bytes are sent as they are, and what is read of the answers."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.process import Server

_READ_SECONDS = 10


class Wire:
    """A connection on which bytes are sent as they are."""

    def __init__(self, server: Server) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_READ_SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, *requests: bytes) -> None:
        """Send all of them at once."""
        self._socket.sendall(b"".join(requests))

    def answer(self) -> tuple[str, dict[str, str], bytes]:
        """The next answer: its status line, its headers, its body."""
        status = self._file.readline().decode().strip()
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self._file.read(int(headers.get("content-length", "0")))

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
