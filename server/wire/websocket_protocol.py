"""Owns the protocol of a connection that has become a WebSocket: counted, and cut where nothing is taken of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason, RequestError
from server.observability.observations import RequestRefused
from server.observability.sinks import observe
from server.wire.connections import Taking, cut
from server.wire.http_framing import NOT_HTTP
from server.wire.raw_response import answer_of
from server.wire.websocket_frames import BoundedFrames

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

    from server.wire.connections import Connections

# A peer that does not agree to a close is not waited for, once the server is stopping.
_CLOSE_SECONDS: Final = 1.0


class SocketProtocol(BoundedFrames):
    """Bounded, and the endpoint closes a connection that it has accepted, once what is in flight on it has ended."""

    # It lasts, and is never closed to make room.
    waits = False
    since = 0.0

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = connections
        self._taking = Taking()
        self._server_state = server_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have one more that lasts."""
        super().connection_made(transport)
        self._all.take(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Have one less."""
        self._all.forget(self)
        self._all.forget_stream()
        super().connection_lost(exc)

    def make_room(self) -> None:
        """Be closed now."""
        self.transport.abort()

    def look(self, now: float) -> None:
        """Be cut, if nothing is taken of what is sent."""
        if self._taking.is_stuck(self.transport, now, seconds=self._all.deadlines.send):
            cut(self.transport)

    def handle_parser_exception(self) -> None:
        """Also before the connection is a WebSocket's, when there is no frame yet to say so in."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
            return
        error = RequestError(Reason.HTTP_INVALID, NOT_HTTP)
        observe(RequestRefused(error.reason, self.client[0] if self.client else None))
        self.transport.write(answer_of(error, self._server_state.default_headers))
        self.transport.close()

    def shutdown(self) -> None:
        """Leave an accepted one to its endpoint, and wait for the peer's close no longer than that."""
        if self.handshake_complete and not self.close_sent:
            self.close_timeout = _CLOSE_SECONDS
        else:
            super().shutdown()
