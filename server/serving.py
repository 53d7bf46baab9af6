"""Owns the serving in one process: uvicorn, what differs from its defaults, and how it comes to its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NoReturn

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.app import create_app
from server.draining import Draining
from server.socket_frames import BoundedFrames
from server.stopping import NOT_STARTED, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket

    from server.settings import Settings
    from server.stopping import Stop

# What is in flight then is cut off; what the process holds is closed in the rest of STOP_SECONDS.
_GRACEFUL_SECONDS: Final = 10
# A client that has just taken an idle connection for its next request still gets an answer on it.
_LINGER_SECONDS: Final = 0.5
# A peer that does not agree to a close is not waited for, once the server is stopping.
_CLOSE_SECONDS: Final = 1.0
# A thousand changes with notes of a thousand characters are half of this.
_MESSAGE_BYTES: Final = 2 << 20
# Every hop has to hear something within 15 s.
_PING_SECONDS: Final = 12


class _Http(HttpToolsProtocol):
    """uvicorn's, but an idle connection is closed a moment later: what still comes is answered, as the last on it."""

    _stopping = False

    def shutdown(self) -> None:
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False


class _Socket(BoundedFrames):
    """Bounded, and the endpoint closes a connection that it has accepted, once what is in flight on it has ended."""

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.close_timeout = _CLOSE_SECONDS
        else:
            super().shutdown()


class _Server(uvicorn.Server):
    """uvicorn's, but signals are another's business, all are told of the stop, and nothing is waited for after it."""

    def __init__(self, config: uvicorn.Config, draining: Draining, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._draining = draining
        self._tell_started = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        except SystemExit:
            # uvicorn's way to say that the application did not start.
            leave(NOT_STARTED)
        leave(0 if self.started else NOT_STARTED)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._draining.begin()
        accepted = [*self._last_accepted(sockets or [])]
        for server in self.servers:
            server.close()
        for connection in accepted:
            await asyncio.get_running_loop().connect_accepted_socket(self._new_protocol, connection)
        await super().shutdown(sockets)

    @staticmethod
    def _last_accepted(sockets: list[socket]) -> Iterator[socket]:
        """Those who have connected and are not let in yet: a socket that is closed resets them."""
        for listening in sockets:
            with contextlib.suppress(OSError):
                while True:
                    yield listening.accept()[0]

    def _new_protocol(self) -> _Http:
        return _Http(self.config, self.server_state, self.lifespan.state)


def serve(
    settings: Settings, sockets: list[socket], stop: Stop, *, started: Callable[[], None] = lambda: None
) -> NoReturn:
    """Serve on these until told to stop, and end the process. `started` is called when requests are taken."""
    draining = Draining()
    server = _Server(
        uvicorn.Config(
            create_app(settings, draining),
            # The supervisor, where there is one, is ours.
            workers=1,
            loop="uvloop",
            http=_Http,
            ws=_Socket,
            ws_max_size=_MESSAGE_BYTES,
            ws_ping_interval=_PING_SECONDS,
            lifespan="on",
            interface="asgi3",
            # The request's own line is the middleware's.
            log_config=None,
            access_log=False,
            # Off until an authentication mode says whom to believe.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        ),
        draining,
        started,
    )
    stop.tells(server)
    server.run(sockets)
    leave(NOT_STARTED)
