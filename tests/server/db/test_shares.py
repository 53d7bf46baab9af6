"""The shares of a pool: slow statements never hold all connections, and fast ones are never limited."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from contextvars import copy_context
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from schema.errors import Reason, UnavailableError
from server.db.pool import Pool
from server.db.shares import brief_of, caller_share, operation_share
from server.db.wake_up import WakeUp
from server.observability.request_record import RequestRecord, current_record
from server.traffic.admission import Admission
from tests.server.db.logins import until
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from server.db.driver import PooledConnection
    from server.local.cluster import Cluster

SIZE = 10
SHARE, SLOW_SHARE, BRIEF = operation_share(SIZE), caller_share(SIZE), brief_of(SIZE)
# More than there are connections. Each may be tried on a brief one first.
CROWD, FEW = 14, 5
# A slow machine, too, runs a fast statement within this time.
BRIEF_SECONDS = 0.2
LOCK = 2020
SEED = 7
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brief connections that suit a slow machine."""
    monkeypatch.setattr("server.db.pool.SLOW_SECONDS", BRIEF_SECONDS)


@contextlib.asynccontextmanager
async def pool_of(cluster: Cluster, *, size: int = SIZE, acquisition: float = PATIENCE_SECONDS) -> AsyncIterator[Pool]:
    """A pool with brief connections."""
    pool = Pool(
        "test",
        lambda: asyncpg.connect(cluster.url),
        WakeUp(sleeps=False, patience=0),
        size=size,
        acquisition=acquisition,
        recycle=PATIENCE_SECONDS,
        brief=brief_of(size),
    )
    try:
        yield pool
    finally:
        await pool.dispose()


@pytest.fixture
async def pool(cluster: Cluster) -> AsyncIterator[Pool]:
    """A pool of ten connections, two of which are brief."""
    async with pool_of(cluster) as pool:
        yield pool


@contextlib.asynccontextmanager
async def locked(cluster: Cluster) -> AsyncIterator[None]:
    """Hold up all slow statements."""
    holder = await asyncpg.connect(cluster.url)
    await holder.execute(f"SELECT pg_advisory_lock({LOCK})")
    try:
        yield
    finally:
        await holder.close()


def operation(caller: str) -> RequestRecord:
    """An operation of this caller."""
    return RequestRecord(str(next(_numbers)), caller=caller)


def begin(record: RequestRecord, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start work for this operation."""
    context = copy_context()
    context.run(current_record.set, record)
    return asyncio.create_task(work, context=context)


async def slow(raw: PooledConnection) -> str:
    """A statement that waits for as long as the lock is held."""
    return str(await raw.driver_connection.fetchval(f"SELECT pg_advisory_xact_lock_shared({LOCK})::text || 'slow'"))


async def fast(raw: PooledConnection) -> int:
    """A statement that waits for nothing."""
    return int(await raw.driver_connection.fetchval("SELECT 1"))


def holding(event: asyncio.Event) -> Callable[[PooledConnection], Awaitable[Any]]:
    """Work that holds a connection until the event."""
    return lambda _raw: event.wait()


def held_by(pool: Pool, caller: str) -> int:
    """How many connections the caller's operations hold."""
    return sum(raw.holder is not None and raw.holder.caller == caller for raw in pool._open)  # noqa: SLF001 # no one else needs to know


async def answered(pool: Pool, *callers: str) -> None:
    """Check that these callers' fast statements are answered, many at once."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert set(await asyncio.gather(*(begin(operation(caller), pool.run(fast)) for caller in callers * CROWD))) == {
            1
        }


async def test_an_operation_holds_at_most_its_share(cluster: Cluster, pool: Pool) -> None:
    """Its other statements wait, although connections are free. All of them are answered in the end."""
    one = operation("ann")
    async with locked(cluster):
        running = [begin(one, pool.run(slow)) for _ in range(CROWD)]
        await until(lambda: held_by(pool, "ann") == SHARE and pool.waiting == CROWD - SHARE)
        await answered(pool, "bob", "ann")
        assert held_by(pool, "ann") == SHARE
    assert await asyncio.gather(*running) == ["slow"] * CROWD
    assert (pool.used, pool.waiting) == (0, 0)


async def test_many_slow_operations_of_a_caller_leave_connections_to_others(cluster: Cluster, pool: Pool) -> None:
    """And to the caller's own fast operations: a frontend's server is one caller for all of its users."""
    async with locked(cluster):
        running = [begin(operation("ann"), pool.run(slow)) for _ in range(CROWD)]
        await until(lambda: pool.used >= SIZE - BRIEF)
        await answered(pool, "bob", "ann")
    assert await asyncio.gather(*running) == ["slow"] * CROWD
    assert (pool.used, pool.waiting) == (0, 0)


async def test_many_slow_callers_leave_connections_to_others(cluster: Cluster, pool: Pool) -> None:
    """Each has one slow statement, so none holds its share."""
    async with locked(cluster):
        running = [begin(operation(f"user {number}"), pool.run(slow)) for number in range(CROWD)]
        await until(lambda: pool.used >= SIZE - BRIEF)
        await answered(pool, "bob", "user 3")
    assert await asyncio.gather(*running) == ["slow"] * CROWD
    assert (pool.used, pool.waiting) == (0, 0)


async def test_a_caller_with_slow_statements_gets_back_to_its_share(
    cluster: Cluster, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It held more before anybody knew that they are slow. When one of them ends, no other takes its place."""
    async with locked(cluster):
        ends = [asyncio.Event() for _ in range(SIZE - BRIEF)]
        running = [begin(operation("ann"), pool.run(holding(end))) for end in ends]
        await until(lambda: held_by(pool, "ann") == SIZE - BRIEF)
        monkeypatch.setattr("server.db.shares.SLOW_SECONDS", 0.0)
        late = operation("ann")
        waiting = begin(late, pool.run(slow))
        await until(lambda: pool.waiting == 1)
        for index, end in enumerate(ends[:-SLOW_SHARE]):
            end.set()
            await running[index]
            assert (held_by(pool, "ann"), pool.waiting) == (SIZE - BRIEF - 1 - index, 1)
        ends[-1].set()
        await until(lambda: pool.waiting == 0)
        assert held_by(pool, "ann") == SLOW_SHARE
    for end in ends:
        end.set()
    assert await waiting == "slow"
    await asyncio.gather(*running)


async def test_a_caller_counts_as_slow_for_a_while_after_a_slow_statement(
    cluster: Cluster, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one whose statements are just slow would have no bound for half of the time. Others are not affected."""
    monkeypatch.setattr("server.db.shares._REMEMBERED_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("server.db.shares.SLOW_SECONDS", 0.0)
    await begin(operation("ann"), pool.run(fast))
    monkeypatch.setattr("server.db.shares.SLOW_SECONDS", PATIENCE_SECONDS)
    async with locked(cluster):
        running = [begin(operation("ann"), pool.run(slow)) for _ in range(CROWD)]
        await until(lambda: held_by(pool, "ann") >= SLOW_SHARE)
        await answered(pool, "bob")
        # One more is brief.
        assert SLOW_SHARE <= held_by(pool, "ann") <= SLOW_SHARE + 1
    assert await asyncio.gather(*running) == ["slow"] * CROWD


async def test_a_slow_caller_never_gets_the_last_brief_connection(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that other callers need not wait for the end of what it tries there."""
    monkeypatch.setattr("server.db.shares.SLOW_SECONDS", 0.0)
    end = asyncio.Event()
    running = [begin(operation("ann"), pool.run(holding(end))) for _ in range(CROWD)]
    await until(lambda: held_by(pool, "ann") == SLOW_SHARE + BRIEF - 1)
    await answered(pool, "bob")
    assert held_by(pool, "ann") == SLOW_SHARE + BRIEF - 1
    end.set()
    await asyncio.gather(*running)


async def test_a_caller_whose_statements_are_fast_may_hold_all_connections(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine any statement may take long, so nothing counts as slow here."""
    monkeypatch.setattr("server.db.shares.SLOW_SECONDS", PATIENCE_SECONDS)
    end = asyncio.Event()
    running = [begin(operation("frontend"), pool.run(holding(end))) for _ in range(SIZE)]
    await until(lambda: held_by(pool, "frontend") == SIZE)
    end.set()
    assert all(await asyncio.gather(*running))


async def test_an_answer_that_waits_for_the_server_itself_makes_nobody_slow(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may compute for longer than a slow statement takes: a large document, or the events of a crowd."""
    now = itertools.count(PATIENCE_SECONDS, PATIENCE_SECONDS)
    clock = SimpleNamespace(monotonic=lambda: next(now), thread_time=lambda: next(now))
    monkeypatch.setattr("server.db.shares.time", clock)
    end = asyncio.Event()
    running = [begin(operation("frontend"), pool.run(holding(end))) for _ in range(SIZE)]
    await until(lambda: held_by(pool, "frontend") == SIZE)
    end.set()
    await asyncio.gather(*running)


async def test_a_statement_that_is_too_slow_for_a_brief_connection_runs_again(cluster: Cluster, pool: Pool) -> None:
    """On an ordinary connection, when there is one, and to its end."""
    attempts: list[bool] = []

    async def noted(raw: PooledConnection) -> str:
        attempts.append(raw.brief)
        return await slow(raw)

    end = asyncio.Event()
    async with locked(cluster):
        others = [begin(operation(f"user {number}"), pool.run(holding(end))) for number in range(SIZE - BRIEF)]
        await until(lambda: pool.used == SIZE - BRIEF)
        running = begin(operation("bob"), pool.run(noted))
        await until(lambda: attempts == [True] and pool.waiting == 1)
        end.set()
        await until(lambda: attempts == [True, False])
    assert await running == "slow"
    await asyncio.gather(*others)


async def test_any_other_failure_on_a_brief_connection_is_told(pool: Pool) -> None:
    """The statement runs once."""
    attempts: list[bool] = []

    async def wrong(raw: PooledConnection) -> None:
        attempts.append(raw.brief)
        await raw.driver_connection.execute("SELECT 1/0")

    end = asyncio.Event()
    others = [begin(operation(f"user {number}"), pool.run(holding(end))) for number in range(SIZE - BRIEF)]
    await until(lambda: pool.used == SIZE - BRIEF)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await begin(operation("bob"), pool.run(wrong))
    assert attempts == [True]
    end.set()
    await asyncio.gather(*others)


async def test_a_statement_that_waits_for_its_own_caller_is_refused_like_any_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the usual wait, with the usual code, although there are free connections."""
    monkeypatch.setattr("server.db.shares.SLOW_SECONDS", PATIENCE_SECONDS)
    async with pool_of(cluster, acquisition=0.05) as pool, locked(cluster):
        one, end = operation("ann"), asyncio.Event()
        running = [begin(one, pool.run(holding(end))) for _ in range(SHARE)]
        await until(lambda: held_by(pool, "ann") == SHARE)
        monkeypatch.setattr("server.db.shares.SLOW_SECONDS", 0.0)
        for record in (one, operation("ann")):
            # The second one is cut short on a brief connection first.
            with pytest.raises(UnavailableError) as refused:
                await begin(record, pool.run(slow))
            assert refused.value.reason is Reason.POOL_EXHAUSTED
        end.set()
        await asyncio.gather(*running)


async def test_an_operation_that_waits_for_its_own_caller_leaves_its_admission_slot(
    cluster: Cluster, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would be refused a slot otherwise: its caller may send more operations than there are slots."""
    monkeypatch.setattr("server.db.shares.SLOW_SECONDS", 0.0)
    admission, end = Admission(1, wait_seconds=PATIENCE_SECONDS), asyncio.Event()

    async def admitted(work: Callable[[PooledConnection], Awaitable[Any]]) -> None:
        slot = await admission.enter()
        try:
            await pool.run(work)
        finally:
            slot.leave()

    async with locked(cluster):
        running = [begin(operation("ann"), pool.run(holding(end))) for _ in range(SLOW_SHARE)]
        await until(lambda: held_by(pool, "ann") == SLOW_SHARE)
        running += [begin(operation("ann"), admitted(slow)) for _ in range(CROWD)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await begin(operation("bob"), admitted(fast))
        assert not any(task.done() for task in running)
        end.set()
    await asyncio.gather(*running)


async def test_a_caller_never_holds_all_connections_of_a_pool_without_brief_ones(cluster: Cluster) -> None:
    """Its statements are slow by nature, so nobody has to find that out first."""
    pool = Pool(
        "counts",
        lambda: asyncpg.connect(cluster.url),
        WakeUp(sleeps=False, patience=0),
        size=3,
        acquisition=PATIENCE_SECONDS,
        recycle=PATIENCE_SECONDS,
    )
    async with locked(cluster):
        running = [begin(operation("ann"), pool.run(slow)) for _ in range(CROWD)]
        await until(lambda: held_by(pool, "ann") == caller_share(3))
        await answered(pool, "bob")
        assert held_by(pool, "ann") == caller_share(3)
    assert await asyncio.gather(*running) == ["slow"] * CROWD
    await pool.dispose()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_a_small_pool_answers_everybody(cluster: Cluster, size: int) -> None:
    """Slow and fast, of one operation and of many. A pool of two or more answers the fast ones first."""
    async with pool_of(cluster, size=size) as pool:
        one = operation("ann")
        async with locked(cluster):
            running = [begin(one, pool.run(slow)) for _ in range(FEW)]
            running += [begin(operation("ann"), pool.run(slow)) for _ in range(FEW)]
            await until(lambda: pool.used >= caller_share(size))
            if size > 1:
                await answered(pool, "bob", "ann")
        assert await asyncio.gather(*running) == ["slow"] * 2 * FEW
        assert (pool.used, pool.waiting) == (0, 0)


async def test_no_connection_is_lost_whatever_becomes_of_a_crowd(cluster: Cluster) -> None:
    """Operations of a few callers run, fail, lose their connection, or are cancelled, on ordinary and brief ones."""
    chance = random.Random(SEED)  # noqa: S311 # reproducible
    statements = ["SELECT pg_sleep(0.3)", "SELECT 1", "SELECT 1/0", "SELECT pg_terminate_backend(pg_backend_pid())"]

    async def one(pool: Pool, record: RequestRecord, statement: str) -> None:
        asking = begin(record, pool.run(lambda raw: raw.driver_connection.fetchval(statement)))
        if chance.randrange(4) == 0:
            await asyncio.sleep(chance.random() / 20)
            asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async with pool_of(cluster, size=5) as pool:
        for _ in range(2):
            records = [operation(chance.choice("abc")) for _ in range(20)]
            await asyncio.gather(*(one(pool, chance.choice(records), chance.choice(statements)) for _ in range(40)))
            assert (pool.used, pool.waiting) == (0, 0)
            await answered(pool, "a")
            assert (pool.used, pool.waiting) == (0, 0)
            assert 0 < pool.idle <= 5
