"""Owns the reading from hot standbys: whether there is one, whether it has come far enough, and when it is left out."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from schema.errors import ApiError, Reason, UnavailableError
from server.backoff import Backoff
from server.db.driver import WRITTEN
from server.db.errors import classify
from server.orders.read_connection import ReadConnection
from server.read_requirement import current_reads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.pool import PoolProxiedConnection

    from server.db.engine import Engines
    from server.db.pool import Pool
    from server.orders.sql_merged import Orders

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_REPLAYED: Final = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END"
)
_ASK_SECONDS: Final = 0.5
_INFO: Final = "replayed"
_FIRST_PAUSE_SECONDS: Final = 0.5
_LAST_PAUSE_SECONDS: Final = 4.0
# The platform is asked again so often whether there are secondaries, while orders are read.
_LOOK_AGAIN_SECONDS: Final = 60.0
_NONE: Final = "there is none"


class LeftOutError(Exception):
    """The read is not for a secondary now; the primary does it."""


class Floor:
    """How far every read has to have come: to where the primary was at a moment not further back than the bound.

    The primary is asked at most twice in that time for all reads of the process, and never at rest.
    """

    def __init__(self, pool: Pool, *, bound: float) -> None:
        self._pool = pool
        self._bound = bound
        self._known: deque[tuple[float, int]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def place(self) -> int:
        """In the write-ahead log, in bytes from its beginning.

        Raises:
            Exception: the primary does not say.
        """
        now = time.monotonic()
        while self._known and now - self._known[0][0] > self._bound:
            self._known.popleft()
        if not self._known or now - self._known[-1][0] > self._bound / 2:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(), name="floor")
                self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            if not self._known:
                # One that sleeps is waited for where the primary itself is read.
                async with asyncio.timeout(_ASK_SECONDS):
                    await asyncio.shield(self._asking)
        return self._known[0][1]

    async def _ask(self) -> None:
        # Of before it is asked: what is written meanwhile may be missing in the answer.
        asked_at = time.monotonic()
        async with self._pool.checkout() as raw:
            place = await _number(raw, WRITTEN)
        self._known.append((asked_at, place or 0))


class Replicas:
    """The hot standbys behind one address.

    A read goes there where the standby that its connection leads to has replayed what the floor and the caller's own
    token ask for. Where that cannot be said, or anything fails, the primary does it, and nobody notices.

    Args:
        engines: of the primary.
        pools: of the secondaries, for pages and for aggregates; none where there can be no secondaries.
        exist: asks whether there are any; raises ApiError where that is not told.
        bound: seconds that they may be behind.
    """

    def __init__(
        self,
        engines: Engines,
        pools: tuple[Pool, Pool] | tuple[()],
        exist: Callable[[], Awaitable[bool]],
        *,
        bound: float,
    ) -> None:
        self.bound = bound
        self.pools = pools
        self._of = dict(zip((engines.pages.name, engines.aggregates.name), pools, strict=False))
        self._floor = Floor(engines.pages, bound=bound)
        self._exist = exist
        self._there: bool | None = None
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._out_until = -math.inf
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self._probing: asyncio.Task[None] | None = None
        self.state = _NONE

    @property
    def hold_seconds(self) -> float:
        """How long an event is held back, so that whoever then reads from a secondary finds it."""
        return self.bound if self.expected else 0.0

    @property
    def expected(self) -> bool:
        """Whether there are any, or may be: other processes may know of them while this one does not yet."""
        self.look()
        return bool(self.pools) and self._there is not False

    def look(self) -> None:
        """Find out whether there are any, in the background, if that was long ago."""
        long_ago = self.pools and time.monotonic() - self._looked_at > _LOOK_AGAIN_SECONDS
        if long_ago and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="look for secondaries")

    def forget(self) -> None:
        """Look again: there may be some now, or none any more."""
        self._looked_at = -math.inf

    async def close(self) -> None:
        """Close every connection."""
        tasks = [task for task in (self._looking, self._probing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in self.pools:
            await pool.dispose()

    async def run(self, pool: Pool, work: Callable[[ReadConnection], Awaitable[T]], orders: Orders | None) -> T:
        """The result of statements on a secondary.

        Raises:
            LeftOutError: the primary has to do it.
            ApiError: it would say the same on the primary.
        """
        self.look()
        if orders is None or not self._usable():
            raise LeftOutError
        reads = current_reads.get(None)
        try:
            pool = self._of[pool.name]
            async with pool.checkout() as raw:
                # Only now: what is read has to be as fresh as that when it is read.
                await self._reach(raw, await self._place(), asked=reads.position if reads else 0)
                result = await work(ReadConnection(pool, raw, orders=orders))
        except LeftOutError:
            raise
        except Exception as error:
            if _is_final(error):
                raise
            self._note_failure(error)
            raise LeftOutError from error
        self._note_success()
        return result

    def _usable(self) -> bool:
        if not self._there or (reads := current_reads.get(None)) is None or reads.primary_only:
            return False
        if self._out_until > -math.inf:
            if time.monotonic() >= self._out_until and (self._probing is None or self._probing.done()):
                self._probing = asyncio.create_task(self._probe(), name="probe secondary")
            return False
        return True

    async def _probe(self) -> None:
        """Find out whether it is back; nobody waits for that."""
        try:
            for pool in self.pools[:1]:
                async with pool.checkout() as raw:
                    await self._reach(raw, await self._place())
            self._note_success()
        except LeftOutError:
            return
        except Exception as error:  # noqa: BLE001 # whatever it is, it is left out for longer
            self._note_failure(error)

    async def _look(self) -> None:
        self._looked_at = time.monotonic()
        try:
            self._there = await self._exist()
        except ApiError as error:
            _log.info("secondaries not looked up", reason=error.reason.name)
            return
        if not self._there:
            self.state = _NONE
        elif self.state == _NONE:
            self.state, self._out_until = "found, and not used yet", -math.inf

    async def _place(self) -> int:
        try:
            return await self._floor.place()
        except Exception as error:
            # It is the primary that does not answer, and nothing is said of the secondary.
            raise LeftOutError from error

    async def _reach(self, raw: PoolProxiedConnection, floor: int, *, asked: int = 0) -> None:
        """Make sure that the standby has come so far, and to where this caller asks for it.

        Raises:
            LeftOutError: it has not.
        """
        info = raw.info
        # A standby only goes forward, and a connection leads to the same one always.
        if info.get(_INFO, -1) < max(floor, asked):
            replayed = await _number(raw, _REPLAYED)
            if replayed is None:
                self._leave_out("it is no standby")
                raise LeftOutError
            info[_INFO] = replayed
            if replayed < floor:
                self._leave_out(f"it is more than {self.bound:g} s behind", seconds=self.bound / 2)
            if replayed < max(floor, asked):
                raise LeftOutError

    def _note_failure(self, error: Exception) -> None:
        meaning = classify(error)
        if isinstance(meaning, UnavailableError) and meaning.reason is Reason.POOL_EXHAUSTED:
            return
        self._leave_out(f"it does not answer ({type(error).__name__})")

    def _leave_out(self, state: str, *, seconds: float | None = None) -> None:
        if state != self.state:
            _log.warning("secondary left out", reason=state)
        self.state = state
        self._out_until = time.monotonic() + (self._backoff.next_pause() if seconds is None else seconds)

    def _note_success(self) -> None:
        self.state, self._out_until = "ok", -math.inf
        self._backoff.reset()


async def _number(raw: PoolProxiedConnection, statement: str) -> int | None:
    found = await raw.driver_connection.fetchval(statement)  # type: ignore[union-attr] # asyncpg's own
    return None if found is None else int(found)


def _is_final(error: Exception) -> bool:
    """Whether the primary would fail alike: a value that it does not take, a statement that takes too long."""
    meaning = error if isinstance(error, ApiError) else classify(error)
    return meaning is not None and (
        not isinstance(meaning, UnavailableError) or meaning.reason is Reason.STATEMENT_TIMEOUT
    )
