"""A connection pool for one class of work: it opens connections, lends them to requests, and takes them back."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from schema.deadline import follow
from schema.errors import Reason, UnavailableError
from server.db.driver import Driver, PooledConnection, spoil_if_lost
from server.db.errors import QUERY_CANCELED, sqlstate
from server.db.shares import SLOW_SECONDS, Shares
from server.db.wait_queue import WaitQueue
from server.observability.request_record import current_record, running_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.wake_up import WakeUp
    from server.observability.request_record import RequestRecord

T = TypeVar("T")
# A connection's life is at least this share of the longest one.
_JITTER: Final = 0.75
# How long the end of the pool waits for logins: asyncpg may log one that is cancelled.
_LOGIN_SECONDS: Final = 0.5
_stopping = partial(UnavailableError, Reason.SERVER_STOPPING, "The server is being stopped or replaced. Try again.")


class Pool:
    """Connections for one class of work; the one used last is taken first.

    A request takes an idle connection or waits, in order, for one that another request gives back, or that the pool
    opens. The pool opens connections in tasks of its own: a request that goes away ends no opening, and the next one
    gets its connection.

    Slow statements never hold all connections: server/db/shares.py says which request may hold how many.

    A connection is dead if its socket has been closed. The event loop knows that without asking, where a ping would
    cost each request a round trip. A connection that dies silently is caught by the statement timeout. When the driver
    finds a connection lost, the pool discards all that were opened before.

    Args:
        name: the class of work.
        connect: opens a connection.
        wake_up: the database's wake-up.
        size: connections that are kept.
        brief: how many of them are brief. They are opened and used last, and only by `run`.
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
        self._most_brief = brief
        self._shares = Shares(size, all_slow=brief == 0)
        # Called after each connection that is opened.
        self.opened: Callable[[], None] = lambda: None
        self._open: set[PooledConnection] = set()
        # Those of `_open` that nobody holds: brief ones first.
        self._idle: list[PooledConnection] = []
        self._openings: set[asyncio.Task[None]] = set()
        self._queue = WaitQueue(acquisition, self._openings)
        self._closings: set[asyncio.Task[None]] = set()
        self._lost_at = -math.inf
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
        return len(self._queue)

    @property
    def idle(self) -> int:
        """Open connections that are not in use."""
        return len(self._idle)

    @property
    def used(self) -> int:
        """Connections that are in use. One that has just been opened may be neither used nor idle."""
        return sum(raw.since < math.inf for raw in self._open)

    def backends(self) -> list[int]:
        """The process ids, in PostgreSQL, of the connections that are in use."""
        return [raw.driver_connection.get_server_pid() for raw in self._open if raw.since < math.inf]

    async def run(self, work: Callable[[PooledConnection], Awaitable[T]]) -> T:
        """The result of work on a connection. If that takes too long on a brief one, it runs again on an ordinary one.

        Args:
            work: statements that may run again: they only read, or the first of them is a whole change.

        Raises:
            Exception: as `checkout` and the work do.
        """
        began = time.monotonic()
        raw = await self.take(brief=True)
        try:
            return await work(raw)
        except Exception as error:
            if not raw.brief or sqlstate(error) != QUERY_CANCELED:
                raise
        finally:
            self.give_back(raw)
        raw = await self.take(waited=time.monotonic() - began)
        try:
            return await work(raw)
        finally:
            self.give_back(raw)

    def checkout(self) -> Checkout:
        """Check out a connection, for direct use of the driver.

        Raises:
            UnavailableError: POOL_EXHAUSTED, no connection was free in time, never raised during a wake-up; or
                SERVER_STOPPING, the pool is closed.
            Exception: opening a connection failed.
        """
        return Checkout(self)

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
        while (
            self._idle
            and not self._idle[-1].brief
            and not (self._shares.is_operation_full(holder) or self._shares.is_caller_full(holder))
        ):
            raw = self._idle.pop()
            if self._is_usable(raw):
                self._shares.lend(raw, holder)
                return raw
            self._close(raw)
        return await self._wait(holder, brief=brief, waited=waited)

    def give_back(self, raw: PooledConnection) -> None:
        """Take back a connection. It goes to the first request that may have it, unless it may not be used again."""
        self._shares.take_back(raw)
        self._lost_at = max(self._lost_at, raw.lost_at)
        self._keep(raw)

    def discard(self) -> None:
        """Stop using the connections that are open now: their database may have been deleted."""
        self._lost_at = time.monotonic()

    async def dispose(self) -> None:
        """Close all connections that are not in use, and refuse requests that wait or come later."""
        self._disposed = True
        while (turn := self._queue.next_turn()) is not None:
            turn.set_result(_stopping())
        while self._idle:
            self._close(self._idle.pop())
        # A wake-up takes too long.
        if self._openings and not self._wake_up.under_way:
            await asyncio.wait(self._openings, timeout=_LOGIN_SECONDS)
        for opening in self._openings:
            opening.cancel()
        await asyncio.gather(*self._openings, return_exceptions=True)
        await asyncio.gather(*self._closings, return_exceptions=True)
        await self.engine.dispose()

    async def _wait(self, holder: RequestRecord | None, *, brief: bool, waited: float) -> PooledConnection:
        if self._disposed:
            raise _stopping()
        waiter = self._queue.join(holder, brief=brief, waited=waited)
        self._serve()
        try:
            found = await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._queue.leave(waiter)
            elif isinstance(found := waiter.turn.result(), PooledConnection):
                self.give_back(found)
            raise
        if isinstance(found, PooledConnection):
            return found
        raise found

    def _keep(self, raw: PooledConnection) -> None:
        """Keep a connection, for the first request that waits and may have it, unless it may not be used again."""
        if self._is_usable(raw):
            self._wake_up.answered()
            self._idle.insert(0 if raw.brief else len(self._idle), raw)
        else:
            self._close(raw)
        if self._queue:
            self._serve()

    def _serve(self) -> None:
        """Give idle connections to the requests that wait and may have them, and open more for the others.

        What comes back may be what its holder's other requests waited for, so it may serve more than one of them.
        """
        while self._queue and self._idle:
            # An ordinary one, if there is any, and a brief one, if there is any.
            for raw in (self._idle[-1], self._idle[0]):
                if not self._is_usable(raw):
                    self._idle.remove(raw)
                    self._close(raw)
                    break
                last = self._most_brief > 1 == sum(other.brief for other in self._idle)
                if (waiter := self._queue.entitled(self._shares, brief=raw.brief, last=last)) is not None:
                    self._idle.remove(raw)
                    self._shares.lend(raw, waiter.holder)
                    waiter.turn.set_result(raw)
                    break
            else:
                break
        self._open_more()

    def _open_more(self) -> None:
        """Open a connection for each request that waits, as far as there is room."""
        room = self.size - len(self._open)
        while len(self._openings) < min(room, len(self._queue)) and not self._disposed:
            # In an empty context: the opening belongs to no request.
            opening = asyncio.create_task(self._add(), name=f"open {self.name}", context=Context())
            self._openings.add(opening)

    async def _add(self) -> None:
        follow((self._queue,))
        began = running_loop().time()
        found: PooledConnection | Exception
        try:
            found = await self._opened()
        except asyncio.CancelledError:
            # The pool is closed, or what the login waited for was cancelled.
            found = UnavailableError(Reason.DATABASE_UNAVAILABLE, "The login was cancelled. Try again shortly.")
        except Exception as error:  # noqa: BLE001 # a request that waits raises it
            found = error
        self._openings.discard(asyncio.current_task())
        if isinstance(found, PooledConnection) or not self._openings:
            self._queue.end_patience()
        if isinstance(found, PooledConnection):
            self._keep(found)
        # What a login met may be over for a request that came after it began.
        elif (turn := self._queue.next_turn(began)) is not None:
            turn.set_result(found)
        self._open_more()

    async def _opened(self) -> PooledConnection:
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
        raw = PooledConnection(session, driver, opened_at=began, ends_at=ends_at, lost=self._wake_up.lost)
        self._open.add(raw)
        if sum(not other.brief for other in self._open) > self.size - self._most_brief:
            raw.brief = True
            try:
                await driver.execute(f"SET statement_timeout = {int(SLOW_SECONDS * 1000)}")
            except BaseException:
                self._close(raw)
                raise
        return raw

    def _is_usable(self, raw: PooledConnection) -> bool:
        dead = raw.spoilt or raw.driver_connection.is_closed() or raw.opened_at <= self._lost_at
        return not (dead or self._disposed or time.monotonic() >= raw.ends_at)

    def _close(self, raw: PooledConnection) -> None:
        self._open.discard(raw)
        closing = asyncio.create_task(raw.close(), name=f"close {self.name}", context=Context())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)


class Checkout:
    """A context with a checked-out connection. A class, because a generator would cost as much as the checkout."""

    __slots__ = ("_pool", "_raw")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> PooledConnection:
        self._raw = await self._pool.take()
        return self._raw

    async def __aexit__(self, *_: object) -> None:
        self._pool.give_back(self._raw)
