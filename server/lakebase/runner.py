"""The operations that this process runs: begun here, or resumed after another process stopped or died."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from contextvars import Context
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import UnavailableError
from schema.ports.admin.operations import OperationState
from server.db.database import DatabaseAbsentError
from server.lakebase.execution import Executor
from server.lakebase.tolerance import log_once

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from schema.ports.admin.operations import Operation
    from server.lakebase.database.audit import AuditLog
    from server.lakebase.operations.operation import OperationRecord
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.services import Services
    from server.lakebase.steps.step import StepTimeouts

_log = structlog.get_logger(__name__)
# The longest pause between two searches for orphans while an operation is unfinished.
_POLL_SECONDS: Final = 5.0
# The shortest one, however many requests ask for a search.
_LOOK_AGAIN_SECONDS: Final = 1.0
# A search gives up after this many attempts if the database has never answered. The next request starts a new search.
_ATTEMPTS: Final = 5
# Added to the wait for the end of a lease, so that it has certainly ended.
_LEEWAY_SECONDS: Final = 0.1
# A subscriber's operation in another process is read from the database this often.
_WATCH_SECONDS: Final = 1.0
# At a stop, a call that is under way has this long to end, and cancelled operations have this long to release leases.
_CALL_SECONDS: Final = 0.5
_CLOSE_SECONDS: Final = 2.0


class Runner:
    """Starts, resumes, finds and stops the operations of this process.

    Args:
        store: where operations are kept.
        audit: the audit, which has an entry for the end of each operation.
        timeouts: the limits of a step.
        services: makes the services of the steps.
        answered: awaited when a search for orphans has found that the database answers.
        database_changed: awaited at the end of an operation, which may have created, replaced or deleted the database.
    """

    def __init__(
        self,
        store: OperationStore,
        audit: AuditLog,
        timeouts: StepTimeouts,
        services: Callable[[], Awaitable[Services]],
        *,
        answered: Callable[[], Awaitable[None]],
        database_changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._answered = answered
        self._running: dict[str, tuple[OperationRecord, asyncio.Task[None]]] = {}
        store.note_running(self._running.keys())
        self._changes = asyncio.Condition()
        self._search: asyncio.Task[None] | None = None
        self._searched_at = -_LOOK_AGAIN_SECONDS
        self._closing = False
        self._stopping = asyncio.Event()
        self._executor = Executor(
            store,
            audit,
            timeouts,
            services,
            stopping=self._stopping,
            changed=self._notify,
            finished=lambda operation: self._remove(operation.id),
            database_changed=database_changed,
        )

    def start(self, operation: OperationRecord) -> None:
        """Run an operation in the background, from its next step."""
        if operation.id not in self._running and not self._closing:
            # The operation outlives the request that begins it, and takes nothing of it along.
            task = asyncio.create_task(
                self._executor.run(operation), name=f"operation {operation.id}", context=Context()
            )
            self._running[operation.id] = operation, task
            task.add_done_callback(lambda _: self._remove(operation.id))

    def look_for_orphans(self) -> None:
        """Resume operations that no process holds, in the background; repeat this while any operation is unfinished.

        Otherwise it leaves the database alone: a database that is queried all the time never falls asleep.
        """
        if self._closing or (self._search is not None and not self._search.done()):
            return
        self._search = asyncio.create_task(self._resume_orphans(), name="orphans", context=Context())

    async def progress(self, id_: str) -> AsyncGenerator[Operation, None]:
        """Yield the operation now and after every change, until it has ended.

        Raises:
            UnavailableError: the database does not answer the first time. Later the subscriber waits until it does.
        """
        last: Operation | None = None
        while True:
            try:
                operation = await self.find(id_)
            except UnavailableError:
                if last is None:
                    raise
            else:
                if operation is None:
                    return
                if (now := operation.snapshot()) != last:
                    last = now
                    yield now
                if operation.ended:
                    return
            await self._wait_for_change(id_)

    async def find(self, id_: str) -> OperationRecord | None:
        """The operation with this id: as this process runs it, or else as the store has it."""
        return self.running(id_) or await self._store.find(id_)

    async def request_cancel(self, id_: str, user: str) -> OperationRecord | None:
        """Ask the process that runs an operation to cancel it; return the operation as it is now, None without one.

        If no process runs the operation, the next process that claims it cancels it.

        Raises:
            UnavailableError: the database does not answer, and this process does not run the operation.
        """
        running = self.running(id_)
        if running is None:
            return await self._store.request_cancel(id_, user)
        running.cancel_requested_by = running.cancel_requested_by or user
        with contextlib.suppress(UnavailableError):
            # For the next process, should this one die. If this fails, the heartbeat writes it.
            await self._store.request_cancel(id_, user)
        await self._notify()
        return running

    def running(self, id_: str) -> OperationRecord | None:
        """The operation with this id, if this process runs it."""
        found = self._running.get(id_)
        return found[0] if found else None

    def states(self) -> dict[str, int]:
        """The number of operations that this process runs, by state."""
        counts = {state.value: 0 for state in (OperationState.PENDING, OperationState.RUNNING)}
        for operation, _ in self._running.values():
            if operation.state.value in counts:
                counts[operation.state.value] += 1
        return counts

    def conflicting(self, operation: OperationRecord) -> OperationRecord | None:
        """An operation that this process runs on any of the same resources."""
        wanted = set(operation.resources)
        return next((other for other, _ in self._running.values() if wanted & set(other.resources)), None)

    async def close(self) -> None:
        """Stop, and release the leases, so that other processes continue at once."""
        self.stop()
        tasks = [task for _, task in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_CALL_SECONDS)
            tasks = list(late)
        if self._search is not None:
            tasks.append(self._search)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    def stop(self) -> None:
        """Start no further operation, and stop each running one before its next look or its next step."""
        self._closing = True
        self._stopping.set()

    async def _resume_orphans(self) -> None:
        # Many requests within this pause share one search.
        await asyncio.sleep(max(0.0, self._searched_at + _LOOK_AGAIN_SECONDS - time.monotonic()))
        # The seconds until a lease ends; None if no operation is unfinished. Until the database has answered once, one
        # may be. If the database fails later, its last answer counts.
        ends: float | None = 0.0
        logged: set[object] = set()
        for attempt in itertools.count(1):
            self._searched_at = time.monotonic()
            try:
                # First, so that none of them is claimed: an operation that ended in memory may have left a row behind.
                await self._store.write_down_ended()
                for operation in await self._store.claim():
                    _log.info("operation resumed", operation=operation.id, kind=operation.request.kind.value)
                    self.start(operation)
                ends = await self._store.next_lease_end()
                await self._answered()
            except DatabaseAbsentError:
                ends = None
            except Exception as error:  # noqa: BLE001 # logged with its traceback, unless the database does not answer
                if not isinstance(error, UnavailableError):
                    log_once(logged, error, "search for operations failed")
                ends = None if ends == 0.0 and attempt >= _ATTEMPTS else ends
            if ends is None:
                return
            # Only the end of its leases shows that another process has died.
            await asyncio.sleep(min(max(ends, 1.0) + _LEEWAY_SECONDS, _POLL_SECONDS))

    async def _wait_for_change(self, id_: str) -> None:
        if id_ in self._running:
            async with self._changes:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changes.wait(), _POLL_SECONDS)
        else:
            await asyncio.sleep(_WATCH_SECONDS)

    async def _notify(self) -> None:
        async with self._changes:
            self._changes.notify_all()

    def _remove(self, id_: str) -> None:
        self._running.pop(id_, None)
