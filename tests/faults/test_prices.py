"""The price of an operation against what it takes: no request takes much more for its points than an ordinary page."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import psutil
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.local.cluster import Cluster
from tests.faults.asked import EVENTS, GRAPHQL, ORDINARY, STREAM, Asked
from tests.faults.cheap_filters import surprises
from tests.faults.cheap_requests import all_requests
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, running_server
from tests.servers.tpch import load_orders
from tests.servers.tpch_graph import TABLES, load_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.process import Server

# 1.5 million orders.
SCALE: Final = 1.0
# How many times as long as an ordinary page any request may take for a point.
FACTOR: Final = 20
# Each is repeated until it has taken so much time of the processors, or so many times, or so long.
_ENOUGH_MICROSECONDS: Final = 250_000
_MOST_TIMES: Final = 300
_MOST_SECONDS: Final = 4.0
_NANOSECONDS: Final = 1_000
# As `ensureIndexes` builds it. None serves the order by balance.
_BY_NAME: Final = 'CREATE INDEX ON customer_synced (c_name COLLATE "C", c_custkey); ANALYZE customer_synced'
_CHANGED: Final = """
    INSERT INTO prices.order_status
    SELECT o_orderkey, 'P', 1, o_orderstatus, 'someone', now() FROM orders_synced WHERE o_orderkey % 10 = 0;
    INSERT INTO prices.order_status_change
        (id, o_orderkey, previous_status, status, cleared, synced_status, version, changed_by, changed_at)
    SELECT nextval('prices.order_status_change_id'), CASE WHEN n % 20 = 0 THEN 1 ELSE n * 10 END, 'O', 'P', false, 'O', n, 'someone', now()
    FROM generate_series(1, 200000) n;
    ANALYZE prices.order_status, prices.order_status_change
"""


class Row(NamedTuple):
    """What a request takes: microseconds of the server and of PostgreSQL, and points."""

    name: str
    server: float
    database: float
    points: float

    @property
    def ratio(self) -> float:
        """Microseconds for a point."""
        return (self.server + self.database) / max(self.points, 0.001)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL with 1.5 million orders, and the tables around them."""
    cluster = Cluster(tmp_path_factory.mktemp("large") / "cluster", options={"fsync": "off", "full_page_writes": "off"})
    try:
        cluster.start()
        load_orders(cluster, SCALE)
        load_graph(cluster, SCALE)
        cluster.run_sql(_BY_NAME)
        yield cluster
    finally:
        cluster.destroy()


class Scales:
    """Weighs requests: sends them, and reads from the system and the server what they took."""

    def __init__(
        self, server: Server, cluster: Cluster, spent: Path, *, client: httpx.Client, socket: ClientConnection
    ) -> None:
        self._client = client
        self._socket = socket
        self._socket.send('{"type": "connection_init"}')
        self._socket.recv(timeout=PATIENCE_SECONDS)
        self._server = psutil.Process(server.process.pid)
        self._database = psutil.Process(cluster.process_id())
        self._spent = spent

    def weigh(self, asked: Asked) -> Row:
        """What one of these requests takes, on average."""
        # The first ones make the text known, if it is always the same.
        for number in range(-3, 0):
            self.send(asked, number)
        before, times, began = self._read(), 0, time.monotonic()
        while times < _MOST_TIMES and time.monotonic() - began < _MOST_SECONDS:
            self.send(asked, times)
            times += 1
            if times % 10 == 0 and sum(self._read()[:2]) - sum(before[:2]) > _ENOUGH_MICROSECONDS:
                break
        server, database, points = (now - then for now, then in zip(self._read(), before, strict=True))
        return Row(asked.name, server / times, database / times, points / times)

    def send(self, asked: Asked, number: int) -> None:
        """Send it, and wait for the answer."""
        given = asked.make(number)
        match asked.transport:
            case "get":
                self._client.get(GRAPHQL, params=given)
            case "subscription":
                with self._client.stream("GET", STREAM, params=given, headers={"accept": EVENTS}) as response:
                    for line in response.iter_lines():
                        if line.startswith("id:"):
                            break
            case "sse":
                self._client.post(STREAM, json=given, headers={"accept": EVENTS})
            case "websocket":
                self._send_message(given)
            case _:
                body = given if isinstance(given, str) else json.dumps(given)
                self._client.post(GRAPHQL, content=body, headers={"content-type": asked.content_type})

    def _send_message(self, given: object) -> None:
        self._socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": given}))
        while json.loads(self._socket.recv(timeout=PATIENCE_SECONDS))["type"] == "next":
            pass

    def _read(self) -> tuple[float, float, float]:
        """Microseconds of the server and of PostgreSQL, and points, so far."""
        backends = sum(_microseconds(process) for process in self._database.children())
        ended = self._database.cpu_times()
        database = backends + 1e6 * (ended.children_user + ended.children_system)
        return _microseconds(self._server), database, float(self._spent.read_text() or 0)


def _microseconds(process: psutil.Process) -> float:
    """The processor time of a process: /proc has that of its threads in nanoseconds, and its total in hundredths."""
    found = 0
    for schedstat in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        try:
            found += int(schedstat.read_text().split()[0])
        except OSError:
            # It has ended.
            continue
    return found / _NANOSECONDS


@contextlib.contextmanager
def connected(server: Server) -> Iterator[tuple[httpx.Client, ClientConnection]]:
    """A client of a server, and a WebSocket to it."""
    address = server.graphql.replace("http", "ws", 1)
    with (
        httpx.Client(base_url=server.url, verify=NO_TLS, timeout=PATIENCE_SECONDS) as client,
        connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket,
    ):
        yield client, socket


@pytest.mark.long
def test_no_request_takes_much_more_for_its_points_than_an_ordinary_page(
    large: Cluster, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Points against microseconds, the dearest last: of the server's process and of PostgreSQL's together."""
    spent = tmp_path / "spent"
    spent.write_text("0")
    with running_server(
        large.url,
        patient=False,
        module="tests.servers.priced",
        RATE_LIMIT="1000000000",
        RATE_BURST=str(10**15),
        SPENT=str(spent),
        TABLES=TABLES,
        APP_SCHEMA="prices",
    ) as server:
        # The tables exist, since the server is ready. A tenth of the orders has been changed, some of them often.
        large.run_sql(_CHANGED)
        # Only now: the server does not wait long for the first message on a socket.
        with connected(server) as (client, socket):
            scales = Scales(server, large, spent, client=client, socket=socket)
            rows = [scales.weigh(asked) for asked in all_requests()]
    ordinary = next(row.ratio for row in rows if row.name == ORDINARY)
    lines = [
        f"{'request':45} {'points':>9} {'server µs':>10} {'database µs':>12} {'µs a point':>11} {'ordinary pages':>15}"
    ]
    lines += [
        f"{row.name:45} {row.points:9.1f} {row.server:10.0f} {row.database:12.0f} {row.ratio:11.1f} {row.ratio / ordinary:15.1f}"
        for row in sorted(rows, key=lambda row: row.ratio)
    ]
    record_property("summary", "\n".join(lines))
    unforeseen = {asked.name for asked in surprises()}
    dear = [row.name for row in rows if row.ratio > FACTOR * ordinary and row.name not in unforeseen]
    assert len(rows) > 100
    assert not dear
