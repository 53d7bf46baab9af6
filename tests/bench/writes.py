"""The measurement of setOrderStatus: the server, a bare ASGI app and bare asyncpg change the same orders in turn."""

from __future__ import annotations

import json
import uuid
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from schema.orders.enums import OrderStatus
from tests.bench.floor_writes import READ_OPERATION, STATEMENTS, floor_of
from tests.bench.load import CLIENTS, Client, Entry, compete, connected
from tests.bench.measuring import BenchError
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import asyncpg

    from server.settings import Settings
    from tests.bench.floor_writes import Floor
    from tests.bench.load import Plan
    from tests.bench.measuring import Load
    from tests.servers.process import Server

OURS: Final = "ours"
BARE_APP: Final = "bare ASGI app"
BARE_ASYNCPG: Final = "bare asyncpg"
_OPERATION: Final = "Set"
_SET: Final = """
mutation %s($input: SetOrderStatusInput!) {
  setOrderStatus(input: $input) { change { id version } userErrors { code } %s }
}
"""
_DOCUMENTS: Final = {
    _OPERATION: _SET % (_OPERATION, ""),
    READ_OPERATION: _SET % (READ_OPERATION, "order { status statusVersion }"),
}
_STATUSES: Final = tuple(OrderStatus)


@dataclass(slots=True)
class _Order:
    """An order that only one client changes, in its current state."""

    key: int
    status: OrderStatus
    version: int = 0

    def changed(self) -> _Order:
        """The expected state after the next change."""
        following = _STATUSES[(_STATUSES.index(self.status) + 1) % len(_STATUSES)]
        return _Order(self.key, following, self.version + 1)


class _Orders:
    """One client's orders, which it changes in turn."""

    def __init__(self, found: Sequence[tuple[int, str]]) -> None:
        stored = {str(status.value): status for status in OrderStatus}
        self._orders = deque(_Order(key, stored[status]) for key, status in found)

    def next(self) -> _Order:
        """The next order, in the state that it is to get."""
        return self._orders[0].changed()

    def made(self, order: _Order) -> None:
        """Record that the change was made, and move the order to the end."""
        self._orders.popleft()
        self._orders.append(order)


def contender(name: str, *, reading: bool) -> str:
    """The contender's name in the results."""
    return f"{name}, order read" if reading else name


async def measure_writes(
    server: Server, floor_url: str, floor_process: int, settings: Settings, found: Sequence[tuple[int, str]], plan: Plan
) -> Mapping[str, list[Load]]:
    """Measure each contender's changes, with and without reading the order afterwards.

    Raises:
        BenchError: a response is not a change, or the server's statements differ from the floor's.
    """
    orders = [_Orders(found[index::CLIENTS]) for index in range(CLIENTS)]
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(connected(server.graphql))
        app = await stack.enter_async_context(connected(floor_url))
        floor, connections = await stack.enter_async_context(floor_of(settings))
        await _check_statements(server, ours[0], orders[0])
        entries = []
        for operation in _DOCUMENTS:
            reading = operation == READ_OPERATION
            for name, process, clients in ((OURS, server.process.pid, ours), (BARE_APP, floor_process, app)):
                over_http = [_over_http(client, its, operation) for client, its in zip(clients, orders, strict=True)]
                entries.append(Entry(contender(name, reading=reading), over_http, process))
            bare = [
                _bare(floor, connection, its, reading=reading)
                for connection, its in zip(connections, orders, strict=True)
            ]
            entries.append(Entry(contender(BARE_ASYNCPG, reading=reading), bare))
        return await compete("setOrderStatus", entries, plan)


async def _check_statements(server: Server, client: Client, orders: _Orders) -> None:
    def counted() -> list[int]:
        lines = (json.loads(line) for line in server.log().splitlines() if line.startswith("{"))
        return [line["statements"] for line in lines if line.get("operation") == _OPERATION]

    # The first one may also delete old outcomes, which the server does from time to time.
    for _ in range(2):
        await _over_http(client, orders, _OPERATION)()
    # The server writes the line after it has sent the response.
    wait_for(lambda: len(counted()) > 1, what=lambda: "the request's line in the log")
    if counted()[-1] != STATEMENTS:
        raise BenchError(
            f"The server runs {counted()[-1]} statements for a change, the floor {STATEMENTS}: mend the floor."
        )


def _over_http(client: Client, orders: _Orders, operation: str) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        order = orders.next()
        wanted = {"orderKey": str(order.key), "status": order.status.name, "idempotencyKey": str(uuid.uuid4())}
        body = {"query": _DOCUMENTS[operation], "operationName": operation, "variables": {"input": wanted}}
        payload = (await client.post(orjson.dumps(body)))["setOrderStatus"]
        if not _as_wanted(payload, order):
            raise BenchError(f"{wanted} was answered with {payload}.")
        orders.made(order)

    return turn


def _as_wanted(payload: dict[str, Any], order: _Order) -> bool:
    now = payload.get("order", {"status": order.status.name, "statusVersion": order.version})
    return (
        payload["change"]["version"] == order.version
        and not payload["userErrors"]
        and now == {"status": order.status.name, "statusVersion": order.version}
    )


def _bare(
    floor: Floor, connection: asyncpg.Connection, orders: _Orders, *, reading: bool
) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        order = orders.next()
        _, version = await floor.set_status(connection, order.key, str(order.status.value), str(uuid.uuid4()))
        if version != order.version:
            raise BenchError(f"Order {order.key} was changed to version {version}, not {order.version}.")
        orders.made(order)
        if reading:
            await floor.read(connection, order.key)

    return turn
