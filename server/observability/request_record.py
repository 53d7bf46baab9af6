"""The request being served: its record, filled in as it is served and observed at its end; and its event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

T = TypeVar("T")
Transport = Literal["http", "websocket", "sse"]

# Among a record's errors: the client went away before it was answered.
CLIENT_GONE: Final = "CLIENT_GONE"
_BAD_REQUEST: Final = 400


@dataclass(slots=True, eq=False)
class RequestRecord:
    """What is logged and counted of one request, or of one operation on a WebSocket. Times are in seconds.

    Attributes:
        fast: whether the fast path answered it (server/graphql/fast_path.py).
        cost: the price of its operation, in points (schema/limits/cost.py).
        caller: the user who sent it; None before authentication, and for what needs none.
        mutation: whether its operation is a mutation.
        slow: whether one of its statements took too long for a brief connection (server/db/shares.py).
        loop_seconds: how long it held the event loop, as far as its own task did, and only with a rate limit.
        settle: called with the record at the end; None without a rate limit.
    """

    request_id: str
    transport: Transport = "http"
    operation: str | None = None
    subscription: bool = False
    rows: int = 0
    statements: int = 0
    database_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    fast: bool = False
    cost: int = 0
    caller: str | None = None
    mutation: bool = False
    slow: bool = False
    loop_seconds: float = 0.0
    settle: Callable[[RequestRecord], None] | None = None

    def outcome(self, status: int) -> str:
        """The reasons of the errors in the response. Without any, it is `ok` or the HTTP status."""
        return ",".join(sorted(set(self.errors))) or ("ok" if status < _BAD_REQUEST else f"HTTP_{status}")


# A task inherits it from the request that started it. So does a batch of lookups.
current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)


def note_cost(cost: int) -> None:
    """Note what the operation being served costs. A subscription may be charged again for its events."""
    if (record := current_record.get()) is not None:
        record.cost += cost


async def metered(record: RequestRecord, work: Awaitable[T]) -> T:
    """The result of work, while the record adds up how long each step of it holds the event loop."""
    result: T = await _Steps(record, work)
    return result


class _Steps:
    """Runs an awaitable step by step, as the event loop does."""

    __slots__ = ("_record", "_steps")

    def __init__(self, record: RequestRecord, work: Awaitable[Any]) -> None:
        self._record = record
        self._steps = work.__await__()

    def __await__(self) -> Generator[Any, Any, Any]:
        go_on, given = self._steps.send, None
        while True:
            began = time.perf_counter()
            try:
                awaited = go_on(given)
            except StopIteration as end:
                return end.value
            finally:
                self._record.loop_seconds += time.perf_counter() - began
            try:
                go_on, given = self._steps.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 # the work handles it
                go_on, given = self._steps.throw, error


_last: Final = threading.local()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return this thread's running event loop, which a request needs several times.

    On Python 3.11 asyncio's own function makes a system call each time, and takes twice as long.
    """
    loop: asyncio.AbstractEventLoop | None = getattr(_last, "loop", None)
    if loop is None or not loop.is_running():
        loop = _last.loop = asyncio.get_running_loop()
    return loop
