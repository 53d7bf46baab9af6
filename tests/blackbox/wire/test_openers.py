"""Tests of connections before they prove anything: they take no place from callers who do."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.blackbox.raw_connection import Wire, request
from tests.blackbox.raw_sockets import frame, raw_socket, text
from tests.blackbox.traffic.test_admission import blocked
from tests.blackbox.wire.test_http_framing import UPGRADE
from tests.servers.issuer import Issuer, running_issuer
from tests.servers.process import PATIENCE_SECONDS, running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

pytestmark = pytest.mark.faults

# Of these, 15 may be lasting ones, and 10 opening ones.
CONNECTIONS, OPENING = 20, 10
CHECKS = "server.wire.connections._CHECK_SECONDS"
ME, STRANGER = "127.0.0.1", "127.0.0.2"
STREAM = (
    b"GET /api/graphql/stream?query=subscription{orderStatusChanged{orderKey}} HTTP/1.1\r\n"
    b"Host: localhost\r\nAccept: text/event-stream\r\n"
)
BODY = b"Content-Type: application/json\r\nContent-Length: 50\r\n"
OPENERS = {
    "an upgrade with a length": UPGRADE + b"Content-Length: 1\r\n\r\n",
    "an upgrade with a length of two digits": UPGRADE + b"Content-Length: 00\r\n\r\n",
    "half an upgrade": UPGRADE,
    "a silent socket": UPGRADE + b"\r\n",
    "a socket that pings": UPGRADE + b"\r\n" + text({"type": "ping"}) + frame(9),
    "an event stream": STREAM + b"\r\n",
    "an event stream without its body": STREAM.replace(b"GET", b"POST") + BODY + b"\r\n",
    "an event stream that waits": STREAM.replace(b"GET", b"POST") + BODY + b"Expect: 100-continue\r\n\r\n",
    "an event stream behind another request": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + STREAM + b"\r\n",
    "half a request": b"GET /livez HTTP/1.1\r\n",
    "nothing": b"",
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """The issuer whose tokens the servers accept."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def guarded(orders_url: str, issuer: Issuer) -> Iterator[Server]:
    """A server with few connections, whose callers need a token."""
    settings = issuer.settings(APP_SCHEMA="openers", MAX_CONNECTIONS=str(CONNECTIONS))
    with running_server(orders_url, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def small(orders_url: str) -> Iterator[Server]:
    """A server with as few connections, which everybody may call."""
    with running_server(orders_url, APP_SCHEMA="openers", MAX_CONNECTIONS=str(CONNECTIONS)) as server:
        yield server


def open_stream(server: Server, token: str | None = None, source: str | None = None) -> Wire:
    """A connection with an event stream."""
    wire = Wire(server, source=source)
    wire.send(STREAM + (f"Authorization: Bearer {token}\r\n".encode() if token else b"") + b"\r\n")
    assert wire.head()[0] == "HTTP/1.1 200 OK"
    return wire


@pytest.mark.parametrize("kinds", [*([kind] for kind in OPENERS), list(OPENERS)], ids=[*OPENERS, "all kinds"])
def test_openers_without_a_token_shut_nobody_out(guarded: Server, issuer: Issuer, kinds: list[str]) -> None:
    """However many there are, a caller with a token gets a socket, an event stream and an answer."""
    with ExitStack() as stack:
        for number in range(2 * CONNECTIONS):
            opener = stack.enter_context(Wire(guarded))
            with suppress(OSError):
                opener.send(OPENERS[kinds[number % len(kinds)]])
        token = issuer.token()
        opened = stack.enter_context(raw_socket(guarded.url, token=token))
        stack.enter_context(open_stream(guarded, token))
        wire = stack.enter_context(Wire(guarded))
        wire.send(request(1, f"Authorization: Bearer {token}"))
        assert wire.answer()[0] == "HTTP/1.1 200 OK"
        opened.send(text({"type": "ping"}))
        assert json.loads(opened.read().payload) == {"type": "pong"}


def test_the_oldest_silent_socket_gives_way(small: Server) -> None:
    """It is told to try again later. The others, and those that are acknowledged, stay."""
    with ExitStack() as stack:
        acknowledged = stack.enter_context(raw_socket(small.url))
        # The server may not have noticed yet that the sockets of another test are gone.
        silent = [stack.enter_context(raw_socket(small.url, init=False)) for _ in range(3 * OPENING)]
        assert [one.closed_with() for one in silent[:OPENING]] == [1013] * OPENING
        assert all(one.ended() for one in silent[:OPENING])
        for one in silent[-OPENING:]:
            one.initialise()
        acknowledged.send(text({"type": "ping"}))
        assert json.loads(acknowledged.read().payload) == {"type": "pong"}


@pytest.mark.parametrize("proxies", ["", "127.0.0.0/8"], ids=["addresses", "a proxy"])
def test_strangers_take_no_place_from_another_address(orders_url: str, issuer: Issuer, proxies: str) -> None:
    """The address with most connections gives way. Behind a proxy there are none, and callers go before strangers."""
    settings = issuer.settings(APP_SCHEMA="openers", MAX_CONNECTIONS=str(CONNECTIONS), PROXY_NETWORKS=proxies)
    token = issuer.token()
    with running_server(orders_url, **settings) as server, ExitStack() as stack:
        idle = stack.enter_context(Wire(server, source=ME))
        idle.send(request(1, f"Authorization: Bearer {token}"))
        assert idle.answer()[0] == "HTTP/1.1 200 OK"
        mine = stack.enter_context(raw_socket(server.url, init=False, source=ME))
        for _ in range(CONNECTIONS):
            stack.enter_context(raw_socket(server.url, init=False, source=STRANGER))
        if not proxies:
            mine.initialise(token)
        for _ in range(CONNECTIONS):
            stack.enter_context(Wire(server, source=STRANGER))
        # The last of them has been registered when another connection is answered.
        with open_stream(server, token, source=STRANGER):
            idle.send(request(2, f"Authorization: Bearer {token}"))
            assert idle.answer()[0] == "HTTP/1.1 200 OK"


def test_behind_the_platforms_proxy_callers_take_no_place_from_each_other(orders_url: str) -> None:
    """It names the caller of each upgrade, so that the caller with most sockets gives way."""
    settings: dict[str, Any] = {"AUTH_MODE": "databricks-app", "DATABRICKS_APP_NAME": "orders", "READER_USERS": "*"}
    with (
        running_server(orders_url, APP_SCHEMA="openers", MAX_CONNECTIONS=str(CONNECTIONS), **settings) as server,
        ExitStack() as stack,
    ):
        mine, *_ = [
            stack.enter_context(raw_socket(server.url, init=False, headers=f"X-Forwarded-Email: {name}\r\n"))
            for name in ("ann", *["ben"] * 2 * CONNECTIONS)
        ]
        mine.initialise()


@pytest.mark.parametrize("kind", ["streams", "sockets"])
def test_a_client_that_leaves_before_it_is_authenticated_takes_no_place(
    orders_url: str, issuer: Issuer, kind: str
) -> None:
    """Nor does one that gives way. Otherwise the place would be taken for ever."""
    altered = {"server.auth.jwks._FETCH_SECONDS": 600}
    settings = issuer.settings(APP_SCHEMA="openers", MAX_CONNECTIONS=str(CONNECTIONS))
    token = issuer.token()
    with running_server(orders_url, altered=altered, **settings) as server, ExitStack() as stack:
        issuer.answering.clear()
        stack.callback(issuer.answering.set)
        with ExitStack() as leaving:
            for _ in range(2 * CONNECTIONS):
                if kind == "streams":
                    leaving.enter_context(Wire(server)).send(STREAM + f"Authorization: Bearer {token}\r\n\r\n".encode())
                else:
                    payload = {"authorization": f"Bearer {token}"}
                    init = text({"type": "connection_init", "payload": payload})
                    leaving.enter_context(raw_socket(server.url, init=False)).send(init)
        with Wire(server) as wire:
            # The server has noticed that they are gone when it answers a later connection.
            wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.answer()[0] == "HTTP/1.1 200 OK"
        issuer.answering.set()
        for _ in range(CONNECTIONS * 3 // 4 * 2 // 3):
            stack.enter_context(open_stream(server, token))
        assert "Traceback" not in server.log()


def test_requests_that_wait_for_the_key_server_give_way(orders_url: str, issuer: Issuer) -> None:
    """Anybody can send a token that names an unknown key. A caller whose key is known is answered meanwhile."""
    altered = {"server.auth.jwks._FETCH_SECONDS": 600}
    settings = issuer.settings(APP_SCHEMA="openers", MAX_CONNECTIONS=str(CONNECTIONS))
    known, unknown = issuer.token(), issuer.token(header={"kid": "nobody's"})
    with running_server(orders_url, altered=altered, **settings) as server, ExitStack() as stack:
        with Wire(server) as wire:
            wire.send(request(1, f"Authorization: Bearer {known}"))
            assert wire.answer()[0] == "HTTP/1.1 200 OK"
        issuer.answering.clear()
        stack.callback(issuer.answering.set)
        for _ in range(2 * CONNECTIONS):
            stack.enter_context(Wire(server, source=STRANGER)).send(request(1, f"Authorization: Bearer {unknown}"))
        for _ in range(3):
            with Wire(server) as wire:
                wire.send(request(1, f"Authorization: Bearer {known}"))
                assert wire.answer()[0] == "HTTP/1.1 200 OK"
        assert "Traceback" not in server.log()


def test_a_caller_with_many_idle_sockets_gives_one_up(guarded: Server, issuer: Issuer) -> None:
    """When all places are taken. A socket on which something runs stays."""
    feed = {"query": "subscription { orderStatusChanged { orderKey } }"}
    with ExitStack() as stack:
        ann, ben = issuer.token(sub="ann"), issuer.token(sub="ben")
        idle, *_ = [stack.enter_context(raw_socket(guarded.url, token=ann)) for _ in range(5)]
        for _ in range(10):
            busy = stack.enter_context(raw_socket(guarded.url, token=ben))
            busy.send(text({"id": "1", "type": "subscribe", "payload": feed}))
            # When the ping is answered, the subscription has begun.
            busy.send(text({"type": "ping"}))
            assert json.loads(busy.read().payload) == {"type": "pong"}
        cid = issuer.token(sub="cid")
        stack.enter_context(raw_socket(guarded.url, token=cid))
        assert idle.closed_with() == 1013
        stack.enter_context(open_stream(guarded, cid))
        busy.send(text({"type": "ping"}))
        assert json.loads(busy.read().payload) == {"type": "pong"}


async def test_a_client_that_pipelines_does_not_give_way_before_its_answer(orders_url: str, small: Server) -> None:
    """It has begun another request while the first is in progress, which may be a mutation."""
    holder = await asyncpg.connect(orders_url)
    try:
        with ExitStack() as stack:
            first = stack.enter_context(Wire(small))
            async with holder.transaction():
                await holder.execute("LOCK TABLE orders_synced IN ACCESS EXCLUSIVE MODE")
                first.send(request(1), b"GET /livez HTTP/1.1\r\n")
                await blocked(holder, 1)
                for _ in range(2 * CONNECTIONS):
                    stack.enter_context(Wire(small))
                assert not first.has_come(seconds=0)
            assert first.answer()[0] == "HTTP/1.1 200 OK"
    finally:
        await holder.close()


def test_a_socket_for_which_there_is_no_place_is_told_to_try_again(small: Server) -> None:
    """It was opened while there was a place, which another one has taken by the time of its `connection_init`."""
    with ExitStack() as stack:
        late = stack.enter_context(raw_socket(small.url, init=False))
        for _ in range(CONNECTIONS * 3 // 4):
            stack.enter_context(raw_socket(small.url))
        late.send(text({"type": "connection_init"}))
        assert late.closed_with() == 1013
        stack.enter_context(Wire(small)).send(request(1))


def test_an_event_stream_behind_another_request_counts_too(small: Server) -> None:
    """Otherwise a client could have more of them than there are places."""
    with ExitStack() as stack:
        statuses = []
        for _ in range(CONNECTIONS * 3 // 4 + 1):
            wire = stack.enter_context(Wire(small))
            wire.send(OPENERS["an event stream behind another request"])
            assert wire.answer()[0] == "HTTP/1.1 200 OK"
            statuses.append(wire.head()[0])
        assert statuses[:-1] == ["HTTP/1.1 200 OK"] * (CONNECTIONS * 3 // 4)
        assert statuses[-1] == "HTTP/1.1 503 Service Unavailable"


def test_a_place_is_free_again_when_its_socket_is_gone(small: Server) -> None:
    """However the client leaves."""
    for _ in range(3):
        with ExitStack() as stack:

            def opened(stack: ExitStack = stack) -> bool:
                try:
                    stack.enter_context(raw_socket(small.url))
                except AssertionError:
                    # It is refused until the server has noticed that the last ones are gone.
                    return False
                return True

            for _ in range(CONNECTIONS * 3 // 4):
                wait_for(opened, what=lambda: "a place")


def test_a_handshake_does_not_wait_for_a_slow_platform_for_ever(orders_url: str) -> None:
    """The server answers 503, if the caller's groups have not been found in time."""
    with ExitStack() as stack:
        silent = stack.enter_context(listening())
        server = stack.enter_context(
            running_server(
                orders_url,
                altered={"server.wire.connections._HANDSHAKE_SECONDS": 0.2, CHECKS: 0.1},
                APP_SCHEMA="openers",
                AUTH_MODE="databricks-app",
                DATABRICKS_APP_NAME="orders",
                READER_GROUPS="readers",
                DATABRICKS_HOST=silent,
                DATABRICKS_TOKEN="none",  # noqa: S106 # it opens nothing
            )
        )
        wire = stack.enter_context(Wire(server))
        wire.send(UPGRADE + b"X-Forwarded-Email: ann@example.com\r\n\r\n")
        assert wire.refused() == (503, "AUTHENTICATION_UNAVAILABLE")
        assert wire.ended()
        assert "Traceback" not in server.log()
        # It would wait for the platform before it stops.
        server.kill()


def test_an_init_does_not_wait_for_a_slow_key_server_for_ever(orders_url: str, issuer: Issuer) -> None:
    """The client is told to try again later."""
    altered = {"server.wire.connections._HANDSHAKE_SECONDS": 0.2, CHECKS: 0.1, "server.auth.jwks._FETCH_SECONDS": 600}
    settings = issuer.settings(APP_SCHEMA="openers")
    issuer.answering.clear()
    try:
        with (
            running_server(orders_url, altered=altered, **settings) as server,
            raw_socket(server.url, init=False) as waiting,
        ):
            payload = {"authorization": f"Bearer {issuer.token()}"}
            waiting.send(text({"type": "connection_init", "payload": payload}))
            assert waiting.closed_with() == 1013
            assert waiting.ended()
            assert "Traceback" not in server.log()
            issuer.answering.set()
    finally:
        issuer.answering.set()


def slow_reader(server: Server) -> Wire:
    """A client that asks for some megabytes, which fill the kernel's buffers, and reads nothing."""
    body = b'{"query": "{ orders(first: 1000) { nodes { orderKey status clerk comment orderDate } } }"}'
    head = b"POST /api/graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    wire = Wire(server, receives=4096)
    wire.send((head + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 30)
    return wire


def test_a_client_that_reads_a_little_now_and_then_is_cut(orders_url: str) -> None:
    """A response has to be read within five minutes."""
    altered = {"server.wire.connections._RESPONSE_SECONDS": 0.2, CHECKS: 0.1}
    with running_server(orders_url, altered=altered, APP_SCHEMA="openers") as server, slow_reader(server) as wire:

        def cut() -> bool:
            with suppress(OSError):
                wire.read(100)
            return wire.was_reset()

        wait_for(cut, what=lambda: "the server to cut the client")


def test_slow_readers_make_room(orders_url: str) -> None:
    """After ten seconds the server waits for them, as for a client that sends nothing."""
    altered = {"server.wire.sending._SLOW_SECONDS": 0.0, CHECKS: 0.1}
    with (
        running_server(orders_url, altered=altered, APP_SCHEMA="openers", MAX_CONNECTIONS="2") as server,
        ExitStack() as stack,
    ):
        readers = [stack.enter_context(slow_reader(server)) for _ in range(2)]
        for reader in readers:
            assert reader.head()[0] == "HTTP/1.1 200 OK"

        def served() -> bool:
            with Wire(server) as wire:
                wire.send(request(1))
                return wire.answer()[0] == "HTTP/1.1 200 OK"

        wait_for(served, what=lambda: "a place")


@contextmanager
def listening() -> Iterator[str]:
    """The URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


OPENERS_AT_ONCE = 800
OPENERS_A_SECOND = 500
ROUNDS = 20


@pytest.mark.long
@pytest.mark.parametrize(
    "kinds",
    [["an upgrade with a length"], ["a silent socket"], list(OPENERS)],
    ids=["upgrades with a length", "silent sockets", "all kinds"],
)
async def test_800_openers_shut_nobody_out(orders_url: str, issuer: Issuer, kinds: list[str]) -> None:
    """With the server's own limits. They come back a second after they were cut."""
    settings = issuer.settings(APP_SCHEMA="openers")
    with running_server(orders_url, patient=False, **settings) as server:
        openers = [
            asyncio.create_task(_open(server, OPENERS[kinds[number % len(kinds)]], number / OPENERS_AT_ONCE))
            for number in range(OPENERS_AT_ONCE)
        ]
        try:
            await asyncio.sleep(2)  # until all have come
            longest = 0.0
            for _ in range(ROUNDS):
                began = time.monotonic()
                await asyncio.to_thread(_call, server, issuer.token())
                longest = max(longest, time.monotonic() - began)
            hold("a socket, a stream and an answer among 800 openers", longest, computing_seconds=1.5)
        finally:
            for opener in openers:
                opener.cancel()
            await asyncio.gather(*openers, return_exceptions=True)


@pytest.mark.long
async def test_500_upgrades_a_second_leave_a_client_time_for_its_token(orders_url: str, issuer: Issuer) -> None:
    """Behind a proxy, where nothing tells its upgrade from the others. It takes six tenths of a second."""
    settings = issuer.settings(APP_SCHEMA="openers", PROXY_NETWORKS="127.0.0.0/8")

    def open_slowly(server: Server) -> None:
        with raw_socket(server.url, init=False) as slow:
            time.sleep(0.6)  # as long as a slow network takes
            slow.initialise(issuer.token())

    with running_server(orders_url, patient=False, **settings) as server:
        opening = asyncio.create_task(_open_steadily(server))
        try:
            await asyncio.sleep(1.5)  # until they have all places
            for _ in range(5):
                await asyncio.to_thread(open_slowly, server)
            assert not opening.done()
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)


@pytest.mark.long
def test_a_silent_socket_is_gone_after_three_seconds(orders_url: str, issuer: Issuer) -> None:
    """With the server's own times, to the end of the connection."""
    with (
        running_server(orders_url, patient=False, **issuer.settings(APP_SCHEMA="openers")) as server,
        raw_socket(server.url, init=False) as silent,
    ):
        began = time.monotonic()
        assert silent.ended()
        hold("a silent socket", time.monotonic() - began, computing_seconds=0.5, waiting_seconds=3)


def _call(server: Server, token: str) -> None:
    with raw_socket(server.url, token=token), open_stream(server, token), Wire(server) as wire:
        wire.send(request(1, f"Authorization: Bearer {token}"))
        assert wire.answer()[0] == "HTTP/1.1 200 OK"


async def _open_steadily(server: Server) -> None:
    """Open silent sockets at a steady rate, and hold each for two seconds, if the server does."""
    host, port = server.url.removeprefix("http://").split(":")
    writers: deque[asyncio.StreamWriter] = deque()
    began, opened = time.monotonic(), 0
    try:
        while True:
            while opened < OPENERS_A_SECOND * (time.monotonic() - began):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(OPENERS["a silent socket"])
                writers.append(writer)
                opened += 1
                if len(writers) > 2 * OPENERS_A_SECOND:
                    writers.popleft().close()
            await asyncio.sleep(0.01)  # the pace
    finally:
        for writer in writers:
            writer.close()


async def _open(server: Server, sent: bytes, begins: float) -> None:
    """Open a connection and hold it, again and again."""
    await asyncio.sleep(begins)  # one after another
    host, port = server.url.removeprefix("http://").split(":")
    while True:
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(sent)
            await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        except OSError:
            pass
        finally:
            writer.close()
        await asyncio.sleep(1)  # an opener's pause
