"""Owns what a step of an operation is given: what is wanted, what it may use, and how it waits, acts and reports."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from schema.errors import ApiError, Reason, UnavailableError
from server.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from schema.ports.administration import AdminRequest
    from server.lakebase.operations.operation import Work
    from server.lakebase.tools import Tools

_FIRST_PAUSE_SECONDS: Final = 0.1
_LAST_PAUSE_SECONDS: Final = 5.0
_GROWTH: Final = 1.5
_JITTER: Final = 0.2


class StepTimedOutError(UnavailableError):
    """A step took longer than it is given."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.STEP_TIMED_OUT, message)


class StoppedError(Exception):
    """The process is about to stop: whoever comes next goes on from here."""


class Detach(Protocol):
    """How an operation is moved out of the database."""

    async def __call__(self, *, going: bool) -> None:
        """As `Step.detach`."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a step may take, how long of that the platform may fail, and how long one index may take, in seconds."""

    step: float
    failures: float
    index: float


class Step:
    """One step being worked on. It looks, acts if need be, and looks again, until what is wanted is so."""

    def __init__(
        self,
        work: Work,
        tools: Tools,
        patience: Patience,
        *,
        save: Callable[[float | None, str], Awaitable[None]],
        guard: Callable[[], Awaitable[None]],
        detach: Detach,
        stopping: asyncio.Event,
    ) -> None:
        self.tools = tools
        self._stopping = stopping
        self._work = work
        self._patience = patience
        self._save = save
        self._guard = guard
        self._detach = detach
        self._failing_since: float | None = None

    @property
    def request(self) -> AdminRequest:
        """What was asked for."""
        return self._work.request

    @property
    def index_seconds(self) -> float:
        """How long the building of one index may take."""
        return self._patience.index

    @property
    def facts(self) -> dict[str, Any]:
        """What the operation remembers; written down with the next report or guard."""
        return self._work.facts

    async def report(self, progress: float | None, message: str) -> None:
        """Say how far it is, 0 to 1; None where it is as far as before."""
        await self._save(progress, message)

    async def guard(self) -> None:
        """Make sure, just before something is done, that the operation is still this process's.

        Raises:
            LeaseLostError: it is another's.
            UnavailableError: it cannot be made sure.
        """
        await self._guard()

    async def detach(self, *, going: bool) -> None:
        """Move the operation out of the database, which is not there after what is done next.

        A database that is going for good may fail to answer already.

        Raises:
            LeaseLostError, UnavailableError: as `guard`.
        """
        await self._detach(going=going)

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Look until it says that all is as wanted; it acts itself where it has to.

        A failure of the platform that may pass is waited out for a while.

        Raises:
            ApiError: a failure that will not pass, or has not in that time; STEP_TIMED_OUT.
            StoppedError: the process is about to stop, between two looks.
        """
        async for _ in self._looks():
            try:
                if await look():
                    return
                self._failing_since = None
            except ApiError as error:
                if not self._may_pass(error):
                    raise
                await self.report(None, f"{error.message} It is tried again.")

    def _may_pass(self, error: ApiError) -> bool:
        if not error.retryable or error.reason is Reason.STEP_TIMED_OUT:
            return False
        self._failing_since = self._failing_since or time.monotonic()
        return time.monotonic() - self._failing_since < self._patience.failures

    async def _looks(self) -> AsyncIterator[None]:
        started = time.monotonic()
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS, factor=_GROWTH, jitter=_JITTER)
        while time.monotonic() - started < self._patience.step:
            yield
            with contextlib.suppress(TimeoutError):
                # The platform tells nobody, so that it is looked at again and again.
                async with asyncio.timeout(backoff.next_pause()):
                    await self._stopping.wait()
                raise StoppedError
        raise StepTimedOutError(
            f"This took longer than {self._patience.step:g} s. The platform may still come to its end with it: send "
            "the same mutation again to carry on."
        )
