"""Owns the load: clients that ask again as soon as they are answered, and what that gives, in interleaved rounds."""

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
import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

CLIENTS = 8
_WARM_UP_SECONDS = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
# A page of 1,000 orders is a fifth of this.
_ANSWER_BYTES = 1 << 20


class BenchError(Exception):
    """There is nothing to measure; the message says why."""


class RefusedError(Exception):
    """The server says that it did nothing, and to try again: it is counted, and the client goes on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: so many rounds, in each of which every contender has so many seconds.

    `postmaster` is PostgreSQL's process, whose use of the processors is measured too.
    """

    rounds: int
    seconds: float
    postmaster: int


@dataclass(frozen=True, slots=True)
class Contender:
    """Who is measured: a turn for each client, and the process that does the work, where that is not this one."""

    name: str
    turns: Sequence[Callable[[], Awaitable[None]]]
    process_id: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What one contender did in one round."""

    rate: float
    p50_ms: float
    p99_ms: float
    # What the contender's own process took of a processor for each request, and what PostgreSQL's took.
    own_ms: float
    database_ms: float
    # How much of one processor this process was busy: near 1 the generator itself would be what is measured.
    generator: float
    refused: int


class Client:
    """An HTTP/1.1 connection that is kept alive."""

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
        """One connection."""
        parts = urlsplit(url)
        return cls(url, *await asyncio.open_connection(parts.hostname, parts.port, limit=_ANSWER_BYTES))

    async def post(self, body: bytes) -> dict[str, Any]:
        """The data of the answer.

        Raises:
            RefusedError: the server is too busy.
            BenchError: the answer is another error.
        """
        self._writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        content = await self._reader.readexactly(int(length[1])) if length else b""
        if head.startswith(b"HTTP/1.1 503 "):
            raise RefusedError(content.decode())
        if not head.startswith(b"HTTP/1.1 200 ") or b'"errors":' in content:
            raise BenchError(f"An answer is no answer: {head.splitlines()[0].decode()} {content[:500].decode()}")
        data: dict[str, Any] = orjson.loads(content)["data"]
        return data

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@contextlib.asynccontextmanager
async def connected(url: str, count: int = CLIENTS) -> AsyncIterator[list[Client]]:
    """So many connections."""
    clients = [await Client.connect(url) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def compete(what: str, contenders: Sequence[Contender], plan: Plan) -> Mapping[str, list[Load]]:
    """What each contender did in each round. A first round, thrown away, warms everything up."""
    for contender in contenders:
        await _drive(contender, min(plan.seconds, _WARM_UP_SECONDS), plan.postmaster)
    loads: dict[str, list[Load]] = {contender.name: [] for contender in contenders}
    for number in range(plan.rounds):
        sys.stderr.write(f"{what}: round {number + 1} of {plan.rounds}\n")
        # To and fro, so that none always comes right after the same other one.
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            loads[contender.name].append(await _drive(contender, plan.seconds, plan.postmaster))
    return loads


async def _drive(contender: Contender, seconds: float, postmaster: int) -> Load:
    latencies: list[float] = []
    refusals: list[str] = []
    process = psutil.Process(contender.process_id or os.getpid())
    database = psutil.Process(postmaster)
    used, database_used = _used([process]), _used(database.children())
    generator_used, begun = time.process_time(), time.perf_counter()

    async def repeat(turn: Callable[[], Awaitable[None]]) -> None:
        while (started := time.perf_counter()) < begun + seconds:
            try:
                await turn()
            except RefusedError as refusal:
                refusals.append(str(refusal))
            else:
                latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(repeat(turn) for turn in contender.turns))
    took = time.perf_counter() - begun
    if not latencies:
        raise BenchError(f"{contender.name}: not one answer in {seconds:g} s. {refusals[:1]}")
    latencies.sort()
    return Load(
        rate=len(latencies) / took,
        p50_ms=1000 * statistics.median(latencies),
        p99_ms=1000 * latencies[int(0.99 * len(latencies))],
        own_ms=_since(used, [process]) / len(latencies),
        database_ms=_since(database_used, database.children()) / len(latencies),
        generator=(time.process_time() - generator_used) / took,
        refused=len(refusals),
    )


def _used(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Each one's use of the processors so far, in milliseconds, by its id."""
    used = {}
    for process in processes:
        # One of PostgreSQL's may have ended since it was listed.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[int(process.pid)] = 1000 * float(times.user + times.system)
    return used


def _since(before: Mapping[int, float], processes: Sequence[psutil.Process]) -> float:
    return sum(now - before.get(process_id, 0) for process_id, now in _used(processes).items())
