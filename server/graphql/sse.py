"""Owns GraphQL over server-sent events: graphql-sse's distinct connections by POST, a browser's EventSource by GET."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, Reason, RequestError
from server.graphql.execution import answers
from server.graphql.request import is_subscription
from server.http.caching import NO_STORE
from server.http.error_response import present_fault, present_refusal, refusal_headers
from server.http.negotiation import EVENT_STREAM, JSON, accepted_by, wants_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.types import Receive, Scope, Send
    from strawberry.http import GraphQLRequestData

    from schema.context import Context
    from server.graphql.gateway import Gateway
    from server.traffic.draining import Draining

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_METHODS: Final = "GET, POST"
_BAD_REQUEST: Final = 400
# The platform's proxy ends a stream that says nothing for long; every hop has to hear something within 15 s.
_KEEP_ALIVE_SECONDS: Final = 12
_SEPARATOR: Final = "\n"
# Half of what browsers wait by themselves.
_RECONNECT_MILLISECONDS: Final = 1500
_GET_OPERATIONS: Final = (OperationType.QUERY, OperationType.SUBSCRIPTION)
_POST_OPERATIONS: Final = (*_GET_OPERATIONS, OperationType.MUTATION)


class GraphQLStream:
    """An ASGI endpoint. Every event carries the cursor of its change as its id, whether it is selected or not."""

    def __init__(
        self,
        gateway: Gateway,
        draining: Draining,
        *,
        lasting_seconds: float,
        send_seconds: float,
    ) -> None:
        self._lasting_seconds = lasting_seconds
        # A reader that takes nothing for so long is gone, or will come back with its cursor.
        self._send_seconds = send_seconds
        self._gateway = gateway
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, for as long as it is listened to."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ApiError as error:
            answer, status = present_refusal(error)
            # To a client of streams a 200 is a stream.
            status = max(status, _BAD_REQUEST)
            headers = {"cache-control": NO_STORE} | refusal_headers(error)
            response = Response(orjson.dumps(answer), status, headers, media_type=f"{JSON}; charset=utf-8")
            if error.reason is Reason.METHOD_NOT_ALLOWED:
                response.headers["allow"] = _METHODS
        try:
            await response(scope, receive, send)
        except SendTimeoutError:
            _log.info("subscriber gone", reason=f"it has read nothing for {self._send_seconds:g} s")

    async def _respond(self, request: Request) -> Response:
        context, data, _ = await self._gateway.prepare(request, _negotiate)
        if data.query is None:
            raise RequestError(Reason.PARAMETER_INVALID, "`query`, or else `documentId`, is missing.")
        # What a browser sends by itself when it comes back knows better than the URL that it was first given.
        context.position.resume = request.headers.get("last-event-id") or None
        from_browser = request.method == "GET"
        return EventSourceResponse(
            self._events(data, context, from_browser=from_browser),
            ping=_KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="", sep=_SEPARATOR),
            send_timeout=self._send_seconds,
            sep=_SEPARATOR,
            headers={"cache-control": "no-cache, no-transform", "vary": "origin"},
        )

    async def _events(
        self, data: GraphQLRequestData, context: Context, *, from_browser: bool
    ) -> AsyncGenerator[ServerSentEvent, None]:
        if from_browser:
            # It also opens the stream at once, where something between would wait for a first byte.
            yield ServerSentEvent(retry=_RECONNECT_MILLISECONDS, sep=_SEPARATOR)
        ended_early, reached = False, None
        allowed = _GET_OPERATIONS if from_browser else _POST_OPERATIONS
        told = answers(self._gateway, data, context, allowed, lasting_seconds=self._lasting_seconds)
        try:
            async with aclosing(told), self._sent_on(data, context.principal.expires_at) as sent_on:
                begun = context.position.begun if from_browser else None
                async for answer in _until(sent_on, told, begun):
                    if answer is None:
                        # Without data it is no event, and the browser keeps the id: to come back with, should it be cut
                        # off before the first change.
                        reached = context.position.reached
                        yield ServerSentEvent(id=reached, sep=_SEPARATOR)
                        continue
                    ended_early = _may_resume(answer)
                    # What ends the stream may have come between a change and the telling of it.
                    reached = context.position.reached if "data" in answer else reached
                    yield _next(answer, reached, retry=_retry_milliseconds(answer) if from_browser else None)
                if sent_on.done():
                    return
        except Exception as error:  # noqa: BLE001 # whatever it is, it is masked, and ends this operation
            ended_early = False
            yield _next(present_fault(error)[0])
        # Who is not told of an end comes back: an EventSource by itself, with the id of the last event it had.
        if not (from_browser and ended_early):
            yield ServerSentEvent(event="complete", data="", sep=_SEPARATOR)

    @asynccontextmanager
    async def _sent_on(self, data: GraphQLRequestData, expires_at: float | None) -> AsyncIterator[asyncio.Future[None]]:
        """Done once this operation is to be ended: because the process is, or with the token that says who calls."""
        sent_on = asyncio.ensure_future(self._sends_on(data, expires_at))
        try:
            yield sent_on
        finally:
            sent_on.cancel()

    async def _sends_on(self, data: GraphQLRequestData, expires_at: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if expires_at is None else expires_at - time.monotonic()):
                await self._draining.wait()
                if not is_subscription(data):
                    # It ends by itself.
                    await asyncio.get_running_loop().create_future()


def _negotiate(request: Request) -> None:
    if request.method not in {"GET", "POST"}:
        raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}, for one operation each.")
    if not wants_stream(accepted_by(request)):
        raise RequestError(Reason.NOT_ACCEPTABLE, f"Accept {EVENT_STREAM}.")


async def _until(
    stopped: asyncio.Future[None], told: AsyncGenerator[_T, None], begun: asyncio.Event | None
) -> AsyncGenerator[_T | None, None]:
    """What is told until its end, or until `stopped` is done.

    With None, once, between: the subscription has begun.
    """
    beginning = asyncio.ensure_future(begun.wait()) if begun else None
    coming = asyncio.ensure_future(anext(told, None))
    try:
        while True:
            awaited: set[asyncio.Future[Any]] = {stopped, coming, beginning} if beginning else {stopped, coming}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if beginning and beginning.done():
                beginning = None
                yield None
            if stopped.done():
                # What has not been told is heard after the last cursor that was.
                return
            if coming.done():
                answer = coming.result()
                if answer is None:
                    return
                yield answer
                coming = asyncio.ensure_future(anext(told, None))
            # Also between two of many answers.
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
    errors = answer.get("errors")
    return "data" not in answer and isinstance(errors, list) and all(e["extensions"]["retryable"] for e in errors)


def _retry_milliseconds(answer: dict[str, Any]) -> int | None:
    """When a browser is to come back, where it was told in seconds; None is as it was told before."""
    seconds = [error["extensions"].get("retryAfter", 0) for error in answer.get("errors", ())]
    return 1000 * max(seconds) if any(seconds) else None
