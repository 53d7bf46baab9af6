"""The contenders: how each server is started in its own process, and how it is asked."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.bench.dialects import Endpoints, Relay, our_cursor, plain_cursor
from tests.bench.load import CLIENTS
from tests.bench.node import HERE, NotRunError, node
from tests.servers.process import NO_TLS, ROOT, environment, free_port, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.bench.dialects import Dialect
    from tests.servers.process import Server

_STOP_SECONDS: Final = 15
_START_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Setup:
    """The database that all contenders read.

    Attributes:
        database_url: the URL of PostgreSQL.
        orders_table: the orders table, with its schema.
        app_schema: the schema for status changes of the server and the floor.
        peers_schema: the schema of the peers' view `merged_orders`, which has the orders with their merged status.
    """

    database_url: str
    orders_table: str
    app_schema: str
    peers_schema: str


@dataclass(frozen=True, slots=True)
class Running:
    """A running contender. `server` is set if it is ours."""

    name: str
    url: str
    process_id: int
    dialect: Dialect
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be measured: its short name and its title."""

    name: str
    title: str
    start: Callable[[Setup], AbstractContextManager[Running]]


@contextlib.contextmanager
def running_ours(setup: Setup, **settings: Any) -> Iterator[Running]:
    """Run our server as shipped, with its access log going into a file, and with further settings."""
    with running_server(
        setup.database_url,
        patient=False,
        APP_ENV="production",
        AUTH_MODE="local",
        ORDERS_TABLE=setup.orders_table,
        APP_SCHEMA=setup.app_schema,
        **settings,
    ) as server:
        yield Running(OURS, server.url, server.process.pid, Relay("/api/graphql", our_cursor), server)


@contextlib.contextmanager
def _floor(setup: Setup) -> Iterator[Running]:
    command = [sys.executable, "-m", "tests.bench.floor"]
    with running_process(command, setup, WRITE_POOL_SIZE=str(CLIENTS)) as (url, process_id):
        # The floor ignores the query's text, so changing texts would show nothing.
        yield Running(FLOOR, url, process_id, Relay("/", our_cursor, lacks=frozenset({"text"})))


@contextlib.contextmanager
def _guide(setup: Setup) -> Iterator[Running]:
    with running_python("guide", setup, needs=("fastapi", "sqlmodel")) as (url, process_id):
        yield Running(GUIDE, url, process_id, Endpoints())


@contextlib.contextmanager
def _strawberry(setup: Setup) -> Iterator[Running]:
    with running_python("strawberry_orm", setup) as (url, process_id):
        yield Running(STRAWBERRY, url, process_id, Relay("/", plain_cursor, merged="mergedOrders"))


@contextlib.contextmanager
def _mercurius(setup: Setup) -> Iterator[Running]:
    with running_process([str(node()), str(HERE / "mercurius.mjs")], setup) as (url, process_id):
        yield Running(MERCURIUS, url, process_id, Relay("/graphql", plain_cursor, merged="mergedOrders"))


@contextlib.contextmanager
def _postgraphile(setup: Setup) -> Iterator[Running]:
    with running_process([str(node()), str(HERE / "postgraphile.mjs")], setup) as (url, process_id):
        # PostGraphile needs a plugin for filters other than equality, and its count is exact.
        lacks = frozenset({"filtered", "counted"})
        cursor, merged_cursor = (cursor_like(f"{url}/graphql", root) for root in ("orders", "mergedOrders"))
        dialect = Relay("/graphql", cursor, "Cursor", "mergedOrders", merged_cursor, lacks)
        yield Running(POSTGRAPHILE, url, process_id, dialect)


def cursor_like(url: str, root: str) -> Callable[[int], str]:
    """PostGraphile's cursors, by key. All cursors of a list have the same prefix, which names the ordering."""
    query = {"query": f"{{ {root}(first: 1) {{ edges {{ cursor }} }} }}"}
    answer = httpx.post(url, json=query, timeout=_START_SECONDS, verify=NO_TLS).raise_for_status()
    (edge,) = answer.json()["data"][root]["edges"]
    *ordering, _ = json.loads(base64.b64decode(edge["cursor"]))

    def cursor(key: int) -> str:
        text = json.dumps([*ordering, str(key)], separators=(",", ":"))
        return base64.b64encode(text.encode()).decode()

    return cursor


OURS: Final = "ours"
FLOOR: Final = "floor"
MERCURIUS: Final = "mercurius"
POSTGRAPHILE: Final = "postgraphile"
GUIDE: Final = "guide"
STRAWBERRY: Final = "strawberry"
CONTENDERS: Final = (
    Contender(OURS, "this server as shipped", running_ours),
    Contender(FLOOR, "bare ASGI, asyncpg and orjson, handwritten; no GraphQL", _floor),
    Contender(MERCURIUS, "Mercurius 16 with jit, handwritten SQL over pg", _mercurius),
    Contender(POSTGRAPHILE, "PostGraphile 5 on Node's http", _postgraphile),
    Contender(GUIDE, "the guide's recipe: FastAPI and SQLModel", _guide),
    Contender(STRAWBERRY, "plain Strawberry and SQLAlchemy's ORM, parser and validation caches", _strawberry),
)


@contextlib.contextmanager
def running_python(peer: str, setup: Setup, *, needs: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Run a module of `peers/`, which needs these packages; give its URL and its id.

    Raises:
        NotRunError: a package is missing.
    """
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRunError(f"{' and '.join(missing)} missing: `make bench` installs requirements-bench.txt")
    with running_process([sys.executable, "-m", f"tests.bench.peers.{peer}"], setup) as running:
        yield running


@contextlib.contextmanager
def running_process(command: list[str], setup: Setup, **settings: str) -> Iterator[tuple[str, int]]:
    """Run a process that listens on PORT; give its URL and its id."""
    port = free_port()
    given = {
        "DATABASE_URL": setup.database_url,
        "PORT": str(port),
        "NODE_ENV": "production",
        "ORDERS_TABLE": setup.orders_table,
        "APP_SCHEMA": setup.app_schema,
        "PEERS_SCHEMA": setup.peers_schema,
        **settings,
    }
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log:
        process: subprocess.Popen[Any] = subprocess.Popen(
            command, cwd=ROOT, env=environment(**given), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for(
                lambda: _listens(port),
                what=lambda: f"{command[-1]} to listen:\n{Path(log.name).read_text()}",
                given_up=lambda: process.poll() is not None,
            )
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
