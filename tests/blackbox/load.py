"""A load for tests of events that clients must not notice: requests until stopped, with the result of each."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.servers.process import NO_TLS, PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

READ: Final = "{ orders(first: 5) { nodes { orderKey status } } }"
COUNT: Final = '{ orders(filter: {customerKey: {eq: "7"}}) { totalCount } }'
_LOOK_UP: Final = "query($key: BigInt!) { order(orderKey: $key) { orderKey status statusVersion } }"
_SET: Final = """
mutation($key: BigInt!, $status: OrderStatus!) {
  setOrderStatus(input: {orderKey: $key, status: $status}) { change { version } userErrors { code } }
}
"""
_STATUSES: Final = ("OPEN", "PARTIAL", "FULFILLED")
# Between two requests of one client: the load has to be there when something happens, not to saturate two cores.
_PAUSE_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Fate:
    """The result of one request: when it was sent, how long it took, and the response."""

    sent_at: float
    seconds: float
    status: int
    reason: str | None
    retry_after: str | None
    body: str

    @property
    def good(self) -> bool:
        """Whether the response has data and no errors."""
        return self.status == 200 and self.reason is None


class Load:
    """Clients that read and write until stopped."""

    def __init__(self, url: str, *, readers: int = 4, writers: int = 1) -> None:
        self._url = url
        self._clients = [*([self._reads] * readers), *([self._writes] * writers)]
        self.fates: list[Fate] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send requests inside the block. At its end, wait for those in flight."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(self._clients):
                group.create_task(self._run(client(number), stop))
            try:
                yield
            finally:
                stop.set()

    def since(self, moment: float) -> list[Fate]:
        """The requests sent since a moment of the monotonic clock."""
        return [fate for fate in self.fates if fate.sent_at >= moment]

    @property
    def bad(self) -> list[Fate]:
        """The requests whose response is not data alone."""
        return [fate for fate in self.fates if not fate.good]

    async def answered(self, count: int, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until this many more requests are answered with data alone."""
        goal = len(self.fates) - len(self.bad) + count
        async with asyncio.timeout(seconds):
            while len(self.fates) - len(self.bad) < goal:  # noqa: ASYNC110 # the list of fates has no event to wait for
                await asyncio.sleep(0.01)  # between two looks at the condition

    async def _run(self, bodies: Iterator[dict[str, Any]], stop: asyncio.Event) -> None:
        async with httpx.AsyncClient(base_url=self._url, verify=NO_TLS) as client:
            while not stop.is_set():
                self.fates.append(await send(client, next(bodies)))
                await asyncio.sleep(_PAUSE_SECONDS)

    @staticmethod
    def _reads(number: int) -> Iterator[dict[str, Any]]:
        while True:
            yield {"query": READ}
            yield {"query": _LOOK_UP, "variables": {"key": number + 1}}
            yield {"query": COUNT}

    @staticmethod
    def _writes(number: int) -> Iterator[dict[str, Any]]:
        while True:
            for status in _STATUSES:
                yield {"query": _SET, "variables": {"key": number + 1, "status": status}}


async def send(client: httpx.AsyncClient, body: dict[str, Any]) -> Fate:
    """Send one request and return its fate. Without a response the status is 0."""
    sent_at = time.monotonic()
    try:
        response = await client.post("/api/graphql", json=body)
    except httpx.TransportError as error:
        return Fate(sent_at, time.monotonic() - sent_at, 0, repr(error), None, "")
    answer = response.json()
    errors = answer.get("errors", [])
    reason = errors[0]["extensions"]["reason"] if errors else None
    seconds = time.monotonic() - sent_at
    return Fate(sent_at, seconds, response.status_code, reason, response.headers.get("retry-after"), response.text)


def quantile(values: list[float], part: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 for an empty list."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else 0.0
