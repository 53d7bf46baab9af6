"""Owns the feed: one LISTEN connection for all subscribers of the process, held only while there are any."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.errors import InputError, Reason, UnavailableError
from schema.ports.changes import StatusChange
from server.backoff import Backoff
from server.changes.sql_writes import CHANGE_COLUMNS
from server.db.app_tables import CHANNEL, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import asyncpg

    from server.changes.history import SqlChangeHistory
    from server.db.migrate import Migrations

_log = structlog.get_logger(__name__)
_BATCH: Final = 500
# Within this many changes of the head a subscriber is near enough for its buffer to take the rest.
_NEAR: Final = 500
_FIRST_RETRY_SECONDS: Final = 0.05
_LAST_RETRY_SECONDS: Final = 5.0
# The processes do not reconnect as one.
_RETRY_JITTER: Final = 0.5
_CLOSE_SECONDS: Final = 1.0
_CATCHING_UP: Final = 3


class _Subscriber:
    """What has been heard for one subscriber and not yet been taken by it: a bounded number of changes."""

    def __init__(self, order_keys: frozenset[int] | None, *, buffer: int, since: int | None) -> None:
        self._order_keys = order_keys
        self._buffer = buffer
        self._heard: deque[StatusChange] = deque()
        self._news = asyncio.Event()
        self._too_slow = False
        self.since = since

    def hear(self, change: StatusChange) -> bool:
        """Take note of a change; False where the subscriber is too slow to be told any more."""
        if self._order_keys is not None and change.order_key not in self._order_keys:
            return True
        if len(self._heard) >= self._buffer:
            # What it holds is dropped: the memory is needed by those who read, and the history has it all.
            self._heard.clear()
            self._too_slow = True
        else:
            self._heard.append(change)
        self._news.set()
        return not self._too_slow

    async def next(self) -> StatusChange:
        """The next change, as soon as there is one.

        Raises:
            UnavailableError: SUBSCRIBER_TOO_SLOW.
        """
        while not self._heard:
            if self._too_slow:
                raise UnavailableError(
                    Reason.SUBSCRIBER_TOO_SLOW,
                    f"More than {self._buffer:,} changes were waiting for you. Subscribe again with `after`: the "
                    "cursor of the last change that you received; nothing is lost.",
                )
            self._news.clear()
            await self._news.wait()
        return self._heard.popleft()


class PostgresFeed:
    """The schema's ChangeFeed.

    A change is heard of by NOTIFY, and read by its id, which is its place in the order of commits (the migration
    says why that is safe). Where a NOTIFY is missed, or the connection has fallen silent, the look that is taken
    every `catch_up_seconds` finds what is new. A subscriber that is behind reads the history first, at its own pace.
    """

    def __init__(  # where to hear, what to read, and the bounds of both
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        history: SqlChangeHistory,
        migrations: Migrations,
        *,
        schema: str,
        buffer: int,
        catch_up_seconds: float,
        hold_seconds: Callable[[], float] = lambda: 0.0,
        keeps_awake: bool = True,
    ) -> None:
        self._hold_seconds = hold_seconds
        self._keeps_awake = keeps_awake
        self._used = asyncio.Event()
        self._connect = connect
        self._history = history
        self._migrations = migrations
        self._buffer = buffer
        self._catch_up_seconds = catch_up_seconds
        self._schema = schema
        table = f"{quoted(schema)}.order_status_change"
        self._head = f"SELECT COALESCE(max(id), 0) FROM {table}"  # noqa: S608 # the setting is an identifier, and quoted
        self._after = f"SELECT {CHANGE_COLUMNS} FROM {table} WHERE id > $1 ORDER BY id LIMIT {_BATCH}"  # noqa: S608 # as above
        self._subscribers: set[_Subscriber] = set()
        self._listening: asyncio.Task[None] | None = None
        self._position: int | None = None
        self._backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS, jitter=_RETRY_JITTER)
        self._started = asyncio.Event()
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)

    async def changes(self, after: int, order_keys: frozenset[int] | None) -> AsyncGenerator[StatusChange, None]:
        """Every change after that place.

        Raises:
            InputError: CURSOR_INVALID, the place has not been reached yet: it is of another history.
            UnavailableError: the database does not answer, or SUBSCRIBER_TOO_SLOW.
        """
        await self._migrations.ensure()
        position, head = after, await self._history.head()
        if position > head and position > await self._history.fresh_head():
            raise InputError(
                Reason.CURSOR_INVALID,
                "The cursor is ahead of the feed, which must have been replaced. Load anew, and go on from there.",
            )
        while head - position > _NEAR:
            await self._settled(asyncio.get_running_loop().time())
            async for change in self._between(position, head, order_keys):
                yield change
            position, head = head, await self._history.head()
        subscriber = self._attach(order_keys)
        try:
            await self._started.wait()
            since = subscriber.since or 0
            if position < since:
                await self._settled(asyncio.get_running_loop().time())
            async for change in self._between(position, since, order_keys):
                yield change
            position = max(position, since)
            while True:
                change = await subscriber.next()
                # Where this process hears later than the history is read, it hears some again.
                if change.id > position:
                    yield change
        finally:
            await self._detach(subscriber)

    @property
    def subscribers(self) -> int:
        """How many hear of changes now."""
        return len(self._subscribers)

    async def close(self) -> None:
        """Stop listening."""
        await self._stop()

    def note_use(self) -> None:
        """The database has answered somebody else: it is awake."""
        self._used.set()

    async def _settled(self, read_at: float) -> None:
        """Return when what was read at that time may be told."""
        await asyncio.sleep(max(0.0, read_at + self._hold_seconds() - asyncio.get_running_loop().time()))

    async def _between(
        self, position: int, until: int, order_keys: frozenset[int] | None
    ) -> AsyncGenerator[StatusChange, None]:
        while position < until:
            # A crowd of subscribers that catch up leaves connections for the pages.
            async with self._catching_up:
                changes = await self._history.between(position, until, order_keys)
            for change in changes.changes:
                yield change
            position = changes.reached

    def _attach(self, order_keys: frozenset[int] | None) -> _Subscriber:
        subscriber = _Subscriber(order_keys, buffer=self._buffer, since=self._position)
        self._subscribers.add(subscriber)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="feed")
        return subscriber

    async def _detach(self, subscriber: _Subscriber) -> None:
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            await self._stop()

    async def _stop(self) -> None:
        listening, self._listening, self._position = self._listening, None, None
        self._started.clear()
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 # it must not end: a driver that is cut off raises anything
                _log.warning("feed interrupted", cause=repr(error))
            if not self._keeps_awake:
                # Whoever connects would wake it.
                self._used.clear()
                await self._used.wait()
            await asyncio.sleep(self._backoff.next_pause())

    async def _follow(self) -> None:
        """Hear and read on one connection, until it is lost."""
        connection = await self._connect()
        try:
            news = asyncio.Event()
            news.set()
            connection.add_termination_listener(lambda *_: news.set())
            await connection.add_listener(CHANNEL, lambda *heard: news.set() if heard[-1] == self._schema else None)
            if self._position is None:
                # Listening already: what is committed from here on is heard.
                self._begin(await connection.fetchval(self._head))
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._catch_up_seconds if self._keeps_awake else None):
                        await news.wait()
                news.clear()
                await self._read(connection)
        finally:
            # Nothing is lost with it, so it need not be asked to agree for long.
            with contextlib.suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS)

    def _begin(self, position: int) -> None:
        self._position = position
        for subscriber in self._subscribers:
            subscriber.since = position
        self._started.set()

    async def _read(self, connection: asyncpg.Connection) -> None:
        while True:
            rows: list[Any] = await connection.fetch(self._after, self._position)
            self._backoff.reset()
            if rows:
                await self._settled(asyncio.get_running_loop().time())
            for row in rows:
                self._tell(StatusChange(*row))
            if len(rows) < _BATCH:
                return
            # Those who were told take some before they are told more.
            await asyncio.sleep(0)

    def _tell(self, change: StatusChange) -> None:
        self._position = change.id
        slow = [subscriber for subscriber in self._subscribers if not subscriber.hear(change)]
        self._subscribers.difference_update(slow)
