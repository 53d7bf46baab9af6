"""Owns the caller at the other end of a connection: what ends when they go away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.requests import ClientDisconnect

from server.record import current_record
from server.running import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

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
        task, record, gone = asyncio.current_task(running_loop()), current_record.get(), False

        def end() -> None:
            nonlocal gone
            if task is not None and not (record and record.primary_only):
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
