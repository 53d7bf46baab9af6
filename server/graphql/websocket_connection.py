"""Owns a connection of graphql-transport-ws: any number of operations on it, and how long each is waited for.

Strawberry's own handler closes the whole socket over one bad operation, knows no extensions, and refuses an init
whose payload is null; the protocol says otherwise (github.com/enisdenjo/graphql-ws, PROTOCOL.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, Reason, RequestError, UnavailableError
from schema.limits.variables import check_variables
from server.graphql.execution import answers
from server.graphql.request import data_of, is_subscription
from server.graphql.websocket_messages import (
    FORBIDDEN,
    GOING_AWAY,
    INIT_TIMEOUT,
    INTERNAL,
    INVALID_MESSAGE,
    PROTOCOL,
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
from server.http.error_response import present_fault, present_refusal
from server.observability.metrics import CLIENT_GONE, note_request, outcome_label
from server.observability.request_record import RequestRecord, current_record
from server.observability.tracing import tracing
from server.wire.connections import SEND_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import strawberry
    from starlette.requests import HTTPConnection
    from strawberry.http import GraphQLRequestData

    from schema.context import Context
    from server.graphql.persisted_documents import Documents
    from server.http.consistency import Consistency
    from server.settings import Settings
    from server.traffic.draining import Draining

_log = structlog.get_logger("operation")
_OPERATIONS: Final = (OperationType.QUERY, OperationType.MUTATION, OperationType.SUBSCRIPTION)
# The most operations on one WebSocket: a page of many components needs some dozens.
_OPERATIONS_AT_ONCE: Final = 100
# How long the server waits for `connection_init`.
_INIT_SECONDS: Final = 3.0
# After so long without an operation or a message the server closes the WebSocket: its client is gone or asleep.
_IDLE_SECONDS: Final = 900.0
_SLOW: Final = ClosedError(TRY_AGAIN_LATER, "Too slow: resume from your cursor")
_TOKEN_ENDED: Final = ClosedError(FORBIDDEN, "Forbidden: the token has ended, come back with another")
_UNINITIATED: Final = ClosedError(INIT_TIMEOUT, "Connection initialisation timeout")
_IDLE: Final = ClosedError(GOING_AWAY, "Nothing was asked for long: come back when there is something to ask")


class SocketLimits(NamedTuple):
    """How many operations run on one connection, how long one subscription lasts, and what is waited for how long."""

    operations: int
    lasting_seconds: float
    init_seconds: float
    idle_seconds: float
    send_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> SocketLimits:
        """As they are set."""
        return cls(
            _OPERATIONS_AT_ONCE,
            settings.subscription_timeout,
            _INIT_SECONDS,
            _IDLE_SECONDS,
            SEND_SECONDS,
        )


class NewContext(Protocol):
    """Makes the context of a connection, once it is known who calls: by its headers, or by its `connection_init`."""

    def __call__(self, connection: HTTPConnection, init: dict[str, Any] | None = None) -> Awaitable[Context]:
        """The context.

        Raises:
            ApiError: whoever calls is refused.
        """


class _Operation(NamedTuple):
    """An operation that runs."""

    data: GraphQLRequestData
    task: asyncio.Task[None]


class SocketConnection:
    """One accepted connection, and the operations that run on it. Without a context the init is asked for one."""

    def __init__(  # noqa: PLR0913 # as above
        self,
        websocket: WebSocket,
        schema: strawberry.Schema,
        context: Context | None,
        new_context: NewContext,
        draining: Draining,
        consistency: Consistency,
        documents: Documents,
        *,
        limits: SocketLimits,
        needed: int,
    ) -> None:
        self._documents = documents
        self._consistency = consistency
        # What is written over this connection is found by all that it asks afterwards.
        self._needed = needed
        self._websocket = websocket
        self._schema = schema
        self._context = context
        self._new_context = new_context
        self._draining = draining
        self._limits = limits
        self._operations: dict[str, _Operation] = {}
        # Also those that the client has completed, until they have come to their end.
        self._running: set[asyncio.Task[None]] = set()
        self._initiated = self._closed = False
        self._token_ends: float | None = None
        self._patience = asyncio.timeout(limits.init_seconds)

    async def serve(self) -> None:
        """Take messages until the connection is closed, by whichever side."""
        closed, restart = None, asyncio.create_task(self._close_for_restart())
        try:
            async with self._patience:
                while True:
                    await self._take(await self._websocket.receive())
                    self._wait_on()
        except TimeoutError:
            closed = self._lost_patience() if self._patience.expired() else _SLOW
        except ClosedError as error:
            closed = error
        except WebSocketDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 # whatever it is, it is masked
            closed = ClosedError(INTERNAL, present_fault(error)[0]["errors"][0]["message"])
        finally:
            self._closed = True
            tasks = [restart, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if closed is not None:
            await self._close(closed)

    def _wait_on(self) -> None:
        """Wait for the next message: for ever while anything runs, but for the end of the token."""
        if not self._initiated:
            return
        ends = [] if self._token_ends is None else [self._token_ends]
        if not self._running:
            ends.append(asyncio.get_running_loop().time() + self._limits.idle_seconds)
        self._patience.reschedule(min(ends, default=None))

    def _lost_patience(self) -> ClosedError:
        if not self._initiated:
            return _UNINITIATED
        # What was waited for, and not what time it is: a timer may be a little early.
        return _TOKEN_ENDED if self._token_ends == self._patience.when() else _IDLE

    async def _close_for_restart(self) -> None:
        """Close the connection when the process is about to stop, once what is in flight has been answered."""
        await self._draining.wait()
        operations = list(self._operations.values())
        for operation in operations:
            if is_subscription(operation.data):
                operation.task.cancel()
        await asyncio.gather(*(operation.task for operation in operations), return_exceptions=True)
        await self._close(ClosedError(RESTART, "Service restart"))

    async def _take(self, event: Any) -> None:
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        message = message_of(event)
        match message["type"]:
            case "connection_init":
                if self._initiated:
                    raise ClosedError(TOO_MANY_INITS, "Too many initialisation requests")
                check_payload(message)
                self._patience.reschedule(None)
                await self._authenticate(message.get("payload") or {})
                self._initiated = True
                await self._send({"type": "connection_ack"})
            case "ping":
                check_payload(message)
                await self._send({"type": "pong"})
            case "pong":
                check_payload(message)
            case "subscribe":
                await self._subscribe(id_of(message), message.get("payload"))
            case "complete":
                if operation := self._operations.pop(id_of(message), None):
                    operation.task.cancel()
            case _:
                raise ClosedError(INVALID_MESSAGE, "Unknown message type")

    async def _authenticate(self, init: dict[str, Any]) -> None:
        """Find out who calls, unless it is known. No other message is taken meanwhile."""
        if self._context is None:
            try:
                self._context = await self._new_context(self._websocket, init)
            except UnavailableError as error:
                raise ClosedError(TRY_AGAIN_LATER, error.message) from None
            except ApiError as error:
                raise ClosedError(FORBIDDEN, f"Forbidden: {error.message}") from None
        expires_at = self._context.principal.expires_at
        if expires_at is not None:
            # By the loop's clock, which need not be that one.
            self._token_ends = asyncio.get_running_loop().time() + expires_at - time.monotonic()

    async def _subscribe(self, id_: str, payload: object) -> None:
        context = self._context
        if not self._initiated or context is None:
            raise ClosedError(UNAUTHORIZED, "Unauthorized")
        if not isinstance(payload, dict):
            raise ClosedError(INVALID_MESSAGE, "`payload` has to be an object")
        try:
            data = data_of(payload)
        except RequestError as error:
            raise ClosedError(INVALID_MESSAGE, error.message) from None
        if data.query is None and data.document_id is None:
            raise ClosedError(INVALID_MESSAGE, "`payload` has to have a `query` or a `documentId`")
        if id_ in self._operations:
            raise ClosedError(SUBSCRIBER_EXISTS, f"Subscriber for {id_} already exists")
        try:
            await self._make_room()
            check_variables(data.variables)
            self._documents.resolve(data)
            self._needed = max(self._needed, self._consistency.needed_by(data.extensions))
        except ApiError as refusal:
            await self._send({"id": id_, "type": "error", "payload": present_refusal(refusal)[0]["errors"]})
            return
        # What comes once the server is stopping is not begun: the close says that it may be sent again.
        if not self._draining.begun:
            task = asyncio.create_task(self._operate(id_, data, context))
            self._operations[id_] = _Operation(data, task)
            self._running.add(task)
            task.add_done_callback(self._ended)

    async def _make_room(self) -> None:
        """Wait for the end of those that were completed, where only they are in the way.

        Raises:
            RequestError: TOO_MANY_OPERATIONS.
        """
        most = self._limits.operations
        if len(self._operations) >= most:
            raise RequestError(Reason.TOO_MANY_OPERATIONS, f"At most {most} run at once on one socket.")
        while len(self._running) >= most:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._running and not self._closed:
            self._wait_on()

    async def _operate(self, id_: str, data: GraphQLRequestData, context: Context) -> None:
        record = RequestRecord(str(uuid.uuid4()), transport="websocket", needed=self._needed)
        current_record.set(record)
        started, events = time.perf_counter(), 0
        try:
            with tracing.operation():
                told = answers(
                    self._schema,
                    data,
                    context,
                    _OPERATIONS,
                    self._consistency,
                    lasting_seconds=self._limits.lasting_seconds,
                )
                async with aclosing(told):
                    async for answer in told:
                        if "data" not in answer:
                            # An error ends the operation, and this one alone.
                            await self._send({"id": id_, "type": "error", "payload": answer["errors"]})
                            return
                        events += 1
                        self._needed = max(self._needed, record.written)
                        await self._send({"id": id_, "type": "next", "payload": answer})
            # Not the task's own business any more: the client may use the id again as soon as it has heard.
            self._forget(id_)
            await self._send({"id": id_, "type": "complete"})
        except WebSocketDisconnect:
            record.errors.append(CLIENT_GONE)
        except TimeoutError:
            record.errors.append("SUBSCRIBER_TOO_SLOW")
            await self._close(_SLOW)
        except Exception as error:  # noqa: BLE001 # whatever it is, it is masked, and ends this operation alone
            with contextlib.suppress(WebSocketDisconnect, TimeoutError):
                await self._send({"id": id_, "type": "error", "payload": present_fault(error)[0]["errors"]})
        finally:
            self._forget(id_)
            seconds = time.perf_counter() - started
            note_request(
                transport=record.transport,
                operation=record.operation,
                outcome=outcome_label(record.errors, 0),
                seconds=None if record.subscription else seconds,
            )
            _log.info(
                "operation",
                transport=PROTOCOL,
                operation=record.operation,
                outcome=record.outcome(0),
                events=events,
                duration_ms=round(seconds * 1000, 2),
                database_ms=round(record.database_seconds * 1000, 2),
                statements=record.statements,
                rows=record.rows,
                request_id=record.request_id,
            )

    def _forget(self, id_: str) -> None:
        # After a complete the same id may belong to another operation already.
        operation = self._operations.get(id_)
        if operation is not None and operation.task is asyncio.current_task():
            del self._operations[id_]

    async def _send(self, message: dict[str, Any]) -> None:
        text = orjson.dumps(message).decode()
        async with asyncio.timeout(self._limits.send_seconds):
            try:
                await self._websocket.send_text(text)
            except RuntimeError as error:
                # Starlette's words for a connection that has been closed meanwhile.
                raise WebSocketDisconnect from error

    async def _close(self, closed: ClosedError) -> None:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._websocket.close(closed.code, closed.reason)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            # It is closed already, or the peer reads nothing any more.
            pass
