"""The shares of a pool: how many of its connections an operation, and a caller with slow statements, may hold at once.

Nobody knows before a statement runs whether it is slow, so there are three bounds, and none needs to know it:

- An operation holds at most its share, from its first statement on.
- A caller who holds a connection for longer than `SLOW_SECONDS`, or has done so a moment ago, holds at most its share
  of ordinary connections. A caller whose statements are fast has no bound: one caller may be a frontend's server, which
  calls for all of its users.
- Some connections are brief: PostgreSQL itself ends a statement there after `SLOW_SECONDS`, and the pool runs it again
  on an ordinary one. However many operations and callers are slow together, they never hold these.

The statements of a pool without brief connections are slow by nature, as counts are. There a caller holds at most its
share from its first statement on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.db.driver import PooledConnection
    from server.observability.request_record import RequestRecord

# Pages and changes take a few milliseconds. This is more than they take on a busy machine, and hardly noticeable.
SLOW_SECONDS: Final = 0.05
# How long a caller counts as slow after a slow statement has ended. Otherwise a caller whose statements take a little
# longer than `SLOW_SECONDS` would be slow for half of the time only.
_REMEMBERED_SECONDS: Final = 1.0
# One of this many connections is brief.
_ONE_IN: Final = 5


def operation_share(size: int) -> int:
    """How many connections of a pool of this size an operation may hold."""
    return (size + 1) // 2


def caller_share(size: int) -> int:
    """How many ordinary connections of a pool of this size a slow caller may hold: few, for they share processors."""
    return min(operation_share(size), max(2, size // 4))


def brief_of(size: int) -> int:
    """How many connections of a pool of this size are brief. A pool of one connection can spare none."""
    return -(-size // _ONE_IN) if size > 1 else 0


class Full(NamedTuple):
    """Who holds its share of a pool at a moment.

    Attributes:
        operations: these may hold no further connection.
        callers: these may hold no further ordinary connection.
    """

    operations: set[RequestRecord]
    callers: set[str | None]


class Shares:
    """The shares of a pool. `least` is the smallest: nobody holds a share while fewer connections are in use.

    Args:
        size: how many connections it has.
        all_slow: whether every statement counts as slow.
    """

    def __init__(self, size: int, *, all_slow: bool) -> None:
        self._operation = operation_share(size)
        self.least = self._caller = caller_share(size)
        self._all_slow = all_slow
        # Until when callers count as slow whose statement was. The one that is remembered for longest is last.
        self._slow_until: dict[str, float] = {}

    def note_return(self, raw: PooledConnection) -> None:
        """Remember the caller for a while if it has held this connection for long."""
        now, holder = time.monotonic(), raw.holder
        if now - raw.since > SLOW_SECONDS and holder is not None and holder.caller is not None:
            self._slow_until.pop(holder.caller, None)
            self._slow_until[holder.caller] = now + _REMEMBERED_SECONDS
            while self._slow_until[first := next(iter(self._slow_until))] < now:
                del self._slow_until[first]

    def full(self, connections: Iterable[PooledConnection]) -> Full:
        """Who holds its share of these connections at this moment. The server's own work has no share."""
        now = time.monotonic()
        by_operation: dict[RequestRecord, int] = {}
        by_caller: dict[str, int] = {}
        slow = set()
        for raw in connections:
            if (holder := raw.holder) is None:
                continue
            by_operation[holder] = by_operation.get(holder, 0) + 1
            if (caller := holder.caller) is None:
                continue
            if not raw.brief:
                by_caller[caller] = by_caller.get(caller, 0) + 1
            if self._all_slow or now - raw.since > SLOW_SECONDS or self._slow_until.get(caller, 0.0) > now:
                slow.add(caller)
        return Full(
            {operation for operation, number in by_operation.items() if number >= self._operation},
            {caller for caller, number in by_caller.items() if number >= self._caller and caller in slow},
        )
