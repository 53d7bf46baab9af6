"""One HTTP exchange: the whole request, and its reply."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.local.platform.rest.errors import error_body

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class Exchange:
    """A request with its whole body, and the ASGI callables to reply with."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.body = body
        self.receive = receive
        self.send = send
        self._request = Request(scope)

    @property
    def query(self) -> dict[str, str]:
        """The query parameters. Of a repeated parameter the last value counts."""
        return dict(self._request.query_params)

    def header(self, name: str) -> str:
        """A header's value, or an empty string."""
        return self._request.headers.get(name, "")

    @property
    def base_url(self) -> str:
        """The URL of the root, as the client addresses it."""
        return str(self._request.base_url).rstrip("/")

    async def reply(self, response: Response) -> None:
        """Send the response. It is lost if the client has disconnected."""
        with contextlib.suppress(OSError):
            await response(self._request.scope, self.receive, self.send)


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
