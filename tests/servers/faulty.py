"""A server whose parts raise an exception if a request asks for it. The exception says what no client may read.

`python -m tests.servers.faulty` runs it. Otherwise it is the real server.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

import server.graphql.answers
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
from server.graphql.graphiql.files import Files
from server.graphql.websocket_messages import message_of
from server.tables.lookup import SqlRowLookup
from server.tables.store import SqlTableStore
from tests.servers.altered import alter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from starlette.requests import HTTPConnection

# Like the text of a driver's exception, with characters that would start a new line in a log.
SAID = "canary-fault\r\n\x1b[31mSELECT secret FROM orders_app.t /srv/server/x.py SQLSTATE 42P01 DETAIL: Key (a)=(b)"
# Names of operations that cause a fault.
IN_EXTENSION, IN_FAST_PATH, IN_PRESENTATION, AFTER_ONE = "InExtension", "InFastPath", "InPresentation", "AfterOne"
UNWRITABLE = "unwritable"
# The lookup of this order recurses for ever. All other lookups fail at once.
DEEP = 3
HEADER = "x-fault"


class FaultError(Exception):
    """An exception that nothing expects."""


def fail(*_: Any, **__: Any) -> NoReturn:
    """Raise an unexpected exception, whose cause says too much."""
    try:
        raise ValueError(SAID)  # noqa: TRY301 # most exceptions have a cause
    except ValueError as error:
        raise FaultError(SAID) from error


async def fail_later(*_: Any, **__: Any) -> NoReturn:
    """Do the same when awaited."""
    fail()


def recursion(*_: Any) -> Any:
    """Raise a RecursionError, which has the longest possible traceback."""
    return recursion_too()


def recursion_too() -> Any:
    """The other half of the recursion: Python shortens tracebacks that repeat one function."""
    return recursion()


async def lookup(_self: object, _table: object, key: tuple[int, ...], _columns: object) -> Any:
    """A lookup that fails."""
    if key == (DEEP,):
        recursion()
    fail()


def on_operation(extension: NoteOperation) -> Iterator[None]:
    """Fail before an operation with this name is executed."""
    if IN_EXTENSION in (extension.execution_context.query or ""):
        fail()
    yield


def find(_self: FastPath, data: Any) -> None:
    """Fail outside of what the fast path handles."""
    if IN_FAST_PATH in (data.query or ""):
        fail()


async def principal(_self: LocalAuthentication, connection: HTTPConnection, init: Any = None) -> Any:
    """Fail during authentication."""
    if HEADER in connection.headers or (init or {}).get(HEADER):
        fail()
    return await authenticated(_self, connection, init)


async def answers(gateway: Gateway, data: Any, *others: Any, **more: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Fail after the first answer, or yield an answer that is no JSON."""
    async for answer in given_answers(gateway, data, *others, **more):
        yield answer | ({"data": {"order": "\ud800"}} if IN_PRESENTATION in data.query else {})
        if AFTER_ONE in data.query:
            fail()


def present(result: Any, **more: Any) -> Any:
    """Return what cannot be written as JSON for a field with this name."""
    answer, status = given_present(result, **more)
    return (answer | {"data": {UNWRITABLE: 1 << 70}} if UNWRITABLE in (result.data or {}) else answer), status


def message(text: bytes) -> Any:
    """Fail while handling a message, outside of all operations."""
    return fail() if b"fault" in text else given_message(text)


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
    """The patches of the server."""
    return [
        patch.object(SqlTableStore, "page", fail_later),
        patch.object(SqlRowLookup, "row", lookup),
        patch.object(NoteOperation, "on_operation", on_operation),
        patch.object(FastPath, "find", find),
        patch.object(LocalAuthentication, "principal", principal),
        patch.object(server.http.request_middleware, "observe", observe),
        patch.object(Gateway, "answers", answers),
        patch.object(server.graphql.answers, "present", present),
        patch.object(server.graphql.websocket_connection, "message_of", message),
        patch.object(server.http.metrics_endpoint, "exposition", fail),
        patch.object(Files, "at", fail),
    ]


if __name__ == "__main__":
    alter()
    for fault in faults():
        fault.start()
    sys.exit(main())
