"""The parts of the local platform, put together, and their start and stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.local.platform.compute.copies import Copies
from server.local.platform.compute.lifecycle import Lifecycle
from server.local.platform.compute.watch import Watch
from server.local.platform.identities.credentials import Credentials
from server.local.platform.identities.directory import Directory
from server.local.platform.identities.radius import RadiusServer
from server.local.platform.instances.instances import Instances
from server.local.platform.instances.roles import InstanceRoles
from server.local.platform.projects.branches import Branches
from server.local.platform.projects.databases import Databases
from server.local.platform.projects.endpoints import Endpoints
from server.local.platform.projects.lookup import Lookup
from server.local.platform.projects.operations import Operations
from server.local.platform.projects.projects import Projects
from server.local.platform.projects.roles import Roles
from server.local.platform.projects.snapshots import Snapshots
from server.local.platform.projects.terms import Terms
from server.local.platform.projects.views import Views
from server.local.platform.state.store import Store, free_port
from server.local.platform.tables.catalogs import Catalogs
from server.local.platform.tables.pipelines import Pipelines
from server.local.platform.tables.synced_tables import SyncedTables
from server.local.platform.tables.syncs import Syncs
from server.local.platform.tables.table_resources import TableResources
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
        self.lifecycle = lifecycle = Lifecycle(store, options, observer)
        self._watch = Watch(store, options, self.credentials, lifecycle)
        self._copies = copies = Copies(store, options, lifecycle)
        self.lookup = lookup = Lookup(store, options)
        self.operations = operations = Operations(store, options)
        views = Views(copies, self._watch)
        self.endpoints = endpoints = Endpoints(store, lifecycle, lookup, operations, views)
        self.branches = branches = Branches(store, options, lifecycle, copies, lookup, operations, endpoints, views)
        self.projects = projects = Projects(store, options, copies, lookup, operations, endpoints, branches, views)
        self.snapshots = Snapshots(store, copies, lookup, operations, branches, views)
        self.databases = Databases(lifecycle, lookup, operations)
        self.roles = Roles(lifecycle, lookup, operations)
        self._terms = Terms(store, options, lifecycle, copies, branches)
        self.instances = instances = Instances(store, lifecycle, projects, endpoints)
        self.instance_roles = InstanceRoles(instances, self.roles)
        self.unity = unity = UnityCatalog(store)
        self.catalogs = Catalogs(store, lifecycle, instances, lookup, operations, unity)
        self.syncs = Syncs(store, options, lifecycle, lookup)
        self.synced_tables = SyncedTables(store, options, instances, lookup, unity, self.syncs)
        self.table_resources = TableResources(store, options, operations, self.synced_tables, self.syncs)
        self.pipelines = Pipelines(store, self.syncs)
        self._radius: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Start to check PostgreSQL's logins, and resume everything where it was left.

        Raises:
            OSError: the RADIUS port is taken.
        """
        state = self.store.state
        self._radius, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: RadiusServer(state.radius_secret, self.credentials.check),
            local_addr=("127.0.0.1", state.radius_port),
        )
        self.lifecycle.open()
        self._copies.open()
        self._watch.open()
        self._terms.open()
        self.syncs.open()
        self.operations.open()

    async def close(self) -> None:
        """Stop every operation, every sync and every PostgreSQL."""
        await self.operations.close()
        await self.syncs.close()
        await self.lifecycle.close()
        if self._radius:
            self._radius.close()
