"""The events of subscriptions: each is paid for, resolved once for all equal subscriptions, and delivered in turn."""

from __future__ import annotations

import asyncio
import contextvars
import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from graphql import ExecutionResult, GraphQLError

from schema.errors import RateLimitedError, Reason
from schema.limits.formulas import LEAST_POINTS
from schema.limits.prices import body_points
from schema.orders.types import OrderStatusChange
from schema.turns import Turns
from server.observability.request_record import RequestRecord, current_record, running_loop
from server.observability.tracing import tracing
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
# How long an answer is shared. A change of an order that comes later is an event of its own, with a later answer.
_SHARED_SECONDS: Final = 5.0
# The most bytes of all answers that are shared, and what the change and the rest of an answer's key take.
_SHARED_BYTES: Final = 8 << 20
_KEY_BYTES: Final = 1_000


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """The answer for an event, which equal subscriptions share. Nobody may change it.

    Attributes:
        answer: the answer, whose `data` is JSON already. Without `data` it ends the subscriptions.
        size: how many bytes it has.
        lasts: whether another attempt would give the same answer. A statement that timed out may succeed next time.
    """

    answer: dict[str, Any]
    size: int
    lasts: bool


class _Resolution:
    """An answer that subscribers wait for or share.

    Attributes:
        began: when its first statement was about to run. An answer that has not begun is newer than any subscription.
        task: resolves it.
    """

    __slots__ = ("began", "task")

    began: float
    task: asyncio.Task[EventAnswer]

    def __init__(self) -> None:
        self.began = math.inf


class Events:
    """Executes the events of all subscriptions of the process.

    An event takes three steps:

    1. It is resolved, for all equal selections at once: for 500 equal subscriptions the order is read once. The
       subscriber that begins it pays what the selection costs. Two events are resolved at once, with rests, so
       connections and processor time are left to requests. Each caller has one event in the line, so the different
       selections of one caller do not hold up others.
    2. A subscriber that shares the answer pays for the bytes that it is sent.
    3. The event waits for its turn to be delivered. Between two turns the loop serves requests.

    A subscription shares only answers that were begun after its own start. So it shows what was changed before its
    start, by the same client for example.

    Args:
        present: makes the answer of a result, for callers as in the context.
    """

    def __init__(self, present: Callable[[ExecutionResult, Context], EventAnswer]) -> None:
        self._present = present
        # A subscription that is not served for long has its own end: its client reads nothing, or it cannot pay.
        self._turns = Turns(patient=True)
        self._places = asyncio.Semaphore(_PLACES)
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[EventAnswer]] = set()
        self._under_way: dict[Hashable, _Resolution] = {}
        # The oldest first.
        self._shared: dict[Hashable, _Resolution] = {}
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
        if isinstance(event, OrderStatusChange):
            answer = await self._resolve_once(executor, event)
        else:
            await _pay(context, context.event_terms.cost)
            answer = await self._resolve(executor, event, _Resolution())
        await self._turns.take(0, context.principal.user)
        return answer

    async def close(self) -> None:
        """End what is still being resolved. Nobody waits for it any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _resolve_once(self, executor: _EventExecutor, event: OrderStatusChange) -> EventAnswer:
        context: Context = executor.context_value
        terms = context.event_terms
        key = terms.selection, context.principal.roles, context.explores, event.change

        def found() -> _Resolution | None:
            ways = self._under_way.get(key), self._shared.get(key)
            return next((one for one in ways if one is not None and one.began >= executor.started), None)

        # While a subscriber waits for its points, another one may resolve the event.
        await _pay(context, terms.cost, unless=lambda: found() is not None)
        if (resolution := found()) is None:
            return await asyncio.shield(self._begin(key, executor, event).task)
        answer = await asyncio.shield(resolution.task)
        await _pay(context, LEAST_POINTS + body_points(answer.size))
        return answer

    def _begin(self, key: Hashable, executor: _EventExecutor, event: OrderStatusChange) -> _Resolution:
        context: Context = executor.context_value
        resolution, record = _Resolution(), _record_of_event(context.event_terms.cost)

        async def resolve() -> EventAnswer:
            current_record.set(record)
            with tracing.operation():
                tracing.note_operation(record.operation, "subscription")
                answer = await self._resolve(executor, event, resolution)
            if record.settle is not None:
                record.settle(record)
            return answer

        # In an empty context: the task does not belong to the subscriber that happens to come first.
        resolution.task = asyncio.create_task(resolve(), name="event", context=contextvars.Context())
        self._tasks.add(resolution.task)
        self._under_way[key] = resolution
        resolution.task.add_done_callback(lambda task: self._share(key, resolution, task))
        return resolution

    async def _resolve(self, executor: _EventExecutor, event: Node, resolution: _Resolution) -> EventAnswer:
        context: Context = executor.context_value
        async with self._lines.setdefault(context.principal.user, asyncio.Lock()):
            await self._places.acquire()
        loop, record = running_loop(), current_record.get() or RequestRecord("")
        resolution.began, before = loop.time(), record.processor_seconds
        try:
            result: Any = executor.of_event(event).execute_operation(serially=False)
            if executor.is_awaitable(result):
                result = await result
            return self._present(result, context)
        except Exception as error:  # noqa: BLE001 # it is presented, once for all subscribers, and so masked
            return self._present(ExecutionResult(None, [GraphQLError(str(error), original_error=error)]), context)
        finally:
            # The place rests for as long as it used the processor, and requests have this time.
            loop.call_later(record.processor_seconds - before, self._places.release)

    def _share(self, key: Hashable, resolution: _Resolution, task: asyncio.Task[EventAnswer]) -> None:
        """Share the answer for a while, unless another attempt may give another one, or there is a newer one."""
        self._tasks.discard(task)
        newest = self._under_way.get(key) is resolution
        if newest:
            del self._under_way[key]
        if task.cancelled() or task.exception() or not task.result().lasts or not newest:
            return
        if (older := self._shared.get(key)) is not None:
            self._forget(key, older)
        self._shared[key] = resolution
        self._bytes += task.result().size + _KEY_BYTES
        running_loop().call_later(_SHARED_SECONDS, self._forget, key, resolution)
        while self._bytes > _SHARED_BYTES:
            self._forget(*next(iter(self._shared.items())))

    def _forget(self, key: Hashable, resolution: _Resolution) -> None:
        if self._shared.get(key) is resolution:
            del self._shared[key]
            self._bytes -= resolution.task.result().size + _KEY_BYTES


class _EventExecutor(MeteredExecutor):
    """The executor of an operation, and its copies for events.

    Attributes:
        started: when the operation started.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.started = running_loop().time()

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


def _record_of_event(cost: int) -> RequestRecord:
    """The record of an event. The subscriber that has it resolved pays if it takes far more than its cost."""
    first = current_record.get() or RequestRecord("")
    return RequestRecord(
        str(uuid.uuid4()),
        transport=first.transport,
        operation=first.operation,
        cost=cost,
        caller=first.caller,
        # Its processor time is measured in any case.
        settle=first.settle or _settle_nothing,
    )


def _settle_nothing(_record: RequestRecord) -> None:
    """Without a rate limit nobody pays."""


async def _pay(context: Context, cost: int, *, unless: Callable[[], bool] = lambda: False) -> None:
    """Charge the subscriber for an event, as soon as it has the points, unless it need not pay by then.

    Raises:
        RateLimitedError: it has too few for too long, or can never have as many.
    """
    until = None
    while context.charge is not None and not unless():
        try:
            context.charge(cost)
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
