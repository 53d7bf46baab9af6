"""The rate limit: a token bucket for each caller. Operations spend points of cost from it.

Each process has buckets of its own: a caller whose requests reach two workers may spend twice as much.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from strawberry.extensions import SchemaExtension

from schema.errors import RateLimitedError, Reason
from schema.limits.prices import points_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schema.context import Context
    from server.observability.request_record import RequestRecord
    from server.settings import Settings

_REMEMBERED: Final = 10_000
# Finding a mistake and reporting it takes about as long as this many fields of a page.
_MISTAKE_POINTS: Final = 8
# Of each operation, and of each of its statements. A small operation takes more than its price, for its fixed part, and
# a statement's time includes its wait for the event loop, which others keep busy.
_FREE_SECONDS: Final = 0.005


class RateLimit:
    """The buckets of all callers.

    Args:
        rate: points that a bucket gains in a second.
        burst: points that a bucket holds, also at the beginning.
        remembered: how many buckets are kept at most. Full buckets are not kept. If there are more, the bucket of the
            caller that has been idle for longest is dropped, which makes it full again.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, rate: float, burst: int, *, remembered: int = _REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._remembered = remembered
        self._clock = clock
        # By caller: the points left, and when. The caller that has been idle for longest comes first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> RateLimit | None:
        """The rate limit of the settings; None if it is off."""
        return None if settings.rate_limit == "off" else cls(settings.rate_limit, settings.rate_burst)

    @property
    def callers(self) -> int:
        """How many buckets are remembered."""
        return len(self._buckets)

    def charging(self, context: Context) -> Context:
        """The context with a `charge` and an `account` that take points from its principal's bucket.

        What was paid is noted.
        """
        user, noted = context.principal.user, context.charge

        def charge(cost: int) -> None:
            self.spend(user, cost)
            if noted is not None:
                noted(cost)

        return replace(context, charge=charge, account=_Bucket(self, user))

    def spend(self, user: str, points: int) -> None:
        """Take points from the caller's bucket.

        Raises:
            RateLimitedError: RATE_LIMITED, the bucket has too few. None is taken.
        """
        if points > self._burst:
            raise RateLimitedError(
                Reason.RATE_LIMITED,
                f"The operation costs {points:,} points, and a caller has at most {self._burst:,} (`RATE_BURST`): "
                "ask for smaller pages or fewer fields.",
                retry_after_seconds=None,
            )
        now = self._clock()
        self._keep(user, self._demanded(user, points, now) - points, now)

    def demand_any(self, user: str) -> None:
        """Check that the caller has a point left.

        Raises:
            RateLimitedError: RATE_LIMITED.
        """
        self._demanded(user, 1, self._clock())

    def note_mistake(self, user: str, mistakes: int = 1) -> None:
        """Charge for reporting mistakes."""
        self.settle(user, mistakes * _MISTAKE_POINTS)

    def settle(self, user: str, points: int) -> None:
        """Charge for what has been done. A bucket without the points owes them, as many as it holds at most."""
        if points > 0:
            now = self._clock()
            self._keep(user, max(float(-self._burst), self._left(user, now) - points), now)

    def settle_operation(self, record: RequestRecord) -> None:
        """Charge an operation that is over for what it really took, as far as that exceeds its price.

        A subscription has paid for each of its events. A change may wait for a lock, which is not its caller's work.
        """
        if record.caller is None or record.subscription:
            return
        seconds = record.processor_seconds + (0.0 if record.mutation else record.database_seconds)
        self.settle(record.caller, points_of(seconds - _FREE_SECONDS * (1 + record.statements)) - record.cost)

    def _demanded(self, user: str, points: int, now: float) -> float:
        left = self._left(user, now)
        if left >= points:
            return left
        seconds = max(1, math.ceil((points - left) / self._rate))
        raise RateLimitedError(
            Reason.RATE_LIMITED,
            f"This costs {points:,} points, and you have {max(0, int(left)):,} left: try again in {seconds:,} s.",
            retry_after_seconds=seconds,
        )

    def _left(self, user: str, now: float) -> float:
        left, since = self._buckets.get(user, (self._burst, now))
        return min(self._burst, left + (now - since) * self._rate)

    def _keep(self, user: str, left: float, now: float) -> None:
        self._buckets[user] = left, now
        self._buckets.move_to_end(user)
        # Each new bucket removes up to two others, so that full ones do not pile up.
        for _ in range(2):
            longest = next(iter(self._buckets))
            if longest != user and (len(self._buckets) > self._remembered or self._left(longest, now) >= self._burst):
                del self._buckets[longest]


class _Bucket:
    """The account of one caller."""

    def __init__(self, limit: RateLimit, user: str) -> None:
        self._limit = limit
        self._user = user

    def pay(self, points: int) -> None:
        self._limit.spend(self._user, points)

    def settle(self, points: int) -> None:
        self._limit.settle(self._user, points)


class ChargeMistakes(SchemaExtension):
    """Charges the caller for an operation that is refused, and refuses a caller without points before parsing.

    Reading and validating a document is paid for apart (schema/extensions.py).

    Args:
        limit: the buckets.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit

    def on_operation(self) -> Iterator[None]:
        """This hook also surrounds parsing and validation.

        An operation that has a cost is charged exactly that before it runs, and its mistakes in variables after it.
        """
        execution = self.execution_context
        context: Context = execution.context
        user, charge_caller = context.principal.user, context.charge
        # The fast path may have charged the operation already.
        priced = charge_caller is None
        if charge_caller is not None:
            self._limit.demand_any(user)

            def charge(cost: int) -> None:
                nonlocal priced
                priced = True
                charge_caller(cost)

            execution.context = replace(context, charge=charge)
        try:
            yield
        finally:
            # An error with a path comes from a resolver, and its cost has been charged.
            mistakes = sum(not error.path for error in execution.pre_execution_errors or ())
            if mistakes or not priced:
                self._limit.note_mistake(user, max(1, mistakes))
