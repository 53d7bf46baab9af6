"""Owns one HTTP exchange: the request read whole, its answer, and whether its client is still there."""

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

# On, with no time to linger: what is closed so is reset.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Protocol(H11Protocol):
    """HTTP whose requests know their transport, so that a connection can be reset."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn itself declares it
        """Hand the transport on to what is asked over it."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Exchange:
    """A request with its body, and the way back."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.body = body
        self._request = Request(scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._gone: asyncio.Task[None] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; of a repeated one the last."""
        return dict(self._request.query_params)

    def header(self, name: str) -> str:
        """A header, or nothing."""
        return self._request.headers.get(name, "")

    @property
    def base_url(self) -> str:
        """Where the client found us."""
        return str(self._request.base_url).rstrip("/")

    async def gone(self) -> None:
        """Return when the client has gone away."""
        if self._gone is None:
            self._gone = asyncio.create_task(self._watch())
        await asyncio.shield(self._gone)

    async def reply(self, response: Response) -> None:
        """Answer; nobody minds if the client has gone."""
        with contextlib.suppress(OSError):
            await response(self._scope, self._receive, self._send)

    async def reset(self) -> None:
        """End the connection without an answer."""
        transport: asyncio.Transport = self._scope["state"]["transport"]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        await self.gone()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def read(scope: Scope, receive: Receive, send: Send) -> Exchange | None:
    """The exchange, its body read; None where the client left before its end."""
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
