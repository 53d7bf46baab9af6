"""Owns what a scenario runs against: a PostgreSQL that keeps what it acknowledges, and the real server before it."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from server.db.engine import connections_of
from server.settings import Settings
from tests.process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.process import Server

# On by default, and said all the same, for everything here stands on it.
DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
# What is promised by default, but for the deadline: the scorecard's is 5 s.
REQUEST_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Rig:
    """A server, and its database as a superuser sees it.

    Attributes:
        schema: of the server's own tables.
        own_connections: how many connections the server's processes may have together.
        canaries: secrets that the server was given.
    """

    server: Server
    database: str
    schema: str
    own_connections: int
    metrics_token: str
    canaries: tuple[str, ...]

    @property
    def connections(self) -> int:
        """How many connections all rigs that there are now may have together: PostgreSQL knows them by one name."""
        return sum(rig.own_connections for rig in _running)


_running: Final[list[Rig]] = []


@contextlib.contextmanager
def rigged(
    database: str,
    *,
    through: int | None = None,
    ready: bool = True,
    port: int | None = None,
    schema: str = "faults",
    module: str = "server",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Rig]:
    """The real server, in a schema of its own.

    Args:
        database: the URL of a PostgreSQL of this machine.
        through: the port of a proxy in front of it.
        ready: whether it is waited for until it is ready.
        port: of the server, a free one where none is given.
        schema: of the server's own tables.
        module: what is run in the server's place.
        settings: of the server, which has its own default timeouts beside them.
    """
    token = secrets.token_hex(16)
    given: dict[str, Any] = {
        "APP_SCHEMA": schema,
        "METRICS_TOKEN": token,
        "REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_SECONDS),
        **settings,
    }
    location, _, name = database.rpartition("/")
    url = f"{location.rpartition(':')[0]}:{through}/{name}" if through else database
    with running_server(url, ready=ready, patient=False, port=port, module=module, **given) as server:
        password = database.split("://")[1].partition("@")[0].partition(":")[2]
        with known(Rig(server, database, schema, connections(settings), token, (password, token))) as rig:
            yield rig


@contextlib.contextmanager
def known(rig: Rig) -> Iterator[Rig]:
    """The same rig, counted among those that there are."""
    _running.append(rig)
    try:
        yield rig
    finally:
        _running.remove(rig)


def connections(settings: Mapping[str, str]) -> int:
    """How many connections a server of these settings may have."""
    numbers = {name.lower(): value for name, value in settings.items() if name in {"WORKERS", "WRITE_POOL_SIZE"}}
    return connections_of(Settings.model_validate({"database_url": "postgresql://127.0.0.1/orders", **numbers}))
