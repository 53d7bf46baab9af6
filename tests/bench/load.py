"""The closed-loop load: clients that send a request when the last one is answered, in interleaved rounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import orjson

from tests.bench.measuring import BenchError, Load, Processors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

CLIENTS = 8
_WARM_UP_SECONDS = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
# A page of 1,000 orders takes a fifth of this.
_ANSWER_BYTES = 1 << 20


class RefusedError(Exception):
    """The server did nothing and asks to retry. This is counted, and the client goes on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of rounds, and the seconds of each contender in each of them.

    `postmaster` is PostgreSQL's process, whose CPU time is measured too.
    """

    rounds: int
    seconds: float
    postmaster: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender: a function for each client's turn, and the process that does the work if it is not this one."""

    name: str
    turns: Sequence[Callable[[], Awaitable[None]]]
    process_id: int | None = None


class Client:
    """A kept-alive HTTP/1.1 connection."""

    def __init__(self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(url)
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            "content-type: application/json\r\naccept: application/json\r\ncontent-length: "
        ).encode()
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Open a connection."""
        parts = urlsplit(url)
        return cls(url, *await asyncio.open_connection(parts.hostname, parts.port, limit=_ANSWER_BYTES))

    async def post(self, body: bytes) -> dict[str, Any]:
        """Post a body, and return the response's data.

        Raises:
            RefusedError: the server is too busy.
            BenchError: the response is another error.
        """
        head, content = await self.send(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        if head.startswith(b"HTTP/1.1 503 "):
            raise RefusedError(content.decode())
        data: dict[str, Any] = orjson.loads(checked(head, content))["data"]
        return data

    async def send(self, request: bytes) -> tuple[bytes, bytes]:
        """Send a complete request, and return the head and the content of the response."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head, await self._reader.readexactly(int(length[1])) if length else b""

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


def checked(head: bytes, content: bytes) -> bytes:
    """The content of a successful response.

    Raises:
        BenchError: the response is an error.
    """
    if not head.startswith(b"HTTP/1.1 200 ") or b'"errors":' in content:
        raise BenchError(f"A request failed: {head.splitlines()[0].decode()} {content[:500].decode()}")
    return content


@contextlib.asynccontextmanager
async def connected(url: str, count: int = CLIENTS) -> AsyncIterator[list[Client]]:
    """Open a number of connections."""
    clients = [await Client.connect(url) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def compete(what: str, entries: Sequence[Entry], plan: Plan) -> Mapping[str, list[Load]]:
    """Measure each contender in each round. A first round, which is not counted, warms everything up."""
    for entry in entries:
        await drive(entry, min(plan.seconds, _WARM_UP_SECONDS), plan.postmaster)
    loads: dict[str, list[Load]] = {entry.name: [] for entry in entries}
    for number in range(plan.rounds):
        sys.stderr.write(f"{what}: round {number + 1} of {plan.rounds}\n")
        # In alternating order, so that no contender always follows the same other one.
        for entry in entries if number % 2 == 0 else reversed(entries):
            loads[entry.name].append(await drive(entry, plan.seconds, plan.postmaster))
    return loads


async def drive(entry: Entry, seconds: float, postmaster: int) -> Load:
    """Run one contender for one round.

    Raises:
        BenchError: there was no response, or one was an error.
    """
    latencies: list[float] = []
    refusals: list[str] = []
    processors = Processors.now(entry.process_id or os.getpid(), postmaster)
    generator_used, begun = time.process_time(), time.perf_counter()

    async def repeat(turn: Callable[[], Awaitable[None]]) -> None:
        while (started := time.perf_counter()) < begun + seconds:
            try:
                await turn()
            except RefusedError as refusal:
                refusals.append(str(refusal))
            else:
                latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(repeat(turn) for turn in entry.turns))
    took = time.perf_counter() - begun
    if not latencies:
        raise BenchError(f"{entry.name}: no answer in {seconds:g} s. {refusals[:1]}")
    latencies.sort()
    own, database = processors.since()
    return Load(
        rate=len(latencies) / took,
        p50_ms=1000 * statistics.median(latencies),
        p99_ms=1000 * latencies[int(0.99 * len(latencies))],
        own_ms=own / len(latencies),
        database_ms=database / len(latencies),
        generator=(time.process_time() - generator_used) / took,
        refused=len(refusals),
    )
