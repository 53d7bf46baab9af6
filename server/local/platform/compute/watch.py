"""The watch over the running PostgreSQLs: what dies is brought back, what is idle sleeps, what is long is backed up."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import asyncpg

from server.local.cluster import ClusterError
from server.local.platform.compute.postgres import in_thread
from server.local.platform.rest.errors import PlatformError

if TYPE_CHECKING:
    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.identities.credentials import Credentials
    from server.local.platform.options import Options
    from server.local.platform.state.projects import Compute
    from server.local.platform.state.store import Store

# Between two checks whether a PostgreSQL has died.
_FAILURE_CHECK_SECONDS = 1
# Between two checks whether the log of a branch has become long.
_HISTORY_CHECK_SECONDS = 30
_log = logging.getLogger(__name__)

# The time of the last activity of any other session; the time now while a statement or transaction is open.
_LAST_ACTIVITY = """
SELECT extract(epoch FROM CASE WHEN bool_or(state <> 'idle') THEN clock_timestamp() ELSE max(state_change) END)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Watch:
    """The loops that look at every endpoint."""

    def __init__(self, store: Store, options: Options, credentials: Credentials, lifecycle: Lifecycle) -> None:
        self._store = store
        self._options = options
        self._credentials = credentials
        self._lifecycle = lifecycle
        # By the endpoint's uid: when it is next due, as Unix time.
        self._idle_check: dict[str, float] = {}

    def open(self) -> None:
        """Start the loops. The lifecycle ends them when it is closed."""
        self._lifecycle.run("failures", self._watch_for_failures())
        self._lifecycle.run("idle", self._watch_for_idleness())
        self._lifecycle.run("history", self._watch_history())

    def last_active(self, compute: Compute) -> float:
        """When somebody last logged in, or the endpoint was started, as Unix time."""
        uid = compute.endpoint.uid
        return max(self._lifecycle.awake_since.get(uid, 0), self._credentials.last_login.get(uid, 0))

    def suspend_after(self, compute: Compute) -> float:
        """The idle time in seconds after which the endpoint is suspended; 0 is never."""
        own = compute.endpoint.suspend_after
        return self._options.suspend_after if own is None else own

    async def _watch_for_failures(self) -> None:
        """Bring back every PostgreSQL that has died: a client cannot."""
        while True:
            await asyncio.sleep(_FAILURE_CHECK_SECONDS)
            for compute in self._running():
                servers = self._lifecycle.servers[compute.endpoint.uid]
                if self._lifecycle.locks[compute.endpoint.uid].locked():
                    continue
                if servers.died():
                    _log.warning("the PostgreSQL of %s has died", compute.name)
                    self._lifecycle.fail_over(compute)
                elif servers.standby_died():
                    _log.warning("the standby of %s has died", compute.name)
                    self._lifecycle.run(f"follow {compute.endpoint.uid}", self._lifecycle.restart_standby(compute))

    async def _watch_for_idleness(self) -> None:
        while True:
            await asyncio.sleep(min(self._options.suspend_after / 4 or 1, 1))
            for compute in self._running():
                if self.suspend_after(compute) > 0 and await self._is_idle(compute):
                    try:
                        await self._lifecycle.suspend(compute)
                    except (PlatformError, ClusterError, OSError) as error:
                        _log.warning("%s was not suspended: %s", compute.name, error)

    async def _is_idle(self, compute: Compute) -> bool:
        uid, timeout = compute.endpoint.uid, self.suspend_after(compute)
        last, now = self.last_active(compute), time.time()
        if now - last < timeout or now < self._idle_check.get(uid, 0):
            return False
        self._idle_check[uid] = now + timeout / 4
        try:
            connection = await self._lifecycle.servers[uid].connect()
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            last = max(last, await connection.fetchval(_LAST_ACTIVITY) or 0)
        finally:
            await connection.close()
        return bool(time.time() - last >= timeout)

    async def _watch_history(self) -> None:
        while True:
            await asyncio.sleep(_HISTORY_CHECK_SECONDS)
            for compute in self._running():
                if compute.endpoint.read_write:
                    try:
                        await self._extend_history(compute)
                    except (ClusterError, OSError, asyncpg.PostgresError) as error:
                        _log.warning("the log of %s was not backed up: %s", compute.name, error)

    async def _extend_history(self, compute: Compute) -> None:
        servers = self._lifecycle.servers[compute.endpoint.uid]
        connection = await servers.connect()
        try:
            lsn = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
        finally:
            await connection.close()
        if servers.history.is_long(lsn):
            await in_thread(servers.history.extend)

    def _running(self) -> list[Compute]:
        return [compute for compute in self._store.state.computes() if self._lifecycle.should_run(compute)]
