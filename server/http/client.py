"""Owns the caller at the other end of a connection: what ends when they go away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.requests import ClientDisconnect

from server.observability.event_loop import running_loop
from server.read_requirement import current_reads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.types import Scope

_T = TypeVar("_T")
# Where a request's scope keeps its caller.
CALLER: Final = "server.caller"


class Caller:
    """Whoever sends the requests of one connection, of which one at a time is answered.

    The connection itself says when they are gone: a task that waits for that beside each request would cost a request
    that has to wait a tenth of what it takes.
    """

    __slots__ = ("_end", "_gone")

    def __init__(self) -> None:
        self._end: Callable[[], None] | None = None
        self._gone = False

    def leave(self) -> None:
        """Be gone."""
        self._gone = True
        if self._end is not None:
            self._end()

    async def while_there(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What the work gives. A query ends with its statements when its caller goes away; a change is made anyway.

        Raises:
            ClientDisconnect: the caller has gone away.
        """
        if self._gone:
            # Before it was known what they ask for: a request whose body has been read is not begun without them.
            work.close()
            raise ClientDisconnect
        task, reads, gone = asyncio.current_task(running_loop()), current_reads.get(None), False

        def end() -> None:
            nonlocal gone
            if task is not None and not (reads and reads.primary_only):
                gone = True
                task.cancel()

        self._end = end
        try:
            return await work
        except asyncio.CancelledError:
            # Where it is this cancellation, and no other, it goes no further.
            if gone and task is not None and task.uncancel() == 0:
                raise ClientDisconnect from None
            raise
        finally:
            self._end = None


# Where a request's scope keeps what was found wrong with its body while it was read.
REFUSAL: Final = "server.refusal"


def header(scope: Scope, name: bytes) -> str | None:
    """The first header with this name, in lower case; None where there is none."""
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None


def headers(scope: Scope, name: bytes) -> list[str]:
    """All headers with this name."""
    return [value.decode("latin-1") for given, value in scope["headers"] if given == name]
