"""Runs one operation: step by step, under its lease, until it ends or another process takes over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import ApiError, InternalError, Reason, UnavailableError
from schema.ports.admin.operations import OperationFailure, OperationState
from schema.relay.node import encode_global_id
from server.db.database import DatabaseAbsentError
from server.lakebase.confirmation import DETACH_SECONDS, confirm
from server.lakebase.ending import Endings
from server.lakebase.lanes import run_lanes
from server.lakebase.operations.table import HEARTBEAT_SECONDS, LeaseLostError
from server.lakebase.steps.registry import STEPS
from server.lakebase.steps.step import DatabaseLostError, OperationCancelledError, Step, StoppedError
from server.lakebase.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.lakebase.database.audit import AuditLog
    from server.lakebase.operations.operation import OperationRecord
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.services import Services
    from server.lakebase.steps.step import StepTimeouts

_log = structlog.get_logger(__name__)
# Releasing a lease only speeds up the next process, so a stopping process waits no longer than this.
_RELEASE_SECONDS: Final = 1.0
_INTERNAL: Final = OperationFailure(
    Reason.INTERNAL,
    "An internal error; the log has the details. Send the same mutation again to continue.",
    retryable=False,
)


class Executor:
    """Runs operations for the runner, one call of `run` for each.

    Args:
        store: where operations are kept.
        audit: the audit, which has an entry for the end of each operation.
        timeouts: the limits of a step.
        services: makes the services of the steps.
        stopping: set when the process is about to stop.
        changed: awaited after every change of an operation, so that subscribers see it.
        finished: called when the end of an operation is stored.
        database_changed: awaited before the end of an operation is shown, and before steps that run side by side. The
            operation may have created, replaced, stopped or deleted the database.
    """

    def __init__(
        self,
        store: OperationStore,
        audit: AuditLog,
        timeouts: StepTimeouts,
        services: Callable[[], Awaitable[Services]],
        *,
        stopping: asyncio.Event,
        changed: Callable[[], Awaitable[None]],
        finished: Callable[[OperationRecord], None],
        database_changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._timeouts = timeouts
        self._services = services
        self._stopping = stopping
        self._changed = changed
        self._database_changed = database_changed
        self._superseded_by: dict[str, OperationRecord] = {}
        self._tolerance = Tolerance()
        self._tolerating = self._tolerance.of
        self._endings = Endings(store, audit, self._tolerance, changed=changed, finished=finished)

    async def run(self, operation: OperationRecord) -> None:
        """Run an operation from its next step, while a heartbeat renews its lease."""
        heartbeat = asyncio.create_task(self._beat(operation, asyncio.current_task()), name=f"lease of {operation.id}")
        try:
            await self._run_steps(operation)
        except LeaseLostError:
            _log.info("operation left to another process", operation=operation.id)
        except StoppedError:
            await self._release(operation)
        except asyncio.CancelledError:
            if other := self._superseded_by.pop(operation.id, None):
                message = (
                    f"Another operation is working on the same resources: {encode_global_id('Operation', other.id)}."
                )
                failure = OperationFailure(Reason.OPERATION_IN_PROGRESS, message, retryable=True)
                await self._endings.supersede(operation, failure)
                return
            await self._release(operation)
            raise
        finally:
            heartbeat.cancel()
            self._endings.forget(operation)
            self._tolerance.forget(operation)
            await self._changed()

    async def _beat(self, operation: OperationRecord, task: asyncio.Task[None] | None) -> None:
        """Renew the lease periodically. Move an operation in memory to the database as soon as the database answers."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                with self._tolerating(operation):
                    if operation.durable:
                        await self._store.renew(operation)
                    elif not operation.facts.get("detached"):
                        other = await self._store.persist(operation)
                        if other is not None and not operation.ended and not operation.repeats(other):
                            # The operation began while the database did not answer. A conflicting one began in another
                            # process. One that does the same work is no conflict: any process may repeat any step.
                            self._superseded_by[operation.id] = other
                            _cancel(task)
                            return
            except LeaseLostError:
                # Not if the row is gone because this process moves the operation to memory.
                if not operation.facts.get("detached"):
                    _cancel(task)
                    return

    async def _release(self, operation: OperationRecord) -> None:
        """End the lease, so that another process resumes the operation at once."""
        with self._tolerating(operation), contextlib.suppress(LeaseLostError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._store.release(operation)

    async def _run_steps(self, operation: OperationRecord) -> None:
        operation.state = OperationState.RUNNING
        failure, cancelled = None, False
        try:
            services = await self._services()
            while lanes := operation.next_lanes():
                if lanes[0][0] > 0 and operation.steps[lanes[0][0]].beside:
                    # The steps so far may have created the database and the orders, which are served from now on.
                    await self._database_changed()
                await run_lanes(lanes, functools.partial(self._run_step, operation, services))
        except ApiError as error:
            failure = OperationFailure(error.reason, error.message, retryable=error.retryable)
            if isinstance(error, InternalError):
                _log.exception("operation failed", operation=operation.id)
                failure = _INTERNAL
        except OperationCancelledError:
            cancelled = True
        except (LeaseLostError, StoppedError):
            raise
        except Exception:  # noqa: BLE001 # logged with its traceback, and the operation ends as failed
            _log.exception("operation failed", operation=operation.id)
            failure = _INTERNAL
        await self._database_changed()
        await self._endings.finish(operation, failure, cancelled=cancelled)

    async def _run_step(self, operation: OperationRecord, services: Services, index: int) -> None:
        if self._stopping.is_set():
            raise StoppedError
        step = operation.steps[index]
        operation.update_step(index, state=OperationState.RUNNING, started_at=step.started_at or datetime.now(UTC))
        await self._save(operation)

        try:
            message = await STEPS[step.name](
                Step(
                    operation,
                    index,
                    services,
                    self._timeouts,
                    save=functools.partial(self._report, operation, index),
                    guard=functools.partial(self._guard, operation, index),
                    detach=functools.partial(self._detach, operation, index),
                    stopping=self._stopping,
                )
            )
        except ApiError as error:
            operation.update_step(
                index, state=OperationState.FAILED, message=error.message, finished_at=datetime.now(UTC)
            )
            raise
        except (LeaseLostError, StoppedError, OperationCancelledError):
            raise
        except Exception:  # logged by the caller
            operation.update_step(
                index, state=OperationState.FAILED, message=_INTERNAL.message, finished_at=datetime.now(UTC)
            )
            raise
        operation.update_step(
            index, state=OperationState.SUCCEEDED, progress=1.0, message=message, finished_at=datetime.now(UTC)
        )
        if not operation.durable and not operation.facts.get("detached"):
            # The step may have created the very database that keeps operations. If another operation conflicts there,
            # the heartbeat finds it too.
            with self._tolerating(operation):
                await self._store.persist(operation)
        await self._save(operation)

    async def _report(self, operation: OperationRecord, index: int, progress: float | None, message: str) -> None:
        step = operation.steps[index]
        reached = step.progress if progress is None else max(step.progress, min(progress, 1.0))
        if (reached, message) != (step.progress, step.message):
            operation.update_step(index, progress=reached, message=message)
            await self._save(operation)

    async def _guard(self, operation: OperationRecord, index: int) -> None:
        try:
            await self._confirm(functools.partial(self._store.save, operation), operation, index)
        except DatabaseAbsentError as error:
            # Another process may hold the operation as soon as the database is back, so it cannot go on in memory.
            raise DatabaseLostError(error) from error

    async def _confirm(
        self, write: Callable[[], Awaitable[None]], operation: OperationRecord, index: int, **seconds: float
    ) -> None:
        async def waiting(error: UnavailableError) -> None:
            # Not stored: it is the database that is waited for.
            operation.update_step(index, message=f"{error.message} The server waits for the database, then goes on.")
            await self._changed()

        await confirm(write, waiting=waiting, **seconds)

    async def _detach(self, operation: OperationRecord, index: int, *, deleting: bool) -> None:
        if deleting:
            await self._endings.carry(operation)
        # The heartbeat may find the row gone from now on.
        operation.facts["detached"] = True
        try:
            write = functools.partial(self._store.detach, operation)
            await self._confirm(write, operation, index, seconds=DETACH_SECONDS)
        except Exception as error:
            if not (deleting and isinstance(error, UnavailableError)):
                del operation.facts["detached"]
                raise
            # The row goes with its database. If the deletion fails, `write_down` ends the row.
            self._store.abandon(operation)

    async def _save(self, operation: OperationRecord) -> None:
        """Store the progress. If this fails, the next save makes up for it."""
        with self._tolerating(operation):
            await self._store.save(operation)
        await self._changed()


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
