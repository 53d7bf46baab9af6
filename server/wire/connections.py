"""Owns the connections of a process: how many there may be, which one makes room, and which are cut for their slowness.

uvicorn has no deadline for what a caller sends or takes. Here one look at all connections, twice a second, does for
that: a timer for each request would cost more than the request's headers do.
"""

from __future__ import annotations

import contextlib
import fcntl
import resource
import socket
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from server.wire.raw_response import note_shed

if TYPE_CHECKING:
    import asyncio

    from server.settings import Settings
    from server.traffic.admission import Admission

_log = structlog.get_logger(__name__)
# Within so long a request's headers have to be there, and its body, counted from the body's first byte.
_HEADERS_SECONDS: Final = 5.0
_BODY_SECONDS: Final = 10.0
# A client that takes nothing of its response for so long is cut off.
SEND_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.5
# Those that last: WebSockets and streams of events.
_STREAMS_SHARE: Final = 0.75
# Files beside the callers' connections: the database's, the platform's, the log, metrics, the listening sockets.
_OTHER_FILES: Final = 64
_FILES_PER_POOLED: Final = 4
_LOG_SECONDS: Final = 1.0
# As SO_LINGER takes it: on, for no time.
_AT_ONCE: Final = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """A caller's connection."""

    since: float

    @property
    def waits(self) -> bool:
        """Whether nothing is owed to its caller: it is idle since then, or has sent only a part of a request."""

    def make_room(self) -> None:
        """Be closed now."""

    def look(self, now: float) -> None:
        """Be cut, if a deadline is over."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """In seconds."""

    headers: float
    body: float
    send: float
    idle: float


class Connections:
    """All of a process, on one event loop.

    `body_bytes` is the longest body, `deadlines` what a caller has to keep, `allowed_origins` whose pages may read.
    """

    def __init__(self, settings: Settings, admission: Admission, *, idle_seconds: float) -> None:
        self.admission = admission
        self.body_bytes = settings.body_bytes
        self.allowed_origins = settings.allowed_origins
        self.deadlines = Deadlines(_HEADERS_SECONDS, _BODY_SECONDS, SEND_SECONDS, idle_seconds)
        self.shed = 0
        self._most = _within_files(settings)
        self._most_streams = max(1, int(_STREAMS_SHARE * self._most))
        self._streams = 0
        self._all: set[Connection] = set()
        self._looking = False
        self._logged_at = 0.0

    def take(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Have one more; False where it is one too many, which has to be told so and closed.

        The one whose caller has been owed nothing for the longest makes room for it.
        """
        room = len(self._all) < self._most
        if not room:
            waiting = (other for other in self._all if other.waits)
            longest = min(waiting, key=lambda other: other.since, default=None)
            if longest is not None:
                self._all.discard(longest)
                longest.make_room()
                room = len(self._all) < self._most
        self._all.add(connection)
        if not self._looking:
            self._looking = True
            loop.call_later(_LOOK_SECONDS, self._look, loop)
        return room

    def forget(self, connection: Connection) -> None:
        """It is lost."""
        self._all.discard(connection)

    def take_stream(self) -> bool:
        """Have one more that lasts; False where those would leave too little room to the rest."""
        if self._streams >= self._most_streams:
            return False
        self._streams += 1
        return True

    def forget_stream(self) -> None:
        """One that lasted is over."""
        self._streams -= 1

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if self.shed and now - self._logged_at >= _LOG_SECONDS:
            note_shed(self.shed)
            self.shed, self._logged_at = 0, now
        try:
            for connection in list(self._all):
                connection.look(now)
        finally:
            # Whatever one of them raises: deadlines hold for the others, and for those who come.
            self._looking = bool(self._all or self.shed)
            if self._looking:
                loop.call_later(_LOOK_SECONDS, self._look, loop)


class Taking:
    """Whether a caller takes anything of what is written to its transport."""

    def __init__(self) -> None:
        self._left = 0
        self._since = 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float, *, seconds: float) -> bool:
        """Whether nothing was taken for so long, by what was found at each call."""
        left = transport.get_write_buffer_size()
        if left:
            # The kernel asks for more only when much has been taken, which takes a slow caller longer than this.
            left += _unsent(transport)
        if left == 0 or left < self._left or self._left == 0:
            self._since = now
        self._left = left
        return left > 0 and now - self._since > seconds


def cut(transport: asyncio.Transport) -> None:
    """Close it now, and have the kernel forget what it holds for a peer that takes nothing."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the kernel holds for the peer; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])
    return 0


def _within_files(settings: Settings) -> int:
    """How many connections there may be, with the files that the process may open; it asks for as many as it needs."""
    others = _OTHER_FILES + _FILES_PER_POOLED * (settings.pool_size + settings.write_pool_size)
    needed = settings.max_connections + others
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return settings.max_connections
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    most = min(settings.max_connections, max(1, soft - others))
    if most < settings.max_connections:
        _log.warning("fewer connections than MAX_CONNECTIONS", connections=most, open_files=soft)
    return most
