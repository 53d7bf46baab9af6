"""The parts of the local platform, put together, and their start and stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.local.platform.identities.credentials import Credentials
from server.local.platform.identities.directory import Directory
from server.local.platform.identities.radius import RadiusServer
from server.local.platform.instances.instances import Instances
from server.local.platform.instances.lifecycle import Lifecycle
from server.local.platform.instances.projects import Projects
from server.local.platform.instances.roles import Roles
from server.local.platform.state import Store, free_port
from server.local.platform.tables.catalogs import Catalogs
from server.local.platform.tables.pipelines import Pipelines
from server.local.platform.tables.synced_tables import SyncedTables
from server.local.platform.tables.syncs import Syncs
from server.local.platform.tables.unity import UnityCatalog

if TYPE_CHECKING:
    from server.local.platform.events import Observer
    from server.local.platform.options import Options


class Platform:
    """Everything behind the REST API. Ports are chosen at the first start and kept.

    Args:
        options: how it behaves.
        observer: called at each event.

    Raises:
        OSError: another process has the directory, or no port is free.
    """

    def __init__(self, options: Options, observer: Observer) -> None:
        self.options = options
        self.store = store = Store(options.directory)
        state = store.state
        state.http_port = options.http_port or state.http_port or free_port()
        state.pg_port = options.pg_port or state.pg_port or free_port()
        state.radius_port = state.radius_port or free_port()
        store.save()
        self.credentials = Credentials(store, options, observer)
        self.directory = Directory(store, options)
        self.lifecycle = Lifecycle(store, options, self.credentials, observer)
        self.instances = Instances(store, self.lifecycle)
        self.projects = Projects(store, options)
        self.unity = UnityCatalog(store)
        self.catalogs = Catalogs(store, self.lifecycle, self.instances, self.unity)
        self.syncs = Syncs(store, options, self.lifecycle)
        self.synced_tables = SyncedTables(store, options, self.instances, self.unity, self.syncs)
        self.pipelines = Pipelines(store, self.syncs)
        self.roles = Roles(self.lifecycle, self.instances)
        self._radius: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Start to check PostgreSQL's logins, and resume every instance and sync where it was left.

        Raises:
            OSError: the RADIUS port is taken.
        """
        state = self.store.state
        self._radius, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: RadiusServer(state.radius_secret, self.credentials.check),
            local_addr=("127.0.0.1", state.radius_port),
        )
        self.lifecycle.open()
        self.syncs.open()

    async def close(self) -> None:
        """Stop every sync and every PostgreSQL."""
        await self.syncs.close()
        await self.lifecycle.close()
        if self._radius:
            self._radius.close()
