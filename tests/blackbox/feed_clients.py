"""Clients for the tests of the feed: subscribers on both transports, which resume after a cut, and writers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.servers.process import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    # Follows the feed of the server at a URL after a cursor, of some orders or of all. Each event selects its note this
    # many times.
    Follow = Callable[[str, str, list[int] | None, int], AsyncGenerator["Event", None]]

STATUSES: Final = ("OPEN", "PARTIAL", "FULFILLED")
# Made once, although no client uses TLS: making it costs more than all the rest of a client.
_TLS: Final = ssl.create_default_context()
_PROTOCOL: Final = "graphql-transport-ws"
_SUBSCRIPTION: Final = """
subscription ($after: String, $orderKeys: [BigInt!]) {
  orderStatusChanged(after: $after, orderKeys: $orderKeys) { cursor orderKey version %s }
}
"""
_SET: Final = """
mutation ($input: SetOrderStatusInput!) { setOrderStatus(input: $input) { change { orderKey version } } }
"""
_SET_MANY: Final = """
mutation ($input: SetOrderStatusesInput!) { setOrderStatuses(input: $input) { results { change { orderKey version } } } }
"""
_PAGE: Final = """
query ($first: Int, $after: String, $filter: OrderStatusChangeFilter) {
  orderStatusChanges(first: $first, after: $after, filter: $filter) {
    edges { cursor node { orderKey version } } pageInfo { hasNextPage endCursor }
  }
}
"""


class Change(NamedTuple):
    """Identifies a change."""

    order: int
    version: int

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Change:
        """The change in an answer."""
        return cls(int(answer["orderKey"]), answer["version"])


class Event(NamedTuple):
    """A change and its cursor in the feed."""

    cursor: str
    change: Change


class RefusedError(Exception):
    """The server has ended a subscription with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.reason: str = error["extensions"]["reason"]
        self.retryable: bool = error["extensions"]["retryable"]


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, verify=_TLS)


def _subscription(after: str, keys: list[int] | None, notes: int) -> dict[str, Any]:
    document = _SUBSCRIPTION % " ".join(f"note{number}: note" for number in range(notes))
    return {"query": document, "variables": {"after": after, "orderKeys": keys}}


def _event(answer: dict[str, Any]) -> Event:
    if "errors" in answer:
        raise RefusedError(answer["errors"][0])
    change = answer["data"]["orderStatusChanged"]
    return Event(change["cursor"], Change.of(change))


async def over_sse(url: str, after: str, keys: list[int] | None, notes: int) -> AsyncGenerator[Event, None]:
    """Follow the feed as server-sent events."""
    subscription = _subscription(after, keys, notes)
    events = {"accept": "text/event-stream"}
    async with (
        _client(url) as client,
        client.stream("POST", "/api/graphql/stream", json=subscription, headers=events) as response,
    ):
        assert response.status_code == 200
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.strip()
            elif fields.get("event") == "next":
                event = _event(json.loads(fields["data"]))
                assert fields["id"] == event.cursor
                yield event
            if not line:
                fields = {}


async def over_websocket(url: str, after: str, keys: list[int] | None, notes: int) -> AsyncGenerator[Event, None]:
    """Follow the feed over a WebSocket."""
    subscription = _subscription(after, keys, notes)
    address = f"{url.replace('http', 'ws', 1)}/api/graphql"
    async with connect(
        address,
        subprotocols=[_PROTOCOL],  # type: ignore[list-item] # websockets has a NewType of str for it
        # No compression. The client keeps one message and leaves the rest to the socket. Closing does not wait for the
        # server.
        compression=None,
        max_queue=1,
        close_timeout=0,
    ) as websocket:
        await websocket.send('{"type": "connection_init"}')
        assert json.loads(await websocket.recv())["type"] == "connection_ack"
        await websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": subscription}))
        async for text in websocket:
            message = json.loads(text)
            match message["type"]:
                case "next":
                    yield _event(message["payload"])
                case "error":
                    raise RefusedError(message["payload"][0])
                case "complete":
                    return


class Subscriber:
    """Follows the feed, and resumes after its last cursor whenever the connection is cut."""

    def __init__(self, follow: Follow, url: str, after: str, keys: list[int] | None = None, *, notes: int = 0) -> None:
        self._follow, self._url, self._notes = follow, url, notes
        self.after, self.keys = after, keys
        self.events: list[Event] = []
        self.times: dict[Change, float] = {}
        self.reads = asyncio.Event()
        self.reads.set()
        self.cut_off = 0
        self.refusals: list[str] = []

    @property
    def heard(self) -> list[Change]:
        """All changes heard so far."""
        return [event.change for event in self.events]

    async def hear(self, count: int) -> None:
        """Wait until the subscriber has heard this many changes in all."""
        await until(lambda: len(self.events) >= count)

    async def hear_of(self, change: Change) -> None:
        """Wait until the subscriber has heard of this change."""
        await until(lambda: change in self.times)

    async def run(self) -> None:
        """Follow the feed until cancelled."""
        while True:
            try:
                await self._run_once(self.events[-1].cursor if self.events else self.after)
            except (OSError, httpx.TransportError, WebSocketException):
                pass
            except RefusedError as error:
                if not error.retryable:
                    raise
                self.refusals.append(error.reason)
            self.cut_off += 1
            await asyncio.sleep(0.2)  # before it reconnects

    async def _run_once(self, after: str) -> None:
        async with aclosing(self._follow(self._url, after, self.keys, self._notes)) as events:
            async for event in events:
                self.events.append(event)
                self.times[event.change] = time.monotonic()
                await self.reads.wait()


@contextlib.asynccontextmanager
async def following(*subscribers: Subscriber) -> AsyncIterator[asyncio.TaskGroup]:
    """Run the subscribers inside the block. A task that fails ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(subscriber.run()) for subscriber in subscribers]
        yield group
        for task in tasks:
            task.cancel()


class Writers:
    """Writers that change orders until stopped. Some of them share orders."""

    def __init__(self, *urls: str, count: int) -> None:
        self._urls, self._count = urls, count
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: dict[Change, float] = {}

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start the writers."""
        self._tasks = [group.create_task(self._write(number)) for number in range(self._count)]

    async def write(self, count: int) -> None:
        """Wait until this many more changes are acknowledged."""
        goal = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= goal)

    async def stop(self) -> None:
        """Stop the writers, and wait until each knows the outcome of its last change."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _write(self, number: int) -> None:
        rng = random.Random(number)  # noqa: S311 # the same orders in every run
        # Even-numbered writers have orders of their own, odd-numbered ones share a few.
        keys = range(100 + 5 * number, 110 + 5 * number) if number % 2 == 0 else range(1, 11)
        async with _client(self._urls[number % len(self._urls)]) as client:
            while not self._stop.is_set():
                await self._settle(client, {"orderKey": rng.choice(keys), "status": rng.choice(STATUSES)})

    async def _settle(self, client: httpx.AsyncClient, wanted: dict[str, object]) -> None:
        """Repeat the change with its idempotency key until its outcome is known."""
        wanted["idempotencyKey"] = str(uuid.uuid4())
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await client.post("/api/graphql", json={"query": _SET, "variables": {"input": wanted}})
                answer = response.json()
                if answer["data"] is not None:
                    if made := answer["data"]["setOrderStatus"]["change"]:
                        self.acknowledged[Change.of(made)] = time.monotonic()
                    return
                assert answer["errors"][0]["extensions"]["retryable"], answer
            await asyncio.sleep(0.2)  # between two attempts


async def ask(url: str, document: str, **variables: object) -> dict[str, Any]:
    """Run a document that has to succeed."""
    async with _client(url) as client:
        answer = (await client.post("/api/graphql", json={"query": document, "variables": variables})).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


async def head(url: str) -> str:
    """The cursor of the feed's head."""
    return str((await ask(url, "{ orderStatusChanges(first: 0) { headCursor } }"))["orderStatusChanges"]["headCursor"])


async def pages(url: str, after: str, size: int, **chosen: object) -> list[Event]:
    """The history after a cursor, page by page. Every page but the last one has to be full, and none may be empty."""
    events: list[Event] = []
    while True:
        page = (await ask(url, _PAGE, first=size, after=after, filter=chosen))["orderStatusChanges"]
        assert page["edges"]
        events += [Event(edge["cursor"], Change.of(edge["node"])) for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            return events
        assert len(page["edges"]) == size
        after = page["pageInfo"]["endCursor"]


async def change(url: str, order: int, *statuses: str) -> list[Change]:
    """Set an order's status to each of these in turn. Each has to be new."""
    answers = [await ask(url, _SET, input={"orderKey": order, "status": status}) for status in statuses]
    return [Change.of(answer["setOrderStatus"]["change"]) for answer in answers]


async def change_many(url: str, orders: Sequence[int], status: str, note: str | None = None) -> list[Change]:
    """Set the status of several orders at once. Return the changes of the orders for which it is new."""
    changes = [{"orderKey": order, "status": status, "note": note} for order in orders]
    results = (await ask(url, _SET_MANY, input={"changes": changes}))["setOrderStatuses"]["results"]
    return [Change.of(result["change"]) for result in results if result["change"]]
