"""The server as an attacker sees it: connections that send any bytes, WebSockets without a library, and what came back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, cast

from tests.blackbox.raw_sockets import CLOSE, TEXT, Frame, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_REASON: Final = re.compile(rb'"reason": ?"(\w+)"')
_ANSWER_SECONDS: Final = 20
_ANSWER_BYTES: Final = 16 << 20
_CONNECT_SECONDS: Final = 5
_LOOK_SECONDS: Final = 1.0
_SHORT, _LONG = 126, 127


class LostError(Exception):
    """The server closed the connection without an answer, or refused it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server, and one attacker.

    Attributes:
        host: the server's address.
        port: the server's port.
        token: a valid token of the attacker, who may read and write.
        forged: tokens that are not valid.
        keys: keys of orders that the attacker changes, and nobody else does.
        orders: how many orders there are.
        source: the address that the attacker connects from; None for the system's choice.
    """

    host: str
    port: int
    token: str
    forged: Sequence[str]
    keys: Sequence[int]
    orders: int
    source: str | None = None

    @contextlib.asynccontextmanager
    async def connection(self, *, receives: int | None = None) -> AsyncIterator[Connection]:
        """A connection to the server. `receives` is the size of the kernel's receive buffer in bytes."""
        raw = socket.socket()
        try:
            raw.setblocking(False)  # the socket's own interface
            if receives is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
            if self.source is not None:
                raw.bind((self.source, 0))
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(raw, (self.host, self.port))
            reader, writer = await asyncio.open_connection(sock=raw, limit=_ANSWER_BYTES)
        except BaseException:
            raw.close()
            raise
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    def request(
        self, body: bytes, *headers: str, path: str = "/api/graphql", token: str | None = None, verb: str = "POST"
    ) -> bytes:
        """An HTTP request with this body, with the attacker's token or another one, or with none if it is empty."""
        token = self.token if token is None else token
        lines = [f"{verb} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Content-Type: application/json"]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        return "\r\n".join([*lines, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def upgrade(self, *headers: str) -> bytes:
        """The request that opens a WebSocket."""
        lines = (
            "GET /api/graphql HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol: graphql-transport-ws",
        )
        return "\r\n".join([*lines, *headers, "", ""]).encode()

    async def ask(self, body: bytes, **how: Any) -> str:
        """What the server answers to a request on a connection of its own."""
        async with self.connection() as connection:
            await connection.send(self.request(body, **how))
            return await connection.answer()


class Connection:
    """A connection that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send the data. The server may stop reading them."""
        self._writer.write(data)
        async with asyncio.timeout(_ANSWER_SECONDS):
            await self._writer.drain()

    async def head(self, *, seconds: float | None = _ANSWER_SECONDS) -> bytes:
        """The status line and the headers of the next response, waited for this long.

        Raises:
            LostError: the server has closed the connection.
            TimeoutError: nothing has come.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise LostError from None

    async def answer(self, *, seconds: float | None = _ANSWER_SECONDS) -> str:
        """The status of the next response, with the reason of its first error. Its beginning is waited for this long."""
        head = await self.head(seconds=seconds)
        length = _LENGTH.search(head)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                body = await self._reader.readexactly(int(length[1])) if length else b""
        except asyncio.IncompleteReadError:
            raise LostError from None
        return _outcome(head, body)

    async def ended(self) -> None:
        """Read and drop until the server closes the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                pass

    def stop_reading(self) -> None:
        """Read nothing from now on: what the server sends stays in the kernel, and then with the server."""
        cast("asyncio.ReadTransport", self._writer.transport).pause_reading()

    async def cut_off(self) -> str:
        """Wait until the server has reset the connection, of which nothing is read, and return that."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), 0)
        while not poll.poll(0):  # noqa: ASYNC110 # nothing tells a paused transport
            await asyncio.sleep(_LOOK_SECONDS)  # between two looks
        return "cut off"

    async def exactly(self, size: int) -> bytes:
        """This many bytes.

        Raises:
            LostError: the server has closed the connection.
        """
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise LostError from None


class Socket:
    """A WebSocket, spoken byte by byte.

    Attributes:
        deflates: whether the server agreed to compressed messages.
    """

    def __init__(self, connection: Connection, *, deflates: bool) -> None:
        self._connection = connection
        self.deflates = deflates

    @classmethod
    async def open(cls, connection: Connection, target: Target, *headers: str, init: bool = True) -> Self:
        """Open it, and have its `connection_init` acknowledged unless `init` is false.

        Raises:
            RefusedError: the server answered the upgrade with something else.
        """
        await connection.send(target.upgrade(*headers))
        head = await connection.head()
        if not head.startswith(b"HTTP/1.1 101 "):
            raise RefusedError(_outcome(head, b""))
        opened = cls(connection, deflates=b"permessage-deflate" in head.lower())
        if init:
            await opened.say({"type": "connection_init", "payload": {"Authorization": f"Bearer {target.token}"}})
            await opened.next()
        return opened

    async def say(self, message: object) -> None:
        """Send a message."""
        await self.send(json.dumps(message).encode())

    async def send(self, payload: bytes, *, compressed: bool = False) -> None:
        """Send a text frame, whatever is in it."""
        await self._connection.send(frame(TEXT, payload, reserved=4 if compressed else 0))

    async def next(self, *, seconds: float | None = _ANSWER_SECONDS) -> dict[str, Any]:
        """The next message, waited for this long.

        Raises:
            RefusedError: the server has closed the socket, with a code.
            LostError: the server has closed the connection without a code.
            TimeoutError: nothing has come.
        """
        async with asyncio.timeout(seconds):
            while (found := await self._frame()).opcode != TEXT:
                if found.opcode == CLOSE:
                    raise RefusedError(f"closed {found.code}" if found.payload else "closed")
        try:
            message: dict[str, Any] = json.loads(found.payload)
        except ValueError:
            # If the client offers compression, the server may compress its own messages too.
            return {"type": "compressed"}
        return message

    async def outcome(self, *, seconds: float | None = _ANSWER_SECONDS) -> str:
        """The type of the next message, with the reason of its error."""
        message = await self.next(seconds=seconds)
        reason = _REASON.search(json.dumps(message.get("payload")).encode())
        return f"{message['type']} {reason[1].decode()}" if reason else str(message["type"])

    async def ended(self) -> str:
        """Read until the server closes, and return its code."""
        try:
            while True:
                found = await self._frame()
                if found.opcode == CLOSE:
                    return f"closed {found.code}" if found.payload else "closed"
        except (LostError, ConnectionError):
            return "closed without a code"

    async def _frame(self) -> Frame:
        head = await self._connection.exactly(2)
        length = head[1] & 127
        if length >= _SHORT:
            length = int.from_bytes(await self._connection.exactly(2 if length < _LONG else 8), "big")
        return Frame(head[0] & 15, await self._connection.exactly(length))


class RefusedError(Exception):
    """The server refused something, and said how: the message is a status or a code, with a reason if there is one."""


def _outcome(head: bytes, body: bytes) -> str:
    reason = _REASON.search(body)
    status = head[9:12].decode(errors="replace")
    return f"{status} {reason[1].decode()}" if reason else status
