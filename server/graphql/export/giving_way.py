"""Gives way to other operations: while there are any, exports pause between their pages."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Self

from server.observability.request_record import running_loop

if TYPE_CHECKING:
    from server.traffic.admission import Admission

# How often to look whether operations are in flight. A page of ten orders takes about this long.
_LOOK_SECONDS: Final = 0.002
# For how long after an operation others are expected.
_EXPECTED_SECONDS: Final = 0.2
# An export rests for so many times as long as its page took: two exports leave most of two processors to pages.
_REST: Final = 3.0
_LONGEST_SECONDS: Final = 0.5


class GivingWay:
    """Looks for other operations while exports run. No operation pays for it, and no time is lost while there are none.

    Args:
        admission: admits the other operations.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._exports = 0
        self._seen_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Look from now on: an export begins."""
        self._exports += 1
        if self._timer is None:
            self._look()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no longer if no export runs."""
        self._exports -= 1
        if not self._exports and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def is_busy(self) -> bool:
        """Whether there have been other operations a moment ago."""
        return running_loop().time() - self._seen_at < _EXPECTED_SECONDS

    async def rest(self, seconds: float) -> None:
        """Pause if there are other operations, after a page that took so long."""
        if self.is_busy:
            await asyncio.sleep(min(_LONGEST_SECONDS, _REST * seconds))

    def _look(self) -> None:
        loop = running_loop()
        if not self._admission.is_idle:
            self._seen_at = loop.time()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look)
