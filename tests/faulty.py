"""Owns a server in which every part raises where a request asks for it: what it raises says what nobody may read.

Run as `python -m tests.faulty`, it is the server in all else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

from starlette.staticfiles import StaticFiles

import server.graphql.gateway
import server.graphql.websocket_connection
import server.http.error_response
import server.http.metrics_endpoint
import server.http.request_middleware
import server.observability.sinks
from server.__main__ import main
from server.auth.local import LocalAuthentication
from server.graphql.extensions import NoteOperation
from server.graphql.fast_path import FastPath
from server.graphql.gateway import Gateway
from server.graphql.websocket_messages import message_of
from server.orders.store import SqlOrderLookup, SqlOrderStore
from tests.altered import alter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.requests import HTTPConnection

# As a driver's exception may have it, with what would write a line of its own.
SAID = "canary-fault\r\n\x1b[31mSELECT secret FROM orders_app.t /srv/server/x.py SQLSTATE 42P01 DETAIL: Key (a)=(b)"
# Names of operations.
IN_EXTENSION, IN_FAST_WAY, IN_PRESENTATION, AFTER_ONE = "InExtension", "InFastWay", "InPresentation", "AfterOne"
UNWRITABLE = "unwritable"
# The order whose lookup never ends; that of all others fails at once.
DEEP = 3
HEADER = "x-fault"


class FaultError(Exception):
    """None that anything expects."""


def fail(*_: Any, **__: Any) -> NoReturn:
    """Raise what nobody expects, from what says more than it should."""
    try:
        raise ValueError(SAID)  # noqa: TRY301 # it has a cause, as most have
    except ValueError as error:
        raise FaultError(SAID) from error


async def fail_later(*_: Any, **__: Any) -> NoReturn:
    """The same where it is awaited."""
    fail()


def recursion(*_: Any) -> Any:
    """Raise a RecursionError, whose traceback is the longest there is."""
    return recursion_too()


def recursion_too() -> Any:
    """The other half, for Python shortens what repeats itself."""
    return recursion()


async def lookup(_self: object, key: int, _columns: object) -> Any:
    """What a lookup gives: nothing good."""
    if key == DEEP:
        recursion()
    fail()


def on_operation(extension: NoteOperation) -> Iterator[None]:
    """Fail before an operation of this name is run."""
    if IN_EXTENSION in (extension.execution_context.query or ""):
        fail()
    yield


def find(_self: FastPath, data: Any) -> None:
    """Fail outside all that the fast way expects."""
    if IN_FAST_WAY in (data.query or ""):
        fail()


async def principal(_self: LocalAuthentication, connection: HTTPConnection, init: Any = None) -> Any:
    """Fail while it is found out who calls."""
    if HEADER in connection.headers or (init or {}).get(HEADER):
        fail()
    return await authenticated(_self, connection, init)


async def answers(gateway: Gateway, data: Any, *others: Any, **more: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Fail after the first answer, or give what is no JSON."""
    async for answer in given_answers(gateway, data, *others, **more):
        yield answer | ({"data": {"order": "\ud800"}} if IN_PRESENTATION in data.query else {})
        if AFTER_ONE in data.query:
            fail()


def present(result: Any, **more: Any) -> Any:
    """Give what cannot be written as JSON for a field of this name."""
    answer, status = given_present(result, **more)
    return (answer | {"data": {UNWRITABLE: 1 << 70}} if UNWRITABLE in (result.data or {}) else answer), status


def message(event: Any) -> Any:
    """Fail over a message, outside all operations."""
    return fail() if "fault" in (event.get("text") or "") else given_message(event)


def observe(observation: Any) -> None:
    """Fail in the outermost of what surrounds a request."""
    if observation.path == "/in-log":
        fail()
    given_observe(observation)


authenticated = LocalAuthentication.principal
given_answers = Gateway.answers
given_present = server.http.error_response.present
given_message = message_of
given_observe = server.observability.sinks.observe


def faults() -> list[Any]:
    """What is put in place of the server's own."""
    return [
        patch.object(SqlOrderStore, "page", fail_later),
        patch.object(SqlOrderLookup, "order", lookup),
        patch.object(NoteOperation, "on_operation", on_operation),
        patch.object(FastPath, "find", find),
        patch.object(LocalAuthentication, "principal", principal),
        patch.object(server.http.request_middleware, "observe", observe),
        patch.object(Gateway, "answers", answers),
        patch.object(server.graphql.gateway, "present", present),
        patch.object(server.graphql.websocket_connection, "message_of", message),
        patch.object(server.http.metrics_endpoint, "exposition", fail),
        patch.object(StaticFiles, "lookup_path", fail),
    ]


if __name__ == "__main__":
    alter()
    for fault in faults():
        fault.start()
    sys.exit(main())
