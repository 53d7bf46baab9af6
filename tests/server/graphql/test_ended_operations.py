"""What an operation leaves behind when it ends: nothing that only the garbage collector could free."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

import pytest

from server.process.app import create_app
from server.traffic.draining import Draining
from tests.server.conftest import patient_settings
from tests.servers.process import ROOT, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.applications import Starlette

    Application = tuple[Starlette, dict[str, Any]]

FEED: Final = {"query": "subscription { orderStatusChanged { orderKey } }"}
ORDER: Final = {"query": "{ order(orderKey: 1) { orderKey } }"}
INIT: Final = {"type": "connection_init"}
TIMES: Final = 5
# graphql-core's tokens, which refer to each other, refer to the first. anyio's errors refer to the response of an event
# stream and to the context of its task, which have the others. All of them are small.
_OF_LIBRARIES: Final = frozenset({"IndexedSource", "_Departure", "RequestRecord", "ReadRequirement"})
_HEADERS: Final = [
    (b"host", b"127.0.0.1"),
    (b"content-type", b"application/json"),
    (b"accept", b"text/event-stream, application/json"),
]


class Connection:
    """A connection to the application, without the wire."""

    def __init__(self, application: Application, **scope: Any) -> None:
        app, state = application
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received: list[dict[str, Any]] = []
        whole = {"query_string": b"", "headers": _HEADERS, "client": ("127.0.0.1", 1), "state": dict(state), **scope}
        self.ended = asyncio.ensure_future(app(whole, self._sent.get, self._receive))

    async def _receive(self, message: Any) -> None:
        self.received.append(message)

    def send(self, type_: str, **parts: Any) -> None:
        """Send an event."""
        self._sent.put_nowait({"type": type_, **parts})

    async def answered(self, count: int) -> None:
        """Wait until the application has sent this many events, and forget them."""
        await until(lambda: len(self.received) >= count or self.ended.done())
        self.received.clear()


@asynccontextmanager
async def socket_of(application: Application) -> AsyncIterator[Connection]:
    """An acknowledged WebSocket. At the end its client is gone."""
    socket = Connection(
        application,
        type="websocket",
        path="/api/graphql",
        subprotocols=["graphql-transport-ws"],
    )
    socket.send("websocket.connect")
    tell(socket, INIT)
    await socket.answered(2)
    yield socket
    socket.send("websocket.disconnect", code=1000)
    await socket.ended


def tell(socket: Connection, *messages: dict[str, Any]) -> None:
    """Send messages."""
    for message in messages:
        socket.send("websocket.receive", text=json.dumps(message))


def subscribe(id_: int, payload: dict[str, Any] = FEED) -> dict[str, Any]:
    """The message that starts an operation."""
    return {"id": str(id_), "type": "subscribe", "payload": payload}


@pytest.fixture(scope="module")
async def application(orders_url: str) -> AsyncIterator[Application]:
    """The application, with a subscription that stays: the feed listens all the time."""
    threshold = gc.get_threshold()
    app = create_app(patient_settings(orders_url, app_schema="ended_operations"), Draining())
    async with app.router.lifespan_context(app) as state:
        running = (app, dict(state or {}))
        async with socket_of(running) as socket:
            tell(socket, subscribe(0), subscribe(1, ORDER))
            await socket.answered(2)
            yield running
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def _started(application: Application) -> None:
    """Wait until all subscriptions have started: SQLAlchemy leaves a cycle if it is cancelled during a statement."""
    feed = application[1]["context"].feed
    await until(lambda: feed.subscribers == 1 + TIMES)


async def _completed(application: Application) -> None:
    """Subscriptions that the client completes."""
    async with socket_of(application) as socket:
        tell(socket, *map(subscribe, range(TIMES)))
        await _started(application)
        tell(socket, *({"id": str(number), "type": "complete"} for number in range(TIMES)))
        tell(socket, subscribe(TIMES, ORDER))
        await socket.answered(2)


async def _gone(application: Application) -> None:
    """Subscriptions whose client goes away."""
    async with socket_of(application) as socket:
        tell(socket, *map(subscribe, range(TIMES)))
        await _started(application)


async def _answered(application: Application) -> None:
    """Queries and mutations."""
    mutation = {"query": "mutation { clearOrderStatus(input: {orderKey: 9000001}) { userErrors { code } } }"}
    async with socket_of(application) as socket:
        for number in range(TIMES):
            tell(socket, subscribe(number, mutation))
            await socket.answered(2)


async def _refused(application: Application) -> None:
    """Operations that end with an error."""
    payloads: list[dict[str, Any]] = [
        {"query": "{ order("},
        {"query": "{ nothing }"},
        {"query": "query($k: BigInt!) { order(orderKey: $k) { id } }", "variables": {"k": []}},
        {"query": 'subscription { orderStatusChanged(after: "x") { id } }'},
        {"documentId": "x"},
        {"query": "{ __typename }", "variables": {"a": [1] * 10_000}},
    ]
    async with socket_of(application) as socket:
        for number, payload in enumerate(payloads):
            tell(socket, subscribe(number, payload))
            await socket.answered(1)


async def _closed(application: Application) -> None:
    """Sockets that the server closes for a bad message."""
    bad: list[dict[str, Any]] = [INIT, {"type": "ping", "payload": []}, {"type": "x"}, subscribe(0, {"extensions": 1})]
    for message in bad:
        async with socket_of(application) as socket:
            tell(socket, subscribe(0), message)
            await socket.answered(1)


async def _streamed(application: Application) -> None:
    """Event streams whose client goes away."""
    for _ in range(TIMES):
        stream = Connection(application, type="http", method="POST", path="/api/graphql/stream")
        stream.send("http.request", body=json.dumps(FEED).encode())
        await stream.answered(1)
        stream.send("http.disconnect")
        await stream.ended


def _name_of(found: object) -> str | None:
    """What the object is, if it is ours: a frame of our code, a traceback of it, or an instance of our classes."""
    kind = type(found)
    if kind is TracebackType or kind is FrameType:
        frame = found.tb_frame if isinstance(found, TracebackType) else found
        assert isinstance(frame, FrameType)
        file = Path(frame.f_code.co_filename)
        return frame.f_code.co_qualname if file.is_relative_to(ROOT) and ".venv" not in file.parts else None
    return kind.__qualname__ if kind.__module__.startswith(("server.", "schema.")) else None


@pytest.mark.parametrize(
    "run", [_completed, _gone, _answered, _refused, _closed, _streamed], ids=lambda run: run.__name__
)
async def test_an_operation_leaves_no_cycle(
    application: Application, run: Callable[[Application], Awaitable[None]]
) -> None:
    """A cycle with a frame keeps all that the frame refers to, until the garbage collector runs."""
    await run(application)
    before = len(asyncio.all_tasks())
    gc.collect()
    gc.disable()
    try:
        await run(application)
        await until(lambda: len(asyncio.all_tasks()) <= before)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = Counter(name for found in gc.garbage if (name := _name_of(found)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not {name: count for name, count in left.items() if name not in _OF_LIBRARIES}
