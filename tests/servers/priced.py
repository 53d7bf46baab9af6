"""The server, which notes the points that its callers spend: in the file SPENT, as a number.

Run it with RATE_LIMIT. What is charged for the time that an operation took is not among the points: they are prices.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from server.__main__ import main
from server.traffic.rate_limit import RateLimit

_file = os.open(Path(os.environ["SPENT"]), os.O_WRONLY | os.O_CREAT, 0o600)
_spend, _settle = RateLimit.spend, RateLimit.settle
_spent = 0


def _note(points: int) -> None:
    global _spent  # noqa: PLW0603 # one process has one total
    _spent += points
    os.pwrite(_file, f"{_spent:20}".encode(), 0)


def _noting_spend(limit: RateLimit, user: str, points: int) -> None:
    _spend(limit, user, points)
    _note(points)


def _noting_settle(limit: RateLimit, user: str, points: int) -> None:
    _settle(limit, user, points)
    _note(max(0, points))


RateLimit.spend = _noting_spend  # type: ignore[method-assign,assignment] # this is the purpose
RateLimit.settle = _noting_settle  # type: ignore[method-assign,assignment] # as above

if __name__ == "__main__":
    sys.exit(main())
