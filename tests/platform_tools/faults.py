"""Faults that tests switch on in the local platform: which requests a fault applies to, and what it does to them."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import struct
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from server.local.platform.rest.errors import invalid
from server.local.platform.rest.exchange import error_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.local.platform.rest.exchange import Exchange

# Replied instead of handling the request.
_REFUSALS = {
    "too_many_requests": (429, "REQUEST_LIMIT_EXCEEDED", "Too many requests. Please wait a moment and try again."),
    "internal_error": (500, "INTERNAL_ERROR", "An internal error occurred."),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable."),
    "forbidden": (403, "PERMISSION_DENIED", "User does not have the permission for this."),
    "not_found_after_create": (404, "NOT_FOUND", "The resource was not found."),
    "not_found_as_code": (404, "RESOURCE_DOES_NOT_EXIST", "The resource does not exist."),
}
# The platform never sees the request.
_UNHANDLED = {"connection_reset", "answer", "operation_fails", "hang"}
# Applied after the request has been handled.
_OUTCOMES = {
    *("exists_as_400", "malformed_json", "unknown_enum", "lost_reply", "hold_after"),
    *("operation_fails_after", "operation_hangs", "operation_forgotten", "operation_without_response"),
}
_STATES = {"state", "current_state", "pending_state", "detailed_state", "unity_catalog_provisioning_state"}
_POSTGRES = "/api/2.0/postgres/"
_UNKNOWN_STATE = "STATE_OF_THE_FUTURE"
_NOT_FOUND, _CONFLICT = 404, 409
# SO_LINGER switched on with a timeout of 0 s: closing the socket sends a reset.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultBody(BaseModel):
    """A fault to switch on. `method` and `path` are regular expressions for the whole method and path."""

    model_config = ConfigDict(strict=True, extra="forbid")

    method: str = ".*"
    path: str
    fault: Literal[
        "too_many_requests",
        "internal_error",
        "unavailable",
        "forbidden",
        "answer",
        "not_found_after_create",
        "not_found_as_code",
        "exists_as_400",
        "connection_reset",
        "slow",
        "hang",
        "malformed_json",
        "unknown_enum",
        "lost_reply",
        "hold_before",
        "hold_after",
        # Of a read: it shows what the first such request was shown.
        "stale",
        # Of the calls that begin an operation: nothing is done, and it fails; it is done, and the operation fails,
        # hangs until the faults are cleared, is not known any more, or is done without a response.
        "operation_fails",
        "operation_fails_after",
        "operation_hangs",
        "operation_forgotten",
        "operation_without_response",
    ]
    times: int | None = 1
    skip: int = 0
    retry_after: int | None = 1
    seconds: float = 1
    message: str | None = None
    # Switches all other faults off at the same moment.
    alone: bool = False
    # Of the fault `answer`: the whole reply.
    status: int = 200
    body: str = ""
    media_type: str = "application/json"


@dataclass
class _ActiveFault:
    fault: FaultBody
    left: int | None
    skip: int
    # The first reply by path, for `stale`.
    replies: dict[str, Response] = field(default_factory=dict)

    async def first_reply(self, path: str, respond: Callable[[], Awaitable[Response]]) -> Response:
        """What the first request for the path was answered."""
        if path not in self.replies:
            self.replies[path] = await respond()
        return self.replies[path]


@dataclass
class HeldRequest:
    """A request that is held until it is released or its client disconnects."""

    method: str
    path: str
    fault: str
    released: asyncio.Event = field(default_factory=asyncio.Event)


class Faults:
    """The active faults, in the order in which they were switched on, and the requests that they hold."""

    def __init__(self) -> None:
        self._active: list[_ActiveFault] = []
        self._held: dict[int, HeldRequest] = {}
        self._numbers = itertools.count(1)
        # How many requests a fault has been applied to.
        self.applied = 0
        # What is replied to requests for these operations, by path; None is a 404.
        self._ended: dict[str, dict[str, Any] | None] = {}
        self._hanging: dict[str, dict[str, Any]] = {}

    def add(self, fault: FaultBody) -> None:
        """Switch a fault on for `times` requests (None: for all), after it has let `skip` requests pass.

        Raises:
            PlatformError: INVALID_PARAMETER_VALUE if method or path is not a regular expression.
        """
        try:
            for pattern in (fault.method, fault.path):
                re.compile(pattern)
        except re.error as error:
            raise invalid(f"method or path is not a regular expression: {error}") from None
        if fault.alone:
            self._active.clear()
        self._active.append(_ActiveFault(fault, fault.times, fault.skip))

    def clear(self) -> None:
        """Switch every fault off. Held requests stay held, and operations that have ended stay ended."""
        self._active.clear()
        self._hanging.clear()

    def held(self) -> list[dict[str, Any]]:
        """The number, method, path and fault of each held request."""
        return [
            {"number": number, "method": held.method, "path": held.path, "fault": held.fault}
            for number, held in self._held.items()
        ]

    def release(self) -> int:
        """Release every held request, and return how many there were."""
        for held in self._held.values():
            held.released.set()
        return len(self._held)

    async def answer(self, exchange: Exchange, respond: Callable[[], Awaitable[Response]]) -> None:
        """Answer a request with the first active fault that applies to it, or normally."""
        if exchange.method == "GET" and exchange.path in (told := self._ended | self._hanging):
            operation = told[exchange.path]
            unknown = error_response(_NOT_FOUND, "NOT_FOUND", "operation id not found")
            await exchange.reply(unknown if operation is None else JSONResponse(operation))
            return
        active = self._take(exchange.method, exchange.path)
        if active is None:
            await exchange.reply(await respond())
            return
        self.applied += 1
        fault, name = active.fault, active.fault.fault
        if name == "stale":
            await exchange.reply(await active.first_reply(exchange.path, respond))
        elif name in _UNHANDLED:
            await self._without_handling(fault, exchange)
        elif name in _REFUSALS:
            await _refuse(fault, exchange, respond)
        elif name in _OUTCOMES:
            await self._with_outcome(fault, exchange, respond)
        elif name == "slow":
            await asyncio.sleep(fault.seconds)
            await exchange.reply(await respond())
        elif await self._hold(exchange, name):
            await exchange.reply(await respond())

    async def _without_handling(self, fault: FaultBody, exchange: Exchange) -> None:
        """Answer in the platform's place, or not at all."""
        if fault.fault == "connection_reset":
            await _reset(exchange)
        elif fault.fault == "answer":
            await exchange.reply(Response(fault.body, fault.status, media_type=fault.media_type))
        elif fault.fault == "operation_fails":
            operation = f"{exchange.path.removeprefix(_POSTGRES)}/operations/{uuid.uuid4()}"
            await exchange.reply(self._doomed({"name": operation, "done": False}, fault))
        else:
            await disconnected(exchange)

    async def _with_outcome(
        self, fault: FaultBody, exchange: Exchange, respond: Callable[[], Awaitable[Response]]
    ) -> None:
        """Handle the request, and spoil the reply."""
        response = await respond()
        if fault.fault == "lost_reply":
            await _reset(exchange)
        elif fault.fault == "hold_after":
            if await self._hold(exchange, fault.fault):
                await exchange.reply(response)
        elif fault.fault == "malformed_json":
            await exchange.reply(Response(bytes(response.body)[:-1] + b", oops", 200, media_type="application/json"))
        elif fault.fault.startswith("operation_") and response.status_code == 200:  # HTTP's own
            await exchange.reply(self._doomed(json.loads(bytes(response.body)), fault))
        elif fault.fault == "unknown_enum":
            body = _with_unknown_states(json.loads(bytes(response.body)))
            await exchange.reply(Response(json.dumps(body), response.status_code, media_type="application/json"))
        elif response.status_code in (200, _CONFLICT):
            message = fault.message or "The resource already exists."
            await exchange.reply(error_response(400, "RESOURCE_ALREADY_EXISTS", message))
        else:
            await exchange.reply(response)

    def _doomed(self, operation: dict[str, Any], fault: FaultBody) -> Response:
        """Let an operation fail, hang, be forgotten, or end without a response, and return it as it begins."""
        path = f"{_POSTGRES}{operation['name']}"
        if fault.fault == "operation_hangs":
            self._hanging[path] = operation
        elif fault.fault == "operation_forgotten":
            self._ended[path] = None
        elif fault.fault == "operation_without_response":
            self._ended[path] = {**operation, "done": True}
        else:
            error = {"error_code": "INTERNAL_ERROR", "message": fault.message or "The operation failed."}
            self._ended[path] = {**operation, "done": True, "error": error}
        return JSONResponse(operation)

    async def _hold(self, exchange: Exchange, fault: str) -> bool:
        """Wait until the request is released. False if its client disconnects first."""
        number = next(self._numbers)
        held = self._held[number] = HeldRequest(exchange.method, exchange.path, fault)
        released = asyncio.create_task(held.released.wait())
        gone = asyncio.create_task(disconnected(exchange))
        try:
            await asyncio.wait([released, gone], return_when=asyncio.FIRST_COMPLETED)
            return held.released.is_set()
        finally:
            del self._held[number]
            released.cancel()
            gone.cancel()

    def _take(self, method: str, path: str) -> _ActiveFault | None:
        for active in self._active:
            fault = active.fault
            if not (re.fullmatch(fault.method, method) and re.fullmatch(fault.path, path)) or active.left == 0:
                continue
            if active.skip > 0:
                active.skip -= 1
                continue
            if active.left is not None:
                active.left -= 1
            return active
        return None


async def disconnected(exchange: Exchange) -> None:
    """Return when the client of a request has disconnected."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass


async def _reset(exchange: Exchange) -> None:
    """Reset the connection instead of replying."""
    # ASGI cannot reset a connection. uvicorn's `send` is a method of the object that has the transport.
    transport: asyncio.Transport = cast("Any", exchange.send).__self__.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    await disconnected(exchange)


async def _refuse(fault: FaultBody, exchange: Exchange, respond: Callable[[], Awaitable[Response]]) -> None:
    """Refuse a request. A deletion of what is not found has the effect of the same call sent twice."""
    if fault.fault == "not_found_as_code" and exchange.method == "DELETE":
        response = await respond()
        if response.status_code >= 400 and response.status_code != _NOT_FOUND:  # where HTTP's errors begin
            await exchange.reply(response)
            return
    await exchange.reply(_refusal(fault))


def _refusal(fault: FaultBody) -> Response:
    status, code, message = _REFUSALS[fault.fault]
    headers = {}
    if fault.fault in ("too_many_requests", "unavailable") and fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return error_response(status, code, fault.message or message, headers)


def _with_unknown_states(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _UNKNOWN_STATE if key in _STATES and isinstance(one, str) else _with_unknown_states(one)
            for key, one in value.items()
        }
    return [_with_unknown_states(one) for one in value] if isinstance(value, list) else value
