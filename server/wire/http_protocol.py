"""Owns the protocol of a connection: uvicorn's, held to deadlines and sizes, which answers what cannot be served.

Whatever is wrong with a request's framing is found by llhttp, which is strict, or by server/wire/http_framing.py; the
connection is closed then, for nobody knows where the next request would begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from schema.errors import Reason, RequestError, UnavailableError
from server.http.client import CALLER, REFUSAL, Caller
from server.http.request_middleware import GRAPHQL_PATH, STREAM_PATH
from server.observability.observations import RequestRefused
from server.observability.sinks import observe
from server.traffic.admission import MESSAGE
from server.wire import http_framing as framing
from server.wire.connections import Taking, cut
from server.wire.http_framing import FRAMING, HEAD_BYTES, HEADERS, HEADERS_BYTES, URL_BYTES
from server.wire.raw_response import answer_of, readable_by

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn._types import ASGI3Application
    from uvicorn.server import ServerState

    from server.wire.connections import Connections

# Chunks may be small, and have extensions: so much more than the body may be sent.
_CHUNKING: Final = 2
_CHUNKING_BYTES: Final = 65_536
# Requests that are sent without waiting for the answer to the one before.
_PIPELINED: Final = 128
# A client that has just taken an idle connection for its next request still gets an answer on it.
_STOP_LINGER_SECONDS: Final = 0.5
# How long what a refused caller goes on sending is read and dropped. A reset would take the answer from it.
_LINGER_SECONDS: Final = 2.0
_SLOW_LINGER_SECONDS: Final = 0.5
_GRAPHQL: Final = GRAPHQL_PATH.encode()
_STREAM: Final = STREAM_PATH.encode()
_TOO_SLOW: Final = {
    "head": (Reason.HEADERS_TOO_SLOW, "headers were"),
    "body": (Reason.BODY_TOO_SLOW, "body was"),
}
_OVERLOADED: Final = UnavailableError(Reason.OVERLOADED, MESSAGE)
_Refusal = RequestError | UnavailableError
_Phase = Literal["new", "idle", "head", "body", "busy", "parting"]


class _RefusedError(Exception):
    """What is being read is refused; httptools knows no other way out of its callbacks."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, but in time and within bounds.

    An idle connection is closed a moment after the server was told to stop: what still comes is answered, as the last
    on it.
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
        # What follows is not read any more.
        self._deaf = False
        self._taking = Taking()
        self._caller = Caller()
        self._answering: RequestResponseCycle | None = None
        self._wrong: _Refusal | None = None
        self._last_words = b""
        self._parting_seconds = _LINGER_SECONDS
        # Of the request that is read.
        self._chunk_bytes = 0
        self._bytes = 0
        self._body_bytes = 0
        self._framing: list[tuple[bytes, bytes]] = []
        self._completed = False
        # Bytes of the body of one who would rather speak another protocol: httptools leaves them unread.
        self._unread = 0
        # It has its answer already: its body is read and dropped.
        self._shed = False
        # The answer under way lasts.
        self._streams = False

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Have one more, or tell it that it is one too many."""
        super().connection_made(transport)
        if not self._all.take(self, self.loop):
            self._note(_OVERLOADED)
            self._part(self._answer(_OVERLOADED))

    def connection_lost(self, exc: Exception | None) -> None:
        """Have one less."""
        self._all.forget(self)
        self._end_stream()
        if self._answering is not None and not self._answering.response_complete:
            # Of several that were sent at once uvicorn tells only the last.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self._caller.leave()

    @property
    def waits(self) -> bool:
        """Whether nothing is owed to the caller."""
        return self._phase != "busy"

    def make_room(self) -> None:
        """Be closed now."""
        self.transport.abort()

    def look(self, now: float) -> None:
        """Be cut, if a deadline is over."""
        deadlines, phase, waited = self._all.deadlines, self._phase, now - self.since
        if self._taking.is_stuck(self.transport, now, seconds=deadlines.send):
            cut(self.transport)
        elif phase == "busy":
            return
        elif self.flow.read_paused:
            # It is the server that makes it wait.
            self.since = now
        elif phase in {"idle", "new"}:
            if waited > (deadlines.idle if phase == "idle" else deadlines.headers):
                self.transport.close()
        elif phase in _TOO_SLOW:
            seconds = deadlines.headers if phase == "head" else deadlines.body
            if waited > seconds:
                reason, what = _TOO_SLOW[phase]
                error = RequestError(reason, f"The {what} not there within {seconds:g} s.")
                self._refuse(error, seconds=_SLOW_LINGER_SECONDS)
        elif waited > self._parting_seconds:
            self.transport.abort()

    def shutdown(self) -> None:
        """Serve no further request, but those that are on their way."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_STOP_LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # What is read.

    def data_received(self, data: bytes) -> None:
        """Read on, unless it has been decided to close."""
        if self._deaf:
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
            # What follows is of another protocol, or of one that is not spoken here.
            self._deaf = True
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self._refuse(self._wrong or framing.not_http())
        else:
            if self._phase in {"head", "body"} and not self._completed:
                self._count(len(data))

    def _count(self, received: int) -> None:
        """Count what has come of a request that is incomplete, whatever it is made of."""
        self._bytes += received
        if self._phase == "head":
            if self._bytes > HEAD_BYTES:
                self._refuse(framing.too_large())
        elif self._bytes > _CHUNKING * self._all.body_bytes + _CHUNKING_BYTES:
            self._refuse(self._too_large())

    def _read_unread(self, data: bytes) -> None:
        """Read the body of a request whose wish for another protocol is passed over, as the last on the connection."""
        part = data[: self._unread]
        self._unread -= len(part)
        if part:
            self.on_body(part)
        if not self._unread:
            self._deaf = True
            self.on_message_complete()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        if self._phase != "new":
            self.since = self.loop.time()
        self._phase = "head"
        self._bytes = self._body_bytes = 0
        self._framing = []

    def on_url(self, url: bytes) -> None:
        """A part of its address."""
        self.url += url
        if len(self.url) > URL_BYTES:
            raise self._refused(framing.too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: nobody here is told of those."""
        if self._phase != "head":
            return
        name = name.lower()
        self.headers.append((name, value))
        if name in FRAMING:
            self._framing.append((name, value))
        elif len(self.headers) > HEADERS:
            raise self._refused(framing.too_large())

    def on_headers_complete(self) -> None:
        """It is served from here on, or refused."""
        self._check_head()
        self._phase, self._bytes, self.since = "body", 0, self.loop.time()
        if self.url.startswith(_GRAPHQL) and not self._is_owed() and self._sheds():
            self._shed_it()
            return
        if self._is_owed() and len(self.pipeline) >= _PIPELINED:
            self._phase = "head"
            raise self._refused(RequestError(Reason.HTTP_INVALID, f"At most {_PIPELINED} requests are sent at once."))
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, AttributeError, UnicodeDecodeError):
            # An address that names no path, or is none.
            self._phase = "head"
            raise self._refused(framing.not_http()) from None
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            # It becomes a WebSocket.
            return
        self.scope[CALLER] = self._caller  # type: ignore[typeddict-unknown-key] # a key of our own
        if self._stopping or self.parser.should_upgrade():
            cycle.keep_alive = False
        if not cycle.keep_alive:
            cycle.transport = cast("asyncio.Transport", _Closing(self))

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body_bytes += len(body)
        if self._body_bytes > self._all.body_bytes:
            raise self._refused(self._too_large())
        if not self._shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Its last byte."""
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
                # A large last part has it paused: until somebody reads that it would not be seen that the caller goes.
                self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _check_head(self) -> None:
        """Refuse what is not framed as HTTP/1.1 has it, and what is announced to be too long.

        Raises:
            _RefusedError: it is not as it has to be.
        """
        if self._bytes + self._chunk_bytes > HEADERS_BYTES and framing.is_too_large(self.headers):
            # Looked at only then, for it takes some time.
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
                # The answer that is under way would come amid the frames.
                raise self._refused(framing.not_http())
            if any(name == b"transfer-encoding" for name, _ in self._framing):
                # Java's and curl's clients, which wish for HTTP/2 like that, say how long their bodies are.
                raise self._refused(framing.not_http())
            self._unread = 0 if socket else found.length

    def _refused(self, error: _Refusal) -> _RefusedError:
        self._wrong = error
        return _RefusedError()

    def _too_large(self) -> RequestError:
        return RequestError(Reason.BODY_TOO_LARGE, f"A body may have {self._all.body_bytes} bytes.")

    # What is answered.

    def _is_owed(self) -> bool:
        """Whether an answer to an earlier request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _sheds(self) -> bool:
        """Whether a request for GraphQL is refused before it is read any further."""
        if self._all.admission.sheds:
            # A browser that may not ask first is told nothing at all.
            return self.parser.get_method() != b"OPTIONS"
        if self.url.startswith(_STREAM):
            self._streams = self._all.take_stream()
            return not self._streams
        return False

    def _shed_it(self) -> None:
        """Refuse at the least cost: with neither task nor line in the log, for there are many.

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
        """Answer the request that is read with this, after those before it, as the last on the connection."""
        self._deaf = True
        self._parting_seconds = seconds
        cycle = self.cycle
        if self._phase == "body" and not self._shed and self._is_owed() and cycle.scope is self.scope:
            if cycle.response_started:
                self.transport.abort()
                return
            # It is being served: whoever reads its body is told, and answers.
            cycle.scope[REFUSAL] = error  # type: ignore[typeddict-unknown-key] # a key of our own
            cycle.keep_alive, cycle.more_body = False, False
            cycle.transport = cast("asyncio.Transport", _Closing(self))
            cycle.message_event.set()
            return
        if self._phase == "body":
            # It has been answered before it was read.
            self._part()
            return
        self._note(error)
        answer = self._answer(error)
        if self._is_owed():
            self._last_words, self._phase = answer, "busy"
        else:
            self._part(answer)

    def _answer(self, error: _Refusal, *, keep: bool = False) -> bytes:
        told = readable_by(self.headers or (), self._all.allowed_origins)
        return answer_of(error, (*self.server_state.default_headers, *told), keep=keep)

    def _note(self, error: _Refusal) -> None:
        if error is _OVERLOADED:
            self._all.shed += 1
        else:
            observe(RequestRefused(error.reason, self.client[0] if self.client else None))

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer: a connection that is idle for too long is found when all are looked at."""
        self.server_state.total_requests += 1
        self._end_stream()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words:
            self._part(self._last_words)
        elif self._phase == "busy":
            self._be_idle()
        elif self._phase == "body" and self.expect_100_continue:
            # Whether the body comes after all, only the caller knows.
            self._part()

    def close(self) -> None:
        """Be closed after an answer, in such a way that it arrives although the request has not been read whole."""
        if self._phase == "body" or self._deaf:
            self._part()
        else:
            self.transport.close()

    def _part(self, answer: bytes = b"") -> None:
        """Say this last, and drop what still comes for a moment."""
        if answer:
            self.transport.write(answer)
        self._deaf = True
        self._phase, self.since = "parting", self.loop.time()
        if self._stopping or self.transport.is_closing():
            self.transport.close()
        else:
            self.flow.resume_reading()
            self.transport.write_eof()

    def _be_idle(self) -> None:
        self._phase, self.since = "idle", self.loop.time()

    def _end_stream(self) -> None:
        if self._streams:
            self._streams = False
            self._all.forget_stream()

    def handle_websocket_upgrade(self) -> None:
        """Give the connection to the other protocol, where there is room for one more that lasts."""
        if self._all.admission.sheds or not self._all.take_stream():
            self._note(_OVERLOADED)
            self._part(self._answer(_OVERLOADED))
            return
        self._all.forget(self)
        super().handle_websocket_upgrade()


class _Closing:
    """As much of a transport as a cycle needs, which is closed as its protocol has it."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.close
