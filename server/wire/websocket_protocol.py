"""The protocol of a connection that has become a WebSocket: it is counted, and cut if its peer does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason, RequestError
from server.observability.observations import RequestRefused
from server.observability.sinks import observe
from server.wire.connections import SendProgress, reset
from server.wire.http_framing import NOT_HTTP
from server.wire.raw_response import answer_of
from server.wire.websocket_frames import BoundedFrames

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

    from server.wire.connections import Connections

# How long a stopping server waits for the peer to confirm a close.
_CLOSE_SECONDS: Final = 1.0


class WebSocketProtocol(BoundedFrames):
    """uvicorn's WebSocket protocol with bounds. At a stop the endpoint closes it, after its operations have ended."""

    # A lasting connection is never closed to make room.
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
        self._sending = SendProgress()
        self._server_state = server_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        super().connection_made(transport)
        self._all.take(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._all.forget(self)
        self._all.forget_stream()
        super().connection_lost(exc)

    def make_room(self) -> None:
        """Close the connection now."""
        self.transport.abort()

    def check_deadlines(self, now: float) -> None:
        """Cut the connection if its peer reads nothing of what is sent."""
        if self._sending.is_stuck(self.transport, now, seconds=self._all.deadlines.send):
            reset(self.transport)

    def handle_parser_exception(self) -> None:
        """Refuse also before the handshake, when no frame can carry the reason yet."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
            return
        error = RequestError(Reason.HTTP_INVALID, NOT_HTTP)
        observe(RequestRefused(error.reason, self.client[0] if self.client else None))
        self.transport.write(answer_of(error, self._server_state.default_headers))
        self.transport.close()

    def shutdown(self) -> None:
        """Leave an accepted connection to its endpoint; wait `_CLOSE_SECONDS` for the peer's close."""
        if self.handshake_complete and not self.close_sent:
            self.close_timeout = _CLOSE_SECONDS
        else:
            super().shutdown()
