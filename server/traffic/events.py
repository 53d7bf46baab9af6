"""The events of subscriptions: each is paid for, resolved once for all equal subscriptions, and delivered in turn."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from graphql import ExecutionResult

from schema.errors import RateLimitedError, Reason
from schema.orders.types import OrderStatusChange
from schema.turns import Turns
from server.observability.request_record import running_loop
from server.traffic.processor_time import MeteredExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from graphql import Executor as GraphQLExecutor

    from schema.context import Context
    from schema.relay.node import Node

# How long an event waits until its subscriber has the points for it.
_PAYING_SECONDS: Final = 30.0
# How many events are resolved at once. They use connections of the pages' pool.
_PLACES: Final = 2
# A resolution that takes longer waits for the database, and does not use the processor.
_LONGEST_REST_SECONDS: Final = 1.0
# How long an answer is shared. A change of an order that comes later is an event of its own, with a later answer.
_SHARED_SECONDS: Final = 5.0
# The most bytes of all answers that are shared.
_SHARED_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """The answer for an event, which equal subscriptions share. Nobody may change it.

    Attributes:
        answer: the answer, whose `data` is JSON already.
        size: how many bytes it has.
        lasts: whether another attempt would give the same answer. A statement that timed out may succeed next time.
    """

    answer: dict[str, Any]
    size: int
    lasts: bool


class Events:
    """Executes the events of all subscriptions of the process.

    An event takes three steps:

    1. Its subscriber pays its cost, and waits until the bucket has the points.
    2. It is resolved. If an equal selection of the same event was resolved a moment ago, or is being resolved, it gets
       that answer: for 500 equal subscriptions the order is read once. Two events are resolved at once, with rests, so
       connections and processor time are left to requests. Each caller has one event in the line, so the different
       selections of one caller do not hold up others.
    3. It waits for its turn to be delivered. Between two turns the loop serves requests.

    Args:
        present: makes the answer of a result, for callers as in the context.
    """

    def __init__(self, present: Callable[[ExecutionResult, Context], EventAnswer]) -> None:
        self._present = present
        self._turns = Turns()
        self._places = asyncio.Semaphore(_PLACES)
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: dict[Hashable, asyncio.Task[EventAnswer]] = {}
        # The oldest first.
        self._shared: dict[Hashable, EventAnswer] = {}
        self._bytes = 0

    def executor(self) -> type[MeteredExecutor]:
        """The class with which graphql-core executes operations. It differs in the events of subscriptions only."""
        events = self

        class EventExecutor(_EventExecutor):
            def build_per_event_executor(self, payload: Any) -> Any:
                return _Event(events, self, payload)

        return EventExecutor

    async def answer(self, executor: _EventExecutor, event: Node) -> EventAnswer:
        """The answer for an event, when it may be delivered.

        Raises:
            RateLimitedError: the subscription ends.
        """
        context: Context = executor.context_value
        await _pay(context)
        if isinstance(event, OrderStatusChange):
            answer = await self._resolve_once(executor, event)
        else:
            answer = await self._resolve(executor, event)
        await self._turns.take(0)
        return answer

    async def _resolve_once(self, executor: _EventExecutor, event: OrderStatusChange) -> EventAnswer:
        context: Context = executor.context_value
        selection = context.event_terms.selection if context.event_terms else executor
        key = selection, context.principal.roles, context.explores, event.change
        if (answer := self._shared.get(key)) is not None:
            return answer
        task = self._under_way.get(key)
        if task is None:
            # In an empty context: the task does not belong to the subscriber that happens to come first.
            task = asyncio.create_task(self._resolve(executor, event), name="event", context=contextvars.Context())
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._share(key))
        return await asyncio.shield(task)

    async def _resolve(self, executor: _EventExecutor, event: Node) -> EventAnswer:
        context: Context = executor.context_value
        async with self._lines.setdefault(context.principal.user, asyncio.Lock()):
            await self._places.acquire()
        loop = running_loop()
        began = loop.time()
        try:
            result: Any = executor.of_event(event).execute_operation(serially=False)
            if executor.is_awaitable(result):
                result = await result
            return self._present(result, context)
        finally:
            # The place rests for as long as it was used, and requests have this time.
            loop.call_later(min(loop.time() - began, _LONGEST_REST_SECONDS), self._places.release)

    def _share(self, key: Hashable) -> None:
        """Share the answer for a while, unless another attempt may give another one."""
        task = self._under_way.pop(key)
        if task.cancelled() or task.exception() or not task.result().lasts:
            return
        self._shared[key] = task.result()
        self._bytes += task.result().size
        running_loop().call_later(_SHARED_SECONDS, self._forget, key)
        while self._bytes > _SHARED_BYTES:
            self._forget(next(iter(self._shared)))

    def _forget(self, key: Hashable) -> None:
        if (answer := self._shared.pop(key, None)) is not None:
            self._bytes -= answer.size


class _EventExecutor(MeteredExecutor):
    """The executor of an operation, and its copies for events."""

    def of_event(self, event: Node) -> GraphQLExecutor[Any]:
        """The copy that resolves an event."""
        return super().build_per_event_executor(event)


class _Event:
    """What graphql-core executes for an event."""

    __slots__ = ("_event", "_events", "_executor")

    def __init__(self, events: Events, executor: _EventExecutor, event: Node) -> None:
        self._events = events
        self._executor = executor
        self._event = event

    async def execute_operation(self, _serially: bool) -> ExecutionResult:  # noqa: FBT001 # graphql-core's signature
        """The result of the event. Strawberry passes its data on as it is (server/graphql/gateway.py)."""
        data: Any = await self._events.answer(self._executor, self._event)
        return ExecutionResult(data, None)


async def _pay(context: Context) -> None:
    """Charge the subscriber for an event, as soon as it has the points.

    Raises:
        RateLimitedError: it has too few for too long, or can never have as many.
    """
    if context.charge is None or context.event_terms is None:
        return
    until = None
    while True:
        try:
            context.charge(context.event_terms.cost)
        except RateLimitedError as error:
            pause, now = error.retry_after_seconds, running_loop().time()
            until = until or now + _PAYING_SECONDS
            if pause is None or now + pause > until:
                raise RateLimitedError(
                    Reason.RATE_LIMITED,
                    "The events cost more points than you have. Subscribe again with `after`, the cursor of the last "
                    "change that you received. Nothing is lost.",
                    retry_after_seconds=pause,
                ) from None
        else:
            return
        await asyncio.sleep(pause)
