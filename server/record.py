"""Owns what is noted about the request being served: filled in by whoever knows, logged once at its end."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

_BAD_REQUEST = 400


@dataclass(slots=True)
class RequestRecord:
    """Notes on one request. Times are in seconds."""

    request_id: str
    operation: str | None = None
    rows: int = 0
    statements: int = 0
    database_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    def outcome(self, status: int) -> str:
        """The reasons of the errors that the answer carries; without any `ok`, or what its HTTP status says."""
        return ",".join(sorted(set(self.errors))) or ("ok" if status < _BAD_REQUEST else f"HTTP_{status}")


# A task inherits it from the request that started it, a batch of lookups included.
current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)


def note_statement(*, rows: int, seconds: float) -> None:
    """Note a finished statement on the request being served, if one is."""
    if record := current_record.get():
        record.rows += rows
        record.statements += 1
        record.database_seconds += seconds
