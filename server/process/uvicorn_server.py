"""uvicorn in one process: its settings, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import uvicorn

from server.process.app import create_app
from server.process.shutdown import NOT_STARTED, leave
from server.traffic.admission import WAIT_SECONDS, Admission
from server.traffic.draining import Draining
from server.wire.connections import Connections
from server.wire.http_protocol import HttpProtocol
from server.wire.sending import cut_dead_peers
from server.wire.websocket_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket

    from server.process.shutdown import Stop
    from server.settings import Settings

# After this time the stop cancels requests in flight. The rest of STOP_SECONDS is for closing the pools.
_GRACEFUL_SECONDS: Final = 10
# Every hop has to see traffic within 15 s.
_PING_SECONDS: Final = 12
# How long an idle connection stays open.
_IDLE_SECONDS: Final = 30


class _Server(uvicorn.Server):
    """uvicorn's server. `Stop` handles the signals. `shutdown` sets `Draining` first, and `serve` ends the process."""

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
            # uvicorn raises it if the application did not start.
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
        """Connections that are established but not accepted: closing the socket would reset them."""
        for listening in sockets:
            with contextlib.suppress(OSError):
                while True:
                    yield listening.accept()[0]

    def _new_protocol(self) -> asyncio.Protocol:
        new: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = new(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def serve(
    settings: Settings, sockets: list[socket], stop: Stop, *, started: Callable[[], None] = lambda: None
) -> NoReturn:
    """Serve on these sockets until the stop, then end the process. `started` is called once requests are accepted."""
    draining = Draining()
    admission = Admission(settings.requests_in_flight, wait_seconds=WAIT_SECONDS)
    connections = Connections(settings, admission, idle_seconds=_IDLE_SECONDS)
    for listening in sockets:
        cut_dead_peers(listening)
    # uvicorn expects classes, but only calls them.
    http: Any = partial(HttpProtocol, connections)
    websocket: Any = partial(WebSocketProtocol, connections)
    server = _Server(
        uvicorn.Config(
            create_app(settings, draining, admission),
            # Our own supervisor starts workers.
            workers=1,
            loop="uvloop",
            http=http,
            ws=websocket,
            ws_max_size=settings.body_bytes,
            # A few bytes would unpack to megabytes, and each socket would hold 60 KB for it.
            ws_per_message_deflate=False,
            ws_ping_interval=_PING_SECONDS,
            lifespan="on",
            interface="asgi3",
            # The middleware writes the access log.
            log_config=None,
            access_log=False,
            # No header of a proxy is trusted, except by AUTH_MODE=databricks-app.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        ),
        draining,
        started,
    )
    stop.stops(server)
    server.run(sockets)
    leave(NOT_STARTED)
