"""The connections of a process: their limit, which one makes room for a new one, and their deadlines.

uvicorn has no deadlines for what a client sends or reads. Here one check of all connections, twice a second, enforces
them: a timer for each request would cost more than parsing its headers.
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

from server.observability.observations import RequestsShed
from server.observability.sinks import observe

if TYPE_CHECKING:
    import asyncio

    from server.settings import Settings
    from server.traffic.admission import Admission

_log = structlog.get_logger(__name__)
# How long a client may take for the headers of a request, and for its body, counted from the body's first byte.
_HEADERS_SECONDS: Final = 5.0
_BODY_SECONDS: Final = 10.0
# A client that reads nothing of its response for this long is cut off.
SEND_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 0.5
# The share of all connections that may be lasting ones: WebSockets and event streams.
_STREAMS_SHARE: Final = 0.75
# Open files beside the clients' connections: to the database and the platform, the log, metrics, listening sockets.
_OTHER_FILES: Final = 64
_FILES_PER_POOLED: Final = 4
_LOG_SECONDS: Final = 1.0
# The value of SO_LINGER: on, for 0 seconds.
_AT_ONCE: Final = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """A client's connection."""

    since: float

    @property
    def waits(self) -> bool:
        """Whether the server owes it no response: idle since `since`, or with an incomplete request."""

    def make_room(self) -> None:
        """Close the connection now, to make room for another."""

    def check_deadlines(self, now: float) -> None:
        """Cut the connection if one of its deadlines has passed."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take for each part, in seconds."""

    headers: float
    body: float
    send: float
    idle: float


class Connections:
    """All connections of a process, on one event loop.

    `body_bytes` is the size of the longest body. Pages of `allowed_origins` may read responses.
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
        self._checking = False
        self._logged_at = 0.0

    def take(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Register a connection; False if there are too many, and the caller has to refuse and close it.

        The connection that has waited longest for its client is closed to make room.
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
        if not self._checking:
            self._checking = True
            loop.call_later(_CHECK_SECONDS, self._check, loop)
        return room

    def forget(self, connection: Connection) -> None:
        """Unregister a connection that was lost."""
        self._all.discard(connection)

    def take_stream(self) -> bool:
        """Register a lasting connection; False if these would leave too little room for the others."""
        if self._streams >= self._most_streams:
            return False
        self._streams += 1
        return True

    def forget_stream(self) -> None:
        """Unregister a lasting connection."""
        self._streams -= 1

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if self.shed and now - self._logged_at >= _LOG_SECONDS:
            observe(RequestsShed(self.shed))
            self.shed, self._logged_at = 0, now
        try:
            for connection in list(self._all):
                connection.check_deadlines(now)
        finally:
            # If one check raises, the deadlines still hold for all other connections.
            self._checking = bool(self._all or self.shed)
            if self._checking:
                loop.call_later(_CHECK_SECONDS, self._check, loop)


class SendProgress:
    """Whether a client reads anything of what the server writes to it."""

    def __init__(self) -> None:
        self._left = 0
        self._since = 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float, *, seconds: float) -> bool:
        """Whether the client has read nothing for this many seconds, as far as calls of this method could see."""
        left = transport.get_write_buffer_size()
        if left:
            # The kernel takes more only after it has sent a lot, which a slow client may delay beyond the deadline.
            left += _unsent(transport)
        if left == 0 or left < self._left or self._left == 0:
            self._since = now
        self._left = left
        return left > 0 and now - self._since > seconds


def reset(transport: asyncio.Transport) -> None:
    """Close the connection now, and let the kernel drop what the client does not read."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has not sent yet; 0 if it does not say."""
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])
    return 0


def _within_files(settings: Settings) -> int:
    """The number of connections that the limit of open files allows; raises that limit if it may."""
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
