"""A server in which every part raises an exception on request. The exception's text must never reach a client.

Run it as `python -m tests.faulty`. In all else it is the server.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

from starlette.staticfiles import StaticFiles

import server.graphql.endpoint
import server.graphql.execution
import server.graphql.sse
import server.graphql.websocket_connection
import server.http.error_response
import server.http.metrics_endpoint
from server.__main__ import main
from server.auth.local import LocalAuthentication
from server.graphql.extensions import NoteOperation
from server.graphql.fast_path import FastPath
from server.graphql.websocket_messages import message_of
from server.http.request_middleware import CanonicalLog
from server.orders.store import SqlOrderLookup, SqlOrderStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.requests import HTTPConnection

# Like the text of a driver's exception, with characters that would start a new line in a log.
SAID = "canary-fault\r\n\x1b[31mSELECT secret FROM orders_app.t /srv/server/x.py SQLSTATE 42P01 DETAIL: Key (a)=(b)"
# Names of operations that cause a fault.
IN_EXTENSION, IN_FAST_WAY, IN_PRESENTATION, AFTER_ONE = "InExtension", "InFastWay", "InPresentation", "AfterOne"
UNWRITABLE = "unwritable"
# The lookup of this order recurses for ever. All other lookups fail at once.
DEEP = 3
HEADER = "x-fault"


class FaultError(Exception):
    """An exception that no part of the server expects."""


def fail(*_: Any, **__: Any) -> NoReturn:
    """Raise an unexpected exception with a cause, both with a text full of secrets."""
    try:
        raise ValueError(SAID)  # noqa: TRY301 # most exceptions have a cause
    except ValueError as error:
        raise FaultError(SAID) from error


async def fail_later(*_: Any, **__: Any) -> NoReturn:
    """The same for an awaited function."""
    fail()


def recursion(*_: Any) -> Any:
    """Raise a RecursionError, which has the longest possible traceback."""
    return recursion_too()


def recursion_too() -> Any:
    """The other half: Python abbreviates the traceback of a function that only calls itself."""
    return recursion()


async def lookup(_self: object, key: int, _columns: object) -> Any:
    """Fail for every order."""
    if key == DEEP:
        recursion()
    fail()


def on_operation(extension: NoteOperation) -> Iterator[None]:
    """Fail before an operation of this name is executed."""
    if IN_EXTENSION in (extension.execution_context.query or ""):
        fail()
    yield


def find(_self: FastPath, data: Any) -> None:
    """Fail outside the exceptions that the fast path handles."""
    if IN_FAST_WAY in (data.query or ""):
        fail()


async def principal(_self: LocalAuthentication, connection: HTTPConnection, init: Any = None) -> Any:
    """Fail while the caller is authenticated."""
    if HEADER in connection.headers or (init or {}).get(HEADER):
        fail()
    return await authenticated(_self, connection, init)


async def answers(schema: Any, data: Any, *others: Any, **more: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Fail after the first result, or return something that is not JSON."""
    async for answer in given_answers(schema, data, *others, **more):
        yield answer | ({"data": {"order": "\ud800"}} if IN_PRESENTATION in data.query else {})
        if AFTER_ONE in data.query:
            fail()


def present(result: Any) -> Any:
    """Return a value that JSON cannot hold, for a field of this name."""
    answer, status = given_present(result)
    return (answer | {"data": {UNWRITABLE: 1 << 70}} if UNWRITABLE in (result.data or {}) else answer), status


def message(event: Any) -> Any:
    """Fail on a message, outside all operations."""
    return fail() if "fault" in (event.get("text") or "") else given_message(event)


def write(scope: Any, *others: Any) -> None:
    """Fail in the outermost middleware."""
    if scope["path"] == "/in-log":
        fail()
    given_write(scope, *others)


authenticated = LocalAuthentication.principal
given_answers = server.graphql.execution.answers
given_present = server.http.error_response.present
given_message = message_of
given_write = CanonicalLog._write  # noqa: SLF001 # there is no public way


def faults() -> list[Any]:
    """The patches of the server's parts."""
    return [
        patch.object(SqlOrderStore, "page", fail_later),
        patch.object(SqlOrderLookup, "order", lookup),
        patch.object(NoteOperation, "on_operation", on_operation),
        patch.object(FastPath, "find", find),
        patch.object(LocalAuthentication, "principal", principal),
        patch.object(CanonicalLog, "_write", staticmethod(write)),
        patch.object(server.graphql.sse, "answers", answers),
        patch.object(server.graphql.websocket_connection, "answers", answers),
        patch.object(server.graphql.endpoint, "present", present),
        patch.object(server.graphql.websocket_connection, "message_of", message),
        patch.object(server.http.metrics_endpoint, "exposition", fail),
        patch.object(StaticFiles, "lookup_path", fail),
    ]


if __name__ == "__main__":
    for fault in faults():
        fault.start()
    sys.exit(main())
