"""Owns what instances go through: started, resized, stopped, suspended, woken, failed over, deleted, found again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.cluster import ClusterError
from server.local.platform.instances import sql
from server.local.platform.instances.gate import Gate
from server.local.platform.instances.postgres import Servers
from server.local.platform.rest.errors import PlatformError, wrong_state

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from server.local.platform.identities.credentials import Credentials
    from server.local.platform.options import Options
    from server.local.platform.state import Instance, Store

STARTING, AVAILABLE, UPDATING, STOPPED, DELETING = "STARTING", "AVAILABLE", "UPDATING", "STOPPED", "DELETING"
FAILING_OVER = "FAILING_OVER"
_UNSETTLED = (STARTING, UPDATING, DELETING, FAILING_OVER)
_RETRY_SECONDS = 1
_FAILURE_SECONDS = 1
_log = logging.getLogger(__name__)

# When something was last done in a database by anybody but this session; the time now while something is being done.
_LAST_ACTIVITY = """
SELECT extract(epoch FROM CASE WHEN bool_or(state <> 'idle') THEN clock_timestamp() ELSE max(state_change) END)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Lifecycle:
    """Drives each instance to the state that it is on its way to, one step at a time, and again after a restart."""

    def __init__(self, store: Store, options: Options, credentials: Credentials) -> None:
        self._store = store
        self._options = options
        self._credentials = credentials
        self._servers: dict[str, Servers] = {}
        self._gates: dict[str, Gate] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._awake_since: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wakes: Counter[str] = Counter()

    def open(self) -> None:
        """Take every instance up where it was left."""
        for instance in self._store.state.instances.values():
            self._enrol(instance)
            if instance.state in _UNSETTLED:
                self.settle(instance)
            elif instance.state == AVAILABLE:
                self._do(f"recover {instance.uid}", self._recover(instance))
        self._do("failures", self._watch_for_failures())
        if self._options.suspend_after > 0:
            self._do("idle", self._watch_for_idleness())

    async def close(self) -> None:
        """Stop every PostgreSQL; what the state says of them stays."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for gate in self._gates.values():
            gate.close()
        for failure in await asyncio.gather(*(s.stop() for s in self._servers.values()), return_exceptions=True):
            if failure is not None:
                _log.error("PostgreSQL was not stopped: %s", failure)

    def settle(self, instance: Instance) -> None:
        """Begin to bring the instance to where its state leads, unless that is being done: then it goes on there."""
        self._enrol(instance)
        self._do(f"settle {instance.uid}", self._settle(instance))

    async def connect(self, instance: Instance, database: str = "postgres") -> Any:
        """An asyncpg connection of the superuser; a suspended instance is woken for it.

        Raises:
            PlatformError: INVALID_STATE where the instance is not available.
            OSError, asyncpg.PostgresError: PostgreSQL does not answer, or has no such database.
        """
        if instance.state != AVAILABLE:
            raise wrong_state(f"Database instance '{instance.name}' is {instance.state}, not AVAILABLE.")
        if instance.suspended:
            await self._wake(instance)
        # Whoever holds the lock of an available instance is bringing it back.
        async with self._locks[instance.uid]:
            pass
        return await self._servers[instance.uid].connect(database)

    async def suspend(self, instance: Instance) -> None:
        """Drop its backends and stop its PostgreSQL; the next attempt to connect wakes it.

        Raises:
            PlatformError: INVALID_STATE where it is not available.
        """
        async with self._locks[instance.uid]:
            if instance.state != AVAILABLE:
                raise wrong_state(f"Database instance '{instance.name}' is {instance.state}, not AVAILABLE.")
            if not instance.suspended:
                instance.suspended = True
                self._store.save()
                servers = self._servers[instance.uid]
                await servers.stop()
                await self._gates[instance.uid].open(servers.addresses, self._store.state.pg_port)

    async def pause_replay(self, instance: Instance, *, paused: bool) -> None:
        """Let its standby's replay stand still, or go on; a standby that is started replays.

        Raises:
            PlatformError: INVALID_STATE where the instance has none that runs.
            OSError, asyncpg.PostgresError: the standby does not answer.
        """
        if instance.state != AVAILABLE or instance.suspended or not instance.readable_secondaries:
            raise wrong_state(f"Database instance '{instance.name}' has no standby that runs.")
        # Whoever holds it is bringing the standby back.
        async with self._locks[instance.uid]:
            connection = await self._servers[instance.uid].connect(standby=True)
        try:
            await sql.pause_replay(connection, paused=paused)
        finally:
            connection.terminate()

    async def processes(self, instance: Instance) -> dict[str, int]:
        """The process ids of its PostgreSQLs that run, by address."""
        servers = self._servers.get(instance.uid)
        return await servers.processes() if servers else {}

    def wakes(self) -> dict[str, int]:
        """How many times each instance, by its name, was woken since the start of the process."""
        return {**dict.fromkeys(self._store.state.instances, 0), **self._wakes}

    def _enrol(self, instance: Instance) -> None:
        if instance.uid not in self._servers:
            self._servers[instance.uid] = Servers(instance, self._store, self._options)
            self._locks[instance.uid] = asyncio.Lock()
            self._gates[instance.uid] = Gate(lambda: self._do(f"wake {instance.uid}", self._wake(instance)))
            self._awake_since[instance.uid] = time.time()

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run it in the background, unless it is being run."""
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
        # There is no state for failure: the platform goes on trying, and so does this.
        while instance.state in _UNSETTLED and instance.uid in self._servers:
            try:
                async with self._locks[instance.uid]:
                    await self._step(instance)
            except (ClusterError, OSError, asyncpg.PostgresError) as error:
                _log.warning("%s stays %s: %s", instance.name, instance.state, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _step(self, instance: Instance) -> None:
        servers, state = self._servers[instance.uid], instance.state
        if state == STARTING:
            await asyncio.gather(asyncio.sleep(self._options.start_delay), self._bring_up(instance))
            self._arrive(instance, state, AVAILABLE)
        elif state == FAILING_OVER:
            await self._bring_up(instance)
            self._arrive(instance, state, AVAILABLE)
        elif state == UPDATING:
            if not instance.stopped:
                await asyncio.sleep(self._options.resize_delay)
            self._gates[instance.uid].close()
            await servers.stop()
            instance.suspended = False
            if not instance.stopped:
                await self._bring_up(instance)
            self._arrive(instance, state, STOPPED if instance.stopped else AVAILABLE)
        else:
            self._gates[instance.uid].close()
            await servers.destroy()
            del self._servers[instance.uid]
            del self._store.state.instances[instance.name]
            self._store.save()

    def _arrive(self, instance: Instance, before: str, state: str) -> None:
        # It may have been deleted on the way.
        if instance.state == before:
            instance.state = state
            self._store.save()

    async def _bring_up(self, instance: Instance) -> None:
        servers = self._servers[instance.uid]
        await servers.start()
        connection = await servers.connect()
        try:
            await sql.prepare(connection, instance.creator, creator_is_user=instance.creator_is_user)
        finally:
            await connection.close()
        # Only now: a standby that is copied earlier may not yet have the roles when somebody logs in.
        await servers.follow()
        self._awake_since[instance.uid] = time.time()

    async def _recover(self, instance: Instance) -> None:
        servers = self._servers[instance.uid]
        async with self._locks[instance.uid]:
            while instance.state == AVAILABLE:
                try:
                    if not instance.suspended:
                        await servers.adopt()
                    elif await servers.processes():
                        # Killed while it was being suspended or woken: it is awake.
                        await servers.adopt()
                        instance.suspended = False
                        self._store.save()
                    else:
                        await self._gates[instance.uid].open(servers.addresses, self._store.state.pg_port)
                except (ClusterError, OSError) as error:
                    _log.warning("%s is not back yet: %s", instance.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    return

    async def _wake(self, instance: Instance) -> None:
        await asyncio.sleep(self._options.wake_delay)
        async with self._locks[instance.uid]:
            if instance.state == AVAILABLE and instance.suspended:
                # Before the first can log in.
                self._wakes[instance.name] += 1
            while instance.state == AVAILABLE and instance.suspended:
                # For some milliseconds nobody listens, as with any machine that comes up.
                self._gates[instance.uid].close()
                try:
                    await self._bring_up(instance)
                except (ClusterError, OSError, asyncpg.PostgresError) as error:
                    _log.warning("%s does not wake: %s", instance.name, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    instance.suspended = False
                    self._store.save()

    async def _follow(self, instance: Instance) -> None:
        """Bring its standby back; the primary goes on meanwhile."""
        servers = self._servers[instance.uid]
        async with self._locks[instance.uid]:
            # The primary may have died with it, or the instance left this state.
            if not (self._runs(instance) and servers.standby_died()) or servers.died():
                return
            try:
                await servers.follow()
            except (ClusterError, OSError) as error:
                # It is seen dead again in a while.
                _log.warning("the standby of %s is not back yet: %s", instance.name, error)

    async def _watch_for_failures(self) -> None:
        """A PostgreSQL that has died by itself is brought back: nobody but the platform can."""
        while True:
            await asyncio.sleep(_FAILURE_SECONDS)
            for instance in list(self._store.state.instances.values()):
                servers = self._servers[instance.uid]
                if not self._runs(instance) or self._locks[instance.uid].locked():
                    continue
                if servers.died():
                    _log.warning("the PostgreSQL of %s has died", instance.name)
                    instance.state = FAILING_OVER
                    self._store.save()
                    self.settle(instance)
                elif servers.standby_died():
                    _log.warning("the standby of %s has died", instance.name)
                    self._do(f"follow {instance.uid}", self._follow(instance))

    @staticmethod
    def _runs(instance: Instance) -> bool:
        return instance.state == AVAILABLE and not instance.suspended

    async def _watch_for_idleness(self) -> None:
        while True:
            await asyncio.sleep(self._options.suspend_after / 4)
            for instance in list(self._store.state.instances.values()):
                if instance.state == AVAILABLE and not instance.suspended and await self._is_idle(instance):
                    try:
                        await self.suspend(instance)
                    except (PlatformError, ClusterError, OSError) as error:
                        _log.warning("%s was not suspended: %s", instance.name, error)

    async def _is_idle(self, instance: Instance) -> bool:
        last = max(self._awake_since[instance.uid], self._credentials.last_login.get(instance.uid, 0))
        if time.time() - last < self._options.suspend_after:
            return False
        try:
            connection = await self._servers[instance.uid].connect()
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            last = max(last, await connection.fetchval(_LAST_ACTIVITY) or 0)
        finally:
            await connection.close()
        return bool(time.time() - last >= self._options.suspend_after)
