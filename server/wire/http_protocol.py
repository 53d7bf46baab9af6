"""The HTTP protocol of a connection: uvicorn's, with deadlines, size limits and refusals of its own.

llhttp and `server/wire/http_framing.py` find wrong framing. The server closes the connection after such a request,
because nothing tells where the next one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from schema.errors import Reason, RequestError, UnavailableError
from server.http.client import CLIENT_PRESENCE, REFUSAL, ClientPresence
from server.http.request_middleware import GRAPHQL_PATH, STREAM_PATH
from server.traffic.admission import MESSAGE
from server.wire import http_framing as framing
from server.wire.connections import SendProgress, reset
from server.wire.http_framing import FRAMING, HEAD_BYTES, HEADERS_BYTES, MAX_HEADERS, URL_BYTES
from server.wire.raw_response import answer_of, readable_by

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from uvicorn import Config
    from uvicorn._types import ASGI3Application
    from uvicorn.server import ServerState

    from server.wire.connections import Connections

# Chunk headers and extensions: on the wire a chunked body may be this many times as long, plus this many bytes.
_CHUNKING: Final = 2
_CHUNKING_BYTES: Final = 65_536
# Requests that a client may send before the response to the first one.
_PIPELINED: Final = 128
# A client that has just sent a request on an idle connection still gets its response.
_STOP_LINGER_SECONDS: Final = 0.5
# How long the server reads and drops what a refused client still sends: a reset could destroy the response on its way.
_LINGER_SECONDS: Final = 2.0
_SLOW_LINGER_SECONDS: Final = 0.5
_GRAPHQL: Final = GRAPHQL_PATH.encode()
_STREAM: Final = STREAM_PATH.encode()
_TOO_SLOW: Final = {
    "head": (Reason.HEADERS_TOO_SLOW, "headers"),
    "body": (Reason.BODY_TOO_SLOW, "body"),
}
_OVERLOADED: Final = UnavailableError(Reason.OVERLOADED, MESSAGE)
_Refusal = RequestError | UnavailableError
_Phase = Literal["new", "idle", "head", "body", "busy", "parting"]


class _RefusedError(Exception):
    """Leaves a callback of httptools; the refusal is in `HttpProtocol._refusal`."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with deadlines and limits.

    When the server stops, it closes idle connections after a moment. A request that arrives in that moment is
    answered, as the last one on its connection.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.since = self.loop.time()
        self._all = connections
        self._phase: _Phase = "new"
        self._stopping = False
        # Whether further input is dropped.
        self._ignores_input = False
        self.address: Hashable = self
        self._sending = SendProgress()
        self._presence = ClientPresence(self._become_lasting)
        self._answering: RequestResponseCycle | None = None
        self._refusal: _Refusal | None = None
        self._last_response = b""
        self._parting_seconds = _LINGER_SECONDS
        # State of the request that is being read.
        self._chunk_bytes = 0
        self._bytes = 0
        self._body_bytes = 0
        self._framing: list[tuple[bytes, bytes]] = []
        self._completed = False
        # Body bytes of a request that asks for another protocol: httptools leaves them unread.
        self._unread = 0
        # Whether the request has its response already, so that its body is read and dropped.
        self._shed = False
        # Whether the response in progress is an event stream that counts among the lasting connections.
        self._lasts = False

    # The connection: opened, checked, closed.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Register the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if self.client:
            self.address = self._all.addresses.of(self.client[0]) or self
        if not self._all.take(self, self.loop):
            self._all.note_refusal(_OVERLOADED, self.client)
            self._part(self._answer(_OVERLOADED))

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection, and end the work for it."""
        self._all.forget(self)
        if self._answering is not None and not self._answering.response_complete:
            # Of several pipelined requests uvicorn tells only the last that the client is gone.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self._presence.leave()

    @property
    def waits(self) -> bool:
        """Whether the server owes this client no response, or the client is slow to read it."""
        return not self._lasts and (self._phase != "busy" or self._sending.is_slow)

    def make_room(self) -> None:
        """Close the connection now, to make room for another."""
        self.transport.abort()

    def check_deadlines(self, now: float) -> None:
        """Cut the connection if one of its deadlines has passed."""
        deadlines, phase, waited = self._all.deadlines, self._phase, now - self.since
        stuck = self._sending.is_stuck(self.transport, now, self._answering)
        if stuck or (self._sending.seconds > deadlines.response and not self._lasts):
            reset(self.transport)
        elif phase == "busy":
            return
        elif self.flow.read_paused:
            # The server itself has paused reading: the client is not late.
            self.since = now
        elif phase in {"idle", "new"}:
            if waited > (deadlines.idle if phase == "idle" else deadlines.headers):
                self.transport.close()
        elif phase in _TOO_SLOW:
            seconds = deadlines.headers if phase == "head" else deadlines.body
            if waited > seconds:
                reason, what = _TOO_SLOW[phase]
                error = RequestError(reason, f"The {what} did not arrive within {seconds:g} s.")
                self._refuse(error, seconds=_SLOW_LINGER_SECONDS)
        elif waited > self._parting_seconds:
            self.transport.abort()

    def shutdown(self) -> None:
        """Serve the requests that are on their way, and no further ones."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_STOP_LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # Reading a request.

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless the connection is being closed."""
        if self._ignores_input:
            return
        self._chunk_bytes = len(data)
        self._completed = False
        if self._unread:
            self._read_unread(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._unread:
                self._read_unread(data[upgrade.args[0] :])
                return
            # The rest belongs to a WebSocket, or to a protocol that is not supported.
            self._ignores_input = True
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self._refuse(self._refusal or framing.not_http())
        else:
            if self._phase in {"head", "body"} and not self._completed:
                self._count(len(data))

    def _count(self, received: int) -> None:
        """Count the bytes of an incomplete request, with all that the parser drops: spaces, chunk sizes, trailers."""
        self._bytes += received
        if self._phase == "head":
            if self._bytes > HEAD_BYTES:
                self._refuse(framing.too_large())
        elif self._bytes > _CHUNKING * self._all.body_bytes + _CHUNKING_BYTES:
            self._refuse(self._too_large())

    def _read_unread(self, data: bytes) -> None:
        """Read the body of a request whose `Upgrade` is ignored, as the last request on the connection."""
        part = data[: self._unread]
        self._unread -= len(part)
        if part:
            self.on_body(part)
        if not self._unread:
            self._ignores_input = True
            self.on_message_complete()

    def on_message_begin(self) -> None:
        """The first byte of a request has arrived."""
        super().on_message_begin()
        if self._phase != "new":
            self.since = self.loop.time()
        self._phase = "head"
        self._bytes = self._body_bytes = 0
        self._framing = []

    def on_url(self, url: bytes) -> None:
        """A part of the URL has arrived."""
        self.url += url
        if len(self.url) > URL_BYTES:
            raise self._refused(framing.too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has arrived, or a trailer, which is dropped."""
        if self._phase != "head":
            return
        name = name.lower()
        self.headers.append((name, value))
        if name in FRAMING:
            self._framing.append((name, value))
        elif len(self.headers) > MAX_HEADERS:
            raise self._refused(framing.too_large())

    def on_headers_complete(self) -> None:
        """The head is complete: serve the request from here on, or refuse it."""
        self._check_head()
        self._phase, self._bytes, self.since = "body", 0, self.loop.time()
        if self.url.startswith(_GRAPHQL) and not self._is_owed() and self._sheds():
            self._shed_request()
            return
        if self._is_owed() and len(self.pipeline) >= _PIPELINED:
            self._phase = "head"
            raise self._refused(RequestError(Reason.HTTP_INVALID, f"At most {_PIPELINED} requests may be pipelined."))
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, AttributeError, UnicodeDecodeError):
            # The URL has no path, or is no URL.
            self._phase = "head"
            raise self._refused(framing.not_http()) from None
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            # The connection becomes a WebSocket.
            return
        self.scope[CLIENT_PRESENCE] = self._presence  # type: ignore[typeddict-unknown-key] # a key of our own
        if self._stopping or self.parser.should_upgrade():
            cycle.keep_alive = False
        if not cycle.keep_alive:
            cycle.transport = cast("asyncio.Transport", _Closing(self))

    def on_body(self, body: bytes) -> None:
        """A part of the body has arrived."""
        self._body_bytes += len(body)
        if self._body_bytes > self._all.body_bytes:
            raise self._refused(self._too_large())
        if not self._shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of the request has arrived."""
        if self._unread:
            return
        self._completed = True
        if self._shed:
            self._shed = False
            self._be_idle()
        elif self.cycle is None or self.cycle.response_complete:
            self._be_idle()
        else:
            self._phase = "busy"
            super().on_message_complete()
            if not self.pipeline:
                # A large last part pauses reading. Resume it: a paused connection does not notice a client that leaves.
                self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _check_head(self) -> None:
        """Refuse a request that is framed wrongly, or whose announced body is too long.

        Raises:
            _RefusedError: the request is refused.
        """
        if self._bytes + self._chunk_bytes > HEADERS_BYTES and framing.is_too_large(self.headers):
            # Summed up only when it can matter, because it takes time.
            raise self._refused(framing.too_large())
        found = framing.framing_of(tuple(self._framing), self.parser.get_http_version())
        if found is None:
            raise self._refused(framing.not_http())
        self.expect_100_continue = found.expects
        if found.length > self._all.body_bytes:
            raise self._refused(self._too_large())
        if self.parser.should_upgrade():
            method, socket = self.parser.get_method(), self._should_upgrade()
            if refusal := framing.wrong_with_upgrade(method, self.url, self.headers, websocket=socket):
                raise self._refused(refusal)
            if socket and self._is_owed():
                # The response in progress would end up among the frames.
                raise self._refused(framing.not_http())
            if any(name == b"transfer-encoding" for name, _ in self._framing) or (socket and found.length):
                # A WebSocket's request has no body. Clients that ask for HTTP/2 this way (Java's, curl) announce the
                # length of theirs.
                raise self._refused(framing.not_http())
            self._unread = found.length

    def _refused(self, error: _Refusal) -> _RefusedError:
        self._refusal = error
        return _RefusedError()

    def _too_large(self) -> RequestError:
        return RequestError(Reason.BODY_TOO_LARGE, f"A body may have at most {self._all.body_bytes} bytes.")

    # Writing responses.

    def _is_owed(self) -> bool:
        """Whether the response to an earlier request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    def _sheds(self) -> bool:
        """Whether a request for GraphQL is refused before the rest of it is read."""
        if self._all.admission.sheds:
            # A browser whose preflight is refused cannot read why the request failed.
            return self.parser.get_method() != b"OPTIONS"
        return self.url.startswith(_STREAM) and not self._all.has_place

    def _shed_request(self) -> None:
        """Refuse the request at the least cost, without its own task or log line: there may be many.

        Raises:
            _RefusedError: the connection cannot be kept.
        """
        parser = self.parser
        ends = self._stopping or self.expect_100_continue or parser.should_upgrade() or parser.get_method() == b"HEAD"
        if ends or not parser.should_keep_alive():
            self._phase = "head"
            raise self._refused(_OVERLOADED)
        self._all.shed += 1
        self._shed = True
        self.transport.write(self._answer(_OVERLOADED, keep=True))

    def _refuse(self, error: _Refusal, *, seconds: float = _LINGER_SECONDS) -> None:
        """Refuse the request that is being read, after the responses before it, as the last on the connection."""
        self._ignores_input = True
        self._parting_seconds = seconds
        cycle = self.cycle
        if self._phase == "body" and not self._shed and self._is_owed() and cycle.scope is self.scope:
            if cycle.response_started:
                self.transport.abort()
                return
            # The application already serves the request. It finds the refusal when it reads the body, and responds.
            cycle.scope[REFUSAL] = error  # type: ignore[typeddict-unknown-key] # a key of our own
            cycle.keep_alive, cycle.more_body = False, False
            cycle.transport = cast("asyncio.Transport", _Closing(self))
            cycle.message_event.set()
            return
        if self._phase == "body":
            # The request was answered before its body was read.
            self._part()
            return
        self._all.note_refusal(error, self.client)
        answer = self._answer(error)
        if self._is_owed():
            self._last_response, self._phase = answer, "busy"
        else:
            self._part(answer)

    def _answer(self, error: _Refusal, *, keep: bool = False) -> bytes:
        cors = readable_by(self.headers or (), self._all.allowed_origins)
        return answer_of(error, (*self.server_state.default_headers, *cors), keep=keep)

    def on_response_complete(self) -> None:
        """Like uvicorn's, without its timer: the regular check of all connections finds one that idles for too long."""
        self.server_state.total_requests += 1
        if self._lasts:
            self._lasts = False
            self._all.end_lasting(self)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_response:
            self._part(self._last_response)
        elif self._phase == "busy":
            self._be_idle()
        elif self._phase == "body" and self.expect_100_continue:
            # Only the client knows whether it still sends the body.
            self._part()

    def close(self) -> None:
        """Close the connection in a way that lets the response arrive, although the request was not read to its end."""
        if self._phase == "body" or self._ignores_input:
            self._part()
        else:
            self.transport.close()

    def _part(self, answer: bytes = b"") -> None:
        """Write the last response, and drop what still arrives for a moment."""
        if answer:
            self.transport.write(answer)
        self._ignores_input = True
        self._phase, self.since = "parting", self.loop.time()
        if self._stopping or self.transport.is_closing():
            self.transport.close()
        else:
            self.flow.resume_reading()
            self.transport.write_eof()

    def _be_idle(self) -> None:
        self._phase, self.since = "idle", self.loop.time()

    def _become_lasting(self, caller: str) -> None:
        self._all.become_lasting(self, caller)
        self._lasts = True

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the WebSocket protocol, if there is room for another lasting connection."""
        if self._all.admission.sheds or not self._all.has_place:
            self._all.note_refusal(_OVERLOADED, self.client)
            self._part(self._answer(_OVERLOADED))
            return
        self._all.forget(self)
        super().handle_websocket_upgrade()


class _Closing:
    """The part of a transport that a request cycle uses; closing it closes the protocol's way."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.close
