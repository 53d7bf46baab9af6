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

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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


class Shares:
    """Who holds which connections of a pool, and who holds its share. The server's own work has no share.

    Args:
        size: how many connections it has.
        all_slow: whether every statement counts as slow.
    """

    def __init__(self, size: int, *, all_slow: bool) -> None:
        self._of_operation = operation_share(size)
        self._of_caller = caller_share(size)
        self._all_slow = all_slow
        # What each operation holds, and the ordinary ones that each caller holds.
        self._held: dict[RequestRecord | str, set[PooledConnection]] = {}
        # Until when callers count as slow whose statement was. The one that is remembered for longest is last.
        self._slow_until: dict[str, float] = {}

    def lend(self, raw: PooledConnection, holder: RequestRecord | None) -> None:
        """Note which operation holds a connection from now on."""
        raw.holder, raw.since, raw.computed = holder, time.monotonic(), time.thread_time()
        for key in _keys(raw):
            self._held.setdefault(key, set()).add(raw)

    def take_back(self, raw: PooledConnection) -> None:
        """Note that nobody holds it any more. The caller is remembered for a while if it has held it for long."""
        for key in _keys(raw):
            held = self._held[key]
            held.discard(raw)
            if not held:
                del self._held[key]
        holder, slow = raw.holder, _is_slow(raw)
        raw.holder, raw.since = None, math.inf
        if slow and holder is not None and holder.caller is not None:
            now = time.monotonic()
            self._slow_until.pop(holder.caller, None)
            self._slow_until[holder.caller] = now + _REMEMBERED_SECONDS
            while self._slow_until[first := next(iter(self._slow_until))] < now:
                del self._slow_until[first]

    def is_operation_full(self, holder: RequestRecord | None) -> bool:
        """Whether an operation may hold no further connection now."""
        return holder is not None and len(self._held.get(holder, ())) >= self._of_operation

    def is_caller_full(self, holder: RequestRecord | None) -> bool:
        """Whether an operation's caller is slow, and may hold no further ordinary connection now."""
        if holder is None or holder.caller is None:
            return False
        held = self._held.get(holder.caller, ())
        if len(held) < self._of_caller:
            return False
        return self._all_slow or self._slow_until.get(holder.caller, 0.0) > time.monotonic() or any(map(_is_slow, held))


def _is_slow(raw: PooledConnection) -> bool:
    """Whether a connection has been held for long. The time for which the server itself computed does not count.

    Reading that time is a system call, so it is read only if the connection has been held for long by the wall clock.
    """
    held = time.monotonic() - raw.since
    return held > SLOW_SECONDS and held - (time.thread_time() - raw.computed) > SLOW_SECONDS


def _keys(raw: PooledConnection) -> tuple[RequestRecord | str, ...]:
    """The operation that holds a connection, and its caller if the connection is an ordinary one."""
    holder = raw.holder
    if holder is None:
        return ()
    return (holder,) if raw.brief or holder.caller is None else (holder, holder.caller)
