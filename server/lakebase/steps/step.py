"""The running step of an operation: its request and services, and how it waits, acts and reports."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from schema.errors import ApiError, Reason, UnavailableError
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from schema.ports.admin.administration import AdminRequest
    from server.lakebase.operations.operation import OperationRecord
    from server.lakebase.services import Services

T = TypeVar("T")
_FIRST_PAUSE_SECONDS: Final = 0.1
_LAST_PAUSE_SECONDS: Final = 5.0
_GROWTH: Final = 1.5
_JITTER: Final = 0.2
# The longest time until a wait that may be interrupted sees that the operation is to be cancelled.
_CANCEL_SECONDS: Final = 1.0


class StepTimedOutError(UnavailableError):
    """A step took longer than it may."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.STEP_TIMED_OUT, message)


class DatabaseLostError(UnavailableError):
    """Another client has stopped or deleted the database that keeps the operation, so no lease can be confirmed.

    Args:
        error: what the platform says of the database.
    """

    def __init__(self, error: UnavailableError) -> None:
        super().__init__(
            Reason.DATABASE_UNAVAILABLE,
            f"The database that keeps this operation cannot be used any more. {error.message} The operation has ended, "
            "and asks the platform for nothing more. Send the same mutation again if it should still be done.",
        )


class StoppedError(Exception):
    """The process is about to stop. Another process, or the next one, continues from here."""


class OperationCancelledError(Exception):
    """A user has asked for the cancellation of the operation. It ends here."""


class DetachCallback(Protocol):
    """Moves an operation out of the database, as `Step.detach` says."""

    async def __call__(self, *, deleting: bool) -> None:
        """Move it."""


@dataclass(frozen=True, slots=True)
class StepTimeouts:
    """Limits in seconds: of a step, of consecutive failures of the platform within it, and of building one index."""

    step: float
    failures: float
    index: float


class Step:
    """One running step. It looks, acts if needed, and looks again, until everything is as wanted."""

    def __init__(
        self,
        operation: OperationRecord,
        index: int,
        services: Services,
        timeouts: StepTimeouts,
        *,
        save: Callable[[float | None, str], Awaitable[None]],
        guard: Callable[[], Awaitable[None]],
        detach: DetachCallback,
        stopping: asyncio.Event,
    ) -> None:
        self.services = services
        self._stopping = stopping
        self._operation = operation
        self._index = index
        self._timeouts = timeouts
        self._save = save
        self._guard = guard
        self._detach = detach
        self._failing_since: float | None = None

    @property
    def request(self) -> AdminRequest:
        """The request of the operation."""
        return self._operation.request

    @property
    def resource(self) -> str:
        """The kind and name of the resource that it works on."""
        return self._operation.steps[self._index].resource

    @property
    def index_seconds(self) -> float:
        """How long building one index may take."""
        return self._timeouts.index

    @property
    def facts(self) -> dict[str, Any]:
        """What the operation remembers; saved with the next report or guard.

        Of a step that runs beside others: what it remembers about this resource.
        """
        if self._operation.steps[self._index].beside:
            about: dict[str, Any] = self._operation.facts.setdefault(self.resource, {})
            return about
        return self._operation.facts

    async def report(self, progress: float | None, message: str) -> None:
        """Report the progress, 0 to 1, and a message; None keeps the progress as it was."""
        await self._save(progress, message)

    async def guard(self) -> None:
        """Confirm, just before acting, that this process still holds the operation.

        Raises:
            LeaseLostError: another process holds it.
            DatabaseLostError: another client has stopped or deleted the database, so the operation ends.
            UnavailableError: the database does not answer, so it cannot be confirmed.
            OperationCancelledError: the operation is to be cancelled.
        """
        await self._guard()
        self._go_on()

    async def detach(self, *, deleting: bool) -> None:
        """Move the operation out of the database, because the next call stops or deletes it.

        A database that is being deleted may have stopped answering already. Then the operation continues in memory.

        Raises:
            LeaseLostError, UnavailableError, OperationCancelledError: as `guard`.
        """
        await self._detach(deleting=deleting)
        self._go_on()

    async def interruptible(self, work: Awaitable[T]) -> T:
        """Await work that may take hours, unless the operation is cancelled meanwhile.

        The work must be safe to cancel at any moment: a step that runs again must be able to continue after it.

        Raises:
            OperationCancelledError: the operation is to be cancelled; so was the work.
        """
        running = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({running}, timeout=_CANCEL_SECONDS))[0]:
                self._go_on()
            return running.result()
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Call `look` repeatedly until it returns True. `look` also acts if it has to.

        A failure that may pass is tolerated for as long as the timeouts allow.

        Raises:
            ApiError: a failure that will not pass, or did not pass in time; STEP_TIMED_OUT.
            StoppedError: the process is about to stop; this is checked between two looks.
            OperationCancelledError: the operation is to be cancelled; this is checked before each look.
        """
        async for _ in self._looks():
            try:
                if await look():
                    return
                self._failing_since = None
            except ApiError as error:
                if not self._may_pass(error):
                    raise
                await self.report(None, f"{error.message} The server tries again.")

    def _go_on(self) -> None:
        if self._operation.cancel_requested_by is not None:
            raise OperationCancelledError

    def _may_pass(self, error: ApiError) -> bool:
        if not error.retryable or isinstance(error, (StepTimedOutError, DatabaseLostError)):
            return False
        self._failing_since = self._failing_since or time.monotonic()
        return time.monotonic() - self._failing_since < self._timeouts.failures

    async def _looks(self) -> AsyncIterator[None]:
        started = time.monotonic()
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS, factor=_GROWTH, jitter=_JITTER)
        while time.monotonic() - started < self._timeouts.step:
            self._go_on()
            yield
            with contextlib.suppress(TimeoutError):
                # The platform has no notifications, so it is polled.
                async with asyncio.timeout(backoff.next_pause()):
                    await self._stopping.wait()
                raise StoppedError
        raise StepTimedOutError(
            f"This took longer than {self._timeouts.step:g} s. The platform may still finish it: send the same "
            "mutation again to continue."
        )
