"""GraphQL over server-sent events: graphql-sse's distinct connections by POST, and a browser's EventSource by GET."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from strawberry.types.graphql import OperationType

from schema.context import FeedPosition
from schema.errors import ApiError, Reason, RequestError
from schema.limits.prices import STREAM_POINTS
from server.graphql.gateway import refused_before
from server.http.caching import NO_STORE
from server.http.error_response import present_fault, present_refusal, refusal_headers
from server.http.negotiation import EVENT_STREAM, JSON, accepted_by, wants_stream
from server.http.request_middleware import GRAPHQL_PATH
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.types import Receive, Scope, Send

    from schema.context import Context
    from server.graphql.gateway import Gateway
    from server.graphql.request import RequestData
    from server.traffic.draining import Draining

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_METHODS: Final = "GET, POST"
_BAD_REQUEST: Final = 400
# The platform's proxy ends a stream that is silent for long. With this interval every hop hears something within 15 s.
_KEEP_ALIVE_SECONDS: Final = 12
_SEPARATOR: Final = "\n"
# How long a browser waits before it reconnects: half of its default.
_RECONNECT_MILLISECONDS: Final = 1500
_GET_OPERATIONS: Final = (OperationType.QUERY, OperationType.SUBSCRIPTION)
_POST_OPERATIONS: Final = (*_GET_OPERATIONS, OperationType.MUTATION)


class GraphQLStream:
    """An ASGI endpoint. The id of each event is the cursor of its change, even if the client does not select it.

    Args:
        gateway: checks the requests.
        draining: says when the process is about to stop.
        lasting_seconds: how long a subscription may last.
        send_seconds: how long the server waits for a client that reads nothing. Such a client is gone, or will resume
            from its cursor.
    """

    def __init__(self, gateway: Gateway, draining: Draining, *, lasting_seconds: float, send_seconds: float) -> None:
        self._gateway = gateway
        self._draining = draining
        self._lasting_seconds = lasting_seconds
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, for as long as its client listens."""
        try:
            # The stream may last for hours, and does not keep the request with all that was read from its URL.
            response = await self._respond(Request(scope, receive))
        except ApiError as error:
            answer, status = present_refusal(error)
            # A client of event streams would take a 200 for a stream.
            status = max(status, _BAD_REQUEST)
            headers = {"cache-control": NO_STORE} | refusal_headers(error)
            response = Response(orjson.dumps(answer), status, headers, media_type=f"{JSON}; charset=utf-8")
            if error.reason is Reason.METHOD_NOT_ALLOWED:
                response.headers["allow"] = _METHODS
        try:
            await response(scope, receive, send)
        except SendTimeoutError:
            _log.info("subscriber gone", reason=f"it read nothing for {self._send_seconds:g} s")

    async def _respond(self, request: Request) -> Response:
        context, data, _ = await self._gateway.prepare(request, _negotiate)
        if data.query is None:
            raise RequestError(Reason.PARAMETER_INVALID, "`query`, or else `documentId`, is missing.")
        self._gateway.keep_open(request, context)
        if context.account is not None:
            context.account.settle(STREAM_POINTS)
        # A browser that reconnects sends the id of its last event. That is newer than the cursor in its URL.
        position = FeedPosition(resume=request.headers.get("last-event-id") or None)
        context = replace(context, feed_position=position)
        departure = _Departure()
        return EventSourceResponse(
            self._events(data, context, position, departure, from_browser=request.method == "GET"),
            ping=_KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="", sep=_SEPARATOR),
            send_timeout=self._send_seconds,
            client_close_handler_callable=departure,
            sep=_SEPARATOR,
            headers={"cache-control": "no-cache, no-transform", "vary": "origin"},
        )

    async def _events(
        self, data: RequestData, context: Context, position: FeedPosition, departure: _Departure, *, from_browser: bool
    ) -> AsyncGenerator[ServerSentEvent, None]:
        if from_browser:
            # This also opens the stream at once, for proxies that wait for a first byte.
            yield ServerSentEvent(retry=_RECONNECT_MILLISECONDS, sep=_SEPARATOR)
        may_resume, id_ = False, None
        allowed = _GET_OPERATIONS if from_browser else _POST_OPERATIONS
        results = self._gateway.answers(data, context, allowed=allowed, lasting_seconds=self._lasting_seconds)
        # A subscription may last for hours.
        del data
        try:
            async with aclosing(results), self._stopping(context) as stopping:
                departure.stopping = stopping
                begun = position.begun if from_browser else None
                async for answer in _until(stopping, results, begun):
                    if answer is None:
                        # Without data the browser fires no event but keeps the id. It reconnects with this id if it is
                        # cut off before the first change.
                        id_ = position.reached
                        yield ServerSentEvent(id=id_, sep=_SEPARATOR)
                        continue
                    may_resume = _may_resume(answer)
                    # An error that ends the stream may come after a change was reached and before it was sent.
                    id_ = position.reached if "data" in answer else id_
                    yield _next(answer, id_, retry=_retry_milliseconds(answer) if from_browser else None)
                if stopping.done():
                    # It is cancelled if the client has gone away.
                    refused = None if stopping.cancelled() else stopping.result()
                    if refused is None:
                        return
                    answer, _ = present_refusal(refused)
                    may_resume = _may_resume(answer)
                    yield _next(answer, id_, retry=_retry_milliseconds(answer) if from_browser else None)
        except Exception as error:  # noqa: BLE001 # any exception is masked, and ends this operation
            may_resume = False
            yield _next(present_fault(error)[0])
        finally:
            departure.ended.set()
        # An EventSource that receives no `complete` reconnects by itself, with the id of its last event.
        if not (from_browser and may_resume):
            yield ServerSentEvent(event="complete", data="", sep=_SEPARATOR)

    @asynccontextmanager
    async def _stopping(self, context: Context) -> AsyncIterator[asyncio.Future[ApiError | None]]:
        """A future that is done once the operation has to end: with the error, if its caller has lost a role.

        Without an error the process stops, or the token has expired.
        """
        stopping = asyncio.ensure_future(self._wait_to_stop(context))
        try:
            yield stopping
        finally:
            stopping.cancel()

    async def _wait_to_stop(self, context: Context) -> ApiError | None:
        expires_at = context.principal.expires_at
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if expires_at is None else expires_at - time.monotonic()):
                return await refused_before(self._drained, check=context.check_roles)
        return None

    async def _drained(self) -> None:
        await self._draining.wait()
        record = current_record.get()
        if record is None or not record.subscription:
            # A query or a mutation ends by itself, and no subscription starts any more.
            await asyncio.get_running_loop().create_future()


class _Departure:
    """Ends a stream whose client goes away, as at a stop.

    Without it sse-starlette cancels the stream. Then anyio leaves a cycle with the error's traceback, which keeps all
    frames of the stream until the next collection.

    Attributes:
        stopping: what the stream waits for beside its events, once it has begun.
        ended: set when the stream has ended.
    """

    def __init__(self) -> None:
        self.stopping: asyncio.Future[ApiError | None] | None = None
        self.ended = asyncio.Event()

    async def __call__(self, _message: object) -> None:
        """The client has gone away: wait until the stream has ended."""
        if self.stopping is not None:
            self.stopping.cancel()
            await self.ended.wait()
            self.stopping = None


def _negotiate(request: Request) -> None:
    if request.method not in {"GET", "POST"}:
        raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}, for one operation each.")
    if not wants_stream(accepted_by(request)):
        raise RequestError(Reason.NOT_ACCEPTABLE, f"Accept {EVENT_STREAM}. Answers in JSON are at {GRAPHQL_PATH}.")


async def _until(
    stopped: asyncio.Future[Any], results: AsyncGenerator[_T, None], begun: asyncio.Event | None
) -> AsyncGenerator[_T | None, None]:
    """The results, until their end or until `stopped` is done; and None, once, when `begun` is set."""
    beginning = asyncio.ensure_future(begun.wait()) if begun else None
    coming = asyncio.ensure_future(anext(results, None))
    try:
        while True:
            awaited: set[asyncio.Future[Any]] = {stopped, coming, beginning} if beginning else {stopped, coming}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if beginning and beginning.done():
                beginning = None
                yield None
            if stopped.done():
                # The client receives the other results when it resumes from its last cursor.
                return
            if coming.done():
                result = coming.result()
                if result is None:
                    return
                yield result
                coming = asyncio.ensure_future(anext(results, None))
            # Checked again after the `yield`: with many results `coming` is done every time.
            if stopped.done():
                return
    finally:
        for waiting in (coming, beginning):
            if waiting:
                waiting.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _next(answer: dict[str, Any], id_: str | None = None, *, retry: int | None = None) -> ServerSentEvent:
    return ServerSentEvent(event="next", data=orjson.dumps(answer).decode(), id=id_, retry=retry, sep=_SEPARATOR)


def _may_resume(answer: dict[str, object]) -> bool:
    """Whether the answer ends the operation with errors after which the client may try again."""
    errors = answer.get("errors")
    return "data" not in answer and isinstance(errors, list) and all(e["extensions"]["retryable"] for e in errors)


def _retry_milliseconds(answer: dict[str, Any]) -> int | None:
    """The pause that the errors ask for before a browser reconnects; None keeps the browser's own pause."""
    seconds = [error["extensions"].get("retryAfter", 0) for error in answer.get("errors", ())]
    return 1000 * max(seconds) if any(seconds) else None
