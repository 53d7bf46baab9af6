"""The request being served: its record, filled in as it is served and observed at its end; and its event loop."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Transport = Literal["http", "websocket", "sse"]

# Among a record's errors: the client went away before it was answered.
CLIENT_GONE: Final = "CLIENT_GONE"
_BAD_REQUEST: Final = 400


@dataclass(slots=True, eq=False)
class RequestRecord:
    """What is logged and counted of one request, or of one operation on a WebSocket. Times are in seconds.

    Attributes:
        fast: whether the fast path answered it (server/graphql/fast_path.py).
        cost: what its operation has paid, in points (schema/limits/cost.py).
        asked: the text and the variables of an operation that streams its answers; a subscription that has begun drops
            them.
        caller: the user who sent it; None before authentication, and for what needs none.
        mutation: whether its operation is a mutation.
        processor_seconds: what its execution took of the processor, only if it is to `settle`.
        settle: called with the record at the end, to charge what it really took; None without a rate limit.
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
    asked: tuple[str | None, Mapping[str, Any] | None] = (None, None)
    caller: str | None = None
    mutation: bool = False
    processor_seconds: float = 0.0
    settle: Callable[[RequestRecord], None] | None = None

    def outcome(self, status: int) -> str:
        """The reasons of the errors in the response. Without any, it is `ok` or the HTTP status."""
        return ",".join(sorted(set(self.errors))) or ("ok" if status < _BAD_REQUEST else f"HTTP_{status}")


# A task inherits it from the request that started it. So does a batch of lookups.
current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)


def note_cost(cost: int) -> None:
    """Note what the operation being served has paid: at its start, and for each event of a subscription."""
    if (record := current_record.get()) is not None:
        record.cost += cost


_last: Final = threading.local()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return this thread's running event loop, which a request needs several times.

    On Python 3.11 asyncio's own function makes a system call each time, and takes twice as long.
    """
    loop: asyncio.AbstractEventLoop | None = getattr(_last, "loop", None)
    if loop is None or not loop.is_running():
        loop = _last.loop = asyncio.get_running_loop()
    return loop
