"""The shares of a pool: how many of its connections an operation, and a caller with slow statements, may hold at once.

Nobody knows before a statement runs whether it is slow, so there are three bounds, and none needs to know it:

- An operation holds at most its share, from its first statement on.
- A caller who has held a connection for longer than `SLOW_SECONDS` holds at most its share of ordinary connections
  until that connection comes back. A caller whose statements are fast has no bound: one caller may be a frontend's
  server, which calls for all of its users.
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
    from collections.abc import Iterable

    from server.db.driver import PooledConnection
    from server.observability.request_record import RequestRecord

# Pages and changes take a few milliseconds. This is more than they take on a busy machine, and hardly noticeable.
SLOW_SECONDS: Final = 0.05
# One of this many connections is brief.
_ONE_IN: Final = 5


def share_of(size: int) -> int:
    """How many connections of a pool of this size an operation may hold, and a caller with slow statements."""
    return (size + 1) // 2


def brief_of(size: int) -> int:
    """How many connections of a pool of this size are brief. A pool of one connection can spare none."""
    return -(-size // _ONE_IN) if size > 1 else 0


class Shares:
    """Which operations and callers hold their share of a pool at this moment. The server's own work has no share.

    Args:
        connections: the pool's.
        most: the share.
        all_slow: whether every statement counts as slow.
    """

    __slots__ = ("_full", "_holders", "_most")

    def __init__(self, connections: Iterable[PooledConnection], most: int, *, all_slow: bool) -> None:
        slow_since = math.inf if all_slow else time.monotonic() - SLOW_SECONDS
        used = [(raw.holder, raw.since) for raw in connections if raw.holder is not None]
        slow = {holder.caller for holder, since in used if since < slow_since}
        self._most = most
        self._holders = [holder for holder, _ in used]
        self._full = {
            caller
            for caller in slow
            if caller is not None and sum(holder.caller == caller for holder in self._holders) >= most
        }

    def is_full(self, holder: RequestRecord | None) -> bool:
        """Whether the operation, or its caller, may hold no further ordinary connection now."""
        return self.is_caller_full(holder) or self.is_operation_full(holder)

    def is_operation_full(self, holder: RequestRecord | None) -> bool:
        """Whether the operation may hold no further connection now, whatever it is used for."""
        return holder is not None and sum(other is holder for other in self._holders) >= self._most

    def is_caller_full(self, holder: RequestRecord | None) -> bool:
        """Whether the operation's caller is slow, and may hold no further connection now but brief ones."""
        return holder is not None and holder.caller in self._full
