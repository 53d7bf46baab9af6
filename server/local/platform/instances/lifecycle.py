"""The lifecycle of instances: start, resize, stop, suspend, wake, fail over, delete, and recover after a crash."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.cluster import ClusterError
from server.local.platform.events import Event
from server.local.platform.instances import sql
from server.local.platform.instances.postgres import Servers
from server.local.platform.instances.wake_up_listener import WakeUpListener
from server.local.platform.rest.errors import PlatformError, wrong_state

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from server.local.platform.events import Observer
    from server.local.platform.identities.credentials import Credentials
    from server.local.platform.options import Options
    from server.local.platform.state import Instance, Store

STARTING, AVAILABLE, UPDATING, STOPPED, DELETING = "STARTING", "AVAILABLE", "UPDATING", "STOPPED", "DELETING"
FAILING_OVER = "FAILING_OVER"
_TRANSIENT = (STARTING, UPDATING, DELETING, FAILING_OVER)
# Between two attempts to start or stop PostgreSQL.
_RETRY_SECONDS = 1
# Between two checks whether a PostgreSQL has died.
_FAILURE_CHECK_SECONDS = 1
_log = logging.getLogger(__name__)

# The time of the last activity of any other session; the time now while a statement or transaction is open.
_LAST_ACTIVITY = """
SELECT extract(epoch FROM CASE WHEN bool_or(state <> 'idle') THEN clock_timestamp() ELSE max(state_change) END)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Lifecycle:
    """Brings each instance out of its transient state, also after a restart of the platform.

    An instance's lock is held while its servers are started or stopped. The keys of `servers` are uids of instances.
    """

    def __init__(self, store: Store, options: Options, credentials: Credentials, observer: Observer) -> None:
        self._store = store
        self._options = options
        self._credentials = credentials
        self._observer = observer
        self.servers: dict[str, Servers] = {}
        self._listeners: dict[str, WakeUpListener] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._awake_since: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def open(self) -> None:
        """Resume every instance where it was left."""
        for instance in self._store.state.instances.values():
            self._register(instance)
            if instance.state in _TRANSIENT:
                self.settle(instance)
            elif instance.state == AVAILABLE:
                self._run(f"recover {instance.uid}", self._recover(instance))
        self._run("failures", self._watch_for_failures())
        if self._options.suspend_after > 0:
            self._run("idle", self._watch_for_idleness())

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

    def settle(self, instance: Instance) -> None:
        """Start to bring the instance out of its transient state. Work that is under way notices a new state."""
        self._register(instance)
        self._run(f"settle {instance.uid}", self._settle(instance))

    async def connect(self, instance: Instance, database: str = "postgres") -> Any:
        """Connect as the superuser, with asyncpg. A suspended instance is woken first.

        Raises:
            PlatformError: INVALID_STATE if the instance is not available.
            OSError, asyncpg.PostgresError: PostgreSQL does not answer, or has no such database.
        """
        if instance.state != AVAILABLE:
            raise wrong_state(f"Database instance '{instance.name}' is {instance.state}, not AVAILABLE.")
        if instance.suspended:
            await self._wake(instance)
        # The lock of an available instance is held while its servers are being brought back.
        async with self._locks[instance.uid]:
            pass
        return await self.servers[instance.uid].connect(database)

    async def suspend(self, instance: Instance) -> None:
        """End its sessions and stop its PostgreSQL. The next attempt to connect wakes it.

        Raises:
            PlatformError: INVALID_STATE if it is not available.
        """
        async with self._locks[instance.uid]:
            if instance.state != AVAILABLE:
                raise wrong_state(f"Database instance '{instance.name}' is {instance.state}, not AVAILABLE.")
            if not instance.suspended:
                instance.suspended = True
                self._store.save()
                servers = self.servers[instance.uid]
                await servers.stop()
                await self._listeners[instance.uid].open(servers.addresses, self._store.state.pg_port)

    def _register(self, instance: Instance) -> None:
        if instance.uid not in self.servers:
            self.servers[instance.uid] = Servers(instance, self._store, self._options)
            self._locks[instance.uid] = asyncio.Lock()
            self._listeners[instance.uid] = WakeUpListener(
                lambda: self._run(f"wake {instance.uid}", self._wake(instance))
            )
            self._awake_since[instance.uid] = time.time()

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the background, unless work of this name is running."""
        running = self._tasks.get(name)
        if running and not running.done():
            work.close()
            return
        task = self._tasks[name] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s failed", name, exc_info=error)

    async def _settle(self, instance: Instance) -> None:
        # The API has no state for a failure: like the platform, this tries again until it succeeds.
        while instance.state in _TRANSIENT and instance.uid in self.servers:
            try:
                async with self._locks[instance.uid]:
                    await self._leave_state(instance)
            except (ClusterError, OSError, asyncpg.PostgresError) as error:
                _log.warning("%s stays %s: %s", instance.name, instance.state, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _leave_state(self, instance: Instance) -> None:
        servers, state = self.servers[instance.uid], instance.state
        if state == STARTING:
            await asyncio.gather(asyncio.sleep(self._options.start_delay), self._bring_up(instance))
            self._enter(instance, AVAILABLE, before=state)
        elif state == FAILING_OVER:
            await self._bring_up(instance)
            self._enter(instance, AVAILABLE, before=state)
        elif state == UPDATING:
            if not instance.stopped:
                await asyncio.sleep(self._options.resize_delay)
            self._listeners[instance.uid].close()
            await servers.stop()
            instance.suspended = False
            if not instance.stopped:
                await self._bring_up(instance)
            self._enter(instance, STOPPED if instance.stopped else AVAILABLE, before=state)
        else:
            self._listeners[instance.uid].close()
            await servers.destroy()
            del self.servers[instance.uid]
            del self._store.state.instances[instance.name]
            self._store.save()

    def _enter(self, instance: Instance, state: str, *, before: str) -> None:
        # A client may have deleted the instance meanwhile.
        if instance.state == before:
            instance.state = state
            self._store.save()

    async def _bring_up(self, instance: Instance) -> None:
        servers = self.servers[instance.uid]
        if instance.parent:
            await servers.branch_from(self.servers[instance.parent])
        await servers.start()
        connection = await servers.connect()
        try:
            await sql.prepare(connection, instance.creator, creator_is_user=instance.creator_is_user)
        finally:
            await connection.close()
        # Last, because a standby that was copied earlier might lack the roles when a client logs in.
        await servers.follow()
        self._awake_since[instance.uid] = time.time()

    async def _recover(self, instance: Instance) -> None:
        servers = self.servers[instance.uid]
        async with self._locks[instance.uid]:
            while instance.state == AVAILABLE:
                try:
                    if not instance.suspended:
                        await servers.adopt()
                    elif await servers.processes():
                        # The platform was killed while it suspended or woke the instance. Treat it as awake.
                        await servers.adopt()
                        instance.suspended = False
                        self._store.save()
                    else:
                        await self._listeners[instance.uid].open(servers.addresses, self._store.state.pg_port)
                except (ClusterError, OSError) as error:
                    _log.warning("%s is not back yet: %s", instance.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    return

    async def _wake(self, instance: Instance) -> None:
        await asyncio.sleep(self._options.wake_delay)
        async with self._locks[instance.uid]:
            if instance.state == AVAILABLE and instance.suspended:
                # Reported before any client can log in.
                self._observer(Event.INSTANCE_WOKEN, instance.uid)
            while instance.state == AVAILABLE and instance.suspended:
                # For some milliseconds nothing listens, as on any machine that starts.
                self._listeners[instance.uid].close()
                try:
                    await self._bring_up(instance)
                except (ClusterError, OSError, asyncpg.PostgresError) as error:
                    _log.warning("%s does not wake: %s", instance.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    instance.suspended = False
                    self._store.save()

    async def _restart_standby(self, instance: Instance) -> None:
        """Start a dead standby again. The primary keeps serving."""
        servers = self.servers[instance.uid]
        async with self._locks[instance.uid]:
            # While this waited for the lock, the primary may have died too, or the instance may have left its state.
            if not (self._should_run(instance) and servers.standby_died()) or servers.died():
                return
            try:
                await servers.follow()
            except (ClusterError, OSError) as error:
                # The next check finds it dead again.
                _log.warning("the standby of %s is not back yet: %s", instance.name, error)

    async def _watch_for_failures(self) -> None:
        """Bring back every PostgreSQL that has died: a client cannot."""
        while True:
            await asyncio.sleep(_FAILURE_CHECK_SECONDS)
            for instance in list(self._store.state.instances.values()):
                servers = self.servers[instance.uid]
                if not self._should_run(instance) or self._locks[instance.uid].locked():
                    continue
                if servers.died():
                    _log.warning("the PostgreSQL of %s has died", instance.name)
                    instance.state = FAILING_OVER
                    self._store.save()
                    self.settle(instance)
                elif servers.standby_died():
                    _log.warning("the standby of %s has died", instance.name)
                    self._run(f"follow {instance.uid}", self._restart_standby(instance))

    @staticmethod
    def _should_run(instance: Instance) -> bool:
        return instance.state == AVAILABLE and not instance.suspended

    async def _watch_for_idleness(self) -> None:
        while True:
            await asyncio.sleep(self._options.suspend_after / 4)
            for instance in list(self._store.state.instances.values()):
                if self._should_run(instance) and await self._is_idle(instance):
                    try:
                        await self.suspend(instance)
                    except (PlatformError, ClusterError, OSError) as error:
                        _log.warning("%s was not suspended: %s", instance.name, error)

    async def _is_idle(self, instance: Instance) -> bool:
        last = max(self._awake_since[instance.uid], self._credentials.last_login.get(instance.uid, 0))
        if time.time() - last < self._options.suspend_after:
            return False
        try:
            connection = await self.servers[instance.uid].connect()
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            last = max(last, await connection.fetchval(_LAST_ACTIVITY) or 0)
        finally:
            await connection.close()
        return bool(time.time() - last >= self._options.suspend_after)
