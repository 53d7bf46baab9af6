"""A connection of graphql-transport-ws: the operations that run on it, and its timeouts.

Strawberry's own handler does not follow the protocol (github.com/enisdenjo/graphql-ws, PROTOCOL.md): it closes the
connection over one bad operation, ignores extensions, and refuses a `connection_init` whose payload is null.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, RateLimitedError, Reason, RequestError, UnavailableError
from server.graphql.gateway import refused_before
from server.graphql.request import data_of, pay_for
from server.graphql.websocket_messages import (
    FORBIDDEN,
    GOING_AWAY,
    INIT_TIMEOUT,
    INTERNAL,
    INVALID_MESSAGE,
    RESTART,
    SUBSCRIBER_EXISTS,
    TOO_MANY_INITS,
    TRY_AGAIN_LATER,
    UNAUTHORIZED,
    ClosedError,
    check_payload,
    id_of,
    message_of,
)
from server.http.client import CLIENT_PRESENCE, ClientPresence
from server.http.error_response import present_fault, present_refusal
from server.http.read_requirement import ReadRequirement, current_reads
from server.observability.observations import OperationServed
from server.observability.request_record import CLIENT_GONE, RequestRecord, current_record
from server.observability.sinks import observe
from server.observability.tracing import tracing
from server.wire.connections import INIT_SECONDS
from server.wire.sending import SEND_SECONDS

if TYPE_CHECKING:
    from schema.context import Context
    from server.graphql.gateway import Gateway
    from server.graphql.request import RequestData
    from server.settings import Settings
    from server.traffic.draining import Draining

_OPERATIONS: Final = (OperationType.QUERY, OperationType.MUTATION, OperationType.SUBSCRIPTION)
_TOO_SLOW: Final = ClosedError(TRY_AGAIN_LATER, "Too slow: resume from your cursor")
_TOKEN_EXPIRED: Final = ClosedError(FORBIDDEN, "Forbidden: the token has expired, reconnect with a new one")
_NOT_INITIALISED: Final = ClosedError(INIT_TIMEOUT, "Connection initialisation timeout")
_IDLE: Final = ClosedError(GOING_AWAY, "Idle for too long: reconnect when you have an operation to send")
# The most operations on one WebSocket: a page of many components needs some dozens.
_OPERATIONS_AT_ONCE: Final = 100
# After this time without an operation or a message the server closes the WebSocket: its client is gone or asleep.
_IDLE_SECONDS: Final = 900.0


class SocketLimits(NamedTuple):
    """The limits of one connection.

    Attributes:
        operations: how many operations run at once.
        lasting_seconds: how long a subscription may last.
        init_seconds: how long the server waits for the `connection_init`.
        idle_seconds: how long the server waits for an operation while none runs.
        send_seconds: how long the server waits for a client that reads nothing.
    """

    operations: int
    lasting_seconds: float
    init_seconds: float
    idle_seconds: float
    send_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> SocketLimits:
        """The limits of these settings."""
        return cls(
            _OPERATIONS_AT_ONCE,
            settings.subscription_timeout,
            INIT_SECONDS,
            _IDLE_SECONDS,
            SEND_SECONDS,
        )


class _Operation(NamedTuple):
    """A running operation."""

    record: RequestRecord
    task: asyncio.Task[None]


class SocketConnection:
    """One accepted connection, and the operations that run on it.

    Args:
        websocket: the connection.
        gateway: checks and executes the operations.
        draining: says when the process is about to stop.
        context: the caller's context; None if the client authenticates in its `connection_init`.
        limits: the limits of the connection.
        position: the position in the write-ahead log that the upgrade's consistency token asks for.
    """

    def __init__(
        self,
        websocket: WebSocket,
        gateway: Gateway,
        draining: Draining,
        *,
        context: Context | None,
        limits: SocketLimits,
        position: int,
    ) -> None:
        self._websocket = websocket
        self._presence: ClientPresence = websocket.scope.get(CLIENT_PRESENCE) or ClientPresence()
        self._gateway = gateway
        self._draining = draining
        self._context = context
        self._limits = limits
        # Each operation reads what earlier operations on this connection have written.
        self._position = position
        self._operations: dict[str, _Operation] = {}
        # These include operations that the client has completed, but that have not ended yet.
        self._running: set[asyncio.Task[None]] = set()
        self._initialised = self._closed = False
        self._token_expires: float | None = None
        self._timeout = asyncio.timeout(limits.init_seconds)

    async def serve(self) -> None:
        """Handle messages until either side closes the connection."""
        closed, watching = None, asyncio.create_task(self._watch())
        try:
            async with self._timeout:
                while True:
                    await self._handle(await self._websocket.receive())
                    self._reschedule()
        except TimeoutError:
            closed = self._timed_out() if self._timeout.expired() else _TOO_SLOW
        except ClosedError as error:
            # Its traceback has this frame, which has the error: a cycle, that would keep the last message too.
            closed = error.with_traceback(None)
        except WebSocketDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 # any exception is masked
            closed = ClosedError(INTERNAL, present_fault(error)[0]["errors"][0]["message"])
        finally:
            self._closed = True
            tasks = [watching, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # An operation that was cancelled before its start could not remove itself.
            self._operations.clear()
        if closed is not None:
            await self._close(closed)

    def _reschedule(self) -> None:
        """Wait for the next message until the token expires, or until the connection has been idle for too long."""
        if not self._initialised:
            return
        self._presence.idle = not self._running
        ends = [] if self._token_expires is None else [self._token_expires]
        if not self._running:
            ends.append(asyncio.get_running_loop().time() + self._limits.idle_seconds)
        self._timeout.reschedule(min(ends, default=None))

    def _timed_out(self) -> ClosedError:
        if not self._initialised:
            return _NOT_INITIALISED
        # This compares with the time that the timeout was set to: a timer may fire a little early.
        return _TOKEN_EXPIRED if self._token_expires == self._timeout.when() else _IDLE

    async def _watch(self) -> None:
        """Close the connection when its caller has lost a role, or when the process is about to stop.

        Before the stop, the operations in flight are answered.
        """
        refused = await refused_before(self._draining.wait, check=self._check_roles)
        if refused is not None:
            await self._close(_closed_by(refused))
            return
        operations = list(self._operations.values())
        for operation in operations:
            if operation.record.subscription:
                operation.task.cancel()
        await asyncio.gather(*(operation.task for operation in operations), return_exceptions=True)
        await self._close(ClosedError(RESTART, "Service restart"))

    async def _check_roles(self) -> None:
        if self._initialised and self._context is not None:
            await self._context.check_roles()

    async def _handle(self, event: Any) -> None:
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        message = message_of(event)
        match message["type"]:
            case "connection_init":
                if self._initialised:
                    raise ClosedError(TOO_MANY_INITS, "Too many initialisation requests")
                check_payload(message)
                self._timeout.reschedule(None)
                await self._authenticate(message.get("payload") or {})
                self._initialised = True
                await self._send({"type": "connection_ack"})
            case "ping":
                check_payload(message)
                await self._send({"type": "pong"})
            case "pong":
                check_payload(message)
            case "subscribe":
                await self._subscribe(id_of(message), message.get("payload"), size=len(event["text"]))
            case "complete":
                if operation := self._operations.pop(id_of(message), None):
                    operation.task.cancel()
            case _:
                raise ClosedError(INVALID_MESSAGE, "Unknown message type")

    async def _authenticate(self, init: dict[str, Any]) -> None:
        """Authenticate the caller, unless the upgrade did, and keep the connection. Other messages wait meanwhile."""
        try:
            if self._context is None:
                self._context = await self._gateway.authenticate(self._websocket, init)
            self._gateway.keep_open(self._websocket, self._context)
        except ApiError as error:
            raise _closed_by(error) from None
        expires_at = self._context.principal.expires_at
        if expires_at is not None:
            # The loop's clock need not be `time.monotonic`.
            self._token_expires = asyncio.get_running_loop().time() + expires_at - time.monotonic()

    async def _subscribe(self, id_: str, payload: object, *, size: int) -> None:
        context = self._context
        if not self._initialised or context is None:
            raise ClosedError(UNAUTHORIZED, "Unauthorized")
        if not isinstance(payload, dict):
            raise ClosedError(INVALID_MESSAGE, "`payload` must be an object")
        try:
            data = data_of(payload)
        except RequestError as error:
            raise ClosedError(INVALID_MESSAGE, error.message) from None
        # An empty `query`, as graphql-ws sends if it has no text, is a valid message. The operation fails instead.
        if data.document_id is None and not isinstance(payload.get("query"), str):
            raise ClosedError(INVALID_MESSAGE, "`payload` must have a `query` or a `documentId`")
        if id_ in self._operations:
            raise ClosedError(SUBSCRIBER_EXISTS, f"Subscriber for {id_} already exists")
        try:
            if context.account is not None:
                pay_for(size, context.account)
            await self._make_room()
            reads = ReadRequirement(self._position)
            self._gateway.resolve(data, reads, context)
            self._position = reads.position
            context = await self._gateway.renewed(context)
        except ApiError as error:
            await self._send({"id": id_, "type": "error", "payload": present_refusal(error)[0]["errors"]})
            return
        # A server that is about to stop starts nothing. The close code tells the client that it may send it again.
        if not self._draining.begun:
            record = RequestRecord(str(uuid.uuid4()), transport="websocket")
            task = asyncio.create_task(self._operate(id_, data, context, record, reads))
            self._operations[id_] = _Operation(record, task)
            self._running.add(task)
            task.add_done_callback(self._ended)

    async def _make_room(self) -> None:
        """Wait until one more operation may run. Operations that the client has completed may still have to end.

        Raises:
            RequestError: TOO_MANY_OPERATIONS.
        """
        most = self._limits.operations
        if len(self._operations) >= most:
            raise RequestError(Reason.TOO_MANY_OPERATIONS, f"At most {most} operations run at once on one WebSocket.")
        while len(self._running) >= most:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._running and not self._closed:
            self._reschedule()

    async def _operate(
        self, id_: str, data: RequestData, context: Context, record: RequestRecord, reads: ReadRequirement
    ) -> None:
        current_record.set(record)
        current_reads.set(reads)
        started, events = time.perf_counter(), 0
        try:
            with tracing.operation():
                answers = self._gateway.answers(
                    data, context, allowed=_OPERATIONS, lasting_seconds=self._limits.lasting_seconds
                )
                # A subscription may last for hours.
                del data
                async with aclosing(answers):
                    async for answer in answers:
                        if "data" not in answer:
                            # An error ends this operation, and no other.
                            await self._send({"id": id_, "type": "error", "payload": answer["errors"]})
                            return
                        events += 1
                        self._position = max(self._position, reads.written)
                        await self._send({"id": id_, "type": "next", "payload": answer})
            # Before the message: the client may use the id again as soon as it has received it.
            self._forget(id_)
            await self._send({"id": id_, "type": "complete"})
        except WebSocketDisconnect:
            record.errors.append(CLIENT_GONE)
        except TimeoutError:
            record.errors.append("SUBSCRIBER_TOO_SLOW")
            await self._close(_TOO_SLOW)
        except Exception as error:  # noqa: BLE001 # any exception is masked, and ends this operation only
            with contextlib.suppress(WebSocketDisconnect, TimeoutError):
                await self._send({"id": id_, "type": "error", "payload": present_fault(error)[0]["errors"]})
        finally:
            self._forget(id_)
            observe(OperationServed(record, events, time.perf_counter() - started))

    def _forget(self, id_: str) -> None:
        # After a `complete` the client may have started another operation with this id.
        operation = self._operations.get(id_)
        if operation is not None and operation.task is asyncio.current_task():
            del self._operations[id_]

    async def _send(self, message: dict[str, Any]) -> None:
        text = orjson.dumps(message).decode()
        async with asyncio.timeout(self._limits.send_seconds):
            try:
                await self._websocket.send_text(text)
            except RuntimeError as error:
                # Starlette raises it if the connection has been closed meanwhile.
                raise WebSocketDisconnect from error

    async def _close(self, closed: ClosedError) -> None:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._websocket.close(closed.code, closed.reason)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            # The connection is closed already, or the client reads nothing.
            pass


def _closed_by(error: ApiError) -> ClosedError:
    """The end of a connection whose caller is refused, or cannot be authenticated now."""
    if isinstance(error, (UnavailableError, RateLimitedError)):
        return ClosedError(TRY_AGAIN_LATER, error.message)
    return ClosedError(FORBIDDEN, f"Forbidden: {error.message}")
