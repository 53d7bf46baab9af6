"""Owns the rate limit: for each caller a bucket of points of cost, which fills up steadily and is spent by operations.

The buckets are this process's own. Two workers are two buckets, and a caller whose requests reach both may spend twice
as much.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from strawberry.extensions import SchemaExtension

from schema.errors import RateLimitedError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schema.context import Context
    from server.settings import Settings

_REMEMBERED: Final = 10_000
# What is found wrong with a document before it is run has taken about as long as the smallest page.
_MISTAKE_POINTS: Final = 1


class RateLimit:
    """The buckets.

    Args:
        rate: points that come in a second.
        burst: points that a bucket holds, and has to begin with.
        remembered: of how many callers at most. Those whose buckets are full need no memory; where there are more, who
            has asked nothing for longest is forgotten, and has a full one.
        clock: in seconds, and never set back.
    """

    def __init__(
        self, rate: float, burst: int, *, remembered: int = _REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._remembered = remembered
        self._clock = clock
        # What was left at that time, by caller; who has asked for longest nothing comes first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> RateLimit | None:
        """As it is set; None where it is off."""
        return None if settings.rate_limit == "off" else cls(settings.rate_limit, settings.rate_burst)

    @property
    def callers(self) -> int:
        """Of how many anything is remembered."""
        return len(self._buckets)

    def charging(self, context: Context) -> Context:
        """The context with whose `charge` its principal pays."""
        user, noted = context.principal.user, context.charge

        def charge(cost: int) -> None:
            if noted is not None:
                noted(cost)
            self.spend(user, cost)

        return replace(context, charge=charge)

    def spend(self, user: str, points: int) -> None:
        """Take so many points from the caller's bucket.

        Raises:
            RateLimitedError: RATE_LIMITED, there are not so many, and none is taken.
        """
        if points > self._burst:
            raise RateLimitedError(
                Reason.RATE_LIMITED,
                f"The operation costs {points:,} points, and a caller never has more than {self._burst:,} "
                "(`RATE_BURST`): ask for smaller pages or fewer fields.",
                retry_after_seconds=None,
            )
        now = self._clock()
        self._keep(user, self._demanded(user, points, now) - points, now)

    def demand_any(self, user: str) -> None:
        """Go on only where the caller has a point left.

        Raises:
            RateLimitedError: RATE_LIMITED.
        """
        self._demanded(user, 1, self._clock())

    def note_mistake(self, user: str) -> None:
        """Take what a document costs that is not run, as far as there is anything left."""
        now = self._clock()
        self._keep(user, max(0.0, self._left(user, now) - _MISTAKE_POINTS), now)

    def _demanded(self, user: str, points: int, now: float) -> float:
        left = self._left(user, now)
        if left >= points:
            return left
        seconds = max(1, math.ceil((points - left) / self._rate))
        raise RateLimitedError(
            Reason.RATE_LIMITED,
            f"This costs {points:,} points, and you have {int(left):,} left: it can be paid in {seconds:,} s.",
            retry_after_seconds=seconds,
        )

    def _left(self, user: str, now: float) -> float:
        left, since = self._buckets.get(user, (self._burst, now))
        return min(self._burst, left + (now - since) * self._rate)

    def _keep(self, user: str, left: float, now: float) -> None:
        self._buckets[user] = left, now
        self._buckets.move_to_end(user)
        # Each that comes makes room for itself, and for one more of those that are full by now.
        for _ in range(2):
            longest = next(iter(self._buckets))
            if longest != user and (len(self._buckets) > self._remembered or self._left(longest, now) >= self._burst):
                del self._buckets[longest]


class ChargeMistakes(SchemaExtension):
    """Lets a document that is not run cost its caller something too, and reads none of who has nothing left."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit

    def on_operation(self) -> Iterator[None]:
        """Around the reading of the document as well.

        What has a price is charged it just before it is run, and nothing beside it, however it ends.
        """
        execution = self.execution_context
        context: Context = execution.context
        charge_caller = context.charge
        if charge_caller is None:
            # The fast way has charged it already.
            yield
            return
        self._limit.demand_any(context.principal.user)
        priced = False

        def charge(cost: int) -> None:
            nonlocal priced
            priced = True
            charge_caller(cost)

        execution.context = replace(context, charge=charge)
        try:
            yield
        finally:
            if not priced:
                self._limit.note_mistake(context.principal.user)
