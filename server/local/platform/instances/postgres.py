"""The PostgreSQL servers of one instance: the primary and, if it has readable secondaries, a hot standby."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import asyncpg

from server.local.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.local.platform.options import Options
    from server.local.platform.state import Instance, Store

_P = ParamSpec("_P")
_T = TypeVar("_T")

# max_connections and shared_buffers (MB), much smaller than the cloud's: many instances share a laptop.
CAPACITIES = {"CU_1": (100, 32), "CU_2": (150, 64), "CU_4": (200, 96), "CU_8": (250, 128)}
# A standby does not start with a lower max_connections than its primary has or had.
_STANDBY_CONNECTIONS = max(connections for connections, _ in CAPACITIES.values())


class Servers:
    """The servers of an instance. Over TCP a client logs in with a credential, which PostgreSQL checks by RADIUS.

    The methods raise ClusterError if PostgreSQL cannot be created, started or stopped.
    """

    def __init__(self, instance: Instance, store: Store, options: Options) -> None:
        self._instance = instance
        self._port = store.state.pg_port
        self._options = options
        logins = (
            "local all all scram-sha-256\n"
            "local replication all scram-sha-256\n"
            'host all all 0.0.0.0/0 radius radiusservers="127.0.0.1"'
            f' radiussecrets="{store.state.radius_secret}" radiusports="{store.state.radius_port}"'
            f' radiusidentifiers="{instance.uid}"\n'
        )
        # The directory is named by the uid, so that an instance never finds the data of a deleted one of its name.
        home = store.directory.absolute() / "instances" / instance.uid
        self.primary = Cluster(home, address=instance.address, logins=logins, database=None)
        self.standby = Cluster(
            home.with_name(f"{home.name}-standby"), address=instance.secondary_address, logins=logins, database=None
        )

    @property
    def addresses(self) -> list[str]:
        """The addresses that the servers listen on."""
        if self._instance.readable_secondaries:
            return [self._instance.address, self._instance.secondary_address]
        return [self._instance.address]

    async def adopt(self) -> None:
        """Take over the servers that a killed platform left running, and start the others."""
        primary, standby = await _in_thread(self.primary.adopt, self._port), await _in_thread(self._adopt_standby)
        if not primary:
            await self.start()
        if not standby:
            await self.follow()

    async def start(self) -> None:
        """Start the primary, and create it first if it does not exist."""
        self.primary.options = self._settings()
        await _in_thread(self.primary.start, self._port)

    async def branch_from(self, parent: Servers) -> None:
        """Create the primary as a copy of the parent's, which has to run, unless it exists."""
        await _in_thread(self.primary.copy_from, parent.primary, standby=False)

    async def follow(self) -> None:
        """Start the standby, created as a copy of the primary, or delete it if it is no longer wanted."""
        if self._instance.readable_secondaries:
            self.standby.options = {**self._settings(), "max_connections": str(_STANDBY_CONNECTIONS)}
            await _in_thread(self.standby.copy_from, self.primary, standby=True)
            await _in_thread(self.standby.start, self._port)
        else:
            await _in_thread(self.standby.destroy)

    async def stop(self) -> None:
        """Stop the servers. Clients' connections end with 57P01 (admin_shutdown)."""
        await _in_thread(self.standby.stop)
        await _in_thread(self.primary.stop)

    async def destroy(self) -> None:
        """Stop the servers and delete their data."""
        await _in_thread(self.standby.destroy)
        await _in_thread(self.primary.destroy)

    async def processes(self) -> dict[str, int]:
        """The process ids of the running servers, by address."""
        found = {}
        for cluster, address in (
            (self.primary, self._instance.address),
            (self.standby, self._instance.secondary_address),
        ):
            if await _in_thread(cluster.running):
                # A server that dies or starts at this moment has no pid file, or an empty one.
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found[address] = cluster.process_id()
        return found

    def died(self) -> bool:
        """Whether the primary, which was started, no longer runs. Checks only the process."""
        return not self.primary.alive()

    def standby_died(self) -> bool:
        """Whether there should be a standby and it does not run. Checks only the process."""
        return self._instance.readable_secondaries and not self.standby.alive()

    async def connect(self, database: str = "postgres") -> Any:
        """Connect to the primary as the superuser, through the Unix socket, with asyncpg.

        Raises:
            OSError, asyncpg.PostgresError: PostgreSQL does not accept the connection.
        """
        return await asyncpg.connect(
            host=str(self.primary.socket_directory),
            port=self._port,
            user="postgres",
            password=self.primary.password,
            database=database,
            server_settings={"application_name": "control plane"},
        )

    def _settings(self) -> dict[str, str]:
        connections, megabytes = CAPACITIES[self._instance.capacity]
        return {
            "max_connections": str(connections),
            "shared_buffers": f"{megabytes}MB",
            **self._options.pg_options,
        }

    def _adopt_standby(self) -> bool:
        return self.standby.adopt(self._port) == self._instance.readable_secondaries


async def _in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
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
