"""Which connections the pool uses again: all but those that the driver found spoilt when its own call failed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from schema.errors import Reason, UnavailableError
from server.db.driver import Driver, PooledConnection
from server.db.pool import Pool
from server.db.wake_up import WakeUp
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from server.local.cluster import Cluster
    from tests.server.conftest import Execute, OpenStore

SIZE = 3
# The locks that statements hold on the orders.
LOCKS = "SELECT count(*) FROM pg_locks WHERE relation = 'public.orders_synced'::regclass"
# The driver's patience with one statement, where a test waits for its end.
SILENCE_SECONDS = 0.2
PID = sa.text("SELECT pg_backend_pid()")
END = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
SLEEP = sa.text("SELECT pg_sleep(30)")
WRONG = sa.text("SELECT 1/0")


@contextlib.asynccontextmanager
async def pool_of(cluster: Cluster, *, wake_up: WakeUp | None = None, **options: Any) -> AsyncIterator[Pool]:
    """A pool of three connections, with asyncpg's options."""
    pool = Pool(
        "test",
        lambda: asyncpg.connect(cluster.url, **options),
        wake_up or WakeUp(sleeps=False, patience=0),
        size=SIZE,
        acquisition=PATIENCE_SECONDS,
        recycle=PATIENCE_SECONDS,
    )
    try:
        yield pool
    finally:
        await pool.dispose()


@pytest.fixture
async def pool(cluster: Cluster) -> AsyncIterator[Pool]:
    """A pool of three connections."""
    async with pool_of(cluster) as pool:
        yield pool


def note_openings(pool: Pool) -> list[None]:
    """A list that grows with each connection that is opened."""
    opened: list[None] = []
    pool.opened = lambda: opened.append(None)
    return opened


async def run(pool: Pool, statement: sa.TextClause) -> int:
    """Run a statement by the driver, and return the first value."""
    async with pool.checkout() as raw:
        return int((await Driver(raw, pool=pool.name).rows(statement, {}))[0][0])


async def run_by_sqlalchemy(pool: Pool, statement: sa.TextClause) -> int:
    """Run a statement by SQLAlchemy, and return the value."""
    async with pool.connect() as connection:
        return int((await connection.execute(statement)).scalar_one())


async def all_at_once(pool: Pool) -> set[int]:
    """The process ids of all three connections."""
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(pool.checkout()) for _ in range(SIZE)]
        return {int((await Driver(raw, pool=pool.name).rows(PID, {}))[0][0]) for raw in raws}


RUNS = pytest.mark.parametrize("send", [run, run_by_sqlalchemy])
OURS = [
    LookupError("a lost race"),
    UnavailableError(Reason.ORDERS_UNAVAILABLE, "an empty table"),
    TimeoutError("another clock"),
    ConnectionRefusedError("another connection"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
async def test_an_error_of_the_caller_spoils_no_connection(pool: Pool, error: Exception) -> None:
    """Whatever it is: the driver's own calls have succeeded. A hundred rounds on all connections open none."""

    async def refused(checked_out: AbstractAsyncContextManager[Any]) -> None:
        async with checked_out as found:
            await (
                Driver(found, pool=pool.name).rows(PID, {})
                if isinstance(found, PooledConnection)
                else found.execute(PID)
            )
            raise error

    before = await all_at_once(pool)
    opened = note_openings(pool)
    for _ in range(100):
        ways = refused(pool.checkout()), refused(pool.connect()), refused(pool.connect(transaction=True))
        raised = await asyncio.gather(*ways, return_exceptions=True)
        assert list(raised) == [error] * SIZE
    assert not opened
    assert await all_at_once(pool) == before


@RUNS
async def test_a_refused_statement_spoils_no_connection(pool: Pool, send: Callable[..., Any]) -> None:
    """PostgreSQL refuses the statement and goes on with the session."""
    before = await all_at_once(pool)
    for _ in range(10):
        with pytest.raises((asyncpg.PostgresError, DBAPIError)):
            await send(pool, WRONG)
    assert await all_at_once(pool) == before


@RUNS
async def test_a_lost_connection_ages_out_the_others(pool: Pool, send: Callable[..., Any]) -> None:
    """Whatever ended it may have ended them too. Those that are opened afterwards stay."""
    before = await all_at_once(pool)
    with pytest.raises((asyncpg.PostgresError, DBAPIError)):
        await send(pool, END)
    after = await all_at_once(pool)
    assert not before & after
    assert await all_at_once(pool) == after


@RUNS
async def test_a_silent_peer_ages_out_the_others(cluster: Cluster, send: Callable[..., Any]) -> None:
    """The driver gives up a statement that takes longer than the server would let it."""
    async with pool_of(cluster, command_timeout=SILENCE_SECONDS) as pool:
        before = await all_at_once(pool)
        with pytest.raises(TimeoutError):
            await send(pool, SLEEP)
        assert not before & await all_at_once(pool)


@RUNS
async def test_a_cancelled_statement_ages_out_no_other_connection(
    pool: Pool, send: Callable[..., Any], cluster: Cluster
) -> None:
    """Its own connection is closed, and the statement is cancelled in PostgreSQL."""
    before = await all_at_once(pool)
    observer = await asyncpg.connect(cluster.url)

    async def sleeps() -> bool:
        query = "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = ANY($1) AND state = 'active'"
        return bool(await observer.fetchval(query, list(before)))

    sending = asyncio.create_task(send(pool, SLEEP))
    while not await sleeps():
        pass
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    while await sleeps():
        pass
    await observer.close()
    assert len(before & await all_at_once(pool)) == SIZE - 1


@RUNS
@pytest.mark.parametrize("ending", ["cancelled", "silent", "closed by the database"])
async def test_only_a_connection_that_the_database_closes_is_reported(
    cluster: Cluster, send: Callable[..., Any], ending: str
) -> None:
    """The database may be down then. A connection that the server closes itself says nothing of that kind."""
    wake_up = WakeUp(sleeps=True, patience=0)
    wake_up.answered()
    down: list[None] = []
    wake_up.down = lambda: down.append(None)
    silence = SILENCE_SECONDS if ending == "silent" else PATIENCE_SECONDS
    async with pool_of(cluster, wake_up=wake_up, command_timeout=silence) as pool:
        closed: list[asyncpg.Connection] = []
        async with pool.checkout() as raw:
            raw.driver_connection.add_termination_listener(closed.append)
        sending = asyncio.create_task(send(pool, END if ending.startswith("closed") else SLEEP))
        while not pool.used:  # noqa: ASYNC110 # the pool has no event for it
            await asyncio.sleep(0)
        if ending == "cancelled":
            sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        # The pool's listener was added earlier. Both are called by the event loop.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not closed:  # noqa: ASYNC110 # as above
                await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert len(down) == (1 if ending.startswith("closed") else 0)


async def test_a_transaction_is_rolled_back_if_its_body_raises(pool: Pool) -> None:
    """With all that SQLAlchemy has written in it. The connection goes on, in autocommit mode."""
    create = sa.text("CREATE TEMPORARY TABLE rolled_back ()")
    count = sa.text("SELECT count(*) FROM pg_class WHERE relname = 'rolled_back'")

    async def refused() -> None:
        async with pool.connect(transaction=True) as connection:
            await connection.execute(create)
            raise LookupError

    with pytest.raises(LookupError):
        await refused()
    assert await run(pool, count) == 0
    async with pool.connect(transaction=True) as connection:
        await connection.execute(create)
    assert await run(pool, count) == 1


@pytest.mark.parametrize("selected", ["nodes { orderKey }", "totalCount"])
async def test_a_value_that_the_driver_refuses_leaves_no_table_locked(
    open_store: OpenStore, execute: Execute, database: asyncpg.Connection, selected: str
) -> None:
    """The statement is prepared by then, which locks its tables: a sync could not replace them."""
    context = open_store()[1]
    document = f"query($clerk: String!) {{ orders(filter: {{clerk: {{eq: $clerk}}}}) {{ {selected} }} }}"
    answer = await execute(document, context=context, clerk="\ud800")
    assert {error["extensions"]["reason"] for error in answer["errors"]} == {"VALUE_INVALID"}
    async with asyncio.timeout(PATIENCE_SECONDS):
        # The measurement of the table has locked it too, for a moment.
        while await database.fetchval(LOCKS):  # noqa: ASYNC110 # PostgreSQL sends no event
            await asyncio.sleep(0.01)
