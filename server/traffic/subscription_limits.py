"""Limits of subscriptions: how many a caller may have in a process, and how long one lasts."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from schema.errors import RateLimitedError, Reason, UnavailableError
from server.observability.request_record import current_record, running_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from server.traffic.draining import Draining

_T = TypeVar("_T")


class Subscriptions:
    """The number of open subscriptions in this process, by caller.

    Args:
        most_per_caller: how many a caller may have.
        draining: says when the process is about to stop.
    """

    def __init__(self, most_per_caller: int, draining: Draining) -> None:
        self._most = most_per_caller
        self._draining = draining
        self._open: Counter[str] = Counter()

    def begin(self, user: str) -> None:
        """Count a new subscription.

        Raises:
            RateLimitedError: TOO_MANY_SUBSCRIPTIONS. It is not counted.
            UnavailableError: SERVER_STOPPING. It is not counted. The transports have ended those that began before.
        """
        if self._draining.begun:
            raise UnavailableError(Reason.SERVER_STOPPING, "The server is stopping. Subscribe again.")
        if self._open[user] >= self._most:
            raise RateLimitedError(
                Reason.TOO_MANY_SUBSCRIPTIONS,
                f"A caller may have at most {self._most:,} subscriptions, over all connections: end some first.",
                retry_after_seconds=Reason.TOO_MANY_SUBSCRIPTIONS.value.retry_after,
            )
        self._open[user] += 1

    def end(self, user: str) -> None:
        """Count a subscription that ended."""
        self._open[user] -= 1
        if not self._open[user]:
            del self._open[user]

    def open(self, user: str) -> int:
        """How many subscriptions a caller has."""
        return self._open.get(user, 0)


class CountSubscriptions(SchemaExtension):
    """Counts each subscription from its start to its end, however it ends."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._user: str | None = None

    def on_operation(self) -> Iterator[None]:
        """A subscription lasts until this generator ends, even if it is cancelled."""
        try:
            yield
        finally:
            if self._user is not None:
                self._subscriptions.end(self._user)

    def on_execute(self) -> Iterator[None]:
        """For a subscription this hook runs at its start only."""
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            user: str = self.execution_context.context.principal.user
            self._subscriptions.begin(user)
            self._user = user
        yield


async def lasting(results: AsyncGenerator[_T, None], seconds: float) -> AsyncGenerator[_T, None]:
    """The results of an operation, for `seconds` if it is a subscription. Other operations have deadlines of their own.

    Raises:
        UnavailableError: SUBSCRIPTION_ENDED.
    """
    loop, record, waiting = running_loop(), current_record.get(), asyncio.timeout(None)
    over = False

    def end() -> None:
        nonlocal over
        # The kind of operation is known only once it has started.
        over = record is not None and record.subscription
        if over and not taken:
            waiting.reschedule(loop.time())

    taken, timer = True, loop.call_later(seconds, end)
    try:
        while not over:
            waiting = asyncio.timeout(None)
            try:
                async with waiting:
                    taken = False
                    try:
                        result = await anext(results)
                    finally:
                        taken = True
            except StopAsyncIteration:
                return
            except TimeoutError:
                if over:
                    break
                raise
            yield result
    finally:
        timer.cancel()
        # The other one has the task, whose error may have a traceback with this frame: a cycle.
        waiting = asyncio.timeout(None)
    raise UnavailableError(
        Reason.SUBSCRIPTION_ENDED,
        f"The subscription has lasted for {seconds:g} s. Subscribe again with the cursor of the last change that you "
        "received as `after`: nothing is lost.",
    )
