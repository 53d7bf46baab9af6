"""The feed in this process: how it learns of a change, and what it does if it cannot listen.

Its promises to subscribers: tests/blackbox/changes/test_feed.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import termios
from collections import Counter
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest

from schema.errors import Reason, UnavailableError
from schema.ports.changes import BEGINNING
from server.changes.feed import PostgresFeed
from server.db.database import UrlDatabase
from server.db.engine import connect_feed
from tests.server.conftest import patient_settings
from tests.servers.process import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    import asyncpg

    from schema.context import Context
    from schema.ports.changes import StatusChange
    from server.settings import Settings
    from tests.server.conftest import Execute, LogLines, OpenStore

SET = "mutation($s: OrderStatus!) { setOrderStatus(input: {orderKey: 1, status: $s}) { change { version } userErrors { code } } }"
# Linux's number. A socket in this mode is closed without a word to its peer.
TCP_REPAIR: Final = 19


def url_with(url: str, *, login: str | None = None, port: int | None = None) -> str:
    """The URL with another login or port."""
    parts = urlsplit(url)
    login = login or f"{parts.username}:{parts.password}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.hostname}:{port or parts.port}"))


@asynccontextmanager
async def feed_of(context: Context) -> AsyncIterator[PostgresFeed]:
    """The context's feed, closed at the end."""
    assert isinstance(context.feed, PostgresFeed)
    yield context.feed
    await context.feed.close()


async def heard(changes: AsyncGenerator[StatusChange, None]) -> StatusChange:
    """The next change."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(changes)


async def refused(changes: AsyncGenerator[StatusChange, None]) -> None:
    """Wait for the end of a subscription. Its error can be retried."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError, match="cannot listen") as error:
            await anext(changes)
    assert error.value.reason is Reason.DATABASE_UNAVAILABLE


async def test_postgresql_tells_it_of_a_change(open_store: OpenStore, execute: Execute) -> None:
    """Although the feed itself looks only once an hour, each change arrives before the next is made."""
    _, context = open_store(app_schema="feed_told", feed={"catch_up_seconds": 3600})

    async def change(status: str) -> int:
        answer = await execute(SET, context=context, s=status)
        version: int = answer["data"]["setOrderStatus"]["change"]["version"]
        return version

    await change("PARTIAL")
    async with feed_of(context) as feed, aclosing(feed.changes(BEGINNING, None)) as changes:
        assert (await heard(changes)).version == 1
        for turn in range(10):
            version = await change(("OPEN", "PARTIAL")[turn % 2])
            assert (await heard(changes)).version == version


async def test_a_change_reaches_many_subscribers_in_portions(open_store: OpenStore, execute: Execute) -> None:
    """The loop serves others in between: waking a thousand tasks at once would take tens of milliseconds."""
    _, context = open_store(app_schema="feed_portions", feed={"catch_up_seconds": 3600})
    woken, turn, over = Counter[int](), 0, False

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        if not over:
            asyncio.get_running_loop().call_soon(next_turn)

    async def subscribe(feed: PostgresFeed) -> None:
        async with aclosing(feed.changes(BEGINNING, None)) as changes:
            await heard(changes)
            woken[turn] += 1

    next_turn()
    try:
        async with feed_of(context) as feed:
            subscribers = [asyncio.ensure_future(subscribe(feed)) for _ in range(250)]
            await until(lambda: feed.subscribers == len(subscribers))
            await execute(SET, context=context, s="PARTIAL")
            await asyncio.gather(*subscribers)
    finally:
        over = True
    assert woken.total() == 250
    assert max(woken.values()) <= 100


@pytest.fixture
async def listener(orders_url: str, database: asyncpg.Connection) -> AsyncIterator[str]:
    """The URL of a role with which only a feed logs in."""
    await database.execute("CREATE ROLE listener LOGIN PASSWORD 'listener'; GRANT pg_read_all_data TO listener")
    yield url_with(orders_url, login="listener:listener")
    await database.execute("DROP ROLE listener")


async def limit(database: asyncpg.Connection, connections: int) -> None:
    """Set how many connections the role may have, -1 for any number. Others are refused with 53300."""
    await database.execute(f"ALTER ROLE listener CONNECTION LIMIT {connections}")


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Inside the block, a feed that cannot listen tells its subscribers soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.changes.feed._LISTEN_SECONDS", 0.2)
        yield


def lines_of(log_lines: LogLines, event: str) -> list[dict[str, Any]]:
    """The lines of the log with this event."""
    return [line for line in log_lines() if line["event"] == event]


async def test_a_feed_without_a_connection_tells_its_subscribers(
    open_store: OpenStore, execute: Execute, database: asyncpg.Connection, listener: str
) -> None:
    """PostgreSQL has connections left for pages, and none for the feed. A new subscriber is told, and one from before.

    A subscriber that resumes with its cursor once there are some has missed nothing.
    """
    _, context = open_store(app_schema="feed_refused", feed_url=listener)
    async with feed_of(context) as feed:
        await limit(database, 0)
        with impatient():
            async with aclosing(feed.changes(BEGINNING, None)) as changes:
                await refused(changes)
        await limit(database, -1)
        async with aclosing(feed.changes(BEGINNING, None)) as changes:
            await execute(SET, context=context, s="PARTIAL")
            last = await heard(changes)
            await limit(database, 0)
            with impatient():
                await database.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'listener'"
                )
                await refused(changes)
        await execute(SET, context=context, s="OPEN")
        await limit(database, -1)
        async with aclosing(feed.changes(last.place, None)) as changes:
            assert (await heard(changes)).version == last.version + 1


async def test_a_feed_whose_login_hangs_tells_its_subscribers(open_store: OpenStore, orders_url: str) -> None:
    """Something accepts the connection, and never answers. No attempt to connect has ended yet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _, context = open_store(
            app_schema="feed_hangs", feed_url=url_with(orders_url, port=int(silent.getsockname()[1]))
        )
        async with feed_of(context) as feed:
            with impatient():
                async with aclosing(feed.changes(BEGINNING, None)) as changes:
                    await refused(changes)


@pytest.mark.parametrize("keeps_awake", [True, False])
async def test_a_feed_that_gave_up_also_tells_the_subscribers_that_come_later(
    open_store: OpenStore,
    execute: Execute,
    database: asyncpg.Connection,
    listener: str,
    log_lines: LogLines,
    monkeypatch: pytest.MonkeyPatch,
    *,
    keeps_awake: bool,
) -> None:
    """One attempt to connect hangs all the time. The log has one line for the cause, however many subscribers end.

    A slow subscriber, which has not fetched its error, keeps the feed alive between two others.
    """
    hangs = asyncio.Event()

    async def connect(settings: Settings, database: UrlDatabase) -> asyncpg.Connection:
        if hangs.is_set():
            await asyncio.Event().wait()
        return await connect_feed(settings, database)

    monkeypatch.setattr("tests.server.conftest.connect_feed", connect)
    _, context = open_store(
        app_schema=f"feed_gave_up_{keeps_awake}", feed_url=listener, feed={"keeps_awake": keeps_awake}
    )
    await execute(SET, context=context, s="PARTIAL")
    async with feed_of(context) as feed, aclosing(feed.changes(BEGINNING, None)) as slow:
        await heard(slow)
        await execute(SET, context=context, s="OPEN")
        last = await heard(slow)
        hangs.set()
        with impatient():
            await database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'listener'")
            await until(lambda: bool(lines_of(log_lines, "feed interrupted")))
            feed.note_use()
            await until(lambda: feed.subscribers == 0)
            async with aclosing(feed.changes(last.place, None)) as later:
                await refused(later)
    assert [line["subscribers"] for line in lines_of(log_lines, "feed ended: it cannot listen")] == [1]


async def test_a_feed_that_may_not_wake_the_database_tries_again_for_a_subscriber_that_waits(
    open_store: OpenStore, execute: Execute, database: asyncpg.Connection, listener: str, log_lines: LogLines
) -> None:
    """Its first attempt to connect fails. The subscriber has just used the database, so no other use is needed."""
    _, context = open_store(app_schema="feed_retries", feed_url=listener, feed={"keeps_awake": False})
    await execute(SET, context=context, s="PARTIAL")
    await limit(database, 0)
    async with feed_of(context) as feed, aclosing(feed.changes(BEGINNING, None)) as changes:
        hearing = asyncio.create_task(heard(changes))
        await until(lambda: bool(lines_of(log_lines, "feed interrupted")))
        await limit(database, -1)
        assert (await hearing).version == 1


async def test_a_feed_that_may_not_wake_the_database_looks_again_after_its_next_use(
    open_store: OpenStore, execute: Execute, database: asyncpg.Connection
) -> None:
    """A change whose NOTIFY is missed, as while PostgreSQL's queue is full, is found although no other one follows."""
    _, context = open_store(app_schema="feed_sleeps", feed={"catch_up_seconds": 0.01, "keeps_awake": False})
    async with feed_of(context) as feed, aclosing(feed.changes(BEGINNING, None)) as changes:
        hearing = asyncio.create_task(heard(changes))
        await until(lambda: feed.subscribers == 1)
        await execute(SET, context=context, s="PARTIAL")
        assert (await hearing).version == 1
        await database.execute("ALTER TABLE feed_sleeps.order_status_change DISABLE TRIGGER announce_change")
        await execute(SET, context=context, s="OPEN")
        feed.note_use()
        assert (await heard(changes)).version == 2


class Relay:
    """Stands between the feed and PostgreSQL, and can vanish."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._client: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one connection sends and receives."""
        self._client = writer
        theirs, ours = await asyncio.open_connection(*self._address)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass_on(reader, ours), self._pass_on(theirs, writer))

    async def vanish(self) -> None:
        """Forget the newest connection without a FIN or a reset, as a NAT does."""
        assert self._client
        ours = self._client.get_extra_info("socket")
        # A late confirmation of what was sent would be answered with a reset.
        await until(lambda: not any(fcntl.ioctl(ours, termios.TIOCOUTQ, bytes(4))))
        try:
            ours.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            pytest.skip("only root can let a socket vanish")
        self._client.transport.abort()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while sent := await reader.read(1 << 16):
            writer.write(sent)
        writer.close()


async def test_a_listening_connection_whose_peer_has_vanished_is_found(
    orders_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP finds it within a minute, although the feed sends nothing. The test's own values are shorter."""

    async def connected(port: int) -> tuple[asyncpg.Connection, Any]:
        url = url_with(orders_url, port=port)
        connection = await connect_feed(patient_settings(url), UrlDatabase(url))
        return connection, connection._transport.get_extra_info("socket")  # noqa: SLF001 # asyncpg shows it nowhere else

    relay = Relay(orders_url)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection, peer = await connected(port)
        idle, pause, count = (
            peer.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert idle + count * pause <= 60
        await connection.close()
        monkeypatch.setattr("server.db.engine._PROBES", {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1})
        connection, _ = await connected(port)
        await relay.vanish()
        await until(connection.is_closed)
