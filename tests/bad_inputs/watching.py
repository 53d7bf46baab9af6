"""Observation of a server during bad inputs: stalls of the event loop, CPU time, the log, and leaks."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from bisect import bisect_right
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.bad_inputs.connection import connect, read_reply

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_PROBE: Final = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# Between two probes. Probing then takes at most a tenth of a CPU.
_PAUSE_SECONDS: Final = 0.002
_ENDLESS_SECONDS: Final = 30
# Patterns of the server's internals.
_INSIDES: Final = re.compile(
    r"Traceback \(most recent|File \\?\"[^\"]+\", line \d|site-packages|/(usr|home|root|opt|work|tmp|var|app)/[\w.-]+|"
    r"\b\w{1,60}\.py\b|\bSELECT\b.{1,400}?\bFROM\b|\bINSERT INTO\b|\bUPDATE \w+ SET\b|asyncpg|sqlalchemy|SQLSTATE|"
    r"orders_synced|\bat 0x[0-9a-f]{6,}|graphql-core|RecursionError|\b\w{1,60}Exception\b|KeyError|TypeError|ValueError",
    re.DOTALL,
)


class Prober(threading.Thread):
    """Requests `/livez` on a connection of its own, repeatedly while it watches.

    Time in which the prober or the server was ready to run but had no CPU does not count: the machine caused that wait.
    """

    def __init__(self, url: str, pid: int) -> None:
        super().__init__(name="prober", daemon=True)
        self._url = url
        self._server = Path(f"/proc/{pid}/schedstat")
        self._watching = threading.Event()
        self._probed = threading.Condition()
        self._begun = self._done = 0
        self._worst = 0.0
        self._ended = False
        self.start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[float]]:
        """Watch inside the block. Afterwards the list has the longest response time in seconds."""
        worst: list[float] = []
        with self._probed:
            self._worst = 0.0
        self._watching.set()
        try:
            yield worst
        finally:
            with self._probed:
                # A probe that starts after everything was sent notices what still blocks.
                last = self._begun + 1
                self._probed.wait_for(lambda: self._done >= last or self._ended, _ENDLESS_SECONDS)
                self._watching.clear()
                worst.append(self._worst)

    def stop(self) -> None:
        """Stop probing."""
        self._ended = True
        self._watching.set()
        self.join()

    def run(self) -> None:
        """Probe whenever watching."""
        while not self._ended:
            with contextlib.suppress(OSError), connect(self._url) as connection, connection.makefile("rb") as stream:
                while self._watching.wait() and not self._ended:
                    with self._probed:
                        self._begun += 1
                    started, robbed = time.perf_counter(), self._robbed_seconds()
                    connection.sendall(_PROBE)
                    if read_reply(stream) is None:
                        break
                    waited = time.perf_counter() - started - (self._robbed_seconds() - robbed)
                    with self._probed:
                        self._done += 1
                        self._worst = max(self._worst, waited)
                        self._probed.notify_all()
                    time.sleep(_PAUSE_SECONDS)  # between two probes

    def _robbed_seconds(self) -> float:
        """How many seconds the prober and the server have waited for a CPU so far."""
        own = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        with contextlib.suppress(OSError):
            return sum(int(stat.read_text().split()[1]) for stat in (self._server, own)) / 1e9
        return 0.0


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, in seconds."""
    # Linux's id of another process's CPU clock.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def leaks(text: str, *, canaries: Collection[str], sent: str = "") -> list[str]:
    """The parts of a text that disclose internals or secrets. Parts that the caller sent do not count."""
    found = [canary for canary in canaries if canary in text]
    return found + [match[0] for match in _INSIDES.finditer(text) if match[0] not in sent]


class Log:
    """A server's log, indexed by time."""

    def __init__(self, text: str) -> None:
        self._moments: list[float] = []
        self._lines: list[str] = []
        entries = [(_moment(line), line) for line in text.splitlines(keepends=True)]
        # A line that the server did not write as JSON gets the time of the line before.
        moment = 0.0
        dated = [(moment := found or moment, line) for found, line in entries]
        for found, line in sorted(dated, key=lambda entry: entry[0]):
            self._moments.append(found)
            self._lines.append(line)

    def between(self, begin: float, end: float, *, without: str) -> Sequence[str]:
        """The lines written in this period, except those that contain `without`."""
        first, last = bisect_right(self._moments, begin), bisect_right(self._moments, end)
        return [line for line in self._lines[first:last] if without not in line]


def _moment(line: str) -> float | None:
    try:
        entry: dict[str, Any] = json.loads(line)
        return datetime.fromisoformat(entry["timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return None
