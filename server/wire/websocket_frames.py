"""Incoming WebSocket frames, with bounds on the time and memory that one peer can take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGIReceiveEvent
    from websockets.frames import Frame

# The longest message before the client is acknowledged, and later of any type but `subscribe`. It may hold a token of
# 8 KiB (server/auth/jwt.py).
SHORT_BYTES: Final = 10_240
# Three hundred of the smallest frames, which take a few milliseconds to parse. One read may bring 256 KiB.
_PORTION_BYTES: Final = 2_048
# Browsers split a message of two megabytes into a few dozen fragments.
_MOST_FRAGMENTS: Final = 1_024
# How long a client may take for a message from its first byte on, as for the body of a request.
_MESSAGE_SECONDS: Final = 10.0


class BoundedFrames(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which parses a flood of tiny frames in portions, so that other connections get their turn.

    It parses no portion while a message waits for the application. Of the pings that arrive while nothing can be sent,
    it answers the newest.

    The websockets library bounds the size of a message, with all its fragments: `SHORT_BYTES` until the endpoint has
    acknowledged the client, and then as much as uvicorn's `ws_max_size`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn.max_message_size = min(SHORT_BYTES, self.config.ws_max_size)
        self._unparsed = bytearray()
        self._scheduled = False
        self._pong = b""
        self._deadline: asyncio.TimerHandle | None = None
        # The bytes of messages that wait for the application, and all that was last reported to `held`.
        self._queued = 0
        self._held = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget an incomplete message."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; if there is a lot, parse a portion now and the rest later."""
        if not self._unparsed and len(data) <= _PORTION_BYTES and self._may_parse:
            super().data_received(data)
            return
        self._unparsed += data
        if not self._scheduled:
            self._parse_portion()
        if self._unparsed and not self._may_parse and not self.read_paused:
            # The upgrade is still being authenticated. uvicorn resumes reading when the endpoint takes it.
            self.read_paused = True
            self.transport.pause_reading()
        self._report()

    def handle_events(self) -> None:
        """Handle the frames that have arrived. From then on a message that has only begun has a deadline."""
        arrived = bool(self.conn.events)
        super().handle_events()
        if arrived and not self.frames:
            self._stop_deadline()
        if self._is_incomplete:
            if self._deadline is None:
                self._deadline = self.loop.call_later(_MESSAGE_SECONDS, self._check_deadline)
            self._report()

    @property
    def _is_incomplete(self) -> bool:
        return bool(self.frames or self.conn.reader.buffer)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _check_deadline(self) -> None:
        self._deadline = None
        if self._unparsed or not self._may_parse:
            # The server itself is late.
            self._deadline = self.loop.call_later(_MESSAGE_SECONDS, self._check_deadline)
        elif self._is_incomplete and not self.close_sent:
            self._fail(CloseCode.POLICY_VIOLATION, f"a message did not arrive within {_MESSAGE_SECONDS:g} s")

    def held(self, size: int) -> None:
        """Called with the number of bytes that have arrived and that the application has not taken."""

    def drop(self) -> None:
        """Drop these bytes, after the connection was closed."""
        self.frames = []
        self._unparsed.clear()
        self.conn.reader.buffer.clear()
        for _ in range(self.queue.qsize()):
            message = self.queue.get_nowait()
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)

    def _report(self) -> None:
        self._held = self._queued + len(self._unparsed) + len(self.conn.reader.buffer)
        if self.frames:
            self._held += self.conn.current_size or 0
        self.held(self._held)

    def acknowledge(self) -> None:
        """Take long messages from now on."""
        self.conn.max_message_size = self.config.ws_max_size

    async def receive(self) -> ASGIReceiveEvent:
        """The next message. Parsing resumes once no message is left."""
        message = await super().receive()
        self._queued = 0
        if self._held:
            self._report()
        self._schedule()
        return message

    def resume_writing(self) -> None:
        """Send the pong that was held back, too."""
        super().resume_writing()
        if self._pong and not self.transport.is_closing():
            self.transport.write(self._pong)
        self._pong = b""

    def handle_ping(self) -> None:
        """Answer at once, or as soon as the peer reads again."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pong = b"".join(self.conn.data_to_send())

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment, up to a maximum: the size limit does not stop empty ones."""
        if len(self.frames) < _MOST_FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        """Deliver a message. Invalid UTF-8 closes the connection without a stack trace in the log."""
        self._stop_deadline()
        self._queued = sum(map(len, self.frames))
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
    def _may_parse(self) -> bool:
        """Whether no message waits for the application; after a close none is delivered any more."""
        return self.close_sent or self.queue.empty()

    def _schedule(self) -> None:
        if self._unparsed and not self._scheduled and not self.transport.is_closing():
            # uvicorn has resumed reading because no message is left.
            self.transport.pause_reading()
            self._scheduled = True
            self.loop.call_soon(self._parse_portion)

    def _parse_portion(self) -> None:
        was_paused, self._scheduled = self._scheduled, False
        if self._may_parse and not self.transport.is_closing():
            portion = bytes(self._unparsed[:_PORTION_BYTES])
            del self._unparsed[:_PORTION_BYTES]
            super().data_received(portion)
        if self.transport.is_closing():
            self._unparsed.clear()
        elif not self._unparsed:
            if was_paused and not self.read_paused:
                self.transport.resume_reading()
        elif self._may_parse:
            self._schedule()
