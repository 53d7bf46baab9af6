"""Owns the frames of a WebSocket as they come in, with bounds on what one peer can make the process do or keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent
    from websockets.frames import Frame

# Three hundred of the smallest frames, which take a few milliseconds. A read gives a quarter of a megabyte.
_BITE_BYTES: Final = 2_048
# Browsers cut a message of two megabytes into some dozens.
_MOST_FRAGMENTS: Final = 1_024


class BoundedFrames(WebSocketsSansIOProtocol):
    """uvicorn's, but a flood of tiny frames is taken in bites, between which everybody else has their turn.

    No bite is taken while a message waits for the application. Of pings that come while nothing can be sent the newest
    alone is answered. The size of a message, as uvicorn has it, is that of all its fragments, decompressed.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._untaken = bytearray()
        self._coming = False
        self._pong = b""

    def data_received(self, data: bytes) -> None:
        """Take it, or where it is much some of it, and the rest later."""
        if not self._untaken and len(data) <= _BITE_BYTES and self._takes:
            super().data_received(data)
            return
        self._untaken += data
        if not self._coming:
            self._take()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; what comes after it is read once there is none left."""
        message = await super().receive()
        self._go_on()
        return message

    def resume_writing(self) -> None:
        """Send what was held back too."""
        super().resume_writing()
        if self._pong and not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    def handle_ping(self) -> None:
        """Answer at once, or where the peer reads nothing, when it does."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pong = b"".join(self.conn.data_to_send())

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment, up to a number: empty ones have no size that would bound them."""
        if len(self.frames) < _MOST_FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        """Hand a message on. One that is no UTF-8 is the peer's fault, and leaves no stack trace in our log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    @property
    def _takes(self) -> bool:
        """Whether no message waits; after a close none is handed on any more."""
        return self.close_sent or self.queue.empty()

    def _go_on(self) -> None:
        if self._untaken and not self._coming and not self.transport.is_closing():
            # That there is no message left has made uvicorn read on.
            self.transport.pause_reading()
            self._coming = True
            self.loop.call_soon(self._take)

    def _take(self) -> None:
        was_paused, self._coming = self._coming, False
        if self._takes and not self.transport.is_closing():
            bite = bytes(self._untaken[:_BITE_BYTES])
            del self._untaken[:_BITE_BYTES]
            super().data_received(bite)
        if self.transport.is_closing():
            self._untaken.clear()
        elif not self._untaken:
            if was_paused and not self.read_paused:
                self.transport.resume_reading()
        elif self._takes:
            self._go_on()
