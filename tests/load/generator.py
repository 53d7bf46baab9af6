"""The load generator, a process of its own: phases with a fixed rate of requests, whatever the responses are.

A phase can also have a fixed number of clients that wait for each response, so that the same generator measures the
capacity and exceeds it. A latency counts from the scheduled moment. The generator also reports how late it sent the
requests: that part is not the server's doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import uvloop

from tests.servers.process import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_TICK_SECONDS: Final = 0.001
_LAST_SECONDS: Final = 5
_RECONNECT_SECONDS: Final = 0.01
_OK: Final = 200
# In place of the status: of a connection that was closed, and of a 200 whose answer has errors.
LOST, FAILED = 0, -1


@dataclass(frozen=True, slots=True)
class Phase:
    """A fixed rate of requests for some seconds, or a number of clients that send a request after each response."""

    rate: float
    seconds: float
    clients: int = 0


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """The result of a phase: each response's status, latency, and moment in seconds since the phase's start."""

    answers: list[tuple[int, float, float]]
    lateness: list[float]
    unanswered: int

    def latencies(self, status: int) -> list[float]:
        """The latencies of the responses with this status."""
        return [latency for given, latency, _ in self.answers if given == status]

    def statuses(self) -> Counter[int]:
        """The number of responses by status, `LOST` or `FAILED`."""
        return Counter(status for status, _, _ in self.answers)


def offer(url: str, requests: Sequence[bytes], phases: Sequence[Phase], *, connections: int) -> subprocess.Popen[str]:
    """Start to send the requests in turn, from another process. `results_of` waits for the results."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.load.generator"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    job = {
        "url": url,
        "requests": [request.decode("ascii") for request in requests],
        "phases": [asdict(phase) for phase in phases],
        "connections": connections,
    }
    stdin = cast("Any", process.stdin)
    stdin.write(json.dumps(job))
    stdin.close()
    return process


def results_of(process: subprocess.Popen[str]) -> list[PhaseResult]:
    """Wait for the results of each phase."""
    with process:
        text = cast("Any", process.stdout).read()
    return [PhaseResult([tuple(answer) for answer in one.pop("answers")], **one) for one in json.loads(text)]


class _Connection(asyncio.Protocol):
    """A connection with at most one request in flight."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._transport: asyncio.Transport
        self._head = b""
        self._left = 0
        self._status = 0
        self._failed = False
        self.sent: tuple[int, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, phase: int, scheduled: float) -> None:
        self.sent = phase, scheduled
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            length = _LENGTH.search(data, 0, end + 2)
            self._head, self._status, self._failed = b"", int(data[9:12]), False
            self._left = end + 4 + (int(length[1]) if length else 0)
        self._left -= len(data)
        self._failed = self._failed or b'"errors":' in data
        if self._left <= 0:
            self._left = 0
            self._generator.answered(self, FAILED if self._failed and self._status == _OK else self._status)

    def connection_lost(self, _error: Exception | None) -> None:
        self._generator.lost(self)


class _Generator:
    def __init__(self, job: dict[str, Any]) -> None:
        self._url = urlsplit(job["url"])
        self._requests: list[bytes] = [text.encode() for text in job["requests"]]
        self._phases = [Phase(**phase) for phase in job["phases"]]
        self._connections: int = job["connections"]
        # Used in turn, so that no connection is idle for so long that the server closes it.
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, int, float]] = deque()
        self._results = [PhaseResult([], [], 0) for _ in self._phases]
        self._begun = [0.0 for _ in self._phases]
        self._turn = 0
        self._closed_until = 0.0
        self._due = 0
        self._answered = 0
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self) -> list[dict[str, Any]]:
        for _ in range(self._connections):
            await self._open()
        begun = time.perf_counter()
        for number, phase in enumerate(self._phases):
            self._begun[number] = begun
            if phase.clients:
                await self._closed(number, phase)
                begun = time.perf_counter()
                continue
            count, sent = int(phase.rate * phase.seconds), 0
            while sent < count:
                now = time.perf_counter()
                due = min(count, int((now - begun) * phase.rate) + 1)
                for which in range(sent, due):
                    self._send(self._next(), number, begun + which / phase.rate, now)
                sent = due
                await asyncio.sleep(_TICK_SECONDS)  # the grain of the schedule
            begun += phase.seconds
        until = time.perf_counter() + _LAST_SECONDS
        while self._answered < self._due and time.perf_counter() < until:  # noqa: ASYNC110 # also polls the clock
            await asyncio.sleep(_TICK_SECONDS)  # for the last answers
        return [{**asdict(one), "unanswered": self._due - self._answered} for one in self._results]

    async def _closed(self, number: int, phase: Phase) -> None:
        self._closed_until = time.perf_counter() + phase.seconds
        for _ in range(phase.clients):
            now = time.perf_counter()
            self._send(self._next(), number, now, now)
        while time.perf_counter() < self._closed_until or self._answered < self._due:  # noqa: ASYNC110 # as in `run`
            await asyncio.sleep(_TICK_SECONDS)  # for the clock, and for the last responses

    def _next(self) -> bytes:
        self._turn += 1
        return self._requests[self._turn % len(self._requests)]

    def _send(self, request: bytes, phase: int, scheduled: float, now: float) -> None:
        self._due += 1
        self._results[phase].lateness.append(now - scheduled)
        if self._idle:
            self._idle.popleft().send(request, phase, scheduled)
        else:
            self._waiting.append((request, phase, scheduled))

    def answered(self, connection: _Connection, status: int) -> None:
        if connection.sent is None:
            return
        phase, scheduled = connection.sent
        connection.sent = None
        self._answered += 1
        self._results[phase].answers.append((status, time.perf_counter() - scheduled, scheduled - self._begun[phase]))
        if self._waiting:
            connection.send(*self._waiting.popleft())
            return
        self._idle.append(connection)
        if self._phases[phase].clients and (now := time.perf_counter()) < self._closed_until:
            self._send(self._next(), phase, now, now)

    def lost(self, connection: _Connection) -> None:
        """Reconnect. The request in flight counts as answered with `LOST`."""
        if connection.sent is not None:
            waiting, self._waiting = self._waiting, deque()
            self.answered(connection, LOST)
            self._waiting = waiting
        if connection in self._idle:
            self._idle.remove(connection)
        opening = asyncio.create_task(self._reopen())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self), self._url.hostname or "", self._url.port or 0
        )
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    async def _reopen(self) -> None:
        while True:
            await asyncio.sleep(_RECONNECT_SECONDS)  # a client's pause
            with contextlib.suppress(OSError):
                return await self._open()


def main() -> int:
    """Read the requests from standard input as JSON, write the results to standard output, and return the exit code."""
    json.dump(uvloop.run(_Generator(json.load(sys.stdin)).run()), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
