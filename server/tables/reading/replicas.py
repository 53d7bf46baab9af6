"""Reads from replicas: whether there are any, whether one is fresh enough, and when they are left out."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from schema.errors import ApiError, InternalError, Reason, UnavailableError
from server.db.driver import Driver
from server.db.errors import classify
from server.http.read_requirement import current_reads
from server.observability.log_setup import silence_failure
from server.tables.reading.read_connection import ReadConnection
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.db.driver import PooledConnection
    from server.db.engine import Engines
    from server.db.pool import Pool

S = TypeVar("S")
T = TypeVar("T")
_log = structlog.get_logger(__name__)
_REPLAYED: Final = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END"
)
# How long a read waits for the primary's position before it goes to the primary itself.
_POSITION_SECONDS: Final = 0.5
# The key, in a connection's `info`, of the position that its replica had replayed when it was last asked.
_REPLAYED_POSITION: Final = "replayed"
_FIRST_PAUSE_SECONDS: Final = 0.5
_LAST_PAUSE_SECONDS: Final = 4.0
# How often the platform is asked whether there are replicas, while tables are read.
_LOOK_AGAIN_SECONDS: Final = 60.0
# States of a replica that is not left out.
NO_REPLICA: Final = "there is none"
UNUSED_REPLICA: Final = "found, and not used yet"


class LeftOutError(Exception):
    """No replica can answer this read now, so the primary has to."""


class Floor:
    """The position in the log that a replica must have replayed: the primary's, at most `bound` seconds ago.

    The process asks the primary at most twice in that time for all its reads, and never while it reads nothing.
    """

    def __init__(self, pool: Pool, *, bound: float) -> None:
        self._pool = pool
        self._bound = bound
        self._known: deque[tuple[float, int]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def position(self) -> int:
        """The position in the write-ahead log, in bytes from its beginning.

        Raises:
            Exception: the primary does not answer.
        """
        now = time.monotonic()
        while self._known and now - self._known[0][0] > self._bound:
            self._known.popleft()
        if not self._known or now - self._known[-1][0] > self._bound / 2:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(), name="floor", context=Context())
                self._asking.add_done_callback(silence_failure)
            if not self._known:
                # If the database sleeps, the read waits for its wake-up on the primary.
                async with asyncio.timeout(_POSITION_SECONDS):
                    await asyncio.shield(self._asking)
        return self._known[0][1]

    async def _ask(self) -> None:
        # The time before the statement: its answer may lack what is written while it runs.
        asked_at = time.monotonic()
        position = await self._pool.run(lambda raw: Driver(raw, pool=self._pool.name).log_position())
        self._known.append((asked_at, position))


class Replicas:
    """The replicas behind one address.

    A replica answers a read if it has replayed the log up to the floor and up to the client's consistency token. If
    that is unknown, or if anything fails, the primary answers, and the client does not notice.

    Args:
        engines: the engines of the primary.
        pools: the pools of the replicas, for pages and for aggregates; empty if there can be no replicas.
        exist: finds out whether there are any; raises an ApiError if it cannot.
        bound: how many seconds a replica may lag behind.
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
        self._pool_for = dict(zip((engines.pages.name, engines.aggregates.name), pools, strict=False))
        self._floor = Floor(engines.pages, bound=bound)
        self._exist = exist
        self._found: bool | None = None
        self._looked_at = -math.inf
        self._discovering: asyncio.Task[None] | None = None
        self._out_until = -math.inf
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self._probing: asyncio.Task[None] | None = None
        self.state = NO_REPLICA

    @property
    def hold_seconds(self) -> float:
        """How long the feed holds a change back, so that a subscriber who then reads from a replica finds it."""
        return self.bound if self.expected else 0.0

    @property
    def expected(self) -> bool:
        """Whether there are any, or may be: another process may have found replicas before this one has."""
        self.discover()
        return bool(self.pools) and self._found is not False

    def discover(self) -> None:
        """Look for replicas in the background, unless that was done recently."""
        is_due = self.pools and time.monotonic() - self._looked_at > _LOOK_AGAIN_SECONDS
        if is_due and (self._discovering is None or self._discovering.done()):
            self._discovering = asyncio.create_task(self._discover(), name="discover replicas", context=Context())

    def forget(self) -> None:
        """Look again at the next read: replicas may have been added or removed."""
        self._looked_at = -math.inf

    async def close(self) -> None:
        """Stop the background tasks, and close the pools."""
        tasks = [task for task in (self._discovering, self._probing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(pool.dispose() for pool in self.pools))

    async def run(self, pool: Pool, work: Callable[[ReadConnection[S]], Awaitable[T]], source: S | None) -> T:
        """The result of statements on a replica.

        Raises:
            LeftOutError: the primary has to answer.
            ApiError: the primary would fail in the same way.
        """
        self.discover()
        if source is None or not self._usable():
            raise LeftOutError
        pool, reads = self._pool_for[pool.name], current_reads.get(None)

        async def fresh(raw: PooledConnection) -> T:
            # After the wait for a connection, because the read has to be fresh when it runs.
            await self._check_replayed(pool, raw, await self._floor_position(), token=reads.position if reads else 0)
            return await work(ReadConnection(pool, raw, source=source))

        try:
            result = await pool.run(fresh)
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
        if not self._found or (reads := current_reads.get(None)) is None or reads.primary_only:
            return False
        if self._out_until > -math.inf:
            if time.monotonic() >= self._out_until and (self._probing is None or self._probing.done()):
                self._probing = asyncio.create_task(self._probe(), name="probe replica", context=Context())
            return False
        return True

    async def _probe(self) -> None:
        """Check whether a replica that was left out can be used again. No request waits for this."""
        try:
            for pool in self.pools[:1]:
                async with pool.checkout() as raw:
                    await self._check_replayed(pool, raw, await self._floor_position())
            self._note_success()
        except LeftOutError:
            return
        except Exception as error:  # noqa: BLE001 # after any failure it stays left out
            self._note_failure(error)

    async def _discover(self) -> None:
        self._looked_at = time.monotonic()
        try:
            self._found = await self._exist()
        except ApiError as error:
            _log.info("replica lookup failed", reason=error.reason.name)
            return
        if not self._found:
            self.state = NO_REPLICA
        elif self.state == NO_REPLICA:
            self.state, self._out_until = UNUSED_REPLICA, -math.inf

    async def _floor_position(self) -> int:
        try:
            return await self._floor.position()
        except Exception as error:
            # The primary does not answer. That says nothing about the replica, so its state stays as it is.
            raise LeftOutError from error

    async def _check_replayed(self, pool: Pool, raw: PooledConnection, floor: int, *, token: int = 0) -> None:
        """Check that the replica has replayed the log up to the floor, and up to the client's token.

        Raises:
            LeftOutError: it has not.
        """
        info = raw.info
        # A replica only goes forward, and a connection always leads to the same one.
        if info.get(_REPLAYED_POSITION, -1) < max(floor, token):
            replayed = await Driver(raw, pool=pool.name).value(_REPLAYED)
            if replayed is None:
                self._leave_out("it is not a hot standby")
                raise LeftOutError
            info[_REPLAYED_POSITION] = replayed
            if replayed < floor:
                self._leave_out(f"it is more than {self.bound:g} s behind", seconds=self.bound / 2)
            if replayed < max(floor, token):
                raise LeftOutError

    def _note_failure(self, error: Exception) -> None:
        if isinstance(error, ApiError):
            # The platform gives no address or no credential, or the pool is exhausted. Neither is the replica's fault.
            return
        self._leave_out(f"it does not answer ({type(error).__name__})")

    def _leave_out(self, state: str, *, seconds: float | None = None) -> None:
        if state != self.state:
            _log.warning("replica left out", reason=state)
        self.state = state
        self._out_until = time.monotonic() + (self._backoff.next_pause() if seconds is None else seconds)

    def _note_success(self) -> None:
        self.state, self._out_until = "ok", -math.inf
        self._backoff.reset()


def _is_final(error: Exception) -> bool:
    """Whether the primary would fail in the same way: a value out of range, a statement that takes too long."""
    meaning = classify(error)
    return not isinstance(meaning, (UnavailableError, InternalError)) or meaning.reason is Reason.STATEMENT_TIMEOUT
