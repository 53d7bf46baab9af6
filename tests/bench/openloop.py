"""The open-loop generator, a process of its own: sends requests on a fixed schedule, whether or not they are answered.

A latency counts from the scheduled moment, so that a stall of the server counts for every request that it delays. The
generator also reports how late it sent the requests: that part is not the server's doing.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import uvloop

from tests.bench.measuring import BenchError
from tests.servers.process import ROOT, environment

if TYPE_CHECKING:
    from tests.bench.wrk import Volley

_CONNECTIONS: Final = 64
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_LAST_SECONDS: Final = 10
_START_SECONDS: Final = 0.2
_PERCENTILES: Final = 100


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of durations, in milliseconds."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: list[float]) -> Quantiles:
        """The quantiles of durations in seconds."""
        cuts = statistics.quantiles(seconds, n=_PERCENTILES, method="inclusive")
        return cls(1000 * cuts[49], 1000 * cuts[98], 1000 * max(seconds))


@dataclass(frozen=True, slots=True)
class Offered:
    """The result of a schedule with a fixed rate of requests."""

    rate: float
    latency: Quantiles
    lateness: Quantiles


def offer(volley: Volley, *, rate: float, seconds: float) -> Offered:
    """Send a volley's requests in turn at this rate, from another process.

    Raises:
        BenchError: a response was an error, or did not come.
    """
    order = {
        "url": volley.url,
        "requests": [request.decode("ascii") for request in volley.requests],
        "rate": rate,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.openloop"],
        cwd=ROOT,
        env=environment(),
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=seconds + 3 * _LAST_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"{volley.name}, {rate:.0f} requests/s: {done.stderr.strip().splitlines()[-1]}")
    results = json.loads(done.stdout)
    return Offered(rate, Quantiles(**results["latency"]), Quantiles(**results["lateness"]))


class _Connection(asyncio.Protocol):
    """A connection with at most one request in flight."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._expected = 0
        self._scheduled = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, scheduled: float) -> None:
        self._scheduled = scheduled
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._expected:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._received, 0, end + 2)
            self._expected = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < self._expected:
            return
        ok = self._received.startswith(b"HTTP/1.1 200 ") and b'"errors":' not in self._received
        self._received.clear()
        self._expected = 0
        self._generator.answered(self, self._scheduled, ok=ok)

    def connection_lost(self, _error: Exception | None) -> None:
        self._generator.lost()


class _Generator:
    """A schedule, the idle connections, and the requests that wait for one."""

    def __init__(self, requests: list[bytes], rate: float, seconds: float) -> None:
        self._requests = requests
        self._rate = rate
        self._count = max(2, int(rate * seconds))
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._latencies: list[float] = []
        self._lateness: list[float] = []
        self._failed = 0
        self._done = asyncio.Event()

    async def run(self, url: str) -> dict[str, Any]:
        """Follow the schedule to its end, and return the latencies and the lateness of the requests."""
        loop, parts = asyncio.get_running_loop(), urlsplit(url)
        for _ in range(_CONNECTIONS):
            _, connection = await loop.create_connection(
                lambda: _Connection(self), parts.hostname or "", parts.port or 0
            )
            self._idle.append(connection)
        # An event loop's timers have a grain of a millisecond, a thread's sleep one of a twentieth of that.
        threading.Thread(target=self._keep_time, args=[loop], daemon=True).start()
        await asyncio.wait_for(self._done.wait(), _START_SECONDS + self._count / self._rate + _LAST_SECONDS)
        if self._failed:
            raise BenchError(f"{self._failed} of {self._count} answers were errors, or did not come")
        return {
            "latency": asdict(Quantiles.of(self._latencies)),
            "lateness": asdict(Quantiles.of(self._lateness)),
        }

    def _keep_time(self, loop: asyncio.AbstractEventLoop) -> None:
        begun = time.perf_counter() + _START_SECONDS
        for number in range(self._count):
            scheduled = begun + number / self._rate
            if (ahead := scheduled - time.perf_counter()) > 0:
                time.sleep(ahead)  # in a thread of its own: a busy event loop would distort the schedule
            loop.call_soon_threadsafe(self._due, self._requests[number % len(self._requests)], scheduled)

    def _due(self, request: bytes, scheduled: float) -> None:
        self._lateness.append(time.perf_counter() - scheduled)
        if self._idle:
            self._idle.pop().send(request, scheduled)
        else:
            # The request waits because the server has not answered another one. That is part of its latency, not of the
            # lateness.
            self._waiting.append((request, scheduled))

    def answered(self, connection: _Connection, scheduled: float, *, ok: bool) -> None:
        """Record the response to the request scheduled at that moment."""
        self._latencies.append(time.perf_counter() - scheduled)
        self._failed += not ok
        self._idle.append(connection)
        if len(self._latencies) == self._count:
            self._done.set()
        elif self._waiting:
            self._idle.pop().send(*self._waiting.popleft())

    def lost(self) -> None:
        """Record that the server has closed a connection."""
        if not self._done.is_set():
            self._failed += 1
            self._done.set()


def main() -> int:
    """Read the requests from standard input as JSON, write the results to standard output, and return the exit code."""
    order = json.load(sys.stdin)
    generator = _Generator([text.encode() for text in order["requests"]], order["rate"], order["seconds"])
    try:
        json.dump(uvloop.run(generator.run(order["url"])), sys.stdout)
    except (BenchError, TimeoutError) as error:
        sys.stderr.write(f"{str(error) or 'some answers did not come'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
