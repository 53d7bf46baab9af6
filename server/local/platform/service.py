"""Owns the parts of the local platform, put together, and their start and stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from server.local.platform.faults import Faults
from server.local.platform.identities.credentials import Credentials
from server.local.platform.identities.directory import Directory
from server.local.platform.identities.radius import RadiusServer
from server.local.platform.instances.instances import Instances
from server.local.platform.instances.lifecycle import Lifecycle
from server.local.platform.instances.projects import Projects
from server.local.platform.instances.roles import Roles
from server.local.platform.mints import Mints
from server.local.platform.state import Store, free_port
from server.local.platform.tables.catalogs import Catalogs
from server.local.platform.tables.pipelines import Pipelines
from server.local.platform.tables.synced_tables import SyncedTables
from server.local.platform.tables.syncs import Syncs
from server.local.platform.tables.unity import UnityCatalog

if TYPE_CHECKING:
    from server.local.platform.options import Options


class Platform:
    """Everything that the REST API speaks to. Ports are chosen at the first start and kept."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.store = store = Store(options.directory)
        state = store.state
        state.http_port = options.http_port or state.http_port or free_port()
        state.pg_port = options.pg_port or state.pg_port or free_port()
        state.radius_port = state.radius_port or free_port()
        store.save()
        self.credentials = Credentials(store, options)
        self.directory = Directory(store, options)
        self.life = Lifecycle(store, options, self.credentials)
        self.instances = Instances(store, self.life)
        self.projects = Projects(store, options)
        self.unity = UnityCatalog(store)
        self.catalogs = Catalogs(store, self.life, self.instances, self.unity)
        self.syncs = Syncs(store, options, self.life)
        self.synced_tables = SyncedTables(store, options, self.instances, self.unity, self.syncs)
        self.pipelines = Pipelines(store, self.syncs)
        self.roles = Roles(self.life, self.instances)
        self.faults = Faults()
        self.mints = Mints()
        self.requests: Counter[str] = Counter()
        self._radius: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Answer PostgreSQL's questions, and take everything up where it was left.

        Raises:
            OSError: the port of RADIUS is taken.
        """
        state = self.store.state
        self._radius, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: RadiusServer(state.radius_secret, self.credentials.check),
            local_addr=("127.0.0.1", state.radius_port),
        )
        self.life.open()
        self.syncs.open()

    async def close(self) -> None:
        """Stop every sync and every PostgreSQL."""
        await self.syncs.close()
        await self.life.close()
        if self._radius:
            self._radius.close()
