"""The PostgreSQL servers of one endpoint: a primary with its readable secondary, or a read-only endpoint's standby."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import asyncpg

from server.local.cluster import Cluster
from server.local.history import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.local.platform.options import Options
    from server.local.platform.state.projects import Compute
    from server.local.platform.state.store import Store

_P = ParamSpec("_P")
_T = TypeVar("_T")

# max_connections and shared_buffers (MB) by the most capacity units, much smaller than the cloud's: many servers share
# a laptop.
_SIZES = {8.0: (100, 32), 16.0: (150, 64), 32.0: (200, 96), 64.0: (250, 128)}
# A standby does not start with a lower max_connections than its primary has or had.
_STANDBY_CONNECTIONS = max(connections for connections, _ in _SIZES.values())


class Servers:
    """The servers of an endpoint. Over TCP a client logs in with a credential, which PostgreSQL checks by RADIUS.

    The data belong to the branch: `main` is its primary or, of a read-only endpoint, a standby of that. `standby` is
    the readable secondary of a read-write endpoint.

    The methods raise ClusterError if PostgreSQL cannot be created, started or stopped.
    """

    def __init__(self, compute: Compute, store: Store, options: Options) -> None:
        self._endpoint = endpoint = compute.endpoint
        self._port = store.state.pg_port
        self._options = options
        logins = (
            "local all all scram-sha-256\n"
            "local replication all scram-sha-256\n"
            'host all all 0.0.0.0/0 radius radiusservers="127.0.0.1"'
            f' radiussecrets="{store.state.radius_secret}" radiusports="{store.state.radius_port}"'
            f' radiusidentifiers="{endpoint.uid}"\n'
        )
        home = store.directory.absolute() / "instances" / (compute.branch.uid if endpoint.read_write else endpoint.uid)
        self.main = Cluster(home, address=endpoint.address, logins=logins, database=None)
        self.history = History(self.main)
        self.standby = Cluster(
            home.with_name(f"{home.name}-standby"), address=endpoint.secondary_address, logins=logins, database=None
        )

    @property
    def addresses(self) -> list[str]:
        """The addresses that the servers listen on."""
        if self._endpoint.readable_secondaries:
            return [self._endpoint.address, self._endpoint.secondary_address]
        return [self._endpoint.address]

    async def is_running(self) -> bool:
        """Take over the main server if a killed platform left it running. Returns whether it runs."""
        return await in_thread(self.main.adopt, self._port)

    async def has_followed(self) -> bool:
        """Take over the standby if a killed platform left it running. Returns whether it runs, or is not wanted."""
        return await in_thread(self.standby.adopt, self._port) == self._endpoint.readable_secondaries

    async def start(self) -> None:
        """Start the main server. A primary without data is created first, and its history begins."""
        self.main.options = self._settings()
        if self._endpoint.read_write:
            await in_thread(self._begin)
        else:
            self.main.options["max_connections"] = str(_STANDBY_CONNECTIONS)
        await in_thread(self.main.start, self._port)

    async def copy_primary(self, primary: Servers) -> None:
        """Create a read-only endpoint's data as a standby of the primary, which has to run, unless it has some."""
        await in_thread(self.main.copy_from, primary.main, standby=True)

    async def follow(self) -> None:
        """Start the readable secondary, created as a copy of the primary, or delete it if it is no longer wanted."""
        if self._endpoint.readable_secondaries:
            self.standby.options = {**self._settings(), "max_connections": str(_STANDBY_CONNECTIONS)}
            await in_thread(self.standby.copy_from, self.main, standby=True)
            await in_thread(self.standby.start, self._port)
        else:
            await in_thread(self.standby.destroy)

    async def stop(self) -> None:
        """Stop the servers. Clients' connections end with 57P01 (admin_shutdown)."""
        await in_thread(self.standby.stop)
        await in_thread(self.main.stop)

    async def destroy(self) -> None:
        """Stop the servers and delete their data, with those of the branch if this is its primary."""
        await in_thread(self.standby.destroy)
        await in_thread(self.main.destroy)

    async def processes(self) -> dict[str, int]:
        """The process ids of the running servers, by address."""
        found = {}
        for cluster, address in (
            (self.main, self._endpoint.address),
            (self.standby, self._endpoint.secondary_address),
        ):
            if await in_thread(cluster.running):
                # A server that dies or starts at this moment has no pid file, or an empty one.
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found[address] = cluster.process_id()
        return found

    def died(self) -> bool:
        """Whether the main server, which was started, no longer runs. Checks only the process."""
        return not self.main.alive()

    def standby_died(self) -> bool:
        """Whether there should be a readable secondary and it does not run. Checks only the process."""
        return self._endpoint.readable_secondaries and not self.standby.alive()

    async def connect(self, database: str = "postgres") -> Any:
        """Connect to the main server as the superuser, through the Unix socket, with asyncpg.

        Raises:
            OSError, asyncpg.PostgresError: PostgreSQL does not accept the connection.
        """
        return await asyncpg.connect(
            host=str(self.main.socket_directory),
            port=self._port,
            user="postgres",
            password=self.main.password,
            database=database,
            server_settings={"application_name": "control plane"},
        )

    def _begin(self) -> None:
        self.main.create()
        self.history.begin()

    def _settings(self) -> dict[str, str]:
        connections, megabytes = next(size for units, size in _SIZES.items() if self._endpoint.max_cu <= units)
        return {
            "max_connections": str(connections),
            "shared_buffers": f"{megabytes}MB",
            **self._options.pg_options,
            **self._endpoint.pg_settings,
        }


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a blocking function of a cluster in a thread.

    A cancellation waits until the thread has ended: otherwise a PostgreSQL could start after the platform has stopped
    all of them.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
