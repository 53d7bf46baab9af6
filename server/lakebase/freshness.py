"""How fresh the served tables are, as the platform tells: one look for all who ask."""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import ApiError, ForbiddenError, PlatformError, UnavailableError
from schema.ports.admin.instances import InstanceState
from schema.ports.admin.tables import SyncState
from schema.ports.freshness import SyncedAsOf
from schema.tables.registry import ORDERS_NAME
from server.lakebase.login.absence import ENDPOINT_PREFIX
from server.observability.observations import InstanceSeen, SyncSeen
from server.observability.sinks import observe
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.ports.admin.administration import Configured
    from schema.ports.admin.tables import SyncedTable
    from schema.ports.columns import Table
    from server.lakebase.database.asked_for import AskedForStore
    from server.lakebase.platform.api import Platform
    from server.lakebase.platform.loader import PlatformLoader

_log = structlog.get_logger(__name__)
# Between the beginnings of two looks.
_PAUSE_SECONDS: Final = 30.0
# The first look is so long after the start, when a login needs the platform more.
_FIRST_SECONDS: Final = 1.0
# The longest pause while looks fail.
_LONGEST_PAUSE_SECONDS: Final = 300.0
# In these states there has been a sync, and its rows can be read.
_READABLE: Final = frozenset(state for state in SyncState if state.value.startswith(SyncState.ONLINE.value))


class PlatformFreshness:
    """Knows how fresh the served tables are: a `FreshnessSource` that asks the platform.

    A caller gets the platform's last answer at once. If that is old, this class asks again in the background, with a
    few calls to the control plane, one after the other. It opens no connection to the database, which may be asleep.
    While the calls fail, callers go on getting the last answer.

    Args:
        loader: the platform.
        configured: the names of the served instance and tables.
        asked_for: what this server has asked the platform for. Only its memory is used.
        served: the path of the served endpoint, or the name of the served instance.
    """

    def __init__(self, loader: PlatformLoader, configured: Configured, asked_for: AskedForStore, served: str) -> None:
        self._loader = loader
        self._configured = configured
        self._asked_for = asked_for.in_memory()
        self._served = served
        self._known: dict[str, SyncedAsOf] = {}
        self._look: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._backoff = Backoff(_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        # Why the last look failed; None if it did not.
        self._failure: str | None = None

    def start(self) -> None:
        """Look once, although nobody asks, soon after the start of the process."""
        asyncio.get_running_loop().call_later(_FIRST_SECONDS, self.ask)

    def of(self, table: Table) -> SyncedAsOf | None:
        """What is known of a table's syncs; None if nothing is."""
        self.ask()
        return self._known.get(table.name)

    def ask(self) -> None:
        """Begin a look, unless one is under way or the last one is too recent."""
        now = time.monotonic()
        if now >= self._not_before:
            self._not_before = now + _PAUSE_SECONDS
            if self._look is None or self._look.done():
                # In an empty context: it is nobody's request.
                self._look = asyncio.create_task(self._look_once(), name="freshness", context=Context())

    async def close(self) -> None:
        """End the look that is under way, and begin no other."""
        self._not_before = math.inf
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait({self._look})

    async def _look_once(self) -> None:
        """Look at every table and at the instance. One that fails keeps what is known of it."""
        failure: Exception | None = None
        try:
            platform = (await self._loader.get()).remembering(self._asked_for)
            for name, synced_table in self._tables():
                try:
                    self._note(name, await platform.synced_table(synced_table))
                except UnavailableError:
                    # The others would fail in the same way, each after its own timeout.
                    raise
                except ApiError as error:
                    failure = error
            observe(InstanceSeen(await self._instance_state(platform)))
        except Exception as error:  # noqa: BLE001 # a fault of the platform must not end the looks
            failure = error
        self._note_end(failure)

    def _tables(self) -> Iterator[tuple[str, str]]:
        """The served tables: their names, and those of their synced tables."""
        if self._configured.table_name is not None:
            yield ORDERS_NAME, self._configured.table_name
            for served in self._configured.others:
                yield served.table.name, served.name

    def _note(self, name: str, found: SyncedTable | None) -> None:
        # A branch may be served under the catalog's name of the original, which then dates other rows.
        if found is None or not self._configured.is_place(found):
            if self._known.pop(name, None) is not None:
                observe(SyncSeen(name, None, None))
            return
        synced = SyncedAsOf(
            found.last_sync_finished_at,
            found.source_committed_at,
            found.source_version,
            found.state,
            found.policy,
        )
        before = self._known.get(name)
        if before is not None and synced.synced_at is None and synced.state in _READABLE:
            # During a full refresh the platform does not tell of the last sync, whose rows are still read.
            synced = replace(before, state=synced.state, policy=synced.policy)
        self._known[name] = synced
        at = synced.synced_at
        observe(SyncSeen(name, synced.state.value, at.timestamp() if at else None))

    async def _instance_state(self, platform: Platform) -> str | None:
        """The platform's name of the state of the served endpoint or instance; None if it does not exist."""
        if not self._served.startswith(ENDPOINT_PREFIX):
            found = await platform.instance(self._served)
            return None if found is None else found.state.value
        for endpoint in await platform.endpoints(self._served.partition("/endpoints/")[0]):
            if endpoint.path == self._served:
                return InstanceState.STOPPED.value if endpoint.disabled else endpoint.state.value
        return None

    def _note_end(self, failure: Exception | None) -> None:
        if failure is None or isinstance(failure, (ForbiddenError, PlatformError)):
            self._backoff.reset()
        else:
            self._not_before = time.monotonic() + self._backoff.next_pause()
        if failure is None:
            if self._failure is not None:
                self._failure = None
                _log.info("freshness known again")
            return
        bug = None if isinstance(failure, ApiError) else failure
        cause = type(failure).__name__ if bug else str(failure)
        # Once for each cause.
        if cause != self._failure:
            self._failure = cause
            _log.warning("freshness not known", cause=cause, exc_info=bug)
