"""Owns the faults that are switched on: which request meets which, and what it does to it."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from server.local.platform.rest.errors import invalid
from server.local.platform.rest.exchange import error_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.local.platform.rest.bodies import FaultBody
    from server.local.platform.rest.exchange import Exchange

# Answered in place of doing anything.
_REFUSALS = {
    "too_many_requests": (429, "REQUEST_LIMIT_EXCEEDED", "Too many requests. Please wait a moment and try again."),
    "internal_error": (500, "INTERNAL_ERROR", "An internal error occurred."),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable."),
    "forbidden": (403, "PERMISSION_DENIED", "User does not have the permission for this."),
    "not_found_after_create": (404, "NOT_FOUND", "The resource was not found."),
    "not_found_as_code": (404, "RESOURCE_DOES_NOT_EXIST", "The resource does not exist."),
}
_OUTCOMES = {"exists_as_400", "malformed_json", "unknown_enum", "lost_reply", "hold_after"}
_STATES = {"state", "current_state", "detailed_state", "unity_catalog_provisioning_state"}
_UNKNOWN_STATE = "STATE_OF_THE_FUTURE"
_NOT_FOUND, _CONFLICT = 404, 409


@dataclass
class _Switched:
    fault: FaultBody
    left: int | None
    skip: int


@dataclass
class Held:
    """A request that is held until it is released or its client goes away."""

    method: str
    path: str
    fault: str
    released: asyncio.Event = field(default_factory=asyncio.Event)


class Faults:
    """The faults that are on, in the order in which they were switched on, and the requests that they hold."""

    def __init__(self) -> None:
        self._switched: list[_Switched] = []
        self._held: dict[int, Held] = {}
        self._numbers = itertools.count(1)

    def add(self, fault: FaultBody) -> None:
        """Switch a fault on, for its next `times` requests (None: for all) after letting `skip` pass.

        Raises:
            PlatformError: INVALID_PARAMETER_VALUE where method or path is no regular expression.
        """
        try:
            for pattern in (fault.method, fault.path):
                re.compile(pattern)
        except re.error as error:
            raise invalid(f"method or path is no regular expression: {error}") from None
        self._switched.append(_Switched(fault, fault.times, fault.skip))

    def clear(self) -> None:
        """Switch all of them off. What is held stays held."""
        self._switched.clear()

    def held(self) -> list[dict[str, Any]]:
        """The requests that are held: number, method, path and fault."""
        return [
            {"number": number, "method": held.method, "path": held.path, "fault": held.fault}
            for number, held in self._held.items()
        ]

    def release(self) -> int:
        """Let all that is held go on; how many there were."""
        for held in self._held.values():
            held.released.set()
        return len(self._held)

    async def answer(self, exchange: Exchange, do: Callable[[], Awaitable[Response]]) -> None:
        """Answer the exchange by doing it, with the fault that it meets, if any."""
        fault = self._take(exchange.method, exchange.path)
        name = fault.fault if fault else ""
        if fault is None:
            await exchange.reply(await do())
        elif name == "connection_reset":
            await exchange.reset()
        elif name == "hang":
            await exchange.gone()
        elif name == "not_found_as_code" and exchange.method == "DELETE":
            # As it is when the same call was sent twice.
            response = await do()
            refused = response.status_code >= 400 and response.status_code != _NOT_FOUND  # noqa: PLR2004 # where HTTP's errors begin
            await exchange.reply(response if refused else _refusal(fault))
        elif name in _REFUSALS:
            await exchange.reply(_refusal(fault))
        elif name in _OUTCOMES:
            await self._with_outcome(fault, exchange, do)
        elif name == "slow":
            await asyncio.sleep(fault.seconds)
            await exchange.reply(await do())
        elif await self._hold(exchange, name):
            await exchange.reply(await do())

    async def _with_outcome(self, fault: FaultBody, exchange: Exchange, do: Callable[[], Awaitable[Response]]) -> None:
        """It is done, and something is wrong with how that is told."""
        response = await do()
        if fault.fault == "lost_reply":
            await exchange.reset()
        elif fault.fault == "hold_after":
            if await self._hold(exchange, fault.fault):
                await exchange.reply(response)
        elif fault.fault == "malformed_json":
            await exchange.reply(Response(bytes(response.body)[:-1] + b", oops", 200, media_type="application/json"))
        elif fault.fault == "unknown_enum":
            changed = _with_unknown_states(json.loads(bytes(response.body)))
            await exchange.reply(Response(json.dumps(changed), response.status_code, media_type="application/json"))
        elif response.status_code in (200, _CONFLICT):
            message = fault.message or "The resource already exists."
            await exchange.reply(error_response(400, "RESOURCE_ALREADY_EXISTS", message))
        else:
            await exchange.reply(response)

    async def _hold(self, exchange: Exchange, fault: str) -> bool:
        """Wait until it is released; False where its client went away first."""
        number = next(self._numbers)
        held = self._held[number] = Held(exchange.method, exchange.path, fault)
        released, gone = asyncio.create_task(held.released.wait()), asyncio.create_task(exchange.gone())
        try:
            await asyncio.wait([released, gone], return_when=asyncio.FIRST_COMPLETED)
            return held.released.is_set()
        finally:
            del self._held[number]
            released.cancel()
            gone.cancel()

    def _take(self, method: str, path: str) -> FaultBody | None:
        for switched in self._switched:
            fault = switched.fault
            if not (re.fullmatch(fault.method, method) and re.fullmatch(fault.path, path)) or switched.left == 0:
                continue
            if switched.skip > 0:
                switched.skip -= 1
                continue
            if switched.left is not None:
                switched.left -= 1
            return fault
        return None


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
