"""The resources for N7: what a server holds of the system and of PostgreSQL, and whether it releases it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx
import psutil

from tests.servers.process import NO_TLS
from tests.support.exposition import value

if TYPE_CHECKING:
    from tests.faults.rig import Rig

_FDS: Final = 2
_RSS_BYTES: Final = 20 << 20
_SECONDS: Final = 5.0
_OURS: Final = "application_name LIKE 'lakebase-orders-graphql%'"
_COUNTS: Final = f"""
SELECT count(*) AS backends, count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
       count(*) FILTER (WHERE state = 'active') AS active
FROM pg_stat_activity WHERE {_OURS}
"""


@dataclass(frozen=True, slots=True)
class Vitals:
    """The resources held at one moment.

    Tasks are not visible from outside, but the resources of a leaked task are. `files` counts file descriptors except
    for connections, which come and go with callers and pools.
    """

    files: int
    rss_bytes: int
    backends: int
    idle_in_transaction: int
    active: int
    used: float
    waiting: float

    def leaks(self, before: Vitals, *, connections: int) -> list[str]:
        """One sentence for each resource that has grown, or exceeds its limit."""
        found = []
        if self.files > before.files + _FDS:
            found.append(f"{self.files} files open, {before.files} before")
        if self.rss_bytes > before.rss_bytes + _RSS_BYTES:
            found.append(f"RSS {self.rss_bytes >> 20} MB, {before.rss_bytes >> 20} MB before")
        if self.backends > connections:
            found.append(f"{self.backends} backends, {connections} at most")
        if self.idle_in_transaction:
            found.append(f"{self.idle_in_transaction} idle in transaction")
        if self.active:
            found.append(f"{self.active} backends still at work")
        if self.used or self.waiting:
            found.append(f"{self.used} connections in use and {self.waiting} waited for, with nobody asking")
        return found


def processes(rig: Rig) -> list[psutil.Process]:
    """The server's process and its workers."""
    parent = psutil.Process(rig.server.process.pid)
    return [parent, *parent.children(recursive=True)]


async def vitals(rig: Rig) -> Vitals:
    """The resources held now."""
    files = rss_bytes = 0
    for process in processes(rig):
        with contextlib.suppress(psutil.NoSuchProcess):
            files += process.num_fds() - len(process.net_connections("inet"))
            rss_bytes += process.memory_info().rss
    connection = await asyncpg.connect(rig.database)
    try:
        counts: Any = await connection.fetchrow(_COUNTS)
    finally:
        await connection.close()
    async with httpx.AsyncClient(verify=NO_TLS, timeout=5) as client:
        headers = {"authorization": f"Bearer {rig.metrics_token}"}
        exposed = (await client.get(f"{rig.server.url}/api/metrics", headers=headers)).text
    return Vitals(
        files,
        rss_bytes,
        counts["backends"],
        counts["idle_in_transaction"],
        counts["active"],
        value(exposed, "orders_api_pool_connections", state="used"),
        value(exposed, "orders_api_pool_waiting_requests"),
    )


async def leaks_after(rig: Rig, before: Vitals) -> list[str]:
    """Wait up to five seconds for the leaks to disappear, and return those that remain."""
    until = time.monotonic() + _SECONDS
    while True:
        found = (await vitals(rig)).leaks(before, connections=rig.connections)
        if not found or time.monotonic() > until:
            return found
        await asyncio.sleep(0.2)  # between two looks
