"""GraphQL over WebSocket: the upgrade, and the handshake of graphql-transport-ws."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from schema.errors import ApiError
from server.graphql.websocket_connection import SocketConnection
from server.graphql.websocket_messages import PROTOCOL, SUBPROTOCOL_NOT_ACCEPTABLE
from server.http.error_response import present_fault, refusal_headers
from server.http.negotiation import JSON
from server.http.request_middleware import EVERY_ANSWER

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from server.graphql.gateway import Gateway
    from server.graphql.websocket_connection import SocketLimits
    from server.traffic.draining import Draining


class GraphQLSocket:
    """An ASGI endpoint for WebSockets.

    Args:
        gateway: checks the upgrade and the operations.
        draining: says when the process is about to stop.
        limits: the limits of each connection.
        by_init: whether the client authenticates in its `connection_init`, and not in the upgrade.
    """

    def __init__(self, gateway: Gateway, draining: Draining, *, limits: SocketLimits, by_init: bool = False) -> None:
        self._gateway = gateway
        self._draining = draining
        self._limits = limits
        self._by_init = by_init

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it is closed."""
        with contextlib.suppress(WebSocketDisconnect):
            await self._serve(WebSocket(scope, receive, send))

    async def _serve(self, websocket: WebSocket) -> None:
        try:
            context = None
            if self._by_init:
                self._gateway.check_origin(websocket)
            else:
                context = await self._gateway.authenticate(websocket)
            position = self._gateway.consistency.position(websocket)
        except Exception as error:  # noqa: BLE001 # any exception is masked
            # The upgrade has not been accepted, so it can be answered like any HTTP request.
            answer, status = present_fault(error)
            headers = EVERY_ANSWER | (refusal_headers(error) if isinstance(error, ApiError) else {})
            await websocket.send_denial_response(
                Response(orjson.dumps(answer), status, headers, media_type=f"{JSON}; charset=utf-8")
            )
            return
        if PROTOCOL not in websocket.scope["subprotocols"]:
            await websocket.accept()
            await websocket.close(SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            return
        await websocket.accept(PROTOCOL)
        # The client may have offered thousands, which the connection would keep.
        websocket.scope["subprotocols"] = [PROTOCOL]
        connection = SocketConnection(
            websocket, self._gateway, self._draining, context=context, limits=self._limits, position=position
        )
        await connection.serve()
