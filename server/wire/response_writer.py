"""Writes a response with as few system calls as it takes: its head together with its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.http.client import TRAILERS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


_LAST_CHUNK: Final = b"0\r\n\r\n"


class ResponseWriter:
    """The part of a transport that uvicorn's request cycles use, for the responses on one connection.

    On its own uvicorn writes the head and then the body: two system calls, two packets, and a client that wakes up
    twice. Here the head waits for the body, unless that comes later, as events do, or never, as for a HEAD.

    Args:
        transport: the connection's transport.
        close: closes the connection.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.is_closing = transport.is_closing
        self._write = transport.write
        self._close = close
        self._cycle: RequestResponseCycle | None = None
        self._head = b""
        # Those of the last chunked response.
        self._trailers: list[tuple[bytes, bytes]] | None = None

    def begin(self, cycle: RequestResponseCycle | None) -> None:
        """Write the response of this cycle from now on; that of the cycle before has been written."""
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        """Write the next part of the response."""
        cycle = self._cycle
        if self._head:
            data, self._head = self._head + data, b""
        elif cycle is not None and cycle.response_started:
            # Whatever follows the head is written as it comes.
            self._cycle = None
            self._trailers = cycle.scope.get(TRAILERS)  # type: ignore[assignment] # a key of our own
            # uvicorn sets it to False once it has seen a length.
            if cycle.chunked_encoding is False and cycle.scope["method"] != "HEAD":
                self._head = data
                return
        elif self._trailers and data == _LAST_CHUNK:
            fields = b"".join(b"%s: %s\r\n" % field for field in self._trailers)
            data, self._trailers = b"0\r\n%s\r\n" % fields, None
        self._write(data)

    def close(self) -> None:
        """Close the connection. Without its head, an incomplete response would look like none, which clients repeat."""
        if self._head:
            self.write(b"")
        self._close()
