"""The lifecycle of endpoints: start, resize, stop, suspend, wake, fail over, delete, and recover after a crash."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.cluster import ClusterError
from server.local.history import RESERVE
from server.local.platform.compute import sql
from server.local.platform.compute.postgres import Servers
from server.local.platform.compute.wake_up_listener import WakeUpListener
from server.local.platform.events import Event
from server.local.platform.rest.errors import PlatformError, wrong_state
from server.local.platform.state.projects import Branch, Compute, Project

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from server.local.platform.events import Observer
    from server.local.platform.options import Options
    from server.local.platform.state.store import Store

STARTING, AVAILABLE, UPDATING, STOPPED, DELETING = "STARTING", "AVAILABLE", "UPDATING", "STOPPED", "DELETING"
FAILING_OVER = "FAILING_OVER"
TRANSIENT = (STARTING, UPDATING, DELETING, FAILING_OVER)
# The states of a branch: its data are being copied, or are there.
INIT, READY = "INIT", "READY"
# Between two attempts to start or stop PostgreSQL.
_RETRY_SECONDS = 1
_log = logging.getLogger(__name__)


class Lifecycle:
    """Brings each endpoint out of its transient state, also after a restart of the platform.

    An endpoint's lock is held while its servers are started or stopped. The keys of `servers`, `locks` and
    `awake_since` (in Unix time) are uids of endpoints.
    """

    def __init__(self, store: Store, options: Options, observer: Observer) -> None:
        self._store = store
        self._options = options
        self._observer = observer
        self.servers: dict[str, Servers] = {}
        self.locks: dict[str, asyncio.Lock] = {}
        self.awake_since: dict[str, float] = {}
        self._listeners: dict[str, WakeUpListener] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def open(self) -> None:
        """Resume every endpoint where it was left."""
        for compute in self._store.state.computes():
            self._register(compute)
            if compute.endpoint.state in TRANSIENT:
                self.settle(compute)
            elif compute.endpoint.state == AVAILABLE:
                self.run(f"recover {compute.endpoint.uid}", self._recover(compute))

    async def close(self) -> None:
        """Stop every PostgreSQL. The stored states do not change."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for listener in self._listeners.values():
            listener.close()
        for failure in await asyncio.gather(*(s.stop() for s in self.servers.values()), return_exceptions=True):
            if failure is not None:
                _log.error("PostgreSQL was not stopped: %s", failure)

    def settle(self, compute: Compute) -> None:
        """Start to bring the endpoint out of its transient state. Work that is under way notices a new state."""
        self._register(compute)
        self.run(f"settle {compute.endpoint.uid}", self._settle(compute))

    async def connect(self, project: Project, branch: Branch, database: str = "postgres") -> Any:
        """Connect to a branch as the superuser, with asyncpg. A suspended endpoint is woken first.

        Raises:
            PlatformError: INVALID_STATE if the branch has no read-write endpoint that is available.
            OSError, asyncpg.PostgresError: PostgreSQL does not answer, or has no such database.
        """
        compute = available(project, branch)
        if compute.endpoint.suspended:
            await self._wake(compute)
        # The lock of an available endpoint is held while its servers are being brought back.
        async with self.locks[compute.endpoint.uid]:
            pass
        return await self.servers[compute.endpoint.uid].connect(database)

    async def suspend(self, compute: Compute) -> None:
        """End its sessions and stop its PostgreSQL. The next attempt to connect wakes it.

        Raises:
            PlatformError: INVALID_STATE if it is not available.
        """
        endpoint = compute.endpoint
        async with self.locks[endpoint.uid]:
            if endpoint.state != AVAILABLE:
                raise wrong_state(f"The endpoint {compute.name} is {endpoint.state}, not AVAILABLE.")
            if not endpoint.suspended:
                endpoint.suspended = True
                self._store.save()
                await self.servers[endpoint.uid].stop()
                await self._listen(compute)

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the background, unless work of this name is running."""
        running = self._tasks.get(name)
        if running and not running.done():
            work.close()
            return
        task = self._tasks[name] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._ended(name, done))

    def should_run(self, compute: Compute) -> bool:
        """Whether its PostgreSQL should be running."""
        return compute.endpoint.state == AVAILABLE and not compute.endpoint.suspended

    def fail_over(self, compute: Compute) -> None:
        """Bring back an endpoint whose PostgreSQL has died."""
        compute.endpoint.state = FAILING_OVER
        self._store.save()
        self.settle(compute)

    async def restart_standby(self, compute: Compute) -> None:
        """Start a dead readable secondary again. The primary keeps serving."""
        servers = self.servers[compute.endpoint.uid]
        async with self.locks[compute.endpoint.uid]:
            # While this waited for the lock, the primary may have died too, or the endpoint may have left its state.
            if not (self.should_run(compute) and servers.standby_died()) or servers.died():
                return
            try:
                await servers.follow()
            except (ClusterError, OSError) as error:
                # The next check finds it dead again.
                _log.warning("the standby of %s is not back yet: %s", compute.name, error)

    def _register(self, compute: Compute) -> None:
        uid = compute.endpoint.uid
        if uid not in self.servers:
            self.servers[uid] = Servers(compute, self._store, self._options)
            self.locks[uid] = asyncio.Lock()
            self._listeners[uid] = WakeUpListener(lambda: self.run(f"wake {uid}", self._wake(compute)))
            self.awake_since[uid] = time.time()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s failed", name, exc_info=error)

    async def _settle(self, compute: Compute) -> None:
        # The API has no state for a failure: like the platform, this tries again until it succeeds.
        while compute.endpoint.state in TRANSIENT and compute.endpoint.uid in self.servers:
            try:
                async with self.locks[compute.endpoint.uid]:
                    await self._leave_state(compute)
            except (PlatformError, ClusterError, OSError, asyncpg.PostgresError) as error:
                _log.warning("%s stays %s: %s", compute.name, compute.endpoint.state, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _leave_state(self, compute: Compute) -> None:
        endpoint, state = compute.endpoint, compute.endpoint.state
        servers = self.servers[endpoint.uid]
        if compute.branch.state == INIT and state != DELETING:
            # There are no data yet. A branch that cannot be copied is removed with its endpoints.
            await self._store.changed()
        elif state == STARTING:
            await asyncio.gather(asyncio.sleep(self._options.start_delay), self._bring_up(compute))
            self._enter(compute, AVAILABLE, before=state)
        elif state == FAILING_OVER:
            await self._bring_up(compute)
            self._enter(compute, AVAILABLE, before=state)
        elif state == UPDATING:
            if compute.is_wanted:
                await asyncio.sleep(self._options.resize_delay)
            self._listeners[endpoint.uid].close()
            await servers.stop()
            endpoint.suspended = False
            if wanted := compute.is_wanted:
                await self._bring_up(compute)
            self._enter(compute, AVAILABLE if wanted else STOPPED, before=state)
        else:
            self._listeners[endpoint.uid].close()
            await servers.destroy()
            del self.servers[endpoint.uid]
            # Otherwise it goes at the same moment as its branch or its project.
            if not (compute.branch.purged or compute.project.purged):
                del compute.branch.endpoints[endpoint.id]
            self._store.save()

    def _enter(self, compute: Compute, state: str, *, before: str) -> None:
        # A client may have deleted the endpoint meanwhile.
        if compute.endpoint.state == before:
            # Or disabled it, or deleted or undeleted its branch or its project.
            is_right = compute.is_wanted == (state == AVAILABLE)
            compute.endpoint.state = state if is_right else UPDATING
            self._store.save()

    async def _bring_up(self, compute: Compute) -> None:
        project, endpoint = compute.project, compute.endpoint
        servers = self.servers[endpoint.uid]
        if not endpoint.read_write and not servers.main.has_data:
            primary = available(project, compute.branch).endpoint
            # A suspended one is woken.
            await (await self.connect(project, compute.branch)).close()
            await servers.copy_primary(self.servers[primary.uid])
        await servers.start()
        if endpoint.read_write:
            connection = await servers.connect()
            try:
                await connection.execute(RESERVE)
                await sql.prepare(connection, project.creator, creator_is_user=project.creator_is_user)
            finally:
                await connection.close()
        # Last, because a standby that was copied earlier might lack the roles when a client logs in.
        await servers.follow()
        self.awake_since[endpoint.uid] = time.time()

    async def _recover(self, compute: Compute) -> None:
        endpoint, servers = compute.endpoint, self.servers[compute.endpoint.uid]
        async with self.locks[endpoint.uid]:
            while endpoint.state == AVAILABLE:
                try:
                    if endpoint.suspended and await servers.processes():
                        # The platform was killed while it suspended or woke the endpoint. Treat it as awake.
                        endpoint.suspended = False
                        self._store.save()
                    if endpoint.suspended:
                        await self._listen(compute)
                        return
                    if not await servers.is_running():
                        await servers.start()
                    if not await servers.has_followed():
                        await servers.follow()
                except (ClusterError, OSError) as error:
                    _log.warning("%s is not back yet: %s", compute.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    return

    async def _listen(self, compute: Compute) -> None:
        """Answer in the place of a suspended endpoint's servers."""
        uid = compute.endpoint.uid
        await self._listeners[uid].open(self.servers[uid].addresses, self._store.state.pg_port)

    async def _wake(self, compute: Compute) -> None:
        endpoint = compute.endpoint
        await asyncio.sleep(self._options.wake_delay)
        async with self.locks[endpoint.uid]:
            if endpoint.state == AVAILABLE and endpoint.suspended:
                # Reported before any client can log in.
                self._observer(Event.ENDPOINT_WOKEN, endpoint.uid)
            while endpoint.state == AVAILABLE and endpoint.suspended:
                # For some milliseconds nothing listens, as on any machine that starts.
                self._listeners[endpoint.uid].close()
                try:
                    await self._bring_up(compute)
                except (ClusterError, OSError, asyncpg.PostgresError) as error:
                    _log.warning("%s does not wake: %s", compute.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    endpoint.suspended = False
                    self._store.save()


def available(project: Project, branch: Branch) -> Compute:
    """The read-write endpoint of a branch, which is available.

    Raises:
        PlatformError: INVALID_STATE if there is none, or it is not available.
    """
    endpoint = branch.primary
    if endpoint is None:
        raise wrong_state(f"The branch {project.branch_name(branch)} has no read-write endpoint.")
    compute = Compute(project, branch, endpoint)
    if endpoint.state != AVAILABLE:
        raise wrong_state(f"The endpoint {compute.name} is {endpoint.state}, not AVAILABLE.")
    return compute
