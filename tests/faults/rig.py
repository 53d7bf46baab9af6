"""What a scenario runs against: a PostgreSQL that keeps what it acknowledges, and the real server in front of it."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from server.db.engine import connections_of
from server.settings import Settings
from tests.servers.process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.process import Server

# These are PostgreSQL's defaults. They are stated because everything here depends on them.
DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
# The server keeps its default timeouts, except for this one: the scorecard promises 5 s.
REQUEST_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Rig:
    """A server, and its database as seen by a superuser.

    Attributes:
        schema: the schema of the server's own tables.
        own_connections: how many connections the server's processes may have together.
        canaries: secrets given to the server.
    """

    server: Server
    database: str
    schema: str
    own_connections: int
    metrics_token: str
    canaries: tuple[str, ...]

    @property
    def connections(self) -> int:
        """How many connections all running rigs may have together: PostgreSQL sees one application name for all."""
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
    altered: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Rig]:
    """Run the real server with a schema of its own.

    Args:
        database: the URL of a PostgreSQL on this machine.
        through: the port of a proxy in front of the database.
        ready: whether to wait until the server is ready.
        port: the server's port; by default a free one.
        schema: the schema of the server's own tables.
        module: the module to run instead of the server.
        settings: settings of the server. Its timeouts are the defaults unless set here.
        altered: new values of the server's constants.
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
    with running_server(url, ready=ready, patient=False, port=port, module=module, altered=altered, **given) as server:
        password = database.split("://")[1].partition("@")[0].partition(":")[2]
        with known(Rig(server, database, schema, connections(settings), token, (password, token))) as rig:
            yield rig


@contextlib.contextmanager
def known(rig: Rig) -> Iterator[Rig]:
    """Count the rig among the running ones inside the block."""
    _running.append(rig)
    try:
        yield rig
    finally:
        _running.remove(rig)


def connections(settings: Mapping[str, str]) -> int:
    """How many connections a server with these settings may have."""
    numbers = {name.lower(): value for name, value in settings.items() if name in {"WORKERS", "WRITE_POOL_SIZE"}}
    return connections_of(Settings.model_validate({"database_url": "postgresql://127.0.0.1/orders", **numbers}))
