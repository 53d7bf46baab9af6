"""Owns the working on operations: step by step, under a lease, told to whoever watches, taken up after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import ApiError, Reason, UnavailableError
from schema.ports.administration import OperationFailure, WorkState
from schema.relay.node import encode_global_id
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.lakebase.database.audit import ACTIONS, AuditEntry
from server.lakebase.operations.store import HEARTBEAT_SECONDS, LeaseLostError
from server.lakebase.steps.registry import STEPS
from server.lakebase.steps.step import Step, StoppedError
from server.observability.observations import AdminOperationEnded
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from schema.ports.administration import Operation
    from server.lakebase.database.audit import Records
    from server.lakebase.operations.operation import Work
    from server.lakebase.operations.store import OperationLog
    from server.lakebase.steps.step import Patience
    from server.lakebase.tools import Tools

_log = structlog.get_logger(__name__)
_LOOK_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 1.0
_ATTEMPTS: Final = 5
_LEEWAY_SECONDS: Final = 0.1
_WATCH_SECONDS: Final = 1.0
_GUARD_SECONDS: Final = 60.0
_DETACH_SECONDS: Final = 10.0
_FINISH_SECONDS: Final = 1.0
_GUARD_PAUSE_SECONDS: Final = 0.5
_STEP_SECONDS: Final = 0.5
_CLOSE_SECONDS: Final = 2.0
_INTERNAL: Final = OperationFailure(
    Reason.INTERNAL, "A fault of ours; the log says more. Send the same mutation again to carry on.", retryable=False
)


class Runner:
    """The operations that this process works on."""

    def __init__(
        self,
        log: OperationLog,
        records: Records,
        patience: Patience,
        tools: Callable[[], Awaitable[Tools]],
        *,
        ended: Callable[[], None],
    ) -> None:
        self._ended = ended
        self._log = log
        self._records = records
        self._patience = patience
        self._tools = tools
        self._at_work: dict[str, tuple[Work, asyncio.Task[None]]] = {}
        self._outdone: dict[str, Work] = {}
        self._news = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = -_LOOK_AGAIN_SECONDS
        self._closing = False
        self._stopping = asyncio.Event()

    def start(self, work: Work) -> None:
        """Work on it, from where it is."""
        if work.id not in self._at_work and not self._closing:
            task = asyncio.create_task(self._run(work), name=f"operation {work.id}")
            self._at_work[work.id] = work, task
            task.add_done_callback(lambda _: self._at_work.pop(work.id, None))

    def look_for_orphans(self) -> None:
        """Take up what nobody works on any more, in the background; and look again while anything is unfinished.

        With nothing unfinished nothing is asked: a database that is asked all the time never falls asleep.
        """
        if self._closing or (self._looking is not None and not self._looking.done()):
            return
        self._looking = asyncio.create_task(self._look(), name="orphans")

    async def progress(self, id_: str) -> AsyncGenerator[Operation, None]:
        """The operation, and anew whenever it has come further; ends with its end."""
        told: Operation | None = None
        while True:
            try:
                work = await self.find(id_)
            except UnavailableError:
                # Who listens is told when the database answers again; who asks for the first time, that it does not.
                if told is None:
                    raise
            else:
                if work is None:
                    return
                if (now := work.operation()) != told:
                    told = now
                    yield now
                if work.ended:
                    return
            await self._wait(of=id_)

    async def find(self, id_: str) -> Work | None:
        """The operation, as this process has it or as the log does."""
        return self.at_work(id_) or await self._log.find(id_)

    def at_work(self, id_: str) -> Work | None:
        """The operation, if this process works on it."""
        found = self._at_work.get(id_)
        return found[0] if found else None

    def states(self) -> dict[str, int]:
        """How many are at work, by each state that they can be at work in."""
        counts = {state.value: 0 for state in (WorkState.PENDING, WorkState.RUNNING)}
        for work, _ in self._at_work.values():
            if work.state.value in counts:
                counts[work.state.value] += 1
        return counts

    def in_the_way(self, work: Work) -> Work | None:
        """The operation of this process that is at work on any of the same resources."""
        wanted = set(work.resources)
        return next((other for other, _ in self._at_work.values() if wanted & set(other.resources)), None)

    async def close(self) -> None:
        """Stop, and let go of the leases, so that others go on at once. What is amid a step is given a moment."""
        self.stop()
        tasks = [task for _, task in self._at_work.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STEP_SECONDS)
            tasks = list(late)
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    def stop(self) -> None:
        """Begin nothing more, and leave each operation where its step looks next, or where the next step begins."""
        self._closing = True
        self._stopping.set()

    async def _look(self) -> None:
        # Whoever asks many times a second is answered by one look.
        await asyncio.sleep(max(0.0, self._looked_at + _LOOK_AGAIN_SECONDS - time.monotonic()))
        # Until the database has answered once, something may be unfinished; afterwards, what it said last.
        ends: float | None = 0.0
        for attempt in itertools.count(1):
            self._looked_at = time.monotonic()
            try:
                for work in await self._log.claim(but=list(self._at_work)):
                    _log.info("operation taken up", operation=work.id, kind=work.request.kind.value)
                    self.start(work)
                ends = await self._log.next_lease_end()
            except DatabaseAbsentError:
                ends = None
            except UnavailableError:
                ends = None if ends == 0.0 and attempt >= _ATTEMPTS else ends
            if ends is None:
                return
            # Nobody tells that another process has died.
            await asyncio.sleep(min(max(ends, 1.0) + _LEEWAY_SECONDS, _LOOK_SECONDS))

    async def _wait(self, *, of: str) -> None:
        """Until something has happened; what another process works on is asked for."""
        if of in self._at_work:
            async with self._news:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _LOOK_SECONDS)
        else:
            await asyncio.sleep(_WATCH_SECONDS)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _run(self, work: Work) -> None:
        heart = asyncio.create_task(self._beat(work, asyncio.current_task()), name=f"lease of {work.id}")
        try:
            await self._work_on(work)
        except LeaseLostError:
            _log.info("operation left to another process", operation=work.id)
        except StoppedError:
            await self._let_go(work)
        except asyncio.CancelledError:
            if other := self._outdone.pop(work.id, None):
                work.end(
                    OperationFailure(
                        Reason.OPERATION_IN_PROGRESS,
                        f"Another operation is at work on the same: {encode_global_id('Operation', other.id)}.",
                        retryable=True,
                    )
                )
                observe(AdminOperationEnded(work.request.kind.value, work.state.value))
                return
            await self._let_go(work)
            raise
        finally:
            heart.cancel()
            await self._tell()

    async def _let_go(self, work: Work) -> None:
        """End the lease, so that others go on at once."""
        with contextlib.suppress(LeaseLostError, UnavailableError, TimeoutError):
            async with asyncio.timeout(1):
                await self._log.renew(work, seconds=0)

    async def _work_on(self, work: Work) -> None:
        work.state = WorkState.RUNNING
        failure = None
        try:
            tools = await self._tools()
            while (place := work.next_step()) is not None:
                if self._stopping.is_set():
                    raise StoppedError  # noqa: TRY301 # as a step does
                await self._take(work, place, tools)
        except ApiError as error:
            failure = OperationFailure(error.reason, error.message, retryable=error.retryable)
        except (LeaseLostError, StoppedError):
            raise
        except Exception:  # noqa: BLE001 # logged with its traceback; the operation ends, and says so
            _log.exception("operation failed", operation=work.id)
            failure = _INTERNAL
        self._ended()
        await self._finish(work, failure)
        await self._records.audit(
            AuditEntry(
                work.requested_by,
                ACTIONS[work.request.kind],
                work.state.value,
                work.resources,
                work.failure.reason if work.failure else None,
                work.id,
            )
        )

    async def _take(self, work: Work, place: int, tools: Tools) -> None:
        step = work.steps[place]
        work.put(place, state=WorkState.RUNNING, started_at=step.started_at or datetime.now(UTC))
        await self._save(work)

        try:
            done = await STEPS[step.name](
                Step(
                    work,
                    tools,
                    self._patience,
                    save=functools.partial(self._report, work, place),
                    guard=functools.partial(self._hold, functools.partial(self._log.save, work)),
                    detach=functools.partial(self._detach, work),
                    stopping=self._stopping,
                )
            )
        except ApiError as error:
            work.put(place, state=WorkState.FAILED, message=error.message, finished_at=datetime.now(UTC))
            raise
        except (LeaseLostError, StoppedError):
            raise
        except Exception:  # what it is, the log says above
            work.put(place, state=WorkState.FAILED, message=_INTERNAL.message, finished_at=datetime.now(UTC))
            raise
        work.put(place, state=WorkState.SUCCEEDED, progress=1.0, message=done, finished_at=datetime.now(UTC))
        if not work.durable and not work.facts.get("detached"):
            # The step may have made the very database that operations are kept in. What is in the way there, the
            # heartbeat finds too.
            await self._log.keep(work)
        await self._save(work)

    async def _report(self, work: Work, place: int, progress: float | None, message: str) -> None:
        now = work.steps[place]
        reached = now.progress if progress is None else max(now.progress, min(progress, 1.0))
        if (reached, message) != (now.progress, now.message):
            work.put(place, progress=reached, message=message)
            await self._save(work)

    async def _detach(self, work: Work, *, going: bool) -> None:
        try:
            await self._hold(functools.partial(self._log.detach, work), seconds=_DETACH_SECONDS)
        except UnavailableError:
            if not going:
                raise
            # The database goes with what is done next; if that fails, the row is taken away at the end.
            work.facts["abandoned"] = True
            self._log.abandon(work)
        work.facts["detached"] = True

    async def _finish(self, work: Work, failure: OperationFailure | None) -> None:
        """Write down that it has ended. Until that is done it is this process's, and nobody takes it up again."""
        ended = replace(work, steps=list(work.steps))
        ended.end(failure)
        while work.durable:
            try:
                await self._log.save(ended)
                break
            except DatabaseMissingError:
                self._log.abandon(work)
            except UnavailableError:
                # A stopped instance may stay so for long. Who looks is told; who begins anew has to wait for it.
                await self._told(work, ended)
                await asyncio.sleep(_FINISH_SECONDS)  # between two attempts at the database
        self._at_work.pop(work.id, None)
        observe(AdminOperationEnded(ended.request.kind.value, ended.state.value))
        await self._told(work, ended)
        if work.facts.get("abandoned"):
            with contextlib.suppress(UnavailableError):
                await self._log.forget(work)

    async def _told(self, work: Work, ended: Work) -> None:
        work.steps[:], work.state, work.failure = ended.steps, ended.state, ended.failure
        work.finished_at = ended.finished_at
        await self._tell()

    async def _save(self, work: Work) -> None:
        """Write down how far it is. While the database does not answer it is not written, and nobody else may go on."""
        with contextlib.suppress(UnavailableError):
            await self._log.save(work)
        await self._tell()

    @staticmethod
    async def _hold(holding: Callable[[], Awaitable[None]], *, seconds: float = _GUARD_SECONDS) -> None:
        """Make sure of the lease, waiting for the database if need be."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return await holding()
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_GUARD_PAUSE_SECONDS)  # between two attempts at the database

    async def _beat(self, work: Work, task: asyncio.Task[None] | None) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                if work.durable:
                    await self._log.renew(work)
                elif not work.facts.get("detached") and (other := await self._log.keep(work)):
                    # It was begun while the database did not answer, and elsewhere too.
                    self._outdone[work.id] = other
                    self._cancel(task)
            except UnavailableError:
                continue
            except LeaseLostError:
                self._cancel(task)

    @staticmethod
    def _cancel(task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
