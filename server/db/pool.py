"""A connection pool for one class of work: it opens connections, hands them on, and queues requests for them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from schema.deadline import follow, postpone
from schema.errors import Reason, UnavailableError
from server.db.driver import Driver, PooledConnection, spoil_if_lost
from server.db.errors import QUERY_CANCELED, sqlstate
from server.db.shares import SLOW_SECONDS, Shares
from server.db.wait_queue import Waiter, WaitQueue
from server.observability.request_record import current_record, running_loop
from server.traffic.admission import patience_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.wake_up import WakeUp
    from server.observability.request_record import RequestRecord

T = TypeVar("T")
# A connection's life is at least this share of the longest one.
_JITTER: Final = 0.75
# The shortest time between two checks for requests that have waited for too long.
_CHECK_SECONDS: Final = 0.01
# How long the end of the pool waits for logins: asyncpg may log one that is cancelled.
_LOGIN_SECONDS: Final = 0.5
_stopping = partial(UnavailableError, Reason.SERVER_STOPPING, "The server is being stopped or replaced. Try again.")


class Pool:
    """Connections for one class of work; the one used last is taken first.

    A request takes an idle connection or waits, in order, for one that another request gives back, or that the pool
    opens. The pool opens connections in tasks of its own: a request that goes away ends no opening, and the next one
    gets its connection.

    Slow statements never hold all connections: server/db/shares.py says who may hold how many.

    A connection is dead if its socket has been closed. The event loop knows that without asking, where a ping would
    cost each request a round trip. A connection that dies silently is caught by the statement timeout. When the driver
    finds a connection lost, the pool discards all that were opened before.

    Args:
        name: the class of work.
        connect: opens a connection.
        wake_up: the database's wake-up.
        size: connections that are kept.
        brief: how many of them are brief. They are opened last, and only `run` uses them.
        acquisition: seconds to wait for a connection that others use.
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
        brief: int = 0,
    ) -> None:
        self.name = name
        self.size = size
        self.used = 0
        self._shares = Shares(size, all_slow=brief == 0)
        self._most_brief = brief
        # Of those that are open or being opened.
        self._brief = 0
        # Called after each connection that is opened.
        self.opened: Callable[[], None] = lambda: None
        self._open: set[PooledConnection] = set()
        self._idle: list[PooledConnection] = []
        self._idle_brief: list[PooledConnection] = []
        self._waiting = WaitQueue()
        self._openings: set[asyncio.Task[None]] = set()
        self._closings: set[asyncio.Task[None]] = set()
        # One timer for all that wait: a timer for each would double the cost of waiting.
        self._timer: asyncio.Handle | None = None
        self._next_check_at = math.inf
        self._patient_until = self._lost_at = -math.inf
        self._acquisition = acquisition
        self._wake_up = wake_up
        self._recycle = recycle
        self._disposed = False
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            # A read is one statement and needs no transaction: this saves a BEGIN and a ROLLBACK.
            isolation_level="AUTOCOMMIT",
            # SQLAlchemy opens and closes connections, and keeps none: each is checked out for as long as it lives.
            poolclass=sa.NullPool,
            # Errors are logged with their statement. Its parameters are the callers' data.
            hide_parameters=True,
            async_creator=connect,
        )
        sa.event.listen(self.engine.sync_engine, "handle_error", spoil_if_lost)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    @property
    def idle(self) -> int:
        """Open connections that are not in use."""
        return len(self._idle) + len(self._idle_brief)

    async def run(self, work: Callable[[PooledConnection], Awaitable[T]]) -> T:
        """The result of work on a connection. If that takes too long on a brief one, it runs again on an ordinary one.

        Args:
            work: statements that may run again: they only read, or the first of them is a whole change.

        Raises:
            Exception: as `checkout` and the work do.
        """
        raw = await self.take(brief=True)
        waited = raw.waited
        try:
            return await work(raw)
        except Exception as error:
            if not raw.brief or sqlstate(error) != QUERY_CANCELED:
                raise
        finally:
            self.give_back(raw)
        if (record := current_record.get()) is not None:
            # Its other statements may be as slow. They need not be tried on a brief connection.
            record.slow = True
        raw = await self.take(waited=waited)
        try:
            return await work(raw)
        finally:
            self.give_back(raw)

    def checkout(self, *, brief: bool = False) -> Checkout:
        """Check out a connection, for direct use of the driver.

        Args:
            brief: whether one will do on which PostgreSQL ends statements after `SLOW_SECONDS`.

        Raises:
            UnavailableError: POOL_EXHAUSTED, no connection was free in time, never raised during a wake-up; or
                SERVER_STOPPING, the pool is closed.
            Exception: opening a connection failed.
        """
        return Checkout(self, brief=brief)

    @contextlib.asynccontextmanager
    async def connect(self, *, transaction: bool = False) -> AsyncIterator[AsyncConnection]:
        """Check out a connection for SQLAlchemy, in autocommit mode or in a transaction.

        Raises:
            Exception: as `checkout` does.
        """
        async with self.checkout() as raw:
            if raw.session.in_transaction():
                # What SQLAlchemy calls a transaction; in autocommit mode there is none to roll back.
                await raw.session.rollback()
            async with Driver(raw, pool=self.name).transaction() if transaction else contextlib.nullcontext():
                yield raw.session

    async def take(self, *, brief: bool = False, waited: float = 0.0) -> PooledConnection:
        """Take a connection, which has to be given back.

        Args:
            brief: whether a brief one will do.
            waited: how many seconds of its patience the request has waited already.

        Raises:
            Exception: as `checkout` does.
        """
        holder = current_record.get()
        while self._idle and (self.used < self._shares.least or not self._shares.held(self._open).is_full(holder)):
            raw = self._idle.pop()
            if self._is_usable(raw):
                self._lend(raw, holder)
                return raw
            self._close(raw)
        return await self._wait(holder, brief=brief, waited=waited)

    def give_back(self, raw: PooledConnection) -> None:
        """Take back a connection. It goes to the first request that waits, unless it may not be used again."""
        self.used -= 1
        self._shares.note_return(raw)
        raw.holder = None
        self._lost_at = max(self._lost_at, raw.lost_at)
        self._hand_on(raw)

    def discard(self) -> None:
        """Stop using the connections that are open now: their database may have been deleted."""
        self._lost_at = time.monotonic()

    async def dispose(self) -> None:
        """Close all connections that are not in use, and refuse requests that wait or come later."""
        self._disposed = True
        while (turn := self._waiting.next_turn()) is not None:
            turn.set_result(_stopping())
        for idle in (self._idle, self._idle_brief):
            while idle:
                self._close(idle.pop())
        # A wake-up takes too long.
        if self._openings and not self._wake_up.under_way:
            await asyncio.wait(self._openings, timeout=_LOGIN_SECONDS)
        for opening in self._openings:
            opening.cancel()
        await asyncio.gather(*self._openings, return_exceptions=True)
        await asyncio.gather(*self._closings, return_exceptions=True)
        await self.engine.dispose()

    def postpone(self, seconds: float) -> None:
        """Let all requests wait for at least this time. An opening calls this when it waits for a wake-up."""
        self._patient_until = max(self._patient_until, running_loop().time() + seconds)
        self._waiting.postpone(seconds)

    async def _wait(self, holder: RequestRecord | None, *, brief: bool, waited: float) -> PooledConnection:
        if self._disposed:
            raise _stopping()
        loop = running_loop()
        now = loop.time()
        if self._patient_until > now:
            postpone(self._patient_until - now)
        # A longer wait was for a login or a wake-up, and does not count.
        until = now + patience_left(self._acquisition) - (waited if waited < self._acquisition else 0.0)
        waiter = Waiter(now, until, loop.create_future(), copy_context(), holder, brief)
        self._waiting.add(waiter)
        self._serve()
        self._open_more()
        self._check_at(waiter.until)
        try:
            found = await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._waiting.drop(waiter)
            elif isinstance(found := waiter.turn.result(), PooledConnection):
                self.give_back(found)
            raise
        if isinstance(found, PooledConnection):
            return found
        raise found

    def _hand_on(self, raw: PooledConnection) -> None:
        """Give a connection to the first request that waits and may have it, unless it may not be used again."""
        if not self._is_usable(raw):
            self._close(raw)
            self._open_more()
            return
        self._wake_up.answered()
        (self._idle_brief if raw.brief else self._idle).append(raw)
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        """Give idle connections to the requests that wait and may have them.

        What comes back may be what its holder's other requests waited for, so it may serve more than one of them.
        """
        for idle in (self._idle, self._idle_brief):
            while idle and self._waiting:
                if not self._is_usable(idle[-1]):
                    self._close(idle.pop())
                    self._open_more()
                    continue
                brief = idle is self._idle_brief
                waiter = self._waiting.entitled(self._shares.held(self._open), brief=brief, last=self._is_last_brief)
                if waiter is None:
                    break
                raw = idle.pop()
                self._lend(raw, waiter.holder, waited=running_loop().time() - waiter.since)
                waiter.turn.set_result(raw)

    @property
    def _is_last_brief(self) -> bool:
        """Whether all brief connections but one are in use, where there is more than one."""
        used = sum(raw.brief and raw.holder is not None for raw in self._open)
        return 1 < self._most_brief <= used + 1

    def _lend(self, raw: PooledConnection, holder: RequestRecord | None, *, waited: float = 0.0) -> None:
        self.used += 1
        raw.holder, raw.since, raw.waited = holder, time.monotonic(), waited

    def _open_more(self) -> None:
        """Open a connection for each request that waits, as far as there is room: brief ones last."""
        room = self.size - self.used - self.idle
        while len(self._openings) < min(room, len(self._waiting)) and not self._disposed:
            ordinary = self.used + self.idle + len(self._openings) - self._brief
            # While an ordinary one is idle, the requests that wait may not have it.
            brief = bool(self._idle) or ordinary >= self.size - self._most_brief
            if brief and (self._brief >= self._most_brief or not self._waiting.wants_brief):
                break
            self._brief += brief
            # In an empty context: the opening belongs to no request.
            opening = asyncio.create_task(self._add(brief=brief), name=f"open {self.name}", context=Context())
            self._openings.add(opening)

    async def _add(self, *, brief: bool) -> None:
        follow((self,))
        began = running_loop().time()
        found: PooledConnection | Exception
        try:
            found = await self._opened(brief=brief)
        except asyncio.CancelledError:
            # The pool is closed, or what the login waited for was cancelled.
            found = UnavailableError(Reason.DATABASE_UNAVAILABLE, "The login was cancelled. Try again shortly.")
        except Exception as error:  # noqa: BLE001 # a request that waits raises it
            found = error
        self._openings.discard(asyncio.current_task())
        until = running_loop().time() + self._acquisition
        if self._patient_until > until and (isinstance(found, PooledConnection) or not self._openings):
            # The database is awake, or no login waits for it: all requests wait as they would without a wake-up.
            self._patient_until = until
            if self._waiting:
                self._check_at(until)
        if isinstance(found, PooledConnection):
            self._open.add(found)
            self._hand_on(found)
        else:
            self._brief -= brief
            # What a login met may be over for a request that came after it began.
            if (turn := self._waiting.next_turn(began)) is not None:
                turn.set_result(found)
        self._open_more()

    async def _opened(self, *, brief: bool) -> PooledConnection:
        # Before the login: a database that is lost or discarded meanwhile may be the one that it reaches.
        began = time.monotonic()
        try:
            session = await self.engine.connect()
        except DBAPIError as error:
            raise error.driver_exception from None
        driver: Any = (await session.get_raw_connection()).driver_connection
        self.opened()
        # Connections that were opened together are not replaced together.
        ends_at = time.monotonic() + self._recycle * random.uniform(_JITTER, 1)  # noqa: S311 # jitter
        raw = PooledConnection(session, driver, brief=brief, opened_at=began, ends_at=ends_at, lost=self._wake_up.lost)
        if brief:
            try:
                # What suits it needs no parallel workers, and the others should not take more processors meanwhile.
                milliseconds = int(SLOW_SECONDS * 1000)
                await driver.execute(f"SET statement_timeout = {milliseconds}; SET max_parallel_workers_per_gather = 0")
            except BaseException:
                await raw.close()
                raise
        return raw

    def _is_usable(self, raw: PooledConnection) -> bool:
        dead = raw.spoilt or raw.driver_connection.is_closed() or raw.opened_at <= self._lost_at
        return not (dead or self._disposed or time.monotonic() >= raw.ends_at)

    def _close(self, raw: PooledConnection) -> None:
        self._open.discard(raw)
        self._brief -= raw.brief
        closing = asyncio.create_task(raw.close(), name=f"close {self.name}", context=Context())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    def _check_at(self, when: float) -> None:
        if when < self._next_check_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._next_check_at = running_loop().call_at(when, self._check), when

    def _check(self) -> None:
        """Refuse the requests that have waited for too long, unless a connection is being opened for them."""
        now, self._timer, self._next_check_at = running_loop().time(), None, math.inf
        again = self._waiting.refuse(now, self._patient_until, spared=len(self._openings))
        if again is not None:
            self._check_at(max(again, now + _CHECK_SECONDS))


class Checkout:
    """A context with a checked-out connection. A class, because a generator would cost as much as the checkout."""

    __slots__ = ("_brief", "_pool", "_raw")

    def __init__(self, pool: Pool, *, brief: bool) -> None:
        self._pool = pool
        self._brief = brief

    async def __aenter__(self) -> PooledConnection:
        self._raw = await self._pool.take(brief=self._brief)
        return self._raw

    async def __aexit__(self, *_: object) -> None:
        self._pool.give_back(self._raw)
