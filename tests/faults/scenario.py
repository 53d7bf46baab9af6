"""A scenario: load before, during and after a fault, the result of each request, and the nine counters."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.blackbox.ledger import Ledger, Outcome
from tests.faults.audit import audited
from tests.faults.leaks import Leaks
from tests.faults.orders import known_orders
from tests.faults.rig import REQUEST_TIMEOUT_SECONDS
from tests.faults.traffic import Reply, Traffic
from tests.faults.vitals import leaks_after, vitals
from tests.faults.walk import walking
from tests.support.calibration import held, slowness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.faults.audit import Audit
    from tests.faults.rig import Rig

STEADY_SECONDS: Final = 10.0
AFTER_SECONDS: Final = 20.0
RATE: Final = float(os.environ.get("FAULT_RATE", "150"))
WRITABLE: Final = 3000
# No request may take longer than its deadline and this.
_GRACE_SECONDS: Final = 1.0
_EXAMPLES: Final = 3


@dataclass
class Report:
    """The results of a scenario. Times are those of the monotonic clock."""

    fault: str
    title: str
    began_at: float
    cleared_at: float
    replies: list[Reply]
    allowed: frozenset[str]
    audit: Audit
    walk_faults: int
    walks: int
    leaks: list[str]
    disclosed: list[str]
    deadline_seconds: float
    misses: list[str] = field(default_factory=list)

    def during(self, *, good: bool, kind: str | None = None, reason: str | None = None) -> list[float]:
        """The durations, in seconds, of the matching requests sent between the fault's start and its end."""
        return [
            reply.seconds
            for reply in self.replies
            if self.began_at <= reply.sent_at < self.cleared_at
            and (reply.good if good else reply.refused)
            and kind in {None, reply.kind}
            and reason in {None, reply.reason}
        ]

    @property
    def recovery_seconds(self) -> float:
        """From the end of the fault to the first successful response to a request sent since."""
        since = [reply.ended_at for reply in self.replies if reply.good and reply.sent_at >= self.cleared_at]
        return min(since) - self.cleared_at if since else float("inf")

    @property
    def failed_reads(self) -> list[Reply]:
        """The reads that did not get the expected response."""
        return [reply for reply in self.replies if reply.kind == "read" and not reply.good]

    @property
    def acknowledged(self) -> int:
        """How many writes were acknowledged."""
        return sum(reply.outcome is Outcome.APPLIED for reply in self.replies)

    @property
    def refused(self) -> Counter[str]:
        """The refusals, by reason."""
        return Counter(str(reply.reason) for reply in self.replies if reply.refused)

    @property
    def indeterminate(self) -> int:
        """How many writes have an unknown outcome."""
        return sum(reply.outcome is Outcome.UNKNOWN for reply in self.replies)

    @property
    def wrong(self) -> list[str]:
        """Violations of the contract, and reasons that this fault does not explain."""
        found = [reply.wrong for reply in self.replies if reply.wrong]
        return found + [
            f"{reply.kind} {reply.status} {reply.reason}"
            for reply in self.replies
            if reply.reason is not None and reply.reason not in self.allowed
        ]

    @property
    def hung(self) -> int:
        """How many requests took longer than their deadline and a second."""
        return sum(reply.seconds > self.deadline_seconds + _GRACE_SECONDS for reply in self.replies)

    @property
    def counters(self) -> dict[str, int]:
        """N1 to N9 except for N6, which is measured on the platform."""
        return {
            "N1": self.audit.acknowledged_absent,
            "N2": self.audit.refused_applied,
            "N3": self.audit.applied_twice + self.audit.unresolved,
            "N4": self.audit.unaudited,
            "N5": self.walk_faults,
            "N7": len(self.leaks),
            "N8": self.hung,
            "N9": len(self.disclosed),
        }

    def miss(self, sentence: str) -> None:
        """Record a broken promise."""
        self.misses.append(sentence)

    def hold_to(self, what: str, seconds: float, *, promised_seconds: float) -> None:
        """Check a promised time. A machine slower than the reference machine may take proportionally longer."""
        most = promised_seconds * max(1.0, slowness())
        held.append(f"{self.fault}: {what}: {seconds:.3f} s of {most:.3f} s")
        if seconds > most:
            self.miss(f"{what}: {seconds:.3f} s, and {promised_seconds} are promised")

    def hold_reads(self) -> None:
        """Check that no read failed."""
        if self.failed_reads:
            self.miss(f"{len(self.failed_reads)} reads failed: {self.failed_reads[:_EXAMPLES]}")

    def check(self, *, recovery_seconds: float | None = None) -> None:
        """Check what is promised for every fault, and the time to recovery if one is given.

        Raises:
            AssertionError: a promise was broken; the message lists all that were.
        """
        if any(self.counters.values()):
            self.miss(f"{self.counters} {self.leaks} {self.disclosed}")
        if self.wrong:
            self.miss(f"{len(self.wrong)} wrong: {self.wrong[:_EXAMPLES]}")
        if not self.acknowledged:
            self.miss("no write was made")
        if recovery_seconds is not None:
            self.hold_to("time to recovery", self.recovery_seconds, promised_seconds=recovery_seconds)
        assert not self.misses, "\n".join([self.title, *self.misses])


# The reports of this run, for the scorecard.
reports: Final[list[Report]] = []


@dataclass(frozen=True)
class Scenario:
    """A fault under load.

    Args:
        fault: its number on the scorecard.
        title: the fault in a few words.
        inject: causes the fault, and returns as soon as it is over.
        allowed: the reasons that responses may have during the fault and shortly after it.
        rate: requests per second.
        steady_seconds: how long the load runs before the fault.
        deadline_seconds: the deadline of each request.
        after_seconds: how long the load runs after the fault.
        same_process: whether the server process survives the fault, so that leaks can be measured.
    """

    fault: str
    title: str
    inject: Callable[[Traffic], Awaitable[None]]
    allowed: frozenset[str] = frozenset()
    rate: float = RATE
    steady_seconds: float = STEADY_SECONDS
    after_seconds: float = AFTER_SECONDS
    deadline_seconds: float = REQUEST_TIMEOUT_SECONDS
    same_process: bool = True

    async def run(self, rig: Rig, directory: Path) -> Report:
        """Run the scenario and return its report."""
        await warmed(rig, directory)
        orders = await known_orders(rig.database, rig.schema, writable=WRITABLE)
        leaks = Leaks(*rig.canaries)
        ledger = Ledger(directory / f"{self.fault}.jsonl")
        traffic = Traffic(rig.server.url, orders, ledger, leaks, rate=self.rate)
        before = await vitals(rig)
        try:
            async with walking(rig.server.url, orders.keys, seconds=self.steady_seconds + self.after_seconds) as walk:
                async with traffic.running():
                    await asyncio.sleep(self.steady_seconds)  # the steady phase
                    began_at = time.monotonic()
                    await self.inject(traffic)
                    cleared_at = time.monotonic()
                    await asyncio.sleep(self.after_seconds)  # the recovery phase
                await traffic.resolve()
            audit = await audited(ledger, rig.database, rig.schema)
            held = await leaks_after(rig, before) if self.same_process else []
            leaks.look_through_log(rig.server.log(), ledger.settled())
        finally:
            ledger.close()
        report = Report(
            self.fault,
            self.title,
            began_at,
            cleared_at,
            traffic.replies,
            self.allowed,
            audit,
            walk.faults,
            walk.walks,
            held,
            leaks.examples,
            self.deadline_seconds,
        )
        reports.append(report)
        return report


_warmed: set[int] = set()


async def warmed(rig: Rig, directory: Path) -> None:
    """Let a new server do everything once. What it allocates then is not a leak."""
    if rig.server.process.pid in _warmed:
        return
    _warmed.add(rig.server.process.pid)
    orders = await known_orders(rig.database, rig.schema, writable=WRITABLE)
    ledger = Ledger(directory / "warm.jsonl")
    traffic = Traffic(rig.server.url, orders, ledger, Leaks(), rate=RATE, seed=0)
    async with traffic.running():
        await traffic.until(lambda replies: len(replies) > RATE)
    await traffic.resolve()
    ledger.close()
