"""The HTTP protocol: how requests are read, with limits on their size and refusals before they are read.

llhttp and `server/wire/http_framing.py` find wrong framing. The server closes the connection after such a request,
because nothing tells where the next one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools

from schema.errors import Reason, RequestError
from server.http.client import CLIENT_PRESENCE
from server.http.request_middleware import GRAPHQL_PATH, STREAM_PATH
from server.wire import http_framing as framing
from server.wire.http_connection import OVERLOADED, HttpConnection
from server.wire.http_framing import FRAMING, HEAD_BYTES, HEADERS_BYTES, MAX_HEADERS, URL_BYTES

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

    from server.wire.connections import Connections

# Chunk headers and extensions: on the wire a chunked body may be this many times as long, plus this many bytes.
_CHUNKING: Final = 2
_CHUNKING_BYTES: Final = 65_536
# Requests that a client may send before the response to the first one.
_PIPELINED: Final = 128


class HttpProtocol(HttpConnection):
    """uvicorn's HTTP protocol with limits on what it reads."""

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(connections, config, server_state, app_state, _loop)
        # State of the request that is being read.
        self._chunk_bytes = 0
        # What has arrived of its head or its body without completing it.
        self._bytes = 0
        self._body_bytes = 0
        self._framing: list[tuple[bytes, bytes]] = []
        self._completed = False
        # Body bytes of a request that asks for another protocol: httptools leaves them unread.
        self._unread = 0

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
            elif self.pipeline:
                self._all.unfinished.note(self, len(data))

    def _count(self, received: int) -> None:
        """Count the bytes of an incomplete request, with all that the parser drops: spaces, chunk sizes, trailers."""
        self._bytes += received
        if self._phase == "head":
            if self._bytes > HEAD_BYTES:
                self._refuse(framing.too_large())
        elif self._bytes > _CHUNKING * self._all.body_bytes + _CHUNKING_BYTES:
            self._refuse(self._too_large())
        if not self._ignores_input:
            # What was answered already is dropped.
            holds = self._phase == "head" or (not self._shed and self._is_owed())
            self._all.unfinished.note(self, self._bytes if holds else 0)

    def _read_unread(self, data: bytes) -> None:
        """Read the body of a request whose `Upgrade` is ignored, as the last request on the connection."""
        part = data[: self._unread]
        self._unread -= len(part)
        if part:
            self.on_body(part)
        if self._unread:
            self._count(len(part))
        else:
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
        if self._bytes:
            self._note_complete()
        self._phase, self.since = "body", self.loop.time()
        if self._sheds():
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
        if self._bytes:
            self._note_complete()
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

    def _note_complete(self) -> None:
        """A part that came in several pieces is complete."""
        self._bytes = 0
        self._all.unfinished.forget(self)

    def _check_head(self) -> None:
        """Refuse a request that is framed wrongly, or whose announced body is too long.

        Raises:
            RefusedError: the request is refused.
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

    def _sheds(self) -> bool:
        """Whether the request is for GraphQL and refused before the rest of it is read.

        Its response would come before those to earlier requests: the application refuses a request behind others.
        """
        overloaded = self._all.admission.sheds
        if (self._all.has_room and not overloaded) or self._is_owed():
            return False
        path = self._path()
        if overloaded and path.startswith(GRAPHQL_PATH):
            # A browser whose preflight is refused cannot read why the request failed.
            return self.parser.get_method() != b"OPTIONS"
        return path.startswith(STREAM_PATH) and not self._all.may_have_room

    def _path(self) -> str:
        """The path of the URL, which may be escaped or follow a host; empty if it has none."""
        try:
            return unquote((httptools.parse_url(self.url).path or b"").decode("ascii"))
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            return ""

    def _too_large(self) -> RequestError:
        return RequestError(Reason.BODY_TOO_LARGE, f"A body may have at most {self._all.body_bytes} bytes.")

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the WebSocket protocol, if there may be room for another lasting connection."""
        if self._all.admission.sheds or not self._all.may_have_room:
            self._all.note_refusal(OVERLOADED, self.client)
            self._part(self._answer(OVERLOADED))
            return
        self._all.forget(self)
        super().handle_websocket_upgrade()
