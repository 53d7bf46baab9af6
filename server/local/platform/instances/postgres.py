"""Owns the PostgreSQL servers of one instance: the primary, and the hot standby where there is one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.cluster import Cluster
from server.local.platform.blocking import in_thread

if TYPE_CHECKING:
    from server.local.platform.options import Options
    from server.local.platform.state import Instance, Store

# max_connections and shared_buffers in MB, small beside the platform's: many instances share a laptop.
CAPACITIES = {"CU_1": (100, 32), "CU_2": (150, 64), "CU_4": (200, 96), "CU_8": (250, 128)}
# A standby may not have fewer than its primary has or had, or it does not start.
_STANDBY_CONNECTIONS = max(connections for connections, _ in CAPACITIES.values())


class Servers:
    """The servers of an instance. Who logs in over TCP shows a token, and RADIUS says whether it is good.

    The methods raise ClusterError where PostgreSQL cannot be made, started or stopped.
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
        # The user identifiers, so that nothing of a deleted instance is found by its namesake.
        home = store.directory.absolute() / "instances" / instance.uid
        self._primary = Cluster(home, address=instance.address, logins=logins, database=None)
        self._standby = Cluster(
            home.with_name(f"{home.name}-standby"), address=instance.secondary_address, logins=logins, database=None
        )

    @property
    def addresses(self) -> list[str]:
        """Where they listen."""
        if self._instance.readable_secondaries:
            return [self._instance.address, self._instance.secondary_address]
        return [self._instance.address]

    async def adopt(self) -> None:
        """Take over what a killed process left running, and start what does not run."""
        primary, standby = await in_thread(self._primary.adopt, self._port), await in_thread(self._adopt_standby)
        if not primary:
            await self.start()
        if not standby:
            await self.follow()

    async def start(self) -> None:
        """Make the primary where there is none yet, and start it."""
        self._primary.options = self._settings()
        await in_thread(self._primary.start, self._port)

    async def follow(self) -> None:
        """Start the standby, made from the primary, or remove one that is no longer wanted."""
        if self._instance.readable_secondaries:
            self._standby.options = {**self._settings(), "max_connections": str(_STANDBY_CONNECTIONS)}
            await in_thread(self._standby.copy_from, self._primary)
            await in_thread(self._standby.start, self._port)
        else:
            await in_thread(self._standby.destroy)

    async def stop(self) -> None:
        """Stop them; their clients' connections end with 57P01."""
        await in_thread(self._standby.stop)
        await in_thread(self._primary.stop)

    async def destroy(self) -> None:
        """Stop them and delete their data."""
        await in_thread(self._standby.destroy)
        await in_thread(self._primary.destroy)

    async def processes(self) -> dict[str, int]:
        """The process ids of those that run, by address."""
        found = {}
        for cluster, address in (
            (self._primary, self._instance.address),
            (self._standby, self._instance.secondary_address),
        ):
            if await in_thread(cluster.running):
                # One that dies or starts in between has no file, or an empty one.
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found[address] = cluster.process_id()
        return found

    def died(self) -> bool:
        """Whether the primary, which was started, runs no more. Without asking it anything."""
        return not self._primary.alive()

    def standby_died(self) -> bool:
        """Whether the standby runs no more where there is to be one. Without asking it anything."""
        return self._instance.readable_secondaries and not self._standby.alive()

    async def connect(self, database: str = "postgres", *, standby: bool = False) -> Any:
        """An asyncpg connection of the superuser through the Unix socket, to the primary or to the standby.

        Raises:
            OSError, asyncpg.PostgresError: there is none to be had.
        """
        cluster = self._standby if standby else self._primary
        return await asyncpg.connect(
            host=str(cluster.socket_directory),
            port=self._port,
            user="postgres",
            password=cluster.password,
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
        return self._standby.adopt(self._port) == self._instance.readable_secondaries
