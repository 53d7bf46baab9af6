"""A history that is replaced by a restore, a reset or a failover: no cursor of the old one is taken for one of the new."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from schema.errors import InputError, Reason
from schema.ports.changes import BEGINNING, FeedPlace
from schema.relay.cursors import encode_change_cursor, opaque
from server.changes.feed import PostgresFeed
from server.changes.history import SqlChangeHistory
from server.changes.sql_writes import MOMENT
from server.changes.transfer import exported, import_lines
from server.db.app_tables import change_tables
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine
from server.db.migrate import Migrations
from server.settings import Settings
from tests.servers.process import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine

    from schema.context import Context
    from schema.ports.changes import StatusChange
    from tests.server.conftest import Execute, LogLines, OpenStore

SCHEMA = "replaced"
FIRST, SECOND = "2026-01-01", "2026-06-01"
FEED = "application_name = 'lakebase-orders-graphql feed'"
PAGE = "query($after: String, $before: String, $first: Int, $last: Int) { orderStatusChanges(first: $first, after: $after, last: $last, before: $before) { nodes { version } } }"
HEAD = "query($after: String) { orderStatusChanges(first: 0, after: $after) { headCursor } }"
OF_ORDERS = """
query($after: String) {
  bad: order(orderKey: "1") { statusChanges(after: $after) { nodes { version } } }
  good: order(orderKey: "1") { statusChanges(first: 1) { nodes { version } } }
}
"""


@pytest.fixture(scope="module")
async def engine(orders_url: str) -> AsyncEngine:
    """Connections to a database with our tables in two schemas."""
    engine = create_migration_engine(Settings(database_url=orders_url), UrlDatabase(orders_url))
    for schema in (SCHEMA, f"{SCHEMA}_copy"):
        await Migrations(engine, schema).upgrade()
    return engine


@pytest.fixture
async def context(engine: AsyncEngine, database: asyncpg.Connection, open_store: OpenStore) -> AsyncIterator[Context]:
    """The context of a process whose feed looks for changes only when it is told; the history is empty."""
    assert engine
    await write(database, [], FIRST)
    _, context = open_store(app_schema=SCHEMA, feed={"catch_up_seconds": 3600})
    yield context
    assert isinstance(context.feed, PostgresFeed)
    await context.feed.close()


async def write(database: asyncpg.Connection, ids: Iterable[int], day: str, *, anew: bool = True) -> None:
    """Write the changes with these ids, each at its own microsecond of a day; `anew` replaces the history by them."""
    async with database.transaction():
        if anew:
            # The triggers that keep the history are off.
            await database.execute("SET LOCAL session_replication_role = replica")
            await database.execute(f"TRUNCATE {SCHEMA}.order_status_change")
            await database.execute("SET LOCAL session_replication_role = origin")
        await database.execute(
            f"INSERT INTO {SCHEMA}.order_status_change (id, o_orderkey, cleared, version, changed_by, changed_at) "
            f"SELECT i, 1, false, i, 'ada', $2::text::timestamptz + i * interval '1 us' FROM unnest($1::bigint[]) i",
            list(ids),
            day,
        )


async def place_of(database: asyncpg.Connection, id_: int) -> FeedPlace:
    """The place of a change in the history as it is now."""
    moment = await database.fetchval(f"SELECT {MOMENT} FROM {SCHEMA}.order_status_change WHERE id = $1", id_)
    return FeedPlace(id_, moment)


async def heard(changes: AsyncGenerator[StatusChange, None], count: int) -> list[int]:
    """The ids of the next changes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [(await anext(changes)).id for _ in range(count)]


async def refused(changes: AsyncGenerator[StatusChange, None]) -> Reason:
    """The reason with which a subscription ends at once."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(InputError) as error:
            await anext(changes)
    return error.value.reason


@pytest.mark.parametrize("reconnects", [False, True], ids=["notified", "reconnected"])
async def test_all_subscribers_end_when_the_history_is_replaced(
    context: Context, database: asyncpg.Connection, *, reconnects: bool
) -> None:
    """They had heard 15 changes. The history is put back to 5 and grows to 20: hearing 16 to 20 only would be wrong."""
    await write(database, range(1, 11), FIRST)
    async with (
        aclosing(context.feed.changes(BEGINNING, None)) as every,
        aclosing(context.feed.changes(await place_of(database, 10), frozenset({2}))) as of_another,
    ):
        assert await heard(every, 10) == list(range(1, 11))
        waiting = asyncio.ensure_future(refused(of_another))
        await write(database, range(11, 16), FIRST, anew=False)
        assert await heard(every, 5) == list(range(11, 16))
        await write(database, [*range(1, 6)], FIRST)
        await write(database, range(6, 21), SECOND, anew=False)
        if reconnects:
            await database.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {FEED}")
        assert await refused(every) is Reason.CURSOR_INVALID
        assert await waiting is Reason.CURSOR_INVALID
    async with aclosing(context.feed.changes(await place_of(database, 5), None)) as anew:
        assert await heard(anew, 15) == list(range(6, 21))


async def test_a_history_that_lost_its_tail_ends_all_subscribers(
    context: Context, database: asyncpg.Connection
) -> None:
    """As when a standby is promoted that had not received the last changes."""
    await write(database, range(1, 16), FIRST)
    async with aclosing(context.feed.changes(BEGINNING, None)) as changes:
        assert await heard(changes, 15) == list(range(1, 16))
        await write(database, range(1, 11), FIRST)
        await database.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {FEED}")
        assert await refused(changes) is Reason.CURSOR_INVALID


async def test_a_subscriber_that_comes_while_the_history_is_replaced_needs_no_other_use_of_the_database(
    context: Context,
    database: asyncpg.Connection,
    open_store: OpenStore,
    log_lines: LogLines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own use, noted before it joins, makes the feed find out. A slow subscriber keeps the feed alive.

    The feed may not wake the database, and gets no NOTIFY.
    """
    await write(database, [1], FIRST)
    _, context = open_store(app_schema=SCHEMA, feed={"catch_up_seconds": 0.01, "keeps_awake": False})
    require = SqlChangeHistory.require

    async def require_late(history: SqlChangeHistory, *places: FeedPlace) -> None:
        await require(history, *places)
        ended = "feed ended: the history was replaced"
        await until(lambda: any(line["event"] == ended for line in log_lines()))

    assert isinstance(context.feed, PostgresFeed)
    async with aclosing(context.feed.changes(BEGINNING, None)) as slow:
        assert await heard(slow, 1) == [1]
        await write(database, [2], FIRST, anew=False)
        assert await heard(slow, 1) == [2]
        await database.execute(f"ALTER TABLE {SCHEMA}.order_status_change DISABLE TRIGGER announce_change")
        await write(database, [1, 2, 3], SECOND)
        await database.execute(f"ALTER TABLE {SCHEMA}.order_status_change ENABLE TRIGGER announce_change")
        monkeypatch.setattr(SqlChangeHistory, "require", require_late)
        async with aclosing(context.feed.changes(await place_of(database, 2), None)) as newcomer:
            assert await heard(newcomer, 1) == [3]
    await context.feed.close()


@pytest.mark.parametrize("behind", [0, 3000], ids=["near", "far-behind"])
async def test_a_cursor_of_a_replaced_history_is_refused(
    context: Context, database: asyncpg.Connection, behind: int
) -> None:
    """The new history has another change with this id. The cursor of a change that both have is valid in both."""
    await write(database, range(1, 16), FIRST)
    shared, lost = await place_of(database, 5), await place_of(database, 10)
    await write(database, range(1, 6), FIRST)
    await write(database, range(6, 21 + behind), SECOND, anew=False)
    async with aclosing(context.feed.changes(lost, None)) as changes:
        assert await refused(changes) is Reason.CURSOR_INVALID
    async with aclosing(context.feed.changes(shared, None)) as changes:
        assert await heard(changes, 15 + behind) == list(range(6, 21 + behind))


async def test_a_cursor_is_refused_by_a_history_that_was_made_anew(
    context: Context, database: asyncpg.Connection
) -> None:
    """It had heard 10 changes. Hearing 11 to 15 of the new history would be wrong: it lacks the first ten."""
    await write(database, range(1, 11), FIRST)
    last = await place_of(database, 10)
    await write(database, range(1, 16), SECOND)
    async with aclosing(context.feed.changes(last, None)) as changes:
        assert await refused(changes) is Reason.CURSOR_INVALID


async def test_a_history_that_is_replaced_under_a_subscriber_far_behind_ends_it(
    context: Context, database: asyncpg.Connection
) -> None:
    """It had read the first pages of the old history. The new one is longer, so there are pages after its position."""
    await write(database, range(1, 2001), FIRST)
    async with aclosing(context.feed.changes(BEGINNING, None)) as changes:
        assert await heard(changes, 1) == [1]
        await write(database, range(1, 4001), SECOND)
        with pytest.raises(InputError) as error:
            await heard(changes, 4000)
    assert error.value.reason is Reason.CURSOR_INVALID


async def test_a_cursor_of_an_earlier_release_is_checked_by_its_id(
    context: Context, database: asyncpg.Connection, execute: Execute
) -> None:
    """Such a cursor has only the id. If the history does not have this id, another history issued the cursor."""
    await write(database, [1, 2, 40], FIRST)
    async with aclosing(context.feed.changes(FeedPlace(2), None)) as changes:
        assert await heard(changes, 1) == [40]
    answer = await execute(PAGE, context=context, after=opaque([1, "changes", 2]))
    assert [node["version"] for node in answer["data"]["orderStatusChanges"]["nodes"]] == [40]
    for unknown in (3, 41):
        async with aclosing(context.feed.changes(FeedPlace(unknown), None)) as changes:
            assert await refused(changes) is Reason.CURSOR_INVALID


async def test_the_beginning_is_the_same_in_every_history(
    context: Context, database: asyncpg.Connection, execute: Execute
) -> None:
    """It is the head of an empty history. From there a subscriber hears every change that there will be."""
    answer = await execute(HEAD, context=context)
    assert answer["data"]["orderStatusChanges"]["headCursor"] == encode_change_cursor(BEGINNING)
    async with aclosing(context.feed.changes(BEGINNING, None)) as changes:
        hearing = asyncio.ensure_future(heard(changes, 3))
        await write(database, [1, 2, 3], SECOND)
        assert await hearing == [1, 2, 3]
    answer = await execute(PAGE, context=context, after=encode_change_cursor(BEGINNING))
    assert len(answer["data"]["orderStatusChanges"]["nodes"]) == 3


async def test_a_jump_of_the_sequence_is_no_other_history(context: Context, database: asyncpg.Connection) -> None:
    """After a crash, PostgreSQL skips up to 32 ids."""
    await write(database, [1, 2], FIRST)
    async with aclosing(context.feed.changes(await place_of(database, 2), None)) as changes:
        hearing = asyncio.ensure_future(heard(changes, 2))
        await write(database, [35, 67], FIRST, anew=False)
        assert await hearing == [35, 67]


def reasons(answer: dict[str, Any]) -> list[str]:
    """The reasons of an answer's errors."""
    return [error["extensions"]["reason"] for error in answer.get("errors", ())]


async def test_pages_of_changes_refuse_such_cursors_too(
    context: Context, database: asyncpg.Connection, execute: Execute
) -> None:
    """Otherwise a cursor ahead of the feed would give an empty page for ever, and another history's a wrong page."""
    await write(database, range(1, 16), FIRST)
    lost = await place_of(database, 10)
    await write(database, range(1, 6), FIRST)
    await write(database, range(6, 21), SECOND, anew=False)
    good = await place_of(database, 20)
    for wrong in (lost, FeedPlace(21), replace(good, id=21)):
        cursor = encode_change_cursor(wrong)
        for document, variables in (
            (PAGE, {"first": 5, "after": cursor}),
            (PAGE, {"last": 5, "before": cursor}),
            (HEAD, {"after": cursor}),
        ):
            assert reasons(await execute(document, context=context, **variables)) == ["CURSOR_INVALID"], document
        answer = await execute(OF_ORDERS, context=context, after=cursor)
        assert reasons(answer) == ["CURSOR_INVALID"]
        assert answer["data"]["good"] == {"statusChanges": {"nodes": [{"version": 1}]}}
    answer = await execute(PAGE, context=context, after=encode_change_cursor(good))
    assert answer["data"]["orderStatusChanges"]["nodes"] == []
    answer = await execute(PAGE, context=context, last=5, before=encode_change_cursor(good))
    assert [node["version"] for node in answer["data"]["orderStatusChanges"]["nodes"]] == [15, 16, 17, 18, 19]


async def test_before_any_table_exists_only_the_beginning_is_a_place(open_store: OpenStore, execute: Execute) -> None:
    """Nothing has ever been changed, so no cursor of a change can have been issued."""
    _, context = open_store(app_schema="never_made")
    for document in (PAGE, OF_ORDERS):
        assert reasons(await execute(document, context=context, after=encode_change_cursor(FeedPlace(1, 1)))) == [
            "CURSOR_INVALID"
        ]
        assert reasons(await execute(document, context=context, after=encode_change_cursor(BEGINNING))) == []


async def test_cursors_stay_valid_in_a_database_that_the_history_is_carried_to(
    engine: AsyncEngine, context: Context, database: asyncpg.Connection, open_store: OpenStore
) -> None:
    """`export-changes` keeps ids and times, to the microsecond."""
    await write(database, range(1, 6), FIRST)
    place = await place_of(database, 3)
    lines = [line async for line in exported(engine, change_tables(SCHEMA))]
    await import_lines(engine, change_tables(f"{SCHEMA}_copy"), lines)
    _, elsewhere = open_store(app_schema=f"{SCHEMA}_copy")
    for one in (context, elsewhere):
        async with aclosing(one.feed.changes(place, None)) as changes:
            assert await heard(changes, 2) == [4, 5]
    assert isinstance(elsewhere.feed, PostgresFeed)
    await elsewhere.feed.close()


async def test_every_time_that_postgresql_can_hold_has_a_moment(database: asyncpg.Connection) -> None:
    """Also those that Python cannot read."""
    rows = await database.fetch(
        f"SELECT {MOMENT} FROM (VALUES (1, '-infinity'::timestamptz), (2, '4713-01-01 00:00:00+00 BC'), "
        "(3, '1969-12-31 23:59:59.999999+00'), (4, '2026-01-01 00:00:00.000001+00'), "
        "(5, '294276-12-31 23:59:59.999999+00'), (6, 'infinity')) v (number, changed_at) ORDER BY number"
    )
    assert [row[0] for row in rows] == [
        -(2**63),
        -210863520000000000,
        -1,
        1767225600000001,
        2**63 - 1,
        2**63 - 1,
    ]
