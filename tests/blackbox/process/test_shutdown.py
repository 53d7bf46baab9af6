"""Tests of stopping the server and its workers: requests in flight are answered, and nothing hangs for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.servers.process import (
    NO_TLS,
    PATIENCE_SECONDS,
    ROOT,
    environment,
    free_port,
    running_server,
    until,
    wait_for,
)
from tests.support.calibration import MEASURES, hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers.process import Server

pytestmark = pytest.mark.faults


# Without measurements there is no reason to wait 11.5 s until the server cuts off what hangs.
CUT_SOON = {} if MEASURES else {"server.process.shutdown.STOP_SECONDS": 1.0}
# On a busy machine the test may need longer for what it does while the server stops.
UNHURRIED = (
    {}
    if MEASURES
    else {"server.process.shutdown.STOP_SECONDS": 600, "server.process.uvicorn_server._GRACEFUL_SECONDS": 600}
)


@dataclass
class Hanging:
    """A server that was told to stop while it hangs; later its exit code, and the seconds until it ended."""

    code: list[int] = field(default_factory=list)
    seconds: float = 0

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the process to end."""
        stopped_at = time.monotonic()
        process.terminate()
        code = process.wait(PATIENCE_SECONDS)
        self.seconds = time.monotonic() - stopped_at
        self.code.append(code)


@pytest.fixture(scope="module", autouse=True)
def hanging(orders_url: str) -> Iterator[Hanging]:
    """A server whose event loop is stuck for good. Stopping takes long, so it begins before the other tests."""
    with running_server(orders_url, module="tests.servers.stuck", altered=CUT_SOON, APP_SCHEMA="hanging") as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.url}/api/metrics", timeout=1, verify=NO_TLS)
        hanging = Hanging()
        waiting = threading.Thread(target=hanging.wait, args=(server.process,))
        waiting.start()
        yield hanging
        waiting.join()
        assert "stop cut short" in server.log()


SET = "mutation { setOrderStatus(input: {orderKey: %s, status: PARTIAL}) { change { orderKey } userErrors { code } } }"
FEED = {"query": "subscription { orderStatusChanged { orderKey } }"}
PAGE = "{ orders(first: 5) { nodes { orderKey } } }"
ORDER = "/api/graphql?query={order(orderKey:1){orderKey}}"
SCHEMA = "shutdown"
BY_HTTP, BY_SOCKET, BY_STREAM = 1, 2, 3


def ask(client: httpx.AsyncClient, query: str, path: str = "/api/graphql", **headers: str) -> asyncio.Task[Any]:
    """Start a request."""
    return asyncio.create_task(client.post(path, json={"query": query}, headers=headers))


async def socket_to(url: str, *operations: dict[str, str]) -> ClientConnection:
    """A WebSocket on which these messages have been sent."""
    address = f"{url.replace('http', 'ws', 1)}/api/graphql"
    connection = await connect(address, subprotocols=["graphql-transport-ws"], ping_interval=None)  # type: ignore[list-item] # its NewType of str
    await connection.send('{"type": "connection_init"}')
    assert json.loads(await connection.recv())["type"] == "connection_ack"
    for number, operation in enumerate(operations):
        await connection.send(json.dumps({"id": str(number), "type": "subscribe", "payload": operation}))
    return connection


async def end_of(connection: ClientConnection) -> tuple[list[Any], int | None, float]:
    """The remaining messages of a socket, its close code, and the time of its end."""
    messages = []
    try:
        while True:
            messages.append(json.loads(await connection.recv()))
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else None, time.monotonic()


async def end_of_stream(response: httpx.Response) -> tuple[list[str], float]:
    """The remaining lines of a stream, and the time of its end."""
    lines = [line async for line in response.aiter_lines() if line]
    return lines, time.monotonic()


async def waiting(url: str, count: int, *requests: asyncio.Task[Any]) -> None:
    """Wait until this many backends wait for a lock. A request that ends meanwhile will not: the test tells its answer."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'lakebase%'"
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await connection.fetchval(query) != count:  # polls another process
                assert not [request.result().text for request in requests if request.done()]
                await asyncio.sleep(0.02)  # between two looks
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def held(url: str, *keys: int) -> AsyncIterator[Any]:
    """Lock the orders' overlay rows until `ROLLBACK` on the connection."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        locked = await connection.fetch(
            f"SELECT FROM {SCHEMA}.order_status WHERE o_orderkey = ANY($1) FOR UPDATE", list(keys)
        )
        assert len(locked) == len(keys)
        yield connection
    finally:
        await connection.close()


async def ended(server: Server) -> int:
    """Wait for the process to end, and return the exit code."""
    await until(lambda: server.process.poll() is not None)
    code = server.process.returncode
    assert code is not None
    return code


async def test_a_stop_loses_nothing_in_flight(orders_url: str) -> None:
    """Changes waiting for a lock are made and answered on each transport. Meanwhile subscribers learn of the stop."""
    with running_server(orders_url, altered=UNHURRIED, APP_SCHEMA=SCHEMA) as server:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, verify=NO_TLS))
            for key in (BY_HTTP, BY_SOCKET, BY_STREAM):
                # This leaves a row to lock, and makes the next status a change.
                clear = f"mutation {{ clearOrderStatus(input: {{orderKey: {key}}}) {{ change {{ orderKey }} }} }}"
                await ask(client, SET % key)
                await ask(client, clear)
            events = {"accept": "text/event-stream"}
            stream = await stack.enter_async_context(
                client.stream("POST", "/api/graphql/stream", json=FEED, headers=events)
            )
            listener = await socket_to(server.url, FEED)
            blocker = await stack.enter_async_context(held(orders_url, BY_HTTP, BY_SOCKET, BY_STREAM))
            writer = await socket_to(server.url, FEED, {"query": SET % BY_SOCKET})
            by_http = ask(client, SET % BY_HTTP)
            by_stream = ask(client, SET % BY_STREAM, "/api/graphql/stream", **events)
            await waiting(orders_url, 3, by_http, by_stream)

            stopped_at = time.monotonic()
            server.process.terminate()
            lines, stream_at = await end_of_stream(stream)
            _, code, socket_at = await end_of(listener)
            assert not any("complete" in line for line in lines)
            assert code == 1012
            hold("subscribers hear of a stop", max(stream_at, socket_at) - stopped_at, computing_seconds=1)
            await asyncio.gather(*(refused(server) for _ in range(3)))
            await blocker.execute("ROLLBACK")

            change = {"setOrderStatus": {"change": {"orderKey": str(BY_HTTP)}, "userErrors": []}}
            answer = await by_http
            assert answer.json() == {"data": change}
            assert answer.headers["connection"] == "close"
            assert f'"orderKey":"{BY_STREAM}"' in (await by_stream).text
            assert "event: complete" in (await by_stream).text
            messages, code, _ = await end_of(writer)
            assert code == 1012
            of_change = [message["type"] for message in messages if message["id"] == "1"]
            assert of_change == ["next", "complete"], messages
            assert not [message for message in messages if message["id"] == "0" and message["type"] == "complete"]
            assert await ended(server) == 0
            hold("a stop with changes in flight", time.monotonic() - stopped_at, computing_seconds=5)
        levels = {json.loads(line)["level"] for line in server.log().splitlines()}
        assert levels <= {"info", "warning"}, server.log()


async def refused(server: Server) -> None:
    """Wait until the server refuses new connections."""
    port = int(server.url.rpartition(":")[2])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)  # between two looks


class KeptAliveConnection:
    """A connection that sends one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.port: int = writer.get_extra_info("sockname")[1]

    async def get(self, path: str) -> str:
        """The response with its headers."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.splitlines() if line.startswith("content-length"))
        return head + (await self._reader.readexactly(int(length.split(": ")[1]))).decode()

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def kept(server: Server) -> AsyncIterator[KeptAliveConnection]:
    """A connection to the server, or to one of its workers."""
    connection = KeptAliveConnection(*await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2])))
    try:
        yield connection
    finally:
        await connection.close()


async def test_open_connections_are_answered_during_a_stop(orders_url: str) -> None:
    """On open connections, /readyz reports draining and a query is answered. Each response is the connection's last."""
    with running_server(orders_url, altered=UNHURRIED, APP_SCHEMA=SCHEMA) as server:
        async with kept(server) as probe, kept(server) as caller:
            for connection in (probe, caller):
                assert "connection: close" not in await connection.get("/livez")
            server.process.terminate()
            await refused(server)
            readyz, response = await probe.get("/readyz"), await caller.get(ORDER)
        assert "503" in readyz.splitlines()[0]
        assert "draining" in readyz
        assert '{"data":{"order":{"orderKey":"1"}}}' in response
        assert "connection: close" in readyz
        assert "connection: close" in response
        assert await ended(server) == 0


@dataclass
class Load:
    """Clients that send requests until a connection is refused."""

    url: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)

    async def run(self, *, keeping: int, anew: int) -> None:
        """Run clients that keep their connections, and clients that open a new one for each request."""
        clients = [self._ask({}) for _ in range(keeping)] + [self._ask({"connection": "close"}) for _ in range(anew)]
        await asyncio.gather(*clients)

    async def _ask(self, headers: dict[str, str]) -> None:
        async with httpx.AsyncClient(base_url=self.url, verify=NO_TLS, headers=headers) as client:
            while True:
                try:
                    response = await client.post("/api/graphql", json={"query": PAGE})
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                    continue
                if response.status_code == 200 and "errors" not in response.json():
                    self.answered += 1
                else:
                    self.failed.append(response.text)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_under_load_fails_no_request(orders_url: str, workers: str) -> None:
    """Every accepted request is answered, on new and on kept connections. The exit code is 0."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, WORKERS=workers) as server:
        load = Load(server.url)
        asking = asyncio.create_task(load.run(keeping=4, anew=4))
        await until(lambda: load.answered > 100)
        server.process.terminate()
        await asking
        assert load.failed == []
        assert await ended(server) == 0


def children(server: Server) -> list[psutil.Process]:
    """The worker processes."""
    started = psutil.Process(server.process.pid).children()
    return [child for child in started if running(child) and "spawn_main" in " ".join(child.cmdline())]


def running(child: psutil.Process) -> bool:
    """Whether the process runs, and is not a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(child.status() != psutil.STATUS_ZOMBIE)
    return False


@pytest.fixture(scope="module")
def pair(orders_url: str) -> Iterator[Server]:
    """A server with two workers."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, WORKERS="2") as server:
        wait_for(lambda: server.log().count("worker serving") == 2, what=server.log)
        yield server


async def test_a_killed_worker_is_replaced_and_only_its_own_requests_are_lost(pair: Server) -> None:
    """The other worker's requests are answered all the time, and soon there are two workers again."""
    killed, other = children(pair)
    answered, lost = {killed.pid: 0, other.pid: 0}, {killed.pid: 0, other.pid: 0}
    enough, owners, connections = asyncio.Event(), list[int](), 0

    def owner(port: int) -> int:
        """The process at the other end of a connection."""
        ports = [each.raddr.port for each in other.net_connections() if each.raddr]
        return int(other.pid if port in ports else killed.pid)

    async def load() -> None:
        """Send requests on one connection until it is lost."""
        async with kept(pair) as connection:
            await connection.get(ORDER)
            whose = owner(connection.port)
            owners.append(whose)
            while not enough.is_set():
                try:
                    await connection.get(ORDER)
                except (OSError, asyncio.IncompleteReadError):
                    lost[whose] += 1
                    return
                answered[whose] += 1
                await asyncio.sleep(0.005)  # as fast as the machine can answer

    async with asyncio.TaskGroup() as group:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The kernel chooses the worker that accepts. This opens connections until both workers have some.
            while min(answered.values()) <= 10:
                group.create_task(load())
                connections += 1
                await asyncio.sleep(0.02)  # between two connections
        await until(lambda: len(owners) == connections)
        serving, before = pair.log().count("worker serving"), answered[other.pid]
        killed_at = time.monotonic()
        killed.kill()
        await until(lambda: pair.log().count("worker serving") > serving)
        hold("a killed worker replaced", time.monotonic() - killed_at, computing_seconds=4, waiting_seconds=2)
        await until(lambda: answered[other.pid] > before + 20)
        enough.set()
    assert lost[killed.pid] > 0
    assert lost[other.pid] == 0
    assert len(children(pair)) == 2
    assert running(other)


async def test_workers_are_replaced_one_by_one_without_a_failed_request(pair: Server) -> None:
    """On SIGHUP, each new worker serves before the old one is told to stop."""
    old = children(pair)
    load = Load(pair.url)
    asking = asyncio.create_task(load.run(keeping=1, anew=1))
    pair.process.send_signal(signal.SIGHUP)
    await until(lambda: not any(map(running, old)))
    await until(lambda: len(children(pair)) == 2)
    await until(lambda: load.answered > 20)
    asking.cancel()
    assert load.failed == []


async def test_workers_do_not_outlive_their_parent(orders_url: str) -> None:
    """This holds even if the parent was killed and could not tell them. Their port is then free."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, WORKERS="2") as server:
        workers = children(server)
        assert len(workers) == 2
        server.kill()
        await until(lambda: not any(map(running, workers)))


def run(directory: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a server that cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=directory,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_an_error_that_keeps_workers_from_starting_is_reported_once(orders_url: str) -> None:
    """The parent reports it before it starts a worker, and its exit code says what kind of error it is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        shown = run(DATABASE_URL=orders_url, WORKERS="2", PORT=str(taken.getsockname()[1]))
    assert shown.returncode == 3
    assert shown.stdout.count("address already in use") == 1
    shown = run(DATABASE_URL=orders_url, WORKERS="65")
    assert shown.returncode == 2
    assert shown.stderr.count("WORKERS") == 1


def test_workers_that_cannot_start_end_the_parent(orders_url: str, tmp_path: Path) -> None:
    """Only the workers notice that the installation is incomplete."""
    (tmp_path / "schema").symlink_to(ROOT / "schema")
    shutil.copytree(ROOT / "server", tmp_path / "server", ignore=shutil.ignore_patterns("graphiql", "local"))
    shown = run(tmp_path, DATABASE_URL=orders_url, WORKERS="2", PORT=str(free_port()))
    assert shown.returncode == 3, shown.stdout
    assert "no worker started" in shown.stdout


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_second_signal_ends_it_at_once(orders_url: str, workers: str) -> None:
    """The server exits at once with code 1, even with requests in flight, and leaves no process behind."""
    with running_server(orders_url, APP_SCHEMA=SCHEMA, WORKERS=workers) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS) as client:
            await ask(client, SET % BY_HTTP)
            await ask(client, f"mutation {{ clearOrderStatus(input: {{orderKey: {BY_HTTP}}}) {{ change {{ id }} }} }}")
            async with held(orders_url, BY_HTTP):
                stuck = ask(client, SET % BY_HTTP)
                await waiting(orders_url, 1)
                of_parent = children(server)
                server.process.terminate()
                await refused(server)
                again_at = time.monotonic()
                server.process.send_signal(signal.SIGINT)
                assert await ended(server) == 1
                hold("a stop at once", time.monotonic() - again_at, computing_seconds=0.5)
                with pytest.raises(httpx.TransportError):
                    await stuck
        await until(lambda: not any(map(running, of_parent)))


def names(directory: Path) -> list[str]:
    """The names of a directory's entries."""
    return [path.name for path in directory.iterdir()]


async def test_a_thread_that_is_stuck_is_not_waited_for(tmp_path: Path) -> None:
    """The SDK logs in without a deadline, to a platform that accepts the connection and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        settings: dict[str, Any] = {
            "DATABRICKS_HOST": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "DATABRICKS_CLIENT_ID": "somebody",
            "DATABRICKS_CLIENT_SECRET": "secret",
            "LAKEBASE_INSTANCE_NAME": "orders-pg",
            "TMPDIR": str(tmp_path),
        }
        with running_server(None, ready=False, port=None, **settings) as server:
            connection, _ = silent.accept()
            with connection:
                assert any(name.startswith("lakebase-orders-metrics-") for name in names(tmp_path))
                server.process.terminate()
                stopped_at = time.monotonic()
                assert await ended(server) == 0
                hold("a stop with a thread stuck", time.monotonic() - stopped_at, computing_seconds=5)
                assert "stop cut short" not in server.log()
    assert names(tmp_path) == []


def test_what_hangs_is_cut_off(hanging: Hanging) -> None:
    """With its event loop stuck for good, the server still exits with code 0 within 12 s."""
    wait_for(lambda: bool(hanging.code), what=lambda: "its end")
    assert hanging.code == [0]
    hold("a stop that is cut off", hanging.seconds, computing_seconds=0.5, waiting_seconds=11.5)
