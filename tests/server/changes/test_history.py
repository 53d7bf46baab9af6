"""The history in this process: queries that share a statement."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from schema.deadline import postpone, request_deadline
from schema.errors import Reason, UnavailableError
from schema.ports.changes import BEGINNING, ChangeFilter, ChangeWindow, FeedPlace
from server.changes.history import SqlChangeHistory
from server.changes.sql_history import between_statement, page_statement
from server.db.app_tables import change_tables
from server.db.pool import Pool
from server.db.wake_up import WakeUp
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import sqlalchemy as sa

    from server.db.app_tables import ChangeTables
    from server.db.driver import PooledConnection
    from server.db.engine import Engines

DIALECT = dialects.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped


class Sleeping:
    """A pool whose database sleeps until `awake` is set. Waiting for it extends the query's deadline."""

    name = "pages"

    def __init__(self, engines: Engines) -> None:
        self._pages = engines.pages
        self.asked, self.awake = asyncio.Event(), asyncio.Event()

    async def run(self, work: Callable[[PooledConnection], Awaitable[Any]]) -> Any:
        """The result of work on a connection, once the database is awake."""
        postpone(PATIENCE_SECONDS)
        self.asked.set()
        await self.awake.wait()
        return await self._pages.run(work)


async def test_a_wake_up_extends_the_deadline_of_every_query_that_waits_for_the_head(engines: Engines) -> None:
    """Of the query that starts the statement, and of those that join before and after the wake-up begins."""
    pool: Any = Sleeping(engines)
    history = SqlChangeHistory(pool, change_tables("never_made"), migrations=None)  # type: ignore[arg-type] # unused
    loop = asyncio.get_running_loop()

    async def head() -> FeedPlace:
        async with request_deadline(0.2):
            return await history.head()

    async with asyncio.TaskGroup() as group:
        heads = [group.create_task(head()) for _ in range(2)]
        await pool.asked.wait()
        heads.append(group.create_task(head()))
        loop.call_later(0.3, pool.awake.set)
    assert [one.result() for one in heads] == [BEGINNING] * 3


async def test_a_login_that_is_refused_is_not_repeated(orders_url: str) -> None:
    """Only a statement whose connection was lost has a second attempt."""
    logins = 0

    async def connect() -> asyncpg.Connection:
        nonlocal logins
        logins += 1
        return await asyncpg.connect(orders_url, user="unknown")

    pool = Pool("pages", connect, WakeUp(sleeps=False, patience=0), size=1, acquisition=1, recycle=1)
    history = SqlChangeHistory(pool, change_tables("never_made"), migrations=None)  # type: ignore[arg-type] # unused
    with pytest.raises(UnavailableError) as error:
        await history.head()
    await pool.dispose()
    assert (error.value.reason, logins) == (Reason.DATABASE_UNAVAILABLE, 1)


@pytest.fixture
async def many_changes(database: asyncpg.Connection) -> AsyncIterator[ChangeTables]:
    """A history of 20,000 changes: two of each of 10,000 orders, all by one user."""
    await database.execute("DROP SCHEMA IF EXISTS many_changes CASCADE; CREATE SCHEMA many_changes")
    tables = change_tables("many_changes")
    columns = ", ".join(f"{column.name} {column.type.compile(dialect=DIALECT)}" for column in tables.change.c)
    await database.execute(
        f"CREATE TABLE many_changes.order_status_change ({columns}, PRIMARY KEY (id));"
        "CREATE INDEX ON many_changes.order_status_change (changed_by, id);"
        "CREATE INDEX ON many_changes.order_status_change (o_orderkey, id);"
        "INSERT INTO many_changes.order_status_change (id, o_orderkey, version, changed_by, changed_at)"
        " SELECT n, n % 10000, 1, 'someone', now() FROM generate_series(1, 20000) n;"
        "ANALYZE many_changes.order_status_change"
    )
    yield tables
    await database.execute("DROP SCHEMA many_changes CASCADE")


async def planned(database: asyncpg.Connection, statement: sa.Select[Any], mode: str) -> str:
    """The plan of a statement, as it was run in this plan_cache_mode."""
    compiled = statement.compile(dialect=DIALECT)
    values = ", ".join(
        f"'{{{','.join(map(str, value))}}}'" if isinstance(value, list) else f"'{value}'"
        for value in (compiled.params[name] for name in compiled.positiontup or [])
    )
    async with database.transaction():
        await database.execute(f"SET LOCAL plan_cache_mode = {mode}; SET LOCAL random_page_cost = 1.1")
        await database.execute(f"PREPARE changes AS {compiled}")
        plan = await database.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE changes({values})")
        await database.execute("DEALLOCATE changes")
    return "\n".join(row[0] for row in plan)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_a_page_of_a_users_changes_reads_no_others(
    database: asyncpg.Connection,
    many_changes: ChangeTables,
    backward: bool,  # noqa: FBT001 # pytest gives it by name
) -> None:
    """Even if there are none after or before a place, and if PostgreSQL expects many."""
    window = ChangeWindow(1, FeedPlace(10_000), backward=backward)
    statement = page_statement(many_changes, window, ChangeFilter(changed_by="nobody"), until=FeedPlace(20_000))
    plan = await planned(database, statement, "force_generic_plan")
    assert "Seq Scan" not in plan, plan
    assert plan.count("order_status_change_changed_by_id_idx") == 2, plan


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_resuming_orders_without_changes_reads_no_others(
    database: asyncpg.Connection, many_changes: ChangeTables, mode: str
) -> None:
    """However many orders, and however long the history is."""
    keys = frozenset(range(1_000_000, 1_001_000))
    plan = await planned(database, between_statement(many_changes, 0, 20_000, keys, size=100), mode)
    assert "Rows Removed" not in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_the_changes_of_some_orders_come_in_their_order(
    database: asyncpg.Connection, many_changes: ChangeTables
) -> None:
    """The first ones of all these orders, after one place and up to another."""
    statement = between_statement(many_changes, 3, 10_007, frozenset({2, 5, 7, 9, 1_000_000}), size=4)
    compiled = statement.compile(dialect=DIALECT)
    rows = await database.fetch(str(compiled), *(compiled.params[name] for name in compiled.positiontup or []))
    assert [row["id"] for row in rows] == [5, 7, 9, 10_002]
