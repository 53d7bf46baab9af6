"""The connections of a process: their limits, which ones make room for a new one, and their deadlines.

uvicorn has no deadlines for what a client sends or reads. Here one check of all connections, twice a second, enforces
them: a timer for each request would cost more than parsing its headers. server/traffic/README.md lists the states of a
connection with their deadlines.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from schema.errors import RateLimitedError, Reason, UnavailableError
from server.observability.observations import RequestRefused, RequestsShed
from server.observability.sinks import observe
from server.traffic.addresses import Addresses
from server.traffic.admission import MESSAGE
from server.wire.open_files import connections_within
from server.wire.unfinished import Reader, Unfinished

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Hashable

    from schema.errors import ApiError
    from server.settings import Settings
    from server.traffic.admission import Admission

_log = structlog.get_logger(__name__)
# How long a client may take for the headers of a request, and from their end on for its body.
_HEADERS_SECONDS: Final = 5.0
_BODY_SECONDS: Final = 10.0
# How long a WebSocket may take from the end of its upgrade's headers to the response, and from there to the
# `connection_ack`, authentication included.
_HANDSHAKE_SECONDS: Final = 10.0
# How long the server waits for `connection_init`. A WebSocket that has not sent it is gone after this time.
INIT_SECONDS: Final = 3.0
# How long a client may take to read one response. It could read a byte now and then, for ever.
_RESPONSE_SECONDS: Final = 300.0
_CHECK_SECONDS: Final = 0.5
# The share of all connections that may be lasting ones: acknowledged WebSockets, and event streams.
_LASTING_SHARE: Final = 0.75
# The share of these that one caller may have.
_CALLER_SHARE: Final = 2 / 3
# The share that may be opening ones: WebSockets from the upgrade to the acknowledgement. With the default of 1,000
# connections, 500 upgrades a second leave each a second to authenticate.
_OPENING_SHARE: Final = 0.5
# The share that is closed at once to make room: looking for them takes a third of a millisecond.
_ROOM_SHARE: Final = 0.01
_LOG_SECONDS: Final = 1.0


class Connection(Reader, Protocol):
    """A client's connection."""

    since: float

    @property
    def address(self) -> Hashable:
        """What its client's address counts as; if that is not limited, its caller once it is known, or else itself."""

    @property
    def proved(self) -> bool:
        """Whether a request on it was authenticated."""

    @property
    def idle(self) -> bool:
        """Whether it is a WebSocket on which nothing runs."""

    @property
    def waits(self) -> bool:
        """Whether the server waits for the client, or does not know its caller yet, so that it gives way to another."""

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

    - *lasting*: a WebSocket after its `connection_ack`, or an event stream. Its caller is authenticated, and has a
      limit too. At the limit of all of them, a caller that has more than another gives up a WebSocket that is idle.
    - *opening*: a WebSocket before that. At the limit some of them give way to a new one.
    - any other: a connection for requests. At the limit of all connections, those give way that wait for their client
      or are not authenticated yet, and so do opening ones.

    Those that give way are of the address that has the most of their kind, and of these the oldest. So an address is
    limited only where it takes from others, and a client with few connections loses none to one with many. Behind a
    proxy the caller counts instead of the address, as soon as it is known. Once those that have proved nothing are
    half of them, only they give way.

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
        self.unfinished = Unfinished(body_bytes=settings.body_bytes)
        self.shed = 0
        self._most = connections_within(settings)
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
            self._make_room([other for other in self._all if other.waits], self._most)
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
        self.unfinished.forget(connection)
        self.end_lasting(connection)

    def open(self, connection: Connection) -> None:
        """Count a connection among the opening ones. If there are too many, others give way."""
        if len(self._opening) >= self._most_opening:
            self._make_room(self._opening, self._most_opening)
        self._opening[connection] = None

    @property
    def has_room(self) -> bool:
        """Whether there is room for another lasting connection."""
        return len(self._lasting) < self._most_lasting

    @property
    def may_have_room(self) -> bool:
        """Whether there is room, or another caller may have to give up an idle WebSocket."""
        # A single caller gives up nothing for itself.
        return self.has_room or (
            self._most_of_caller < self._most_lasting and any(connection.idle for connection in self._lasting)
        )

    def become_lasting(self, connection: Connection, caller: str) -> None:
        """Count a connection among the lasting ones of a caller.

        Raises:
            UnavailableError: OVERLOADED, these would leave too little room for the others; or the connection was lost
                or had to give way while its caller was authenticated.
            RateLimitedError: TOO_MANY_SUBSCRIPTIONS, the caller would leave too little room for others.
        """
        if connection not in self._all or not self.may_have_room:
            raise UnavailableError(Reason.OVERLOADED, MESSAGE)
        if self._held[caller] >= self._most_of_caller:
            raise RateLimitedError(
                Reason.TOO_MANY_SUBSCRIPTIONS,
                f"A caller may have at most {self._most_of_caller:,} WebSockets and event streams: close some first.",
                retry_after_seconds=Reason.TOO_MANY_SUBSCRIPTIONS.value.retry_after,
            )
        if not self.has_room:
            self._give_up_idle(caller)
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

    def _give_up_idle(self, caller: str) -> None:
        """Close an idle WebSocket of the caller that has the most, unless it then had fewer than this caller.

        Raises:
            UnavailableError: OVERLOADED, no other caller has one to spare.
        """
        enough = self._held[caller] + 2
        idle = [other for other, owner in self._lasting.items() if other.idle and self._held[owner] >= enough]
        if not idle:
            raise UnavailableError(Reason.OVERLOADED, MESSAGE)
        self._give_way(min(idle, key=lambda other: (-self._held[self._lasting[other]], other.since)))

    def _make_room(self, connections: Collection[Connection], places: int) -> None:
        """Close a few of these connections: the oldest ones of the address that has the most of them.

        Clients that have proved nothing can come back as often as they like, so they take at most half of the places
        from others.
        """
        strangers = [connection for connection in connections if not connection.proved]
        if 2 * len(strangers) >= len(connections):
            connections = strangers
        held = Counter(connection.address for connection in connections)
        number = max(1, int(_ROOM_SHARE * places))
        for connection in heapq.nsmallest(number, connections, key=lambda some: (-held[some.address], some.since)):
            self._give_way(connection)

    def _give_way(self, connection: Connection) -> None:
        self.forget(connection)
        connection.make_room()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if self.shed and now - self._logged_at >= _LOG_SECONDS:
            observe(RequestsShed(self.shed))
            self.shed, self._logged_at = 0, now
        try:
            for connection in list(self._all):
                self._check_deadlines(connection, now)
            if self.admission.short_of_memory:
                self.unfinished.refuse_all()
        finally:
            # If a check raises, the deadlines still hold for all connections.
            self._checking = bool(self._all or self.shed)
            if self._checking:
                loop.call_later(_CHECK_SECONDS, self._check, loop)

    def _check_deadlines(self, connection: Connection, now: float) -> None:
        try:
            connection.check_deadlines(now)
        except Exception:  # noqa: BLE001 # a fault of one connection must not end the deadlines of all others
            # Without its deadlines it could last for ever.
            _log.exception("a connection is closed: its deadlines cannot be checked")
            self._give_way(connection)
