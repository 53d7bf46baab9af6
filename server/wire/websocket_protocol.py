"""The protocol of a connection that becomes a WebSocket: counted, and cut if its peer is silent or reads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from websockets.frames import CloseCode

from schema.errors import Reason, RequestError, UnavailableError
from server.http.client import CLIENT_PRESENCE, ClientPresence
from server.traffic.admission import MESSAGE
from server.wire.http_framing import NOT_HTTP
from server.wire.raw_response import answer_of
from server.wire.sending import SendProgress, reset
from server.wire.websocket_frames import BoundedFrames

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from uvicorn import Config
    from uvicorn._types import ASGISendEvent
    from uvicorn.server import ServerState
    from websockets.http11 import Request

    from server.wire.connections import Connections

# How long a stopping server waits for the peer to confirm a close.
_CLOSE_SECONDS: Final = 1.0
_OVERLOADED: Final = UnavailableError(Reason.OVERLOADED, MESSAGE)
# Keys or groups are missing, or the server itself is slow: here nobody knows which.
_TOO_SLOW: Final = UnavailableError(
    Reason.AUTHENTICATION_UNAVAILABLE, "The connection was not authenticated in time. Try again shortly."
)


class WebSocketProtocol(BoundedFrames):
    """uvicorn's WebSocket protocol with bounds. At a stop the endpoint closes it, after its operations have ended.

    Until its `connection_ack` it is an opening connection: it has deadlines, and may have to give way.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # When the upgrade was handed over, and from the accept on, when that was.
        self.since = self.loop.time()
        self._address: Hashable = None
        self._presence = ClientPresence(self._become_lasting)
        self._all = connections
        self._sending = SendProgress()
        self._server_state = server_state
        self._lasts = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        super().connection_made(transport)
        if self.client:
            self._address = self._all.addresses.of(self.client[0])
        self._all.take(self, self.loop)
        self._all.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._all.forget(self)
        super().connection_lost(exc)

    @property
    def address(self) -> Hashable:
        """As `Connection` says."""
        return self._address or self.owner

    @property
    def owner(self) -> Hashable:
        """The caller; before it is known, the address."""
        caller = self._presence.caller
        return ("caller", caller) if caller is not None else self._address or self

    @property
    def proved(self) -> bool:
        """Whether the caller is known."""
        return self._presence.caller is not None

    @property
    def idle(self) -> bool:
        """Whether no operation runs on it."""
        return self._presence.idle

    @property
    def waits(self) -> bool:
        """Whether the connection is an opening one."""
        return not self._lasts

    def make_room(self) -> None:
        """Close the connection now. The client is told to try again later."""
        self._cut(_OVERLOADED)

    def check_deadlines(self, now: float) -> None:
        """Cut the connection if one of its deadlines has passed."""
        if self._sending.is_stuck(self.transport, now):
            reset(self.transport)
        elif not self._lasts and now - self.since > self._all.deadlines.handshake:
            # The client has had its turn: a silent one was closed earlier.
            self._cut(_OVERLOADED if self.proved else _TOO_SLOW)

    def handle_events(self) -> None:
        """Refuse also what only the websockets library finds wrong in the upgrade: uvicorn does not ask it."""
        super().handle_events()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse(RequestError(Reason.HTTP_INVALID, NOT_HTTP))

    def handle_connect(self, event: Request) -> None:
        """Let the endpoint count the connection among the lasting ones."""
        super().handle_connect(event)
        if not self.close_sent:
            self.scope[CLIENT_PRESENCE] = self._presence  # type: ignore[typeddict-unknown-key] # a key of our own

    def _become_lasting(self, caller: str) -> None:
        self._all.become_lasting(self, caller)
        self.acknowledge()
        self._lasts = True

    def start_keepalive(self) -> None:
        """The connection has been accepted."""
        self.since = self.loop.time()
        super().start_keepalive()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message. A client that never sent its `connection_init` is not waited for when the server closes."""
        if message["type"] == "websocket.close" and not self._lasts:
            left = self.since + self._all.deadlines.init - self.loop.time()
            self.close_timeout = min(_CLOSE_SECONDS, max(0.0, left))
        await super().send(message)

    def handle_parser_exception(self) -> None:
        """Refuse also before the handshake, when no frame can carry the reason yet."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
        else:
            self._refuse(RequestError(Reason.HTTP_INVALID, NOT_HTTP))

    def held(self, size: int) -> None:
        """Count what has arrived and was not taken. If it is too much of all, this or another connection is closed."""
        if not self.disconnected:
            self._all.unfinished.note(self, size)

    def refuse_unfinished(self) -> None:
        """Close the connection, and drop what has arrived. The client is told to try again later."""
        self._cut(_OVERLOADED)
        self.drop()

    def _refuse(self, error: RequestError | UnavailableError) -> None:
        self._all.note_refusal(error, self.client)
        self.transport.write(answer_of(error, self._server_state.default_headers))
        self.transport.close()

    def _cut(self, error: UnavailableError) -> None:
        """Close the connection, with the error if the client can be told, and wait for nothing."""
        if self.close_sent or self.transport.is_closing():
            self.transport.abort()
            return
        if self.handshake_complete:
            self._all.note_refusal(error, self.client)
            self.conn.send_close(CloseCode.TRY_AGAIN_LATER, error.message)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        else:
            self._refuse(error)
        self.close_sent = True
        # The client may not read even this. The connection may no longer be among those that are checked.
        self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """Leave an accepted connection to its endpoint; wait `_CLOSE_SECONDS` for the peer's close."""
        if self.handshake_complete and not self.close_sent:
            self.close_timeout = _CLOSE_SECONDS
        else:
            super().shutdown()
