"""The connections of a process: their limits, which ones make room for a new one, and their deadlines.

uvicorn has no deadlines for what a client sends or reads. Here one check of all connections, twice a second, enforces
them: a timer for each request would cost more than parsing its headers. server/traffic/README.md lists the states of a
connection with their deadlines.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import resource
import socket
import struct
import termios
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from schema.errors import RateLimitedError, Reason, UnavailableError
from server.observability.observations import RequestRefused, RequestsShed
from server.observability.sinks import observe
from server.traffic.addresses import Addresses
from server.traffic.admission import MESSAGE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Hashable

    from schema.errors import ApiError
    from server.settings import Settings
    from server.traffic.admission import Admission

_log = structlog.get_logger(__name__)
# How long a client may take for the headers of a request, and for its body, counted from the body's first byte.
_HEADERS_SECONDS: Final = 5.0
_BODY_SECONDS: Final = 10.0
# How long a WebSocket may take from the end of its upgrade's headers to the response, and from there to the
# `connection_ack`, authentication included.
_HANDSHAKE_SECONDS: Final = 10.0
# How long the server waits for `connection_init`. A WebSocket that has not sent it is gone after this time.
INIT_SECONDS: Final = 3.0
# A client that reads nothing for this long is cut off.
SEND_SECONDS: Final = 30.0
# How long a client may take to read one response. It could read a byte now and then, for ever.
_RESPONSE_SECONDS: Final = 300.0
# From this time on it makes room for others.
_SLOW_SECONDS: Final = 10.0
_CHECK_SECONDS: Final = 0.5
# The share of all connections that may be lasting ones: acknowledged WebSockets, and event streams.
_LASTING_SHARE: Final = 0.75
# The share of these that one caller may have.
_CALLER_SHARE: Final = 2 / 3
# The share that may be opening ones: WebSockets from the upgrade to the acknowledgement. After a restart, hundreds of
# subscribers come back within a second.
_OPENING_SHARE: Final = 0.2
# The share that is closed at once to make room: looking for them takes a third of a millisecond.
_ROOM_SHARE: Final = 0.01
# Open files beside the clients' connections: to the database and the platform, the log, metrics, listening sockets.
_OTHER_FILES: Final = 64
_FILES_PER_POOLED: Final = 4
_LOG_SECONDS: Final = 1.0
# The value of SO_LINGER: on, for 0 seconds.
_AT_ONCE: Final = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """A client's connection."""

    since: float
    # What its client's address counts as. A client whose address is not limited has one of its own.
    address: Hashable

    @property
    def waits(self) -> bool:
        """Whether the server waits for the client: idle since `since`, with an incomplete request, or slow to read."""

    def make_room(self) -> None:
        """Close the connection now, to make room for another."""

    def check_deadlines(self, now: float) -> None:
        """Cut the connection if one of its deadlines has passed."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take for each part, in seconds."""

    headers: float
    body: float
    response: float
    idle: float
    handshake: float
    init: float


class Connections:
    """All connections of a process, on one event loop.

    A connection is one of three kinds, each with a limit of its own:

    - *lasting*: a WebSocket after its `connection_ack`, or an event stream. It never gives way to another. Its caller
      is authenticated, and has a limit too.
    - *opening*: a WebSocket before that. At the limit one of them gives way to a new one.
    - any other: a connection for requests. At the limit of all connections, those that wait for their client give way,
      and so do opening ones.

    Those that give way are of the address that has the most of their kind, and of these the oldest. So an address is
    limited only where it takes from others, and a client with few connections loses none to one with many. If all
    clients share one address, behind a NAT or a proxy, the oldest gives way.

    `body_bytes` is the size of the longest body. Pages of `allowed_origins` may read responses.
    """

    def __init__(self, settings: Settings, admission: Admission, *, idle_seconds: float) -> None:
        self.admission = admission
        self.body_bytes = settings.body_bytes
        self.allowed_origins = settings.allowed_origins
        self.addresses = Addresses(settings)
        self.deadlines = Deadlines(
            _HEADERS_SECONDS, _BODY_SECONDS, _RESPONSE_SECONDS, idle_seconds, _HANDSHAKE_SECONDS, INIT_SECONDS
        )
        self.shed = 0
        self._most = _within_files(settings)
        self._most_lasting = max(1, int(_LASTING_SHARE * self._most))
        self._most_opening = max(1, int(_OPENING_SHARE * self._most))
        self._all: set[Connection] = set()
        # With AUTH_MODE=local there is only one caller.
        share = 1.0 if settings.auth_mode == "local" else _CALLER_SHARE
        self._most_of_caller = max(1, int(share * self._most_lasting))
        # The lasting connections with their callers, and how many each caller has.
        self._lasting: dict[Connection, str] = {}
        self._held: Counter[str] = Counter()
        # In their order, as keys: the loop's clock has milliseconds.
        self._opening: dict[Connection, None] = {}
        self._checking = False
        self._logged_at = 0.0

    def take(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Register a connection; False if there are too many, and the caller has to refuse and close it."""
        room = len(self._all) < self._most
        if not room:
            waiting = [other for other in self._all if other.waits]
            self._make_room(waiting, max(1, int(_ROOM_SHARE * self._most)))
            room = len(self._all) < self._most
        self._all.add(connection)
        if not self._checking:
            self._checking = True
            loop.call_later(_CHECK_SECONDS, self._check, loop)
        return room

    def forget(self, connection: Connection) -> None:
        """Unregister a connection that was lost."""
        self._all.discard(connection)
        self._opening.pop(connection, None)
        self.end_lasting(connection)

    def open(self, connection: Connection) -> None:
        """Count a connection among the opening ones. If there are too many, another one gives way."""
        if len(self._opening) >= self._most_opening:
            self._make_room(self._opening, 1)
        self._opening[connection] = None

    @property
    def has_place(self) -> bool:
        """Whether there is room for another lasting connection."""
        return len(self._lasting) < self._most_lasting

    def become_lasting(self, connection: Connection, caller: str) -> None:
        """Count a connection among the lasting ones of a caller.

        Raises:
            UnavailableError: OVERLOADED, these would leave too little room for the others.
            RateLimitedError: TOO_MANY_SUBSCRIPTIONS, the caller would leave too little room for others.
        """
        if not self.has_place:
            raise UnavailableError(Reason.OVERLOADED, MESSAGE)
        if self._held[caller] >= self._most_of_caller:
            raise RateLimitedError(
                Reason.TOO_MANY_SUBSCRIPTIONS,
                f"A caller may have at most {self._most_of_caller:,} WebSockets and event streams: close some first.",
                retry_after_seconds=Reason.TOO_MANY_SUBSCRIPTIONS.value.retry_after,
            )
        self._opening.pop(connection, None)
        self._lasting[connection] = caller
        self._held[caller] += 1

    def end_lasting(self, connection: Connection) -> None:
        """Count a connection among the others again, if it was a lasting one."""
        caller = self._lasting.pop(connection, None)
        if caller is not None:
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]

    def note_refusal(self, error: ApiError, client: tuple[str, int] | None) -> None:
        """Log and count what a connection itself refused; OVERLOADED in batches, because there may be many."""
        if error.reason is Reason.OVERLOADED:
            self.shed += 1
        else:
            observe(RequestRefused(error.reason, client[0] if client else None))

    def _make_room(self, connections: Collection[Connection], number: int) -> None:
        """Close some of these connections: the oldest ones of the address that has the most of them."""
        held = Counter(connection.address for connection in connections)
        for connection in heapq.nsmallest(number, connections, key=lambda some: (-held[some.address], some.since)):
            self.forget(connection)
            connection.make_room()

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
    """Whether a client reads what the server writes to it."""

    def __init__(self) -> None:
        self._left = 0
        self._since = 0.0
        self._response: object = None
        self._begun = 0.0
        # For how many seconds the client has been reading one response without coming to its end.
        self.seconds = 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float, response: object = None) -> bool:
        """Whether the client has read nothing of this response for too long, as far as calls of this could see."""
        left = transport.get_write_buffer_size()
        if left == 0:
            self._left, self.seconds = 0, 0.0
            return False
        # The kernel takes more only after it has sent a lot, which a slow client may delay beyond the deadline.
        left += _unsent(transport)
        if self._left == 0 or response is not self._response:
            self._response, self._begun = response, now
        if self._left == 0 or left < self._left:
            self._since = now
        self._left, self.seconds = left, now - self._begun
        return now - self._since > SEND_SECONDS

    @property
    def is_slow(self) -> bool:
        """Whether the server waits for the client."""
        return self.seconds > _SLOW_SECONDS


def cut_dead_peers(listening: socket.socket) -> None:
    """Let the kernel cut connections whose peer takes nothing, on Linux: `SendProgress` does not see its whole buffer.

    A client that has vanished would otherwise keep its event stream for a quarter of an hour, and one that reads
    nothing would keep it until its subscription ends. The kernel does not tell the client, so it comes second.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(2 * SEND_SECONDS * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


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
