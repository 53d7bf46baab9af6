"""Ordinary callers: pages, single orders and changes at a steady rate, one subscription, and new sockets now and then."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.bench.asks import Page, Single
from tests.bench.dialects import Relay, our_cursor
from tests.load.generator import Phase, offer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Sequence

    from websockets.asyncio.client import ClientConnection

    from tests.bench.asks import Ask
    from tests.load.hostile.target import Target

_CHANGE: Final = "mutation ($input: SetOrderStatusInput!) { setOrderStatus(input: $input) { change { version } } }"
_FEED: Final = """
subscription ($keys: [BigInt!], $after: String) {
  orderStatusChanged(orderKeys: $keys, after: $after) { cursor orderKey version changedAt }
}
"""
_STATUSES: Final = ("OPEN", "PARTIAL", "FULFILLED")
_PROTOCOL: Final[Any] = ["graphql-transport-ws"]
# Requests a second of each kind: a third of what the server can do.
RATES: Final = {"pages of 10": 100.0, "single orders": 100.0, "changes": 20.0}
_CONNECTIONS: Final = 16
_OPENED_EVERY_SECONDS: Final = 1.0
_OPENING_SECONDS: Final = 10.0
_RECONNECT_SECONDS: Final = 0.5


@dataclass(slots=True)
class Sockets:
    """What became of the sockets in a phase, in seconds: how long opening one took, and how late events came."""

    opened: list[float] = field(default_factory=list)
    refused: int = 0
    events: list[float] = field(default_factory=list)
    interrupted: int = 0


def requests_of(target: Target, starts: Sequence[int], changed: Sequence[int]) -> dict[str, list[bytes]]:
    """The requests of each kind, to be sent in turn.

    Args:
        target: makes them, with the token of an ordinary caller.
        starts: keys at which pages begin, and of single orders.
        changed: keys of orders to change, each to three statuses in turn.
    """
    dialect = Relay("/api/graphql", our_cursor)
    asks: dict[str, list[Ask]] = {
        "pages of 10": [Page(10, key) for key in starts],
        "single orders": [Single(key) for key in starts],
    }
    found = {
        kind: [target.request(request.body) for request in map(dialect.request, some) if request]
        for kind, some in asks.items()
    }
    wanted = [{"orderKey": str(key), "status": status} for status in _STATUSES for key in changed]
    bodies = [{"query": _CHANGE, "variables": {"input": change}} for change in wanted]
    found["changes"] = [target.request(json.dumps(body).encode()) for body in bodies]
    return found


def send(url: str, requests: dict[str, list[bytes]], seconds: float) -> dict[str, subprocess.Popen[str]]:
    """Start to send the requests, each kind at its rate from a process of its own."""
    return {
        kind: offer(url, some, [Phase(RATES[kind], seconds)], connections=_CONNECTIONS)
        for kind, some in requests.items()
    }


async def sockets(url: str, token: str, changed: Sequence[int], seconds: float) -> Sockets:
    """Follow the changes of these orders, and open another socket each second; return what became of them."""
    found = Sockets()
    address = f"{url.replace('http', 'ws', 1)}/api/graphql"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            group.create_task(_follow(address, token, changed, found))
            while True:
                group.create_task(_open_one(address, token, found))
                await asyncio.sleep(_OPENED_EVERY_SECONDS)  # the schedule
    return found


@contextlib.asynccontextmanager
async def _opened(address: str, token: str) -> AsyncIterator[ClientConnection]:
    async with connect(
        address,
        subprotocols=_PROTOCOL,
        compression=None,
        open_timeout=_OPENING_SECONDS,
        close_timeout=0,
    ) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}))
        async with asyncio.timeout(_OPENING_SECONDS):
            await socket.recv()
        yield socket


async def _open_one(address: str, token: str, found: Sockets) -> None:
    began = time.perf_counter()
    try:
        async with _opened(address, token):
            found.opened.append(time.perf_counter() - began)
    except (OSError, WebSocketException, TimeoutError):
        found.refused += 1


async def _follow(address: str, token: str, changed: Sequence[int], found: Sockets) -> None:
    """Subscribe, and resume after the last cursor whenever that ends."""
    variables: dict[str, Any] = {"keys": [str(key) for key in changed]}
    while True:
        try:
            async with _opened(address, token) as socket:
                operation = {"query": _FEED, "variables": variables}
                await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": operation}))
                async for text in socket:
                    message = json.loads(text)
                    if message["type"] != "next":
                        break
                    change = message["payload"]["data"]["orderStatusChanged"]
                    variables["after"] = change["cursor"]
                    made = datetime.fromisoformat(change["changedAt"])
                    found.events.append((datetime.now(UTC) - made).total_seconds())
        except (OSError, WebSocketException, TimeoutError):
            pass
        found.interrupted += 1
        await asyncio.sleep(_RECONNECT_SECONDS)  # a client's pause
