"""A connection pool for one class of work: it checks connections, hands them on, and queues requests for them."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from server.db.wait_queue import WaitQueue
from server.observability.request_record import running_loop
from server.traffic.admission import patience_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Literal, TypeAlias, TypeVar

    import asyncpg
    from sqlalchemy.pool import PoolProxiedConnection

    T = TypeVar("T")
    # What a queued request gets: a connection; None to ask SQLAlchemy's pool; False if it has waited for too long.
    _Turn: TypeAlias = PoolProxiedConnection | Literal[False] | None

    from server.db.wake_up import WakeUp

_ENDS_AT: Final = "ends_at"
_MADE_AT: Final = "made_at"
# How long spare connections are kept before SQLAlchemy's pool gets them back.
_SPARE_SECONDS: Final = 1.0
# A connection's life is at least this share of the longest one.
_JITTER: Final = 0.75


class Pool:
    """Connections for one class of work; the one used last is taken first.

    A connection is dead if its socket has been closed. The event loop knows that without asking, where a ping would
    cost each request a round trip. A connection that dies silently is caught by the statement timeout. When a
    connection is lost, the pool discards all that were opened before.

    Args:
        name: the class of work.
        connect: opens a connection.
        wake_up: the database's wake-up.
        size: connections that are kept.
        acquisition: seconds to wait for a connection.
        recycle: seconds after which a connection is replaced at the latest.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        wake_up: WakeUp,
        *,
        size: int,
        acquisition: float,
        recycle: float,
    ) -> None:
        self.name = name
        self.size = size
        # Called after each connection that is opened.
        self.opened: Callable[[], None] = lambda: None
        # Checked out of SQLAlchemy's pool but not in use. The next request skips the checkout, which takes half as long
        # as the statement of one order.
        self._spare: list[PoolProxiedConnection] = []
        self._returning_spares: asyncio.TimerHandle | None = None
        self._disposed = False
        # Requests wait here rather than in SQLAlchemy's pool, where waiting costs as much as the statement of a page.
        # The exception is a wake-up.
        self._queue: WaitQueue[_Turn] = WaitQueue(timed_out=self._timed_out, pass_on=self._pass_on)
        self._asking = 0
        self._acquisition = acquisition
        self._wake_up = wake_up
        self._recycle = recycle
        self._lost_at = 0.0
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            # A read is one statement and needs no transaction: this saves a BEGIN and a ROLLBACK.
            isolation_level="AUTOCOMMIT",
            pool_size=size,
            max_overflow=0,
            pool_timeout=acquisition,
            pool_use_lifo=True,
            # Errors are logged with their statement. Its parameters are the callers' data.
            hide_parameters=True,
            async_creator=connect,
        )
        sync = self.engine.sync_engine
        sa.event.listen(sync, "connect", self._on_connect)
        sa.event.listen(sync, "checkout", self._on_checkout)
        sa.event.listen(sync, "invalidate", self._on_invalidate)
        sa.event.listen(sync, "checkin", lambda *_: self._wake_next())
        sa.event.listen(sync, "close", self._on_close)

    @property
    def used(self) -> int:
        """Connections in use."""
        pool: Any = self.engine.pool
        # After `dispose` SQLAlchemy no longer counts connections that are still in use.
        return max(0, int(pool.checkedout()) - len(self._spare))

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return self._asking + len(self._queue)

    @property
    def idle(self) -> int:
        """Open connections that are not in use."""
        pool: Any = self.engine.pool
        return int(pool.checkedin()) + len(self._spare)

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[AsyncConnection]:
        """Check out a connection; the options are SQLAlchemy's execution options.

        Raises:
            sqlalchemy.exc.TimeoutError: no connection was free in time. Never raised during a wake-up.
            Exception: opening a connection failed.
        """
        handed = self.take_spare() or await self._wait_in_queue()
        connection = await self._take(self.engine.connect) if handed is None else self.adopt(handed)
        try:
            if options:
                await connection.execution_options(**options)
            yield connection
            self._wake_up.answered()
        except (TimeoutError, OSError) as error:
            # The peer is silent or gone. SQLAlchemy does not recognise these as disconnects.
            if not connection.invalidated:
                raw: Any = await connection.get_raw_connection()
                raw.driver_connection.terminate()
                await connection.invalidate(error)
            raise
        finally:
            # A cancelled request gives it back too.
            await asyncio.shield(asyncio.ensure_future(self._closed(connection.close())))

    def checkout(self) -> Checkout:
        """Check out a connection for direct use of the driver, at half the cost of `connect`.

        Raises:
            sqlalchemy.exc.TimeoutError: no connection was free in time. Never raised during a wake-up.
            Exception: opening a connection failed.
        """
        return Checkout(self)

    async def take(self) -> PoolProxiedConnection:
        """Take a connection, which has to be given back.

        Raises:
            Exception: as `checkout` does.
        """
        raw = self.take_spare() or await self._wait_in_queue()
        return await self._take(self._open_raw) if raw is None else raw

    def take_spare(self) -> PoolProxiedConnection | None:
        """A connection that was just given back, if there is one that may still be used."""
        if not self._spare:
            return None
        raw = self._spare.pop()
        if not self._is_worn(raw.driver_connection, raw.info):
            return raw
        raw.close()
        self._return_spares()
        return None

    async def give_back(self, raw: PoolProxiedConnection, error: BaseException | None) -> None:
        """Take back a connection, unless it is invalidated. `error` is the exception that ended its use."""
        if error is None:
            if self.keep_spare(raw):
                return
        elif isinstance(error, (TimeoutError, OSError)) and raw.is_valid:
            # The peer is silent or gone.
            raw.driver_connection.terminate()  # type: ignore[union-attr] # asyncpg's own
            raw.invalidate(error)
        self.put_back(raw)

    def put_back(self, raw: PoolProxiedConnection) -> None:
        """Return a connection to SQLAlchemy's pool, unless it is invalidated."""
        if raw.is_valid:
            raw.close()

    async def _closed(self, closing: Awaitable[None]) -> None:
        try:
            await closing
        finally:
            # Only now does SQLAlchemy's pool have the connection, or room for another.
            self._wake_next()

    def keep_spare(self, raw: PoolProxiedConnection) -> bool:
        """Keep a good connection for the next request, or hand it to a queued one; False if it cannot be kept."""
        self._wake_up.answered()
        if self._asking or self._disposed or not raw.is_valid:
            return False
        if self._queue:
            if self._is_worn(raw.driver_connection, raw.info):
                return False
            if self._queue.give(raw):
                return True
        if self._returning_spares is None:
            self._returning_spares = asyncio.get_running_loop().call_later(_SPARE_SECONDS, self._return_spares)
        self._spare.append(raw)
        return True

    async def _wait_in_queue(self) -> PoolProxiedConnection | None:
        """Wait for a connection that another request gives back; None if SQLAlchemy's pool has one, or room for one.

        Raises:
            sqlalchemy.exc.TimeoutError: no connection was free in time.
        """
        if not self._is_full():
            return None
        until = running_loop().time() + patience_left(self._acquisition)
        waited = False
        while self._is_full():
            raw = await self._queue.wait(until, first=waited)
            if raw is False:
                raise PoolTimeoutError(f"No connection of {self.name} was free in time")
            if raw is not None:
                return raw
            # A new request may have taken the connection first, or the connection may still be closing.
            waited = True
        return None

    def _timed_out(self) -> _Turn:
        # During a wake-up the request waits for that, in SQLAlchemy's pool.
        return None if self._wake_up.under_way else False

    async def _pass_on(self, turn: _Turn) -> None:
        if turn:
            await self.give_back(turn, None)
        elif turn is None:
            self._wake_next()

    def _is_full(self) -> bool:
        pool: Any = self.engine.pool
        # During a wake-up all requests wait for that.
        return bool(pool.checkedout() >= self.size) and not self._wake_up.under_way

    def _wake_next(self) -> None:
        """Let the first request in the queue ask SQLAlchemy's pool, which has a connection, or room for one, by now."""
        self._queue.give(None)

    def _return_spares(self) -> None:
        """Return spare connections to SQLAlchemy's pool. There is nothing to roll back, so this does not wait."""
        if self._returning_spares is not None:
            self._returning_spares.cancel()
            self._returning_spares = None
        while self._spare:
            self._spare.pop().close()

    def adopt(self, raw: PoolProxiedConnection) -> AsyncConnection:
        """A SQLAlchemy connection over a checked-out one."""
        return AsyncConnection(self.engine, sa.Connection(self.engine.sync_engine, raw))

    def discard(self) -> None:
        """Stop using the connections that are open now: their database may have been deleted."""
        self._lost_at = time.monotonic()

    async def dispose(self) -> None:
        """Close all connections that are not in use."""
        self._disposed = True
        self._return_spares()
        await self.engine.dispose()

    async def _open_raw(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except AsyncAdapt_asyncpg_dbapi.Error as error:
            # The dialect wraps asyncpg's error. Only a SQLAlchemy connection would unwrap it.
            raise error.__cause__ or error from None

    async def _take(self, open_: Callable[[], Awaitable[T]]) -> T:
        self._return_spares()
        self._asking += 1
        waited = False
        try:
            while True:
                try:
                    return await open_()
                except PoolTimeoutError:
                    # During a wake-up all connections are being opened, and arrive when it is over.
                    if waited or not self._wake_up.under_way or not await self._wake_up.over():
                        raise
                    waited = True
        except BaseException:
            # Another request may succeed instead.
            self._wake_next()
            raise
        finally:
            self._asking -= 1

    def _on_connect(self, connection: Any, record: Any) -> None:
        connection.driver_connection.add_termination_listener(self._on_lost)
        now = time.monotonic()
        record.info[_MADE_AT] = now
        # Connections that were opened together are not replaced together.
        record.info[_ENDS_AT] = now + self._recycle * random.uniform(_JITTER, 1)  # noqa: S311 # jitter
        self.opened()

    def _on_close(self, connection: Any, _record: object) -> None:
        # The pool closes it, so it is not lost.
        connection.driver_connection.remove_termination_listener(self._on_lost)

    def _on_lost(self, _connection: object) -> None:
        self._wake_up.lost()

    def _on_checkout(self, connection: Any, record: Any, _proxy: object) -> None:
        if self._is_worn(connection.driver_connection, record.info):
            raise DisconnectionError

    def _is_worn(self, driver: Any, info: Mapping[Any, Any]) -> bool:
        dead = driver.is_closed() or info[_MADE_AT] <= self._lost_at
        return bool(dead or time.monotonic() >= info[_ENDS_AT])

    def _on_invalidate(self, _connection: object, _record: object, error: BaseException | None) -> None:
        # A cancelled request says nothing about other connections, and `_on_checkout` has checked one only.
        if isinstance(error, Exception) and not isinstance(error, DisconnectionError):
            self._lost_at = time.monotonic()


class Checkout:
    """A context with a checked-out connection. A class, because a generator would cost as much as the checkout."""

    __slots__ = ("_pool", "_raw")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> PoolProxiedConnection:
        self._raw = await self._pool.take()
        return self._raw

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        await self._pool.give_back(self._raw, error)
