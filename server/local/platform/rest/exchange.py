"""One HTTP exchange: the whole request, its reply, and whether its client is still connected."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.local.platform.rest.errors import error_body

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

# SO_LINGER switched on with a timeout of 0 s: closing the socket sends a reset.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol, which also gives requests their transport, so that a hook can reset the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn itself declares it
        """Put the transport into the state of the connection's requests."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Exchange:
    """A request with its whole body, and the connection to reply on."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.body = body
        self._request = Request(scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._disconnect: asyncio.Task[None] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; of a repeated one the last."""
        return dict(self._request.query_params)

    def header(self, name: str) -> str:
        """A header's value, or an empty string."""
        return self._request.headers.get(name, "")

    @property
    def base_url(self) -> str:
        """The URL of the root, as the client addresses it."""
        return str(self._request.base_url).rstrip("/")

    async def disconnected(self) -> None:
        """Return when the client has disconnected."""
        if self._disconnect is None:
            self._disconnect = asyncio.create_task(self._watch())
        await asyncio.shield(self._disconnect)

    async def reply(self, response: Response) -> None:
        """Send the response. It is lost if the client has disconnected."""
        with contextlib.suppress(OSError):
            await response(self._scope, self._receive, self._send)

    async def reset(self) -> None:
        """Reset the connection instead of replying."""
        transport: asyncio.Transport = self._scope["state"]["transport"]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        await self.disconnected()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def read(scope: Scope, receive: Receive, send: Send) -> Exchange | None:
    """Read a request's body; None if the client disconnects before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return Exchange(scope, receive, send, body)


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error of the platform as a response."""
    return JSONResponse(error_body(code, message), status, headers)
