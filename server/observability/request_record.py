"""Owns what is noted about the request being served: filled in by whoever knows, logged once at its end."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.observability import metrics

_BAD_REQUEST = 400


@dataclass(slots=True)
class RequestRecord:
    """What is logged and counted of one request. Times are in seconds.

    `fast` is that it was answered from its plan (server/graphql/fast_path.py). `cost` is in points
    (schema/limits/cost.py).
    """

    request_id: str
    transport: metrics.Transport = "http"
    operation: str | None = None
    subscription: bool = False
    rows: int = 0
    statements: int = 0
    database_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    fast: bool = False
    cost: int = 0

    def outcome(self, status: int) -> str:
        """The reasons of the errors that the answer carries; without any `ok`, or what its HTTP status says."""
        return ",".join(sorted(set(self.errors))) or ("ok" if status < _BAD_REQUEST else f"HTTP_{status}")


# A task inherits it from the request that started it, a batch of lookups included.
current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)


def note_cost(cost: int) -> None:
    """Note what the operation being served costs."""
    if (record := current_record.get()) is not None:
        record.cost = cost
