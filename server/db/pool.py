"""Owns the pool of connections for one class of work: which of them may still be used, and who waits for one."""

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

from schema.scalars import sort_date
from server.db.wait_queue import Line
from server.observability.event_loop import running_loop
from server.traffic.admission import patience_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Literal, TypeAlias, TypeVar

    import asyncpg
    from sqlalchemy.pool import PoolProxiedConnection

    T = TypeVar("T")
    # For who waits: a connection; or SQLAlchemy's pool is to be asked; or the time is over.
    _Turn: TypeAlias = PoolProxiedConnection | Literal[False] | None

    from server.db.wake_up import Waking

_ENDS_AT: Final = "ends_at"
_MADE_AT: Final = "made_at"
_SPARE_SECONDS: Final = 1.0
# The shortest life that a connection is given, as a part of the longest.
_JITTER: Final = 0.75


class Pool:
    """Connections of one class of work, the last one used first.

    A connection is known to be dead when its socket has been closed, which the event loop has heard of by the time
    that the connection is taken: asking costs nothing, where a ping would cost every request a round trip. One
    that is silent is found out by its statement's timeout. Where one is lost, those made before are not used again.

    Args:
        name: of the class of work.
        connect: opens a connection.
        waking: of the database behind it.
        size: connections that are kept.
        acquisition: seconds to wait for one.
        recycle: seconds after which a connection is replaced, at the most.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        waking: Waking,
        *,
        size: int,
        acquisition: float,
        recycle: float,
    ) -> None:
        self.name = name
        self.size = size
        # Checked out of SQLAlchemy's pool, and in nobody's hands: whoever comes next is spared the checking out, which
        # takes as long as half of an order's statement.
        self._spare: list[PoolProxiedConnection] = []
        self._giving_up: asyncio.TimerHandle | None = None
        self._disposed = False
        # Who is handed the next that is given back. Nobody waits within SQLAlchemy's pool, which takes as long as a
        # page's statement, but for those who wait for a database that wakes.
        self._line: Line[_Turn] = Line(late=self._told_late, give_on=self._give_on)
        self._asking = 0
        self._acquisition = acquisition
        self._waking = waking
        self._recycle = recycle
        self._lost_at = 0.0
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            # Reads of one statement need no transaction of their own: this spares a BEGIN and a ROLLBACK each.
            isolation_level="AUTOCOMMIT",
            pool_size=size,
            max_overflow=0,
            pool_timeout=acquisition,
            pool_use_lifo=True,
            # Errors are logged with their statement; its parameters are the callers' own data.
            hide_parameters=True,
            async_creator=connect,
        )
        sync = self.engine.sync_engine
        sa.event.listen(sync, "connect", self._begin)
        sa.event.listen(sync, "checkout", self._check)
        sa.event.listen(sync, "invalidate", self._note)
        sa.event.listen(sync, "checkin", lambda *_: self._let_ask())

    @property
    def used(self) -> int:
        """Connections that are in use."""
        pool: Any = self.engine.pool
        # After it is disposed of, SQLAlchemy has forgotten what is still in use.
        return max(0, int(pool.checkedout()) - len(self._spare))

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._asking + len(self._line)

    @property
    def idle(self) -> int:
        """Connections that are open and not in use."""
        pool: Any = self.engine.pool
        return int(pool.checkedin()) + len(self._spare)

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[AsyncConnection]:
        """A connection for a while; the options are SQLAlchemy's execution options.

        Raises:
            sqlalchemy.exc.TimeoutError: none was free in time. While the database wakes this is not told.
            Exception: whatever opening one raises.
        """
        handed = self.take_spare() or await self._wait_in_line()
        connection = await self._take(self.engine.connect) if handed is None else self.adopt(handed)
        try:
            if options:
                await connection.execution_options(**options)
            yield connection
            self._waking.answered()
        except (TimeoutError, OSError) as error:
            # A peer that is silent, or gone; SQLAlchemy knows these for no errors of a connection.
            if not connection.invalidated:
                raw: Any = await connection.get_raw_connection()
                raw.driver_connection.terminate()
                await connection.invalidate(error)
            raise
        finally:
            # Who is cancelled gives it back all the same.
            await asyncio.shield(asyncio.ensure_future(self._closed(connection.close())))

    def checkout(self) -> Checkout:
        """A connection for a while, for the driver to be spoken to: that spares half of what `connect` costs.

        Raises:
            sqlalchemy.exc.TimeoutError: none was free in time. While the database wakes this is not told.
            Exception: whatever opening one raises.
        """
        return Checkout(self)

    async def take(self) -> PoolProxiedConnection:
        """A connection, which has to be given back.

        Raises:
            Exception: as `checkout` does.
        """
        raw = self.take_spare() or await self._wait_in_line()
        return await self._take(self._open_raw) if raw is None else raw

    def take_spare(self) -> PoolProxiedConnection | None:
        """One that has just been given back, if there is any that may still be used."""
        if not self._spare:
            return None
        raw = self._spare.pop()
        if not self._is_worn(raw.driver_connection, raw.info):
            return raw
        raw.close()
        self._give_up_spare()
        return None

    async def give_back(self, raw: PoolProxiedConnection, error: BaseException | None) -> None:
        """Take a connection back, unless it is invalidated; the error is what its use has ended with."""
        if error is None:
            if self.keep_spare(raw):
                return
        elif isinstance(error, (TimeoutError, OSError)) and raw.is_valid:
            # A peer that is silent, or gone.
            raw.driver_connection.terminate()  # type: ignore[union-attr] # asyncpg's own
            raw.invalidate(error)
        self.put_back(raw)

    def put_back(self, raw: PoolProxiedConnection) -> None:
        """Give one back to SQLAlchemy's pool, unless it is invalidated."""
        if raw.is_valid:
            raw.close()

    async def _closed(self, closing: Awaitable[None]) -> None:
        try:
            await closing
        finally:
            # SQLAlchemy's pool has it, or room for another, only now.
            self._let_ask()

    def keep_spare(self, raw: PoolProxiedConnection) -> bool:
        """Hand one whose use has ended well to whoever waits or comes next."""
        self._waking.answered()
        if self._asking or self._disposed or not raw.is_valid:
            return False
        if self._line:
            if self._is_worn(raw.driver_connection, raw.info):
                return False
            if self._line.tell(raw):
                return True
        if self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(_SPARE_SECONDS, self._give_up_spare)
        self._spare.append(raw)
        return True

    async def _wait_in_line(self) -> PoolProxiedConnection | None:
        """One that another has given back; None as soon as SQLAlchemy's pool has one, or room for one.

        Raises:
            sqlalchemy.exc.TimeoutError: there was none in time.
        """
        if not self._is_full():
            return None
        until = running_loop().time() + patience_left(self._acquisition)
        waited = False
        while self._is_full():
            raw = await self._line.wait(until, first=waited)
            if raw is False:
                raise PoolTimeoutError(f"No connection of {self.name} was free in time")
            if raw is not None:
                return raw
            # Somebody who has just come may have been quicker, or what was given back be still being closed.
            waited = True
        return None

    def _told_late(self) -> _Turn:
        # While it wakes they wait for that, with all others.
        return None if self._waking.under_way else False

    async def _give_on(self, turn: _Turn) -> None:
        if turn:
            await self.give_back(turn, None)
        elif turn is None:
            self._let_ask()

    def _is_full(self) -> bool:
        pool: Any = self.engine.pool
        # While it wakes all wait for that.
        return bool(pool.checkedout() >= self.size) and not self._waking.under_way

    def _let_ask(self) -> None:
        """Have the first in the line ask SQLAlchemy's pool, which has one more by now, or room for one."""
        self._line.tell(None)

    def _give_up_spare(self) -> None:
        """Let SQLAlchemy's pool have them; nothing of them is to be undone, so that this does not wait."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        while self._spare:
            self._spare.pop().close()

    def adopt(self, raw: PoolProxiedConnection) -> AsyncConnection:
        """SQLAlchemy's own connection over one that is checked out, for as long as that is."""
        return AsyncConnection(self.engine, sa.Connection(self.engine.sync_engine, raw))

    async def dispose(self) -> None:
        """Close every connection that is not in use."""
        self._disposed = True
        self._give_up_spare()
        await self.engine.dispose()

    async def _open_raw(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except AsyncAdapt_asyncpg_dbapi.Error as error:
            # The dialect's own form of what asyncpg has said, which only a connection of SQLAlchemy's translates.
            raise error.__cause__ or error from None

    async def _take(self, open_: Callable[[], Awaitable[T]]) -> T:
        self._give_up_spare()
        self._asking += 1
        waited = False
        try:
            while True:
                try:
                    return await open_()
                except PoolTimeoutError:
                    # While it wakes all of them are being opened, and come when it is awake.
                    if waited or not self._waking.under_way or not await self._waking.over():
                        raise
                    waited = True
        except BaseException:
            # What it did not get, or could not open, another may.
            self._let_ask()
            raise
        finally:
            self._asking -= 1

    def _begin(self, connection: Any, record: Any) -> None:
        # Dates as text: Python has none outside the years 1 to 9999, and one of them would cost the whole page.
        connection.run_async(
            lambda driver: driver.set_type_codec("date", schema="pg_catalog", encoder=str, decoder=sort_date)
        )
        now = time.monotonic()
        record.info[_MADE_AT] = now
        # Not all at once, although they were made at once.
        record.info[_ENDS_AT] = now + self._recycle * random.uniform(_JITTER, 1)  # noqa: S311 # jitter

    def _check(self, connection: Any, record: Any, _proxy: object) -> None:
        if self._is_worn(connection.driver_connection, record.info):
            raise DisconnectionError

    def _is_worn(self, driver: Any, info: Mapping[Any, Any]) -> bool:
        dead = driver.is_closed() or info[_MADE_AT] <= self._lost_at
        return bool(dead or time.monotonic() >= info[_ENDS_AT])

    def _note(self, _connection: object, _record: object, error: BaseException | None) -> None:
        # One whose user was cancelled says nothing of the others, nor does one that was found out above.
        if isinstance(error, Exception) and not isinstance(error, DisconnectionError):
            self._lost_at = time.monotonic()


class Checkout:
    """A connection that is checked out within; a class, for a generator would cost as much as the checking out."""

    __slots__ = ("_pool", "_raw")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> PoolProxiedConnection:
        self._raw = await self._pool.take()
        return self._raw

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        await self._pool.give_back(self._raw, error)
