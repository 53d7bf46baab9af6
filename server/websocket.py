"""Owns GraphQL over WebSocket: the graphql-transport-ws protocol, any number of operations on one connection.

Strawberry's own handler closes the whole socket over one bad operation, knows no extensions, and refuses an init
whose payload is null; the protocol says otherwise (github.com/enisdenjo/graphql-ws, PROTOCOL.md).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson
import structlog
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.types.graphql import OperationType

from schema.errors import ApiError, Reason, RequestError, UnavailableError
from server.draining import is_subscription
from server.metrics import CLIENT_GONE, note_request, outcome_label
from server.negotiation import JSON
from server.operations import answers
from server.parameters import data_of
from server.presentation import present_refusal, refusal_headers
from server.record import RequestRecord, current_record
from server.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import strawberry
    from starlette.requests import HTTPConnection
    from starlette.types import Receive, Scope, Send
    from strawberry.http import GraphQLRequestData

    from schema.context import Context
    from server.auth.origins import Origins
    from server.consistency import Consistency
    from server.documents import Documents
    from server.draining import Draining

_log = structlog.get_logger("operation")
PROTOCOL: Final = "graphql-transport-ws"
# As the protocol's own server has it.
_INIT_SECONDS: Final = 3.0
# A peer that takes nothing for so long is gone, or will come back with its cursor.
_SEND_SECONDS: Final = 30.0
# A page of a frontend has a few; each is a task and a buffer.
_MAX_OPERATIONS: Final = 100
_OPERATIONS: Final = (OperationType.QUERY, OperationType.MUTATION, OperationType.SUBSCRIPTION)
_INVALID_MESSAGE: Final = 4400
_UNAUTHORIZED: Final = 4401
_FORBIDDEN: Final = 4403
_SUBPROTOCOL_NOT_ACCEPTABLE: Final = 4406
_INIT_TIMEOUT: Final = 4408
_SUBSCRIBER_EXISTS: Final = 4409
_TOO_MANY_INITS: Final = 4429
# "Service restart" and "try again later" (IANA): clients of the protocol reconnect.
_RESTART: Final = 1012
_TRY_AGAIN_LATER: Final = 1013


class _ClosedError(Exception):
    """The connection has to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_SLOW: Final = _ClosedError(_TRY_AGAIN_LATER, "Too slow: resume from your cursor")
_TOKEN_ENDED: Final = _ClosedError(_FORBIDDEN, "Forbidden: the token has ended, come back with another")


class NewContext(Protocol):
    """Makes the context of a connection, once it is known who calls: by its headers, or by its `connection_init`."""

    def __call__(self, connection: HTTPConnection, init: dict[str, Any] | None = None) -> Awaitable[Context]:
        """The context.

        Raises:
            ApiError: whoever calls is refused.
        """


class GraphQLSocket:
    """An ASGI endpoint for WebSockets. With `by_init` it is the `connection_init` that says who calls."""

    def __init__(
        self,
        schema: strawberry.Schema,
        new_context: NewContext,
        draining: Draining,
        *,
        origins: Origins,
        consistency: Consistency,
        documents: Documents,
        by_init: bool = False,
    ) -> None:
        self._documents = documents
        self._consistency = consistency
        self._schema = schema
        self._new_context = new_context
        self._draining = draining
        self._origins = origins
        self._by_init = by_init

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it is closed."""
        websocket = WebSocket(scope, receive, send)
        try:
            context = None if self._by_init else await self._new_context(websocket)
            self._origins.check(websocket)
            needed = self._consistency.needed(websocket)
        except ApiError as error:
            # Before it is accepted, so that it is answered as any request is.
            answer, status = present_refusal(error)
            headers = refusal_headers(error)
            await websocket.send_denial_response(
                Response(orjson.dumps(answer), status, headers, media_type=f"{JSON}; charset=utf-8")
            )
            return
        if PROTOCOL not in websocket.scope["subprotocols"]:
            await websocket.accept()
            await websocket.close(_SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            return
        await websocket.accept(PROTOCOL)
        connection = _Connection(
            websocket,
            self._schema,
            context,
            self._new_context,
            self._draining,
            self._consistency,
            self._documents,
            needed=needed,
        )
        await connection.serve()


class _Operation(NamedTuple):
    """An operation that runs."""

    data: GraphQLRequestData
    task: asyncio.Task[None]


class _Connection:
    """One accepted connection, and the operations that run on it. Without a context the init is asked for one."""

    def __init__(
        self,
        websocket: WebSocket,
        schema: strawberry.Schema,
        context: Context | None,
        new_context: NewContext,
        draining: Draining,
        consistency: Consistency,
        documents: Documents,
        *,
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
        self._operations: dict[str, _Operation] = {}
        self._initiated = False
        self._patience = asyncio.timeout(_INIT_SECONDS)

    async def serve(self) -> None:
        """Take messages until the connection is closed, by whichever side."""
        closed, restart = None, asyncio.create_task(self._close_for_restart())
        try:
            async with self._patience:
                while True:
                    await self._take(await self._websocket.receive())
        except TimeoutError:
            closed = _SLOW
            if self._patience.expired():
                initiation = _ClosedError(_INIT_TIMEOUT, "Connection initialisation timeout")
                closed = _TOKEN_ENDED if self._initiated else initiation
        except _ClosedError as error:
            closed = error
        except WebSocketDisconnect:
            pass
        finally:
            tasks = [restart, *(operation.task for operation in self._operations.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if closed is not None:
            await self._close(closed)

    async def _close_for_restart(self) -> None:
        """Close the connection when the process is about to stop, once what is in flight has been answered."""
        await self._draining.wait()
        operations = list(self._operations.values())
        for operation in operations:
            if is_subscription(operation.data):
                operation.task.cancel()
        await asyncio.gather(*(operation.task for operation in operations), return_exceptions=True)
        await self._close(_ClosedError(_RESTART, "Service restart"))

    async def _take(self, event: Any) -> None:
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1005))
        message = _message(event)
        match message["type"]:
            case "connection_init":
                if self._initiated:
                    raise _ClosedError(_TOO_MANY_INITS, "Too many initialisation requests")
                _check_payload(message)
                self._patience.reschedule(None)
                await self._authenticate(message.get("payload") or {})
                self._initiated = True
                await self._send({"type": "connection_ack"})
            case "ping":
                _check_payload(message)
                await self._send({"type": "pong"})
            case "pong":
                _check_payload(message)
            case "subscribe":
                await self._subscribe(_id(message), message.get("payload"))
            case "complete":
                if operation := self._operations.pop(_id(message), None):
                    operation.task.cancel()
            case _:
                raise _ClosedError(_INVALID_MESSAGE, "Unknown message type")

    async def _authenticate(self, init: dict[str, Any]) -> None:
        """Find out who calls, unless it is known. No other message is taken meanwhile."""
        if self._context is None:
            try:
                self._context = await self._new_context(self._websocket, init)
            except UnavailableError as error:
                raise _ClosedError(_TRY_AGAIN_LATER, _fitting(error.message)) from None
            except ApiError as error:
                raise _ClosedError(_FORBIDDEN, _fitting(f"Forbidden: {error.message}")) from None
        expires_at = self._context.principal.expires_at
        if expires_at is not None:
            # By the loop's clock, which need not be that one.
            self._patience.reschedule(asyncio.get_running_loop().time() + expires_at - time.monotonic())

    async def _subscribe(self, id_: str, payload: object) -> None:
        context = self._context
        if not self._initiated or context is None:
            raise _ClosedError(_UNAUTHORIZED, "Unauthorized")
        if not isinstance(payload, dict):
            raise _ClosedError(_INVALID_MESSAGE, "`payload` has to be an object")
        try:
            data = data_of(payload)
        except RequestError as error:
            raise _ClosedError(_INVALID_MESSAGE, _fitting(error.message)) from None
        if data.query is None and data.document_id is None:
            raise _ClosedError(_INVALID_MESSAGE, "`payload` has to have a `query` or a `documentId`")
        if id_ in self._operations:
            raise _ClosedError(_SUBSCRIBER_EXISTS, _fitting(f"Subscriber for {id_} already exists"))
        try:
            self._check_room()
            self._documents.resolve(data)
            self._needed = max(self._needed, self._consistency.needed_by(data.extensions))
        except ApiError as refusal:
            await self._send({"id": id_, "type": "error", "payload": present_refusal(refusal)[0]["errors"]})
            return
        # What comes once the server is stopping is not begun: the close says that it may be sent again.
        if not self._draining.begun:
            task = asyncio.create_task(self._operate(id_, data, context))
            self._operations[id_] = _Operation(data, task)

    def _check_room(self) -> None:
        if len(self._operations) >= _MAX_OPERATIONS:
            most = f"At most {_MAX_OPERATIONS} run at once on one socket."
            raise RequestError(Reason.TOO_MANY_OPERATIONS, most)

    async def _operate(self, id_: str, data: GraphQLRequestData, context: Context) -> None:
        record = RequestRecord(str(uuid.uuid4()), transport="websocket", needed=self._needed)
        current_record.set(record)
        started, events = time.perf_counter(), 0
        try:
            with tracing.operation():
                told = answers(self._schema, data, context, _OPERATIONS, self._consistency)
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
        except (WebSocketDisconnect, RuntimeError):
            # Starlette's words for a connection that has been closed meanwhile.
            record.errors.append(CLIENT_GONE)
        except TimeoutError:
            record.errors.append("SUBSCRIBER_TOO_SLOW")
            await self._close(_SLOW)
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
        async with asyncio.timeout(_SEND_SECONDS):
            await self._websocket.send_text(orjson.dumps(message).decode())

    async def _close(self, closed: _ClosedError) -> None:
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._websocket.close(closed.code, closed.reason)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            # It is closed already, or the peer reads nothing any more.
            pass


def _message(event: Any) -> dict[str, Any]:
    text = event.get("text")
    if text is None:
        raise _ClosedError(_INVALID_MESSAGE, "Messages are JSON in text frames")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _ClosedError(_INVALID_MESSAGE, "The message is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise _ClosedError(_INVALID_MESSAGE, "The message has to be an object with a `type`")
    return message


def _check_payload(message: dict[str, Any]) -> None:
    if not isinstance(message.get("payload"), dict | None):
        raise _ClosedError(_INVALID_MESSAGE, "`payload` has to be an object")


def _id(message: dict[str, Any]) -> str:
    id_ = message.get("id")
    if not isinstance(id_, str) or not id_:
        raise _ClosedError(_INVALID_MESSAGE, "`id` has to be a string that is not empty")
    return id_


def _fitting(reason: str) -> str:
    """A reason as it fits into a close frame: 123 bytes."""
    return reason.encode()[:123].decode(errors="ignore")
