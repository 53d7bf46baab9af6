"""The feed of changes: one LISTEN connection for all subscribers of the process, open only while there are any."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.errors import ApiError, Reason, UnavailableError
from schema.ports.changes import BEGINNING, FeedPlace, StatusChange
from server.changes.history import history_replaced
from server.changes.sql_writes import CHANGE_FIELDS, MOMENT
from server.changes.subscriber import Subscriber
from server.db.app_tables import CHANNEL, quoted
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    import asyncpg

    from server.changes.history import SqlChangeHistory
    from server.db.migrate import Migrations

_log = structlog.get_logger(__name__)
_BATCH: Final = 500
# A subscriber that is at most this many changes behind the head gets the rest from its buffer.
_NEAR: Final = 500
_FIRST_RETRY_SECONDS: Final = 0.05
_LAST_RETRY_SECONDS: Final = 5.0
# So that the processes do not all reconnect at the same moment.
_RETRY_JITTER: Final = 0.5
_CLOSE_SECONDS: Final = 1.0
# How long the feed tries to listen before it tells its subscribers. A subscription that stays open is behind for no
# longer than with a missed NOTIFY, and a restart or failover of the database mostly takes less.
_LISTEN_SECONDS: Final = 30.0
# How many subscribers are handed a change before others run. Each may wake a task.
_PORTION: Final = 100
# How many subscribers read the history at once. They use connections of the pages' pool.
_CATCHING_UP: Final = 3


class _HistoryReplacedError(Exception):
    """The history does not have the change that was read last."""


class PostgresFeed:
    """The schema's ChangeFeed.

    A NOTIFY announces changes, and the feed reads them in the order of their ids. That is the order of the commits; the
    migration says why. If a NOTIFY is missed, or the connection dies silently, a query every `catch_up_seconds` finds
    the new changes. A subscriber that is behind first reads the history, at its own pace.

    If the feed cannot listen for half a minute, its subscribers end with the reason. They subscribe again with their
    cursor, and miss nothing.

    A restore, a reset or a failover that lost its tail may replace the history. So each read begins with the change
    that was read last. If it is not there any more, all subscribers end with CURSOR_INVALID.

    Args:
        connect: opens the LISTEN connection.
        history: reads the history for subscribers that are behind.
        migrations: make sure that the tables exist.
        schema: the schema of our tables. A NOTIFY names it.
        buffer: how many changes may wait for a subscriber before it is too slow.
        catch_up_seconds: how often the feed looks for changes without a NOTIFY.
        hold_seconds: how long a change is held back after it was read, so that a subscriber finds it on a replica too.
        keeps_awake: whether subscribers keep the database awake. If not, the feed looks for changes without a NOTIFY
            only after something else has used the database.
    """

    def __init__(
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
        self._head = f"SELECT id, {MOMENT} FROM {table} ORDER BY id DESC LIMIT 1"  # noqa: S608 # the setting is an identifier, and quoted
        self._from = f"SELECT {CHANGE_FIELDS} FROM {table} WHERE id >= $1 ORDER BY id LIMIT {_BATCH}"  # noqa: S608 # as above
        self._subscribers: set[Subscriber] = set()
        self._listening: asyncio.Task[None] | None = None
        self._position: FeedPlace | None = None
        self._interrupted_by: str | None = None
        # The cause that the log has for subscribers that were ended since the feed last read.
        self._ended_for: str | None = None
        # Set while the feed tries to listen.
        self._giving_up: asyncio.TimerHandle | None = None
        self._backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS, jitter=_RETRY_JITTER)
        self._catching_up = asyncio.Semaphore(_CATCHING_UP)

    async def changes(self, after: FeedPlace, order_keys: frozenset[int] | None) -> AsyncGenerator[StatusChange, None]:
        """Every change after a place.

        Raises:
            InputError: CURSOR_INVALID, the history has no change at this place, or it was replaced meanwhile.
            UnavailableError: the database does not answer, or SUBSCRIBER_TOO_SLOW.
        """
        await self._migrations.ensure()
        position = after
        while True:
            head = await self._history.head()
            self.note_use()
            if position != head:
                # Also for the place that was reached: the history may have been replaced since.
                await self._history.require(position)
            if head.id - position.id <= _NEAR:
                break
            await self._settled(asyncio.get_running_loop().time())
            async for change in self._between(position, head, order_keys):
                yield change
            position = head
        subscriber = self._attach(order_keys)
        try:
            since = await subscriber.since()
            if position != since:
                # The history that is read here has both places, so the listener follows the same history.
                await self._history.require(position, since)
            if position.id < since.id:
                await self._settled(asyncio.get_running_loop().time())
            async for change in self._between(position, since, order_keys):
                yield change
            reached = max(position.id, since.id)
            while True:
                change = await subscriber.next()
                # The listener may be behind the history, and then delivers some changes again.
                if change.id > reached:
                    yield change
        finally:
            await self._detach(subscriber)

    @property
    def subscribers(self) -> int:
        """The number of subscribers that receive new changes now."""
        return len(self._subscribers)

    async def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        self._position = None
        self._listens()
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def note_use(self) -> None:
        """Note that the database has answered a statement, so it is awake."""
        self._used.set()

    async def _settled(self, read_at: float) -> None:
        """Wait until changes that were read at this time may be published."""
        await asyncio.sleep(max(0.0, read_at + self._hold_seconds() - asyncio.get_running_loop().time()))

    async def _between(
        self, position: FeedPlace, until: FeedPlace, order_keys: frozenset[int] | None
    ) -> AsyncGenerator[StatusChange, None]:
        while position.id < until.id:
            # Subscribers that catch up must leave connections for pages, however many they are.
            async with self._catching_up:
                changes = await self._history.between(position, until, order_keys)
            for change in changes.changes:
                yield change
            position = changes.reached

    def _attach(self, order_keys: frozenset[int] | None) -> Subscriber:
        subscriber = Subscriber(order_keys, buffer=self._buffer, since=self._position)
        self._subscribers.add(subscriber)
        # Its statements may have been noted before the feed lost its connection.
        self.note_use()
        if self._listening is None:
            # In an empty context: the task does not belong to the first subscriber.
            self._listening = asyncio.create_task(self._listen(), name="feed", context=Context())
        return subscriber

    async def _detach(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            await self.close()

    async def _listen(self) -> None:
        while True:
            if self._giving_up is None:
                self._give_up_later()
            try:
                await self._follow()
            except _HistoryReplacedError:
                _log.warning("feed ended: the history was replaced", subscribers=len(self._subscribers))
                self._end(history_replaced)
                self._position = None
            except Exception as error:  # noqa: BLE001 # the loop must go on, and a lost connection may raise anything
                cause = error.message if isinstance(error, ApiError) else repr(error)
                # Logged once for each cause, however often the feed tries to connect.
                if cause != self._interrupted_by:
                    self._interrupted_by = cause
                    _log.warning("feed interrupted", cause=cause)
            if not self._keeps_awake and (self._giving_up is None or not self._subscribers):
                # Connecting again would wake the database, so wait until another statement has woken it. The statements
                # of a subscriber that waits for the feed to listen have.
                self._listens()
                await self._used.wait()
                self._used.clear()
            await asyncio.sleep(self._backoff.next_pause())

    def _give_up_later(self) -> None:
        self._giving_up = asyncio.get_running_loop().call_later(_LISTEN_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """Tell the subscribers that the feed cannot listen. Those that subscribe again wait for the next attempts."""
        self._give_up_later()
        cause = self._interrupted_by or "Connecting takes too long."
        if self._subscribers and cause != self._ended_for:
            self._ended_for = cause
            _log.warning("feed ended: it cannot listen", cause=cause, subscribers=len(self._subscribers))
        self._end(
            lambda: UnavailableError(
                Reason.DATABASE_UNAVAILABLE,
                "The server cannot listen for changes: the database does not answer, or has no connection left. "
                "Subscribe again with `after`, the cursor of the last change that you received. Nothing is lost.",
            )
        )

    def _listens(self) -> None:
        """Note that the feed listens, or need not any more."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _end(self, error: Callable[[], ApiError]) -> None:
        for subscriber in self._subscribers:
            subscriber.end(error())
        self._subscribers.clear()

    async def _follow(self) -> None:
        """Listen and read on one connection, until it is lost."""
        connection = await self._connect()
        try:
            epoch = await self._history.epoch()
            news, used = asyncio.Event(), self._used

            def look() -> None:
                news.set()
                used.set()

            look()
            connection.add_termination_listener(lambda *_: look())
            await connection.add_listener(CHANNEL, lambda *event: look() if event[-1] == self._schema else None)
            if self._position is None:
                # LISTEN is active already, so every later commit is announced.
                newest = await connection.fetchrow(self._head)
                self._begin(FeedPlace(*(*newest, epoch)) if newest else BEGINNING)
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._catch_up_seconds):
                        await news.wait()
                if not self._keeps_awake:
                    await self._used.wait()
                news.clear()
                self._used.clear()
                await self._read(connection, epoch)
        except Exception:
            # Only uses after the loss count. The lost connection keeps the old event: it may report its end later.
            self._used = asyncio.Event()
            raise
        finally:
            # The connection holds nothing that could be lost, so do not wait for the database to confirm the close.
            with contextlib.suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS)

    def _begin(self, position: FeedPlace) -> None:
        self._position = position
        for subscriber in self._subscribers:
            subscriber.begin(position)

    async def _read(self, connection: asyncpg.Connection, epoch: int) -> None:
        while True:
            position = self._position or BEGINNING
            rows: list[Any] = await connection.fetch(self._from, position.id)
            self._backoff.reset()
            self._listens()
            self._ended_for = None
            if self._interrupted_by is not None:
                self._interrupted_by = None
                _log.info("feed resumed")
            changes = [StatusChange(*(*row, epoch)) for row in rows]
            if position != BEGINNING:
                if not changes or changes[0].place != position:
                    raise _HistoryReplacedError
                del changes[0]
            if changes:
                await self._settled(asyncio.get_running_loop().time())
            await self._publish(changes)
            if len(rows) < _BATCH:
                return

    async def _publish(self, changes: Sequence[StatusChange]) -> None:
        """Hand changes to all subscribers, in portions: requests and the subscribers run in between."""
        handed = 0
        for change in changes:
            # A subscriber that comes between two portions begins after this change.
            self._position = change.place
            for subscriber in [*self._subscribers]:
                if not subscriber.add(change):
                    self._subscribers.discard(subscriber)
                handed += 1
                if not handed % _PORTION:
                    await asyncio.sleep(0)
