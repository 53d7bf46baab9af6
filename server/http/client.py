"""The client of a connection: its headers, its caller, the work that ends when it goes away, and whether it stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.requests import ClientDisconnect

from server.http.read_requirement import current_reads
from server.observability.request_record import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.types import Scope

_T = TypeVar("_T")
# Asks for the cost of an operation.
COST_HEADER: Final = "x-graphql-cost"
# How long a query may still run when its client has gone away. Most end sooner, and to cancel a statement costs the
# connection to the database, and the login of the next one: a client that types ahead would cost one at each letter.
_FINISH_SECONDS: Final = 0.05
# The key of a request's scope with the `ClientPresence` of its connection.
CLIENT_PRESENCE: Final = "server.client_presence"
# The key of a request's scope with the trailer fields of its response, which the application may add until the end of a
# chunked body. Its last message has to be empty.
TRAILERS: Final = "server.trailers"
# The key of a request's scope with the error that the connection found in its body while it was read.
REFUSAL: Final = "server.refusal"


class ClientPresence:
    """Who the client of a connection is, and whether it is still there. The connection answers one request at a time.

    The connection reports when the client goes away. A task that watches for that would make each request that has to
    wait a tenth slower.

    Args:
        become_lasting: counts the connection among the lasting ones of this caller, WebSockets and event streams. It
            raises an ApiError if there is no room for another.

    Attributes:
        authenticated: whether the caller of the request in progress is known.
        caller: that of the last request that was authenticated; None if none was.
        idle: whether it is an acknowledged WebSocket on which no operation runs.
    """

    __slots__ = ("_become_lasting", "_end", "_gone", "authenticated", "caller", "idle")

    def __init__(self, become_lasting: Callable[[str], None] = lambda _: None) -> None:
        self._become_lasting = become_lasting
        self._end: Callable[[], None] | None = None
        self._gone = False
        self.authenticated = False
        self.caller: str | None = None
        self.idle = False

    def identify(self, caller: str) -> None:
        """Report the caller of the request in progress."""
        self.caller, self.authenticated = caller, True

    def become_lasting(self, caller: str) -> None:
        """Count the connection among the lasting ones.

        Raises:
            ApiError: there is no room for another.
            ClientDisconnect: the client has gone away.
        """
        if self._gone:
            raise ClientDisconnect
        self._become_lasting(caller)

    def leave(self) -> None:
        """Report that the client has gone away."""
        self._gone = True
        if self._end is not None:
            self._end()

    async def while_there(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return the result of the work. If the client goes away, a query is soon cancelled, but a change goes on.

        Raises:
            ClientDisconnect: the client has gone away.
        """
        if self._gone:
            # The client went away before its request was understood, so nothing is started.
            work.close()
            raise ClientDisconnect
        loop = running_loop()
        task, reads, gone = asyncio.current_task(loop), current_reads.get(None), False
        ending: asyncio.TimerHandle | None = None

        def end() -> None:
            nonlocal gone
            if task is not None and not (reads and reads.primary_only):
                gone = True
                task.cancel()

        def end_soon() -> None:
            nonlocal ending
            ending = loop.call_later(_FINISH_SECONDS, end)

        self._end = end_soon
        try:
            return await work
        except asyncio.CancelledError:
            # Only the cancellation by `end` stops here. Any other is passed on.
            if gone and task is not None and task.uncancel() == 0:
                raise ClientDisconnect from None
            raise
        finally:
            self._end = None
            if ending is not None:
                ending.cancel()


def header(scope: Scope, name: bytes) -> str | None:
    """The first header with this name, which is in lower case; None if there is none."""
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None


def headers(scope: Scope, name: bytes) -> list[str]:
    """All headers with this name, which is in lower case."""
    return [value.decode("latin-1") for given, value in scope["headers"] if given == name]
