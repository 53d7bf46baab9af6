"""An HTTP connection: its place among the others, its deadlines, its refusals, and an end that lets them arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from schema.errors import Reason, RequestError, UnavailableError
from server.http.client import REFUSAL, ClientPresence
from server.traffic.admission import MESSAGE
from server.wire.raw_response import answer_of, readable_by
from server.wire.response_writer import ResponseWriter
from server.wire.sending import SendProgress, reset

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from uvicorn import Config
    from uvicorn._types import ASGI3Application
    from uvicorn.server import ServerState

    from server.wire.connections import Connections

# A client that has just sent a request on an idle connection still gets its response.
_STOP_LINGER_SECONDS: Final = 0.5
# How long the server reads and drops what a refused client still sends: a reset could destroy the response on its way.
_LINGER_SECONDS: Final = 2.0
_SLOW_LINGER_SECONDS: Final = 0.5
# Unsent responses to shed requests: about forty. A client that has left more unread gets no further one.
_SHED_BYTES: Final = 16_384
_TOO_SLOW: Final = {
    "head": (Reason.HEADERS_TOO_SLOW, "headers"),
    "body": (Reason.BODY_TOO_SLOW, "body"),
}
OVERLOADED: Final = UnavailableError(Reason.OVERLOADED, MESSAGE)
Refusal = RequestError | UnavailableError
_Phase = Literal["new", "idle", "head", "body", "busy", "parting"]


class RefusedError(Exception):
    """Leaves a callback of httptools; the refusal is in the protocol."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP protocol as one of the process's connections. `HttpProtocol` reads the requests.

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
        self._all = connections
        self.since = self.loop.time()
        # None if it is not limited.
        self._address: Hashable = None
        self._sending = SendProgress()
        self._answering: RequestResponseCycle | None = None
        self._phase: _Phase = "new"
        self._presence = ClientPresence(self._become_lasting)
        # Whether the response in progress is an event stream that counts among the lasting connections.
        self._lasts = False
        self._stopping = False
        # Whether further input is dropped.
        self._ignores_input = False
        # Whether the request that is being read has its response already, so that its body is dropped.
        self._shed = False
        self._refusal: Refusal | None = None
        self._last_response = b""
        self._parting_seconds = _LINGER_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Register the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        self._writer = ResponseWriter(transport, self.close)
        if self.client:
            self._address = self._all.addresses.of(self.client[0])
        if not self._all.take(self, self.loop):
            self._all.note_refusal(OVERLOADED, self.client)
            self._part(self._answer(OVERLOADED))

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
    def address(self) -> Hashable:
        """As `Connection` says."""
        return self._address or self.owner

    @property
    def owner(self) -> Hashable:
        """The caller of the last request; before one is known, the address."""
        caller = self._presence.caller
        return ("caller", caller) if caller is not None else self._address or self

    @property
    def proved(self) -> bool:
        """Whether a request was authenticated."""
        return self._presence.caller is not None

    @property
    def idle(self) -> bool:
        """Never: only a WebSocket lasts without an operation."""
        return False

    @property
    def waits(self) -> bool:
        """Whether the server owes this client no response, or does not know its caller, or the client reads slowly."""
        if self._lasts:
            return False
        answering = self._answering
        if answering is None or answering.response_complete or self._sending.is_slow:
            return True
        is_incomplete = self._phase == "body" and answering is self.cycle
        return is_incomplete or not self._presence.authenticated

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

    def _become_lasting(self, caller: str) -> None:
        self._all.become_lasting(self, caller)
        self._lasts = True

    def _is_owed(self) -> bool:
        """Whether the response to an earlier request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    def _refused(self, error: Refusal) -> RefusedError:
        self._refusal = error
        return RefusedError()

    def _shed_request(self) -> None:
        """Refuse the request at the least cost, without its own task or log line: there may be many.

        Raises:
            RefusedError: the connection cannot be kept.
        """
        parser = self.parser
        ends = self._stopping or self.expect_100_continue or parser.should_upgrade() or parser.get_method() == b"HEAD"
        unread = self.transport.get_write_buffer_size() > _SHED_BYTES
        if ends or unread or not parser.should_keep_alive():
            self._phase = "head"
            raise self._refused(OVERLOADED)
        self._all.shed += 1
        self._shed = True
        self.transport.write(self._answer(OVERLOADED, keep=True))

    def _refuse(self, error: Refusal, *, seconds: float = _LINGER_SECONDS) -> None:
        """Refuse the request that is being read, after the responses before it, as the last on the connection."""
        self._all.unfinished.forget(self)
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

    def _answer(self, error: Refusal, *, keep: bool = False) -> bytes:
        cors = readable_by(self.headers or (), self._all.allowed_origins)
        return answer_of(error, (*self.server_state.default_headers, *cors), keep=keep)

    def refuse_unfinished(self) -> None:
        """Refuse the request that is being read, and drop those that wait for the response in progress."""
        if self.pipeline:
            self.pipeline.clear()
            self._phase = "head"
        # The application raises it. A shared error would keep the frames of all requests that raised it.
        self._refuse(UnavailableError(Reason.OVERLOADED, MESSAGE))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        self._writer.begin(cycle)
        cycle.transport = cast("asyncio.Transport", self._writer)
        self._presence.authenticated = False
        super()._start_asgi_task(cycle, app)

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
            if not self.pipeline:
                self._all.unfinished.forget(self)
            self._start_asgi_task(cycle, app)
        elif self._last_response:
            self._part(self._last_response)
        elif self._phase == "busy":
            self._be_idle()
        elif self._phase == "body" and self.expect_100_continue:
            # Only the client knows whether it still sends the body.
            self._part()

    def shutdown(self) -> None:
        """Serve the requests that are on their way, and no further ones."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_STOP_LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

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
