"""The runner: sends cases to a server, and counts the events that must never happen."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from tests.bad_inputs.case import FOUND, MARK, ORDER, Case, Sent, ask
from tests.bad_inputs.connection import Exchange, Reply, exchange
from tests.bad_inputs.watching import Log, Prober, cpu_seconds, leaks
from tests.servers.process import wait_for
from tests.support.calibration import MEASURES, allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.servers.issuer import Issuer
    from tests.servers.process import Server

# On the reference machine of tests/support/calibration.py. STALL_SECONDS and CPU_SECONDS are scaled to this machine.
STALL_SECONDS: Final = 0.05
CPU_SECONDS: Final = 0.025
LOGGED_BYTES: Final = 2_048
# A stall caused by the machine does not happen each time.
_TRIES: Final = 5
_TIMES: Final = 3
_SLOW_SECONDS: Final = 0.5
_GOOD: Final = "good-request-"
_INTENDED: Final = frozenset({503, 504})
_SERVER_ERRORS: Final = 500


@dataclass
class Counters:
    """The events that must never happen, with a description of each that did."""

    server_errors: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    stalls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, several: Iterable[Counters]) -> Counters:
        """The sum of several counters."""
        counters = list(several)
        return cls(*([entry for one in counters for entry in getattr(one, of.name)] for of in fields(cls)))


@dataclass(frozen=True)
class Measured:
    """The resources that one case used."""

    case: str
    refused: bool
    cpu_seconds: float
    gap_seconds: float
    begun: float
    ended: float
    times: int


class Subject:
    """A server under test, and what was observed of it.

    Args:
        server: the process.
        good: a request that always succeeds; by default, for an order.
        answer: the response to it.
        issuer: the issuer of the tokens that the server trusts, if there is one.
        canaries: secrets given to the server.

    In `make faults` it also measures the stalls of the event loop, and the CPU time of each case.
    """

    def __init__(
        self,
        server: Server,
        *,
        good: Sent | None = None,
        answer: object = FOUND,
        issuer: Issuer | None = None,
        canaries: Collection[str],
    ) -> None:
        self.server = server
        self.counters = Counters()
        self.measured: list[Measured] = []
        self._good, self._answer = good or ask(ORDER), answer
        self._issuer = issuer
        self._canaries = [*canaries]
        self._goods = 0
        self._prober = Prober(server.url, server.process.pid) if MEASURES else None
        self._stall_seconds = allowed(STALL_SECONDS) if MEASURES else math.inf
        self._check_good("the start")

    def run(self, case: Case) -> list[str]:
        """Run a case, and return everything that went wrong."""
        assert self._issuer is not None or isinstance(case.sent, Sent), case.name
        sent = case.sent if isinstance(case.sent, Sent) else case.sent(self._issuer)  # type: ignore[arg-type] # as asserted
        before = Counters(*(list(getattr(self.counters, of.name)) for of in fields(Counters)))
        begun = time.time()
        if self._prober is None:
            received, times, gap = self._exchange(case, sent), 1, 0.0
        else:
            received, times, gap = self._run_watched(self._prober, case, sent)
        if gap > self._stall_seconds:
            self.counters.stalls.append(f"{case.name}: {gap * 1000:.0f} ms")
        self._judge(case, sent, received)
        self._check_good(case.name)
        ended = time.time()
        refused = case.expected.status != 200 or bool(case.expected.reasons)
        taken = self._cpu(case, sent) if MEASURES else 0.0
        self.measured.append(Measured(case.name, refused, taken, gap, begun, ended, times * case.expected.replies))
        return [
            entry
            for of in fields(Counters)
            for entry in getattr(self.counters, of.name)[len(getattr(before, of.name)) :]
        ]

    def close(self) -> None:
        """Stop the prober."""
        if self._prober is not None:
            self._prober.stop()

    def read_log(self) -> dict[str, float]:
        """Search the log for leaks, and return how many bytes each case logged."""
        mark = f"{_GOOD}{self._goods}"
        wait_for(lambda: mark in self.server.log(), what=lambda: f"{mark} in the log")
        text = self.server.log()
        self.counters.leaks += [f"the log: {leak}" for leak in leaks(text, canaries=[*self._canaries, MARK])]
        log = Log(text)
        return {
            one.case: sum(len(line) for line in log.between(one.begun, one.ended, without=_GOOD)) / one.times
            for one in self.measured
        }

    def _run_watched(self, prober: Prober, case: Case, sent: Sent) -> tuple[Exchange, int, float]:
        """Run a case until it causes no stall. Return the result, the number of runs, and the smallest gap."""
        times, gap = 0, math.inf
        while times < _TRIES and gap > self._stall_seconds:
            times += 1
            with prober.watching() as worst:
                received = self._exchange(case, sent)
            gap = min(gap, worst[0])
        return received, times, gap

    def _exchange(self, case: Case, sent: Sent) -> Exchange:
        expected = case.expected
        try:
            return exchange(self.server.url, sent, replies=expected.replies, to_the_end=expected.closed)
        except TimeoutError:
            self.counters.wrong.append(f"{case.name}: no response")
            return Exchange((), closed=False)

    def _judge(self, case: Case, sent: Sent, received: Exchange) -> None:
        expected, counters = case.expected, self.counters
        last: Reply | None = received.replies[-1] if received.replies else None
        wrong = expected.wrong(last)
        if expected.status is not None and len(received.replies) != expected.replies:
            wrong.append(f"{len(received.replies)} responses instead of {expected.replies}")
        wrong += [
            f"not the response to a good request: {reply}"
            for reply in received.replies[:-1]
            if reply.json() != self._answer
        ]
        if expected.closed and not received.closed:
            wrong.append("the connection is still open")
        counters.wrong += [f"{case.name}: {sentence}" for sentence in wrong]
        text = sent.content.decode("latin-1")
        for reply in received.replies:
            if reply.status >= _SERVER_ERRORS and (reply.status != expected.status or reply.status not in _INTENDED):
                counters.server_errors.append(f"{case.name}: {reply}")
            response = f"{reply.headers} {reply.body.decode('utf-8', 'replace')}"
            canaries = [canary for canary in self._canaries if canary not in text]
            counters.leaks += [f"{case.name}: {leak}" for leak in leaks(response, canaries=canaries, sent=text)]

    def _check_good(self, after: str) -> None:
        """Check that a good request on a new connection succeeds."""
        self._goods += 1
        if self.server.process.poll() is not None:
            self.counters.deaths.append(after)
            return
        head, _, body = self._good.content.partition(b"\r\n\r\n")
        marked = Sent(head + f"\r\nX-Request-Id: {_GOOD}{self._goods}\r\n\r\n".encode() + body)
        try:
            received = exchange(self.server.url, marked)
        except OSError as error:
            self.counters.deaths.append(f"{after}: {error!r}")
            return
        if [reply.json() for reply in received.replies] != [self._answer]:
            self.counters.wrong.append(f"{after}: then a good request got {[*map(str, received.replies)]}")

    def _cpu(self, case: Case, sent: Sent) -> float:
        """The smallest CPU time of several runs, in seconds. A slow case is run only once."""
        taken = []
        for _ in range(_TIMES):
            started, before = time.perf_counter(), cpu_seconds(self.server.process.pid)
            self._exchange(case, sent)
            taken.append(cpu_seconds(self.server.process.pid) - before)
            if time.perf_counter() - started > _SLOW_SECONDS:
                break
        self._check_good(case.name)
        return min(taken)


@dataclass(frozen=True)
class Outcome:
    """The results of all cases: the counters, and lines with counts and measurements."""

    counters: Counters
    lines: list[str]
    slowest_seconds: float
    most_logged_bytes: float


def outcome_of(subjects: Iterable[Subject]) -> Outcome:
    """Evaluate the cases run on these subjects, including their logs."""
    subjects = list(subjects)
    logged = {name: size for subject in subjects for name, size in subject.read_log().items()}
    counters = Counters.of(subject.counters for subject in subjects)
    measured = [one for subject in subjects for one in subject.measured]
    refusals = [one for one in measured if one.refused]
    slowest = max(refusals or measured, key=lambda one: one.cpu_seconds)
    gap = max(measured, key=lambda one: one.gap_seconds)
    longest = max(logged, key=lambda name: logged[name])
    counted = ", ".join(f"{of.name.replace('_', ' ')} {len(getattr(counters, of.name))}" for of in fields(counters))
    measures = [f"most logged {logged[longest]:.0f} bytes ({longest})"]
    if MEASURES:
        most = allowed(STALL_SECONDS) * 1000
        measures += [
            f"slowest rejection {slowest.cpu_seconds * 1000:.1f} ms of CPU ({slowest.case})",
            f"longest gap of the event loop {gap.gap_seconds * 1000:.1f} ms of {most:.1f} ms ({gap.case})",
        ]
    lines = [f"bad inputs: {len(measured)}; {counted}", *(f"  {measure}" for measure in measures)]
    return Outcome(counters, lines, slowest.cpu_seconds, logged[longest])
